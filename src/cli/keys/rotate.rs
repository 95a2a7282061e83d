//! `countersign keys rotate` and `countersign keys expire-secret`

use std::time::Duration;

use super::show::{changed, minted};
use super::wait::{Outcome, Wait};
use crate::cli::call::{Server, repeat, request_id};
use crate::cli::failure::Failure;
use crate::cli::output;
use crate::cli::time::{duration_to_proto, parse_duration};
use crate::rpc::proto::{ExpireSecretRequest, RotateKeyRequest};

#[derive(clap::Args)]
pub(super) struct Rotate {
    /// The key's id
    key_id: String,

    /// For how long the older secrets stay valid, e.g. 24h or 30d; 0 kills them now
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    overlap: Duration,

    /// Makes it safe to run the same command again [default: a random one]
    #[arg(long, value_name = "ID")]
    request_id: Option<String>,

    #[command(flatten)]
    wait: Wait,
}

#[derive(clap::Args)]
pub(super) struct ExpireSecret {
    /// The key's id
    key_id: String,

    /// The version of the secret, as `keys get` shows it
    number: i32,

    /// Allow a change after which no key could administer the service any more
    #[arg(long)]
    force: bool,

    #[command(flatten)]
    wait: Wait,
}

pub(super) async fn rotate(server: &Server, args: Rotate, in_json: bool) -> Result<(), Failure> {
    output::refuse_unread()?;
    let overlap = duration_to_proto(args.overlap);
    let overlap = overlap.map_err(|why| Failure::Said(format!("--overlap {why}")))?;
    let request_id = request_id(args.request_id)?;
    let request = RotateKeyRequest {
        key_id: args.key_id,
        overlap: Some(overlap),
        request_id,
        wait: args.wait.number(),
    };
    let reply = server
        .ask(|mut admin| {
            let request = request.clone();
            async move { admin.rotate_key(request).await }
        })
        .await
        .map_err(|failure| failure.or_repeat(repeat(&request.request_id)))?;
    let outcome = Outcome {
        wait: args.wait,
        replicas: &reply.replicas,
        effective_everywhere_by: reply.effective_everywhere_by.as_ref(),
    };
    minted(in_json, "RotateKeyResponse", &reply, reply.key.clone(), &reply.secret, &outcome)
}

pub(super) async fn expire_secret(
    server: &Server,
    args: ExpireSecret,
    in_json: bool,
) -> Result<(), Failure> {
    let ExpireSecret { key_id, number, force, wait } = args;
    let request = ExpireSecretRequest { key_id, number, force, wait: wait.number() };
    let reply = server
        .ask(|mut admin| {
            let request = request.clone();
            async move { admin.expire_secret(request).await }
        })
        .await?;
    let outcome = Outcome {
        wait,
        replicas: &reply.replicas,
        effective_everywhere_by: reply.effective_everywhere_by.as_ref(),
    };
    changed(in_json, "ExpireSecretResponse", &reply, reply.key.clone(), &outcome)
}
