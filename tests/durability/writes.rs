//! The writes of an administrator, as values: they can be sent, lost, and sent again.

use std::time::Duration;

use countersign::rpc::proto::audit_event::Type;
use countersign::rpc::proto::key::State;
use countersign::rpc::proto::{
    CreateKeyRequest, DeleteKeyRequest, DisableKeyRequest, EnableKeyRequest, ExpireSecretRequest,
    Key, RevokeKeyRequest, RevokeReason, RotateKeyRequest, UpdateKeyRequest,
};
use tonic::{Request, Status};

use crate::harness::{Caller, canary, key};

/// One change of one key. Sent twice, it changes once.
#[derive(Debug, Clone)]
pub enum Write {
    Create { account: String, name: String, request_id: String },
    Rename { key_id: String, name: String },
    Rotate { key_id: String, overlap: Duration, request_id: String },
    ExpireSecret { key_id: String, number: i32 },
    Disable { key_id: String },
    Enable { key_id: String },
    Revoke { key_id: String },
    Delete { key_id: String },
}

/// What the server said. No `Debug`: it holds a secret.
#[derive(PartialEq)]
pub struct Reply {
    /// The key after the change; none after a deletion.
    pub key: Option<Key>,
    /// The secret that was made, if one was.
    pub secret: Option<String>,
    pub consistency_token: String,
}

/// The reply of an RPC as a [`Reply`].
macro_rules! reply {
    ($call:expr, key, secret) => {{
        let reply = $call.await?.into_inner();
        canary::record_secret(&reply.secret);
        let (key, secret) = (reply.key, Some(reply.secret));
        Ok(Reply { key, secret, consistency_token: reply.consistency_token })
    }};
    ($call:expr, key) => {{
        let reply = $call.await?.into_inner();
        let (key, secret) = (reply.key, None);
        Ok(Reply { key, secret, consistency_token: reply.consistency_token })
    }};
    ($call:expr) => {{
        let consistency_token = $call.await?.into_inner().consistency_token;
        Ok(Reply { key: None, secret: None, consistency_token })
    }};
}

impl Write {
    pub async fn send(&self, caller: &Caller) -> Result<Reply, Status> {
        self.send_within(caller, None).await
    }

    /// The same with a deadline, which the server is told.
    pub async fn send_within(
        &self,
        caller: &Caller,
        deadline: Option<Duration>,
    ) -> Result<Reply, Status> {
        let mut admin = caller.admin();
        match self.clone() {
            Self::Create { account, name, request_id } => {
                let key = Some(Key { display_name: name, ..key(&account, "durability") });
                let request = CreateKeyRequest { key, request_id, ..Default::default() };
                reply!(admin.create_key(within(deadline, request)), key, secret)
            }
            Self::Rename { key_id, name } => {
                let key = Some(Key { key_id, display_name: name, ..Key::default() });
                let paths = vec!["display_name".to_owned()];
                let update_mask = Some(prost_types::FieldMask { paths });
                let request = UpdateKeyRequest { key, update_mask, ..Default::default() };
                reply!(admin.update_key(within(deadline, request)), key)
            }
            Self::Rotate { key_id, overlap, request_id } => {
                let overlap = Some(overlap.try_into().expect("a duration of the proto"));
                let request =
                    RotateKeyRequest { key_id, overlap, request_id, ..Default::default() };
                reply!(admin.rotate_key(within(deadline, request)), key, secret)
            }
            Self::ExpireSecret { key_id, number } => {
                let request = ExpireSecretRequest { key_id, number, ..Default::default() };
                reply!(admin.expire_secret(within(deadline, request)), key)
            }
            Self::Disable { key_id } => {
                let request = DisableKeyRequest { key_id, ..Default::default() };
                reply!(admin.disable_key(within(deadline, request)), key)
            }
            Self::Enable { key_id } => {
                let request = EnableKeyRequest { key_id, ..Default::default() };
                reply!(admin.enable_key(within(deadline, request)), key)
            }
            Self::Revoke { key_id } => {
                let reason = RevokeReason::Unused.into();
                let request = RevokeKeyRequest { key_id, reason, ..Default::default() };
                reply!(admin.revoke_key(within(deadline, request)), key)
            }
            Self::Delete { key_id } => {
                let request = DeleteKeyRequest { key_id, ..Default::default() };
                reply!(admin.delete_key(within(deadline, request)))
            }
        }
    }

    /// The key that is changed; `None` for one that is yet to be made.
    pub fn key_id(&self) -> Option<&str> {
        match self {
            Self::Create { .. } => None,
            Self::Rename { key_id, .. }
            | Self::Rotate { key_id, .. }
            | Self::ExpireSecret { key_id, .. }
            | Self::Disable { key_id }
            | Self::Enable { key_id }
            | Self::Revoke { key_id }
            | Self::Delete { key_id } => Some(key_id),
        }
    }

    pub fn request_id(&self) -> Option<&str> {
        match self {
            Self::Create { request_id, .. } | Self::Rotate { request_id, .. } => Some(request_id),
            _ => None,
        }
    }

    /// The event that it leaves in the log.
    pub fn event(&self) -> Type {
        match self {
            Self::Create { .. } => Type::KeyCreated,
            Self::Rename { .. } => Type::KeyUpdated,
            Self::Rotate { .. } => Type::KeyRotated,
            Self::ExpireSecret { .. } => Type::KeySecretExpired,
            Self::Disable { .. } => Type::KeyDisabled,
            Self::Enable { .. } => Type::KeyEnabled,
            Self::Revoke { .. } => Type::KeyRevoked,
            Self::Delete { .. } => Type::KeyDeleted,
        }
    }

    /// Whether a key that was `before` and is `after` shows the whole of this change.
    pub fn made(&self, before: Option<&Key>, after: Option<&Key>) -> bool {
        let Some(after) = after else { return matches!(self, Self::Delete { .. }) };
        let made = |key: &Key| key.secrets.iter().map(|secret| secret.number).max();
        match self {
            Self::Create { account, name, .. } => {
                before.is_none() && after.account_id == *account && after.display_name == *name
            }
            Self::Rename { name, .. } => after.display_name == *name,
            Self::Rotate { .. } => made(after) == before.and_then(made).map(|number| number + 1),
            Self::ExpireSecret { number, .. } => after
                .secrets
                .iter()
                .any(|secret| secret.number == *number && secret.expire_time.is_some()),
            Self::Disable { .. } => after.state() == State::Disabled,
            Self::Enable { .. } => after.state() == State::Active,
            Self::Revoke { .. } => {
                after.state() == State::Revoked && after.revoke_reason() == RevokeReason::Unused
            }
            Self::Delete { .. } => false,
        }
    }
}

fn within<T>(deadline: Option<Duration>, message: T) -> Request<T> {
    let mut request = Request::new(message);
    if let Some(deadline) = deadline {
        request.set_timeout(deadline);
    }
    request
}
