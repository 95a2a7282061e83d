//! `countersign store accept`

use crate::cli::failure::Failure;
use crate::cli::{output, prepare, warn_of_unknown_variables};
use crate::config::SettingsArgs;
use crate::domain::audit::Actor;
use crate::domain::replica::LogEnd;
use crate::store::Store;

/// Says what it would do, and with --yes does it: an event in the audit log begins a new epoch. All replicas load
/// the keys as the database has them now. Keys and revocations that were lost stay lost.
#[derive(clap::Args)]
pub(super) struct Args {
    /// Do it
    #[arg(long)]
    yes: bool,

    /// The first revision that was lost, as the alarm in the replicas' logs names it: consistency tokens of that
    /// change and of later ones are refused. Too low a number refuses more of them; without any, only those
    /// beyond the end of the log as it is now
    #[arg(long, value_name = "REVISION")]
    lost_from: Option<u64>,

    #[command(flatten)]
    settings: SettingsArgs,
}

pub(super) fn run(args: Args) -> Result<(), Failure> {
    warn_of_unknown_variables();
    let settings = args.settings.resolve()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(Failure::said)?.block_on(async {
        let store = prepare::existing_store(&settings).await?;
        let outcome = accept(&store, args.yes, args.lost_from).await;
        store.close().await;
        outcome
    })
}

async fn accept(store: &Store, yes: bool, lost_from: Option<u64>) -> Result<(), Failure> {
    let end = store.end().await.map_err(Failure::said)?;
    if let Some(lost) = lost_from
        && !end.may_have_lost(lost)
    {
        return Err(Failure::Said(format!(
            "--lost-from {lost} can't be the first revision that was lost: it is from 1 to {}, which comes after the \
             last change in the database; nothing was changed",
            end.revision.saturating_add(1)
        )));
    }
    for line in describe(&end, lost_from) {
        output::line(&line)?;
    }
    if !yes {
        return Err(Failure::said(
            "nothing was changed; look for what was lost (restore or promote another copy if there is one), \
             and repeat with --yes to go on without it",
        ));
    }
    let actor = Actor::local("store accept");
    match store.accept(end.epoch, lost_from, &actor).await.map_err(Failure::said)? {
        Some(position) => Ok(output::line(&format!(
            "accepted     epoch {} begins with revision {}",
            position.epoch, position.revision
        ))?),
        None => Err(Failure::said("somebody else has just accepted it; nothing was changed")),
    }
}

/// What the operator is asked to accept.
fn describe(end: &LogEnd, lost_from: Option<u64>) -> [String; 5] {
    let last = match end.revision {
        0 => "none: the log is empty".to_owned(),
        revision => format!("revision {revision} of {}", end.time),
    };
    let lost = match lost_from {
        Some(revision) => format!("from revision {revision} on, of what the old epoch had"),
        None => "what any replica has seen beyond the last change".to_owned(),
    };
    [
        format!("epoch        {}", end.epoch),
        format!("last change  {last}"),
        format!("database     its clock says {}", end.clock),
        format!("lost         {lost}"),
        format!("to accept    epoch {} begins after the last change", end.epoch + 1),
    ]
}
