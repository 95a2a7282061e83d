//! The environment: which variables are ours, and the ones that no flag carries because they are
//! secret.

use std::collections::BTreeSet;
use std::ffi::OsString;

use clap::{Args as _, Command};
use zeroize::Zeroizing;

use super::{ClientArgs, SettingsArgs};

/// All our variables begin with this.
const PREFIX: &str = "COUNTERSIGN_";
/// The secret of the command line's own credential.
pub(super) const SECRET: &str = "COUNTERSIGN_SECRET";
/// The secret that `countersign verify` asks about.
const VERIFY_SECRET: &str = "COUNTERSIGN_VERIFY_SECRET";

/// The value of one of our variables; `None` if it is not set, or empty.
#[expect(clippy::disallowed_methods, reason = "this is where the environment is read")]
pub(super) fn variable(name: &str) -> Option<Zeroizing<String>> {
    std::env::var(name).ok().filter(|value| !value.is_empty()).map(Zeroizing::new)
}

/// The secret that `countersign verify` asks about, if it stands in `COUNTERSIGN_VERIFY_SECRET`.
pub fn verify_secret() -> Option<Zeroizing<String>> {
    variable(VERIFY_SECRET)
}

/// Whether `OTEL_SDK_DISABLED` says that nothing is measured, traced or exported. As its specification has it: `true` in
/// small or capital letters does, anything else does not.
#[expect(clippy::disallowed_methods, reason = "this is where the environment is read")]
pub fn sdk_disabled() -> bool {
    std::env::var("OTEL_SDK_DISABLED").is_ok_and(|value| value.trim().eq_ignore_ascii_case("true"))
}

/// The names of variables that begin like ours and are none: a typing error, or what Kubernetes sets
/// for a service named `countersign`.
#[expect(clippy::disallowed_methods, reason = "this is where the environment is read")]
pub fn unknown_variables() -> Vec<String> {
    unknown_among(std::env::vars_os().map(|(name, _)| name))
}

fn unknown_among(names: impl Iterator<Item = OsString>) -> Vec<String> {
    let known = known();
    let ours =
        names.filter_map(|name| name.into_string().ok()).filter(|name| name.starts_with(PREFIX));
    let unknown: BTreeSet<String> = ours.filter(|name| !known.contains(name)).collect();
    unknown.into_iter().collect()
}

/// The variables of all flags, and the two that have none.
fn known() -> BTreeSet<String> {
    let command = ClientArgs::augment_args(SettingsArgs::augment_args(Command::new("countersign")));
    let of_flags = command.get_arguments().filter_map(|arg| arg.get_env()?.to_str());
    of_flags.chain([SECRET, VERIFY_SECRET]).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_variables_are_known_and_all_others_that_look_like_ours_are_not() {
        let names = [
            "PATH",
            "COUNTERSIGN_LISTEN",
            "COUNTERSIGN_CONFIG",
            "COUNTERSIGN_DATABASE_URL_FILE",
            "COUNTERSIGN_KEY_ID",
            "COUNTERSIGN_SECRET",
            "COUNTERSIGN_ENDPOINT",
            "COUNTERSIGN_PORT",
            "COUNTERSIGN_LISSTEN",
        ];
        let unknown = unknown_among(names.into_iter().map(OsString::from));
        assert_eq!(unknown, ["COUNTERSIGN_LISSTEN", "COUNTERSIGN_PORT"]);
    }
}
