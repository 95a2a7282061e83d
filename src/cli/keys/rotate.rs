//! `countersign keys rotate` and `countersign keys expire-secret`

use std::time::Duration;

use super::show::{changed, key_of, secret};
use crate::cli::call::{Server, request_id};
use crate::cli::failure::Failure;
use crate::cli::json;
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
}

pub(super) async fn rotate(server: &Server, args: Rotate, in_json: bool) -> Result<(), Failure> {
    let overlap = duration_to_proto(args.overlap);
    let overlap = overlap.map_err(|why| Failure::Said(format!("--overlap {why}")))?;
    let request_id = request_id(args.request_id)?;
    let request = RotateKeyRequest {
        key_id: args.key_id,
        overlap: Some(overlap),
        request_id,
        ..Default::default()
    };
    let reply = server
        .ask(|mut admin| {
            let request = request.clone();
            async move { admin.rotate_key(request).await }
        })
        .await?;
    if in_json {
        return json::print("RotateKeyResponse", &reply);
    }
    secret(&key_of(reply.key)?, &reply.secret)
}

pub(super) async fn expire_secret(
    server: &Server,
    args: ExpireSecret,
    in_json: bool,
) -> Result<(), Failure> {
    let ExpireSecret { key_id, number, force } = args;
    let request = ExpireSecretRequest { key_id, number, force, ..Default::default() };
    let reply = server
        .ask(|mut admin| {
            let request = request.clone();
            async move { admin.expire_secret(request).await }
        })
        .await?;
    changed(in_json, "ExpireSecretResponse", &reply, reply.key.clone())
}
