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

    #[command(flatten)]
    settings: SettingsArgs,
}

pub(super) fn run(args: Args) -> Result<(), Failure> {
    let settings = args.settings.resolve()?;
    if args.credential_file.is_none() {
        output::refuse_unread()?;
    }
    let form = if args.json { Form::Json } else { Form::Variables };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(Failure::said)?.block_on(async {
        let store = prepare::open_store(&settings).await?;
        let outcome = match (&args.credential_file, args.recover) {
            (Some(file), _) => install(&store, &settings, file).await,
            (None, true) => create(&store, &settings, Occasion::Recovery, form).await,
            (None, false) => create(&store, &settings, Occasion::First, form).await,
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
    }
}

async fn install(store: &Store, settings: &Settings, file: &Path) -> Result<(), Failure> {
    let credential = read(file, &settings.brands)?;
    let installed = install_administrator(store, &credential, Occasion::First).await;
    let what = match installed.map_err(Failure::said)? {
        Installed::Created => "is installed",
        Installed::AlreadyThere => "was installed before",
    };
    Ok(output::line(&format!("the credential {} {what}", credential.key_id))?)
}
