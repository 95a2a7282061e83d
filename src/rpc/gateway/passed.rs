//! What goes on to the server behind the gateway.

use super::Settings;
use super::attempt::{Attempt, begins_as};
use super::credential::Credential;
use crate::verify::Proven;

/// Everything that begins like this is ours to say: what a client sends under such a name never arrives.
const PREFIX: &str = "x-countersign-";

/// The headers that say who calls, and what each holds.
pub const UPSTREAM_HEADERS: [(&str, &str); 4] = [
    ("x-countersign-account", "the account that the key is of"),
    ("x-countersign-application", "the application that the key is of"),
    ("x-countersign-key-id", "the key's id"),
    ("x-countersign-scopes", "the scopes that the key was granted, with spaces between them"),
];

/// Whether a name could be read as one of ours, and is spelt as neither we nor a gateway spells it. Gateways that take
/// away or overwrite what begins with [`PREFIX`] let `X_Countersign_Account` through, and servers behind CGI and its like
/// read it as the one that we set.
pub(super) fn is_misspelt(name: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    begins_as(name, PREFIX) && !name.bytes().all(is_plain)
}

/// A request that may go on.
pub(super) struct Passed {
    /// Whose it is.
    pub(super) key: Proven,
    /// Headers that must not go on with it: what is secret, and what only we may say.
    pub(super) removed: Vec<String>,
}

impl Passed {
    pub(super) fn new(
        key: Proven,
        credential: &Credential<'_>,
        attempt: &Attempt<'_>,
        settings: &Settings,
    ) -> Self {
        let mut removed = vec![settings.secret_header.as_str().to_owned()];
        if credential.in_one_header {
            removed.push(settings.key_header.as_str().to_owned());
        }
        let is_said_by_us =
            |name: &str| UPSTREAM_HEADERS.iter().any(|(own, _)| own.eq_ignore_ascii_case(name));
        // Those of ours are overwritten. A gateway that took them away would do so after.
        let smuggled = attempt.headers.names().filter(|name| begins_as(name, PREFIX));
        removed.extend(smuggled.filter(|name| !is_said_by_us(name)).map(str::to_owned));
        Self { key, removed }
    }

    /// The headers that say who calls.
    pub(super) fn headers(&self) -> [(&'static str, String); UPSTREAM_HEADERS.len()] {
        let [account, application, key_id, scopes] = UPSTREAM_HEADERS.map(|(name, _)| name);
        [
            (account, self.key.account_id.as_str().to_owned()),
            (application, self.key.application_id.as_str().to_owned()),
            (key_id, self.key.key_id.as_str().to_owned()),
            (scopes, self.scopes().collect::<Vec<_>>().join(" ")),
        ]
    }

    /// The scopes that the key was granted.
    pub(super) fn scopes(&self) -> impl Iterator<Item = &str> {
        self.key.scopes.iter().map(|scope| scope.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_of_ours_has_one_spelling() {
        for name in [
            "X_Countersign_Account",
            "x.countersign.account",
            "X-Countersign-Key_Id",
            "x-countersign~role",
            "x_countersign_",
        ] {
            assert!(is_misspelt(name), "{name}");
        }
        for name in ["X-Countersign-Account", "x-countersign-role", "x-countersigned_by", "x_id"] {
            assert!(!is_misspelt(name), "{name}");
        }
    }
}
