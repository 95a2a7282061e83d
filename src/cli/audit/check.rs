//! `countersign audit check`

use std::sync::Arc;

use crate::cli::failure::Failure;
use crate::cli::{output, warn_of_unknown_variables};
use crate::config::{SettingsArgs, read_root_keys};
use crate::domain::random::OsRandom;
use crate::store::Store;

/// Reads the whole log and every key, at one moment, and prints what does not fit.
pub(super) fn run(args: SettingsArgs) -> Result<(), Failure> {
    warn_of_unknown_variables();
    let settings = args.resolve()?;
    let keyring = read_root_keys(&settings.root_key_file()?)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let report = runtime.map_err(Failure::said)?.block_on(async {
        let opened = Store::open(&settings.store, keyring, Arc::new(OsRandom)).await;
        let store = opened.map_err(Failure::said)?;
        let report = store.check_log().await.map_err(Failure::said);
        store.close().await;
        report
    })?;
    let root: String = report.root.iter().map(|byte| format!("{byte:02x}")).collect();
    output::line(&format!("events     {}", report.events))?;
    output::line(&format!("root hash  {root}"))?;
    output::line(&format!("faults     {}", report.faults.len()))?;
    report.faults.iter().try_for_each(|fault| output::line(&output::on_one_line(fault)))?;
    if report.faults.is_empty() { Ok(()) } else { Err(Failure::Faults) }
}
