//! `countersign keys disable`, `enable`, `revoke` and `delete`

use super::show::changed;
use super::wait::{Outcome, Wait};
use crate::cli::call::Server;
use crate::cli::failure::Failure;
use crate::cli::{json, output};
use crate::rpc::proto::{
    DeleteKeyRequest, DisableKeyRequest, EnableKeyRequest, RevokeKeyRequest, RevokeReason,
};

#[derive(clap::Args)]
pub(super) struct Disable {
    /// The key's id
    key_id: String,

    /// Why, for the log
    #[arg(long, default_value = "", hide_default_value = true)]
    comment: String,

    /// Allow a change after which no key could administer the service any more
    #[arg(long)]
    force: bool,

    #[command(flatten)]
    wait: Wait,
}

#[derive(clap::Args)]
pub(super) struct Enable {
    /// The key's id
    key_id: String,

    /// Why, for the log
    #[arg(long, default_value = "", hide_default_value = true)]
    comment: String,

    #[command(flatten)]
    wait: Wait,
}

#[derive(clap::Args)]
pub(super) struct Revoke {
    /// The key's id
    key_id: String,

    /// Why
    #[arg(long, value_enum)]
    reason: Reason,

    /// More about why, for the log
    #[arg(long, default_value = "", hide_default_value = true)]
    comment: String,

    /// Allow a change after which no key could administer the service any more
    #[arg(long)]
    force: bool,

    #[command(flatten)]
    wait: Wait,
}

#[derive(clap::Args)]
pub(super) struct Delete {
    /// The key's id
    key_id: String,

    /// Why, for the log
    #[arg(long, default_value = "", hide_default_value = true)]
    comment: String,

    #[command(flatten)]
    wait: Wait,
}

/// `RevokeReason`, as a flag says it.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Reason {
    /// The secret is, or may be, known to somebody who should not know it
    Compromised,
    /// Another key took its place
    Superseded,
    /// Nobody needs it any more
    Unused,
    /// Its owner left or lost the right to it
    OwnerLeft,
    /// It was used against the rules
    Abuse,
    /// Something else; say it in the comment
    Other,
}

impl From<Reason> for RevokeReason {
    fn from(reason: Reason) -> Self {
        match reason {
            Reason::Compromised => Self::Compromised,
            Reason::Superseded => Self::Superseded,
            Reason::Unused => Self::Unused,
            Reason::OwnerLeft => Self::OwnerLeft,
            Reason::Abuse => Self::Abuse,
            Reason::Other => Self::Other,
        }
    }
}

pub(super) async fn disable(server: &Server, args: Disable, in_json: bool) -> Result<(), Failure> {
    let Disable { key_id, comment, force, wait } = args;
    let request = DisableKeyRequest { key_id, comment, force, wait: wait.number() };
    let reply = server
        .ask(|mut admin| {
            let request = request.clone();
            async move { admin.disable_key(request).await }
        })
        .await?;
    let outcome = Outcome {
        wait,
        replicas: &reply.replicas,
        effective_everywhere_by: reply.effective_everywhere_by.as_ref(),
    };
    changed(in_json, "DisableKeyResponse", &reply, reply.key.clone(), &outcome)
}

pub(super) async fn enable(server: &Server, args: Enable, in_json: bool) -> Result<(), Failure> {
    let Enable { key_id, comment, wait } = args;
    let request = EnableKeyRequest { key_id, comment, wait: wait.number() };
    let reply = server
        .ask(|mut admin| {
            let request = request.clone();
            async move { admin.enable_key(request).await }
        })
        .await?;
    let outcome = Outcome {
        wait,
        replicas: &reply.replicas,
        effective_everywhere_by: reply.effective_everywhere_by.as_ref(),
    };
    changed(in_json, "EnableKeyResponse", &reply, reply.key.clone(), &outcome)
}

pub(super) async fn revoke(server: &Server, args: Revoke, in_json: bool) -> Result<(), Failure> {
    let Revoke { key_id, reason, comment, force, wait } = args;
    let reason = RevokeReason::from(reason).into();
    let request = RevokeKeyRequest { key_id, reason, comment, force, wait: wait.number() };
    let reply = server
        .ask(|mut admin| {
            let request = request.clone();
            async move { admin.revoke_key(request).await }
        })
        .await?;
    let outcome = Outcome {
        wait,
        replicas: &reply.replicas,
        effective_everywhere_by: reply.effective_everywhere_by.as_ref(),
    };
    changed(in_json, "RevokeKeyResponse", &reply, reply.key.clone(), &outcome)
}

pub(super) async fn delete(server: &Server, args: Delete, in_json: bool) -> Result<(), Failure> {
    let Delete { key_id, comment, wait } = args;
    let request = DeleteKeyRequest { key_id, comment, wait: wait.number() };
    let reply = server
        .ask(|mut admin| {
            let request = request.clone();
            async move { admin.delete_key(request).await }
        })
        .await?;
    let outcome = Outcome {
        wait,
        replicas: &reply.replicas,
        effective_everywhere_by: reply.effective_everywhere_by.as_ref(),
    };
    outcome.told(|| {
        if in_json {
            return json::print("DeleteKeyResponse", &reply);
        }
        output::line(&format!("{} is deleted", request.key_id))?;
        Ok(output::line(&format!("in force on {}", outcome.shown()))?)
    })
}
