//! `countersign audit …`: reads the log, page by page or as it grows, and checks it.

mod check;
mod list;
mod show;
mod tail;

use clap::Subcommand;

use super::call::with_administration;
use super::failure::Failure;
use crate::config::{ClientArgs, SettingsArgs};

#[derive(clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Check the whole log and every key against it; needs the database and the root key, no server
    Check(Box<SettingsArgs>),
    /// List events, all pages of them, oldest first
    List {
        #[command(flatten)]
        args: list::Args,
        #[command(flatten)]
        client: ClientArgs,
    },
    /// Print events as they happen; goes on where it was when the server comes back
    Tail {
        #[command(flatten)]
        args: tail::Args,
        #[command(flatten)]
        client: ClientArgs,
    },
}

pub(super) fn run(args: Args) -> Result<(), Failure> {
    match args.command {
        Command::Check(args) => check::run(*args),
        Command::List { args, client } => {
            with_administration(client, |server| async move { list::run(&server, args).await })
        }
        Command::Tail { args, client } => {
            with_administration(client, |server| async move { tail::run(&server, args).await })
        }
    }
}
