//! `countersign keys create`

use super::show::minted;
use super::wait::{Outcome, Wait};
use super::{World, labels, parse_label};
use crate::cli::call::{Server, repeat, request_id};
use crate::cli::failure::Failure;
use crate::cli::output;
use crate::cli::time::{When, parse_when};
use crate::rpc::proto::{CreateKeyRequest, Environment, Key};

#[derive(clap::Args)]
pub(super) struct Args {
    /// The business account that owns the key
    #[arg(long, value_name = "ID")]
    account: String,

    /// The account's application that uses it
    #[arg(long, value_name = "ID")]
    application: String,

    /// Production, or trying things out
    #[arg(long, value_enum, default_value = "live")]
    environment: World,

    /// A name for people
    #[arg(long)]
    name: String,

    /// What the key is for
    #[arg(long, default_value = "", hide_default_value = true)]
    description: String,

    /// What the key may do, e.g. transactions:read; repeat it, or separate by commas
    #[arg(long = "scope", value_name = "SCOPE", value_delimiter = ',')]
    scopes: Vec<String>,

    /// A network that the key may be used from, e.g. 203.0.113.0/24; repeat it, or separate by commas
    #[arg(long = "cidr", value_name = "CIDR", value_delimiter = ',')]
    cidrs: Vec<String>,

    /// A label of your own; repeat it for more
    #[arg(long = "label", value_name = "NAME=VALUE", value_parser = parse_label)]
    labels: Vec<(String, String)>,

    /// From when on the key is refused: an RFC 3339 time, or from now on, e.g. +30d
    #[arg(long, value_name = "TIME", value_parser = parse_when)]
    expire: Option<When>,

    /// Makes it safe to run the same command again [default: a random one]
    #[arg(long, value_name = "ID")]
    request_id: Option<String>,

    #[command(flatten)]
    wait: Wait,
}

pub(super) async fn run(server: &Server, args: Args, in_json: bool) -> Result<(), Failure> {
    output::refuse_unread()?;
    let expire_time = args.expire.map(When::to_proto).transpose();
    let expire_time = expire_time.map_err(|why| Failure::Said(format!("--expire {why}")))?;
    let key = Key {
        account_id: args.account,
        application_id: args.application,
        environment: Environment::from(args.environment).into(),
        display_name: args.name,
        description: args.description,
        scopes: args.scopes,
        allowed_cidrs: args.cidrs,
        labels: labels(args.labels)?,
        expire_time,
        ..Key::default()
    };
    let request_id = request_id(args.request_id)?;
    let request = CreateKeyRequest { key: Some(key), request_id, wait: args.wait.number() };
    let reply = server
        .ask(|mut admin| {
            let request = request.clone();
            async move { admin.create_key(request).await }
        })
        .await
        .map_err(|failure| failure.or_repeat(repeat(&request.request_id)))?;
    let outcome = Outcome {
        wait: args.wait,
        replicas: &reply.replicas,
        effective_everywhere_by: reply.effective_everywhere_by.as_ref(),
    };
    minted(in_json, "CreateKeyResponse", &reply, reply.key.clone(), &reply.secret, &outcome)
}
