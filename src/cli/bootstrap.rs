//! `countersign bootstrap`

use std::path::{Path, PathBuf};

use super::failure::Failure;
use super::first_credential::{Form, mint, print, read};
use super::{output, prepare};
use crate::config::{Settings, SettingsArgs};
use crate::control::{Installed, Occasion, install_administrator};
use crate::domain::ids::Environment;
use crate::store::Store;

/// Makes the first admin credential of an empty store: a key of the account `countersign` that holds
/// every reserved scope. Needs the database and the root key, no server.
#[derive(clap::Args)]
pub(super) struct Args {
    /// Print {"key_id": …, "secret": …} instead of two lines
    #[arg(long)]
    json: bool,

    /// Install the credential in this file, made by `countersign keys mint`, and print nothing secret.
    /// Repeating it changes nothing
    #[arg(long, value_name = "FILE", conflicts_with = "json")]
    credential_file: Option<PathBuf>,

    /// Mint another admin credential although there is one; the audit log will say so
    #[arg(long, conflicts_with = "credential_file")]
    recover: bool,

    /// Do nothing where somebody can administer the store already, rather than fail
    #[arg(long, conflicts_with = "recover")]
    if_none: bool,

    #[command(flatten)]
    settings: SettingsArgs,
}

pub(super) fn run(args: Args) -> Result<(), Failure> {
    let settings = args.settings.resolve()?;
    if args.credential_file.is_none() {
        output::refuse_unread()?;
    }
    let form = if args.json { Form::Json } else { Form::Variables };
    let occasion = match (args.recover, args.if_none) {
        (true, _) => Occasion::Recovery,
        (false, true) => Occasion::IfNone,
        (false, false) => Occasion::First,
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(Failure::said)?.block_on(async {
        let store = prepare::open_store(&settings).await?;
        let outcome = match &args.credential_file {
            Some(file) => install(&store, &settings, occasion, file).await,
            None => create(&store, &settings, occasion, form).await,
        };
        store.close().await;
        outcome
    })
}

async fn create(
    store: &Store,
    settings: &Settings,
    occasion: Occasion,
    form: Form,
) -> Result<(), Failure> {
    let credential = mint(&settings.brands, Environment::Live)?;
    match install_administrator(store, &credential, occasion).await.map_err(Failure::said)? {
        Installed::Created => print(&credential, form),
        Installed::AlreadyThere => Err(Failure::said("two random key ids are the same; try again")),
        Installed::NotNeeded => not_needed(),
    }
}

async fn install(
    store: &Store,
    settings: &Settings,
    occasion: Occasion,
    file: &Path,
) -> Result<(), Failure> {
    let credential = read(file, &settings.brands)?;
    let installed = install_administrator(store, &credential, occasion).await;
    let what = match installed.map_err(Failure::said)? {
        Installed::Created => "is installed",
        Installed::AlreadyThere => "was installed before",
        Installed::NotNeeded => return not_needed(),
    };
    Ok(output::line(&format!("the credential {} {what}", credential.key_id))?)
}

/// Not on standard output, where a credential is looked for.
fn not_needed() -> Result<(), Failure> {
    output::to_stderr("the store has an administrator already; nothing was changed\n");
    Ok(())
}
