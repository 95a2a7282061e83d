//! `countersign check-config`

use super::failure::Failure;
use super::output;
use crate::config::{SettingsArgs, read_root_keys};
use crate::telemetry::otlp::Exports;

/// Prints every setting in effect. A root key file that is there is read too: its faults are settings'
/// faults. One that is missing is one on PostgreSQL only; on SQLite `serve` makes it. So are the `OTEL_*` variables
/// looked at, which belong to no setting.
pub(super) fn run(args: SettingsArgs) -> Result<(), Failure> {
    let settings = args.resolve()?;
    let root_key_file = settings.root_key_file()?;
    if !settings.makes_root_key() || root_key_file.exists() {
        read_root_keys(&root_key_file)?;
    }
    let exports = Exports::of_this_process().map_err(Failure::Said)?;
    exports.warnings().iter().for_each(|warning| output::warn(warning));
    for (name, value) in settings.describe() {
        output::line(&format!("{name} = {value}"))?;
    }
    let routes = &settings.gateway.routes;
    if !routes.is_empty() {
        output::line(&format!("gateway.routes = {} entries", routes.len()))?;
        routes
            .describe()
            .try_for_each(|route| output::line(&format!("gateway.route = {route}")))?;
    }
    Ok(())
}
