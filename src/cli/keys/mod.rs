//! `countersign keys …`: one file for each group of verbs, each a call of `KeyAdmin` and its answer.

mod create;
mod end;
mod list;
mod mint;
mod rotate;
mod show;
mod update;
mod wait;

use std::collections::BTreeMap;

use clap::Subcommand;

use super::call::with_administration;
use super::failure::Failure;
use crate::config::ClientArgs;
use crate::rpc::proto::Environment;

#[derive(clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Make a key id and a secret, offline; no store knows them before `bootstrap --credential-file`
    Mint(mint::Args),
    /// Create a key and show its secret, once
    Create(Call<create::Args>),
    /// Show one key
    Get(Call<list::Get>),
    /// List keys, all pages of them
    List(Call<list::List>),
    /// Change what is said of a key
    Update(Call<update::Args>),
    /// Make a new secret of the same key and show it, once
    Rotate(Call<rotate::Rotate>),
    /// Kill one secret version
    ExpireSecret(Call<rotate::ExpireSecret>),
    /// Switch a key off
    Disable(Call<end::Disable>),
    /// Switch a key on again
    Enable(Call<end::Enable>),
    /// Kill a key for ever
    Revoke(Call<end::Revoke>),
    /// Remove a revoked key; its history stays
    Delete(Call<end::Delete>),
}

/// A command that calls a server, and how to reach that.
#[derive(clap::Args)]
struct Call<A: clap::Args> {
    #[command(flatten)]
    args: A,

    /// Print the reply as JSON, one object on one line
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    client: ClientArgs,
}

/// LIVE or TEST, as a flag says it.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
pub(super) enum World {
    Live,
    Test,
}

impl From<World> for Environment {
    fn from(world: World) -> Self {
        match world {
            World::Live => Self::Live,
            World::Test => Self::Test,
        }
    }
}

pub(super) fn run(args: Args) -> Result<(), Failure> {
    /// One call: its arguments, whether in JSON, and the server.
    macro_rules! call {
        ($call:expr, $verb:path) => {{
            let Call { args, json, client } = $call;
            with_administration(client, |server| async move { $verb(&server, args, json).await })
        }};
    }
    match args.command {
        Command::Mint(args) => mint::run(args),
        Command::Create(call) => call!(call, create::run),
        Command::Get(call) => call!(call, list::get),
        Command::List(call) => call!(call, list::list),
        Command::Update(call) => call!(call, update::run),
        Command::Rotate(call) => call!(call, rotate::rotate),
        Command::ExpireSecret(call) => call!(call, rotate::expire_secret),
        Command::Disable(call) => call!(call, end::disable),
        Command::Enable(call) => call!(call, end::enable),
        Command::Revoke(call) => call!(call, end::revoke),
        Command::Delete(call) => call!(call, end::delete),
    }
}

/// The labels of all `--label` flags. Of two values for one name one would be lost.
fn labels(flags: Vec<(String, String)>) -> Result<BTreeMap<String, String>, Failure> {
    let mut labels = BTreeMap::new();
    for (name, value) in flags {
        if labels.contains_key(&name) {
            return Err(Failure::Said(format!("--label {name} is given twice")));
        }
        labels.insert(name, value);
    }
    Ok(labels)
}

/// `name=value`.
fn parse_label(text: &str) -> Result<(String, String), String> {
    let split = text.split_once('=').filter(|(name, _)| !name.is_empty());
    let (name, value) = split.ok_or("must be NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}
