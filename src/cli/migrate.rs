//! `countersign migrate`

use super::failure::Failure;
use super::output;
use crate::config::SettingsArgs;
use crate::store;

pub(super) fn run(args: SettingsArgs) -> Result<(), Failure> {
    let settings = args.resolve()?;
    super::prepare::folder_of_store(&settings)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let migrated = runtime
        .map_err(Failure::said)?
        .block_on(store::migrate(&settings.store))
        .map_err(Failure::said)?;
    let url = &settings.store.url;
    // Whoever named the wrong place learns it now.
    let made = if migrated.made { format!("made a new store in {url}; ") } else { String::new() };
    Ok(output::line(&format!("{made}{url} is up to date"))?)
}
