//! `countersign store …`: what an operator does to a store as a whole, with the database and the root key.

mod accept;

use clap::Subcommand;

use super::failure::Failure;

#[derive(clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Go on with a database that has lost changes, after a failover or from a backup: replicas that have
    /// seen them answer nothing until then. Needs the database and the root key, no server
    Accept(accept::Args),
}

pub(super) fn run(args: Args) -> Result<(), Failure> {
    let Command::Accept(args) = args.command;
    accept::run(args)
}
