//! `countersign audit check`

use crate::cli::failure::Failure;
use crate::cli::{output, prepare, warn_of_unknown_variables};
use crate::config::SettingsArgs;

/// Reads the whole log and every key, at one moment, and prints what does not fit.
pub(super) fn run(args: SettingsArgs) -> Result<(), Failure> {
    warn_of_unknown_variables();
    let settings = args.resolve()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let report = runtime.map_err(Failure::said)?.block_on(async {
        let store = prepare::existing_store(&settings).await?;
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
