//! `countersign migrate`

use super::failure::Failure;
use super::output;
use crate::config::SettingsArgs;
use crate::store;

pub(super) fn run(args: SettingsArgs) -> Result<(), Failure> {
    let settings = args.resolve()?;
    super::prepare::folder_of_store(&settings)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime
        .map_err(Failure::said)?
        .block_on(store::migrate(&settings.store))
        .map_err(Failure::said)?;
    Ok(output::line(&format!("{} is up to date", settings.store.url))?)
}
