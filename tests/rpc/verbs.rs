//! The verbs of `KeyAdmin` in one line each, for tests that are about something else than the shape
//! of a request.

use countersign::rpc::proto::{
    AuditEvent, CreateKeyRequest, CreateKeyResponse, DeleteKeyRequest, DisableKeyRequest,
    EnableKeyRequest, ExpireSecretRequest, GetKeyRequest, Key, ListAuditEventsRequest,
    ListKeysRequest, RevokeKeyRequest, RevokeReason, RotateKeyRequest, RotateKeyResponse,
    UpdateKeyRequest,
};
use prost_types::{Duration, FieldMask, Timestamp};
use tonic::Status;

use crate::harness::{Caller, Credential, canary, key};

/// Everything that an administrator can hold.
pub const ALL_RESERVED: [&str; 5] = [
    "countersign.keys:read",
    "countersign.keys:write",
    "countersign.keys:revoke",
    "countersign.audit:read",
    "countersign.verify:call",
];

/// The account whose keys administer all accounts.
pub const RESERVED_ACCOUNT: &str = "countersign";

/// The least that CreateKey takes, and these scopes.
pub fn key_with_scopes(account: &str, scopes: &[&str]) -> Key {
    let scopes = scopes.iter().map(ToString::to_string).collect();
    Key { scopes, ..key(account, "administration") }
}

/// So many milliseconds from now; before now if negative.
pub fn in_millis(millis: i64) -> Timestamp {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let millis = i64::try_from(now.as_millis()).unwrap() + millis;
    let nanos = i32::try_from(millis.rem_euclid(1_000)).unwrap() * 1_000_000;
    Timestamp { seconds: millis.div_euclid(1_000), nanos }
}

pub fn mask(paths: &[&str]) -> Option<FieldMask> {
    Some(FieldMask { paths: paths.iter().map(ToString::to_string).collect() })
}

impl Caller {
    /// Another caller, whose new key belongs to that account and holds these scopes.
    pub async fn colleague(&self, account: &str, scopes: &[&str]) -> Self {
        self.with(self.mint(key_with_scopes(account, scopes)).await.credential)
    }

    pub async fn create(&self, key: Key, request_id: &str) -> Result<CreateKeyResponse, Status> {
        let request = CreateKeyRequest {
            key: Some(key),
            request_id: request_id.to_owned(),
            ..Default::default()
        };
        let reply = self.admin().create_key(request).await?.into_inner();
        canary::record_secret(&reply.secret);
        Ok(reply)
    }

    pub async fn get(&self, key_id: &str) -> Result<Key, Status> {
        let request = GetKeyRequest { key_id: key_id.to_owned() };
        Ok(self.admin().get_key(request).await?.into_inner().key.expect("a key"))
    }

    /// All keys that fit, of the first page of 1,000.
    pub async fn list(&self, filter: &str) -> Result<Vec<Key>, Status> {
        let filter = filter.to_owned();
        let request = ListKeysRequest { filter, page_size: 1_000, ..ListKeysRequest::default() };
        Ok(self.admin().list_keys(request).await?.into_inner().keys)
    }

    /// Updates those fields of `key.key_id`.
    pub async fn update(&self, key: Key, paths: &[&str]) -> Result<Key, Status> {
        self.update_with(key, paths, false).await
    }

    pub async fn update_by_force(&self, key: Key, paths: &[&str]) -> Result<Key, Status> {
        self.update_with(key, paths, true).await
    }

    async fn update_with(&self, key: Key, paths: &[&str], force: bool) -> Result<Key, Status> {
        let request = UpdateKeyRequest {
            key: Some(key),
            update_mask: mask(paths),
            force,
            ..Default::default()
        };
        Ok(self.admin().update_key(request).await?.into_inner().key.expect("a key"))
    }

    /// Rotates; the older versions live for so many more seconds.
    pub async fn rotate(&self, key_id: &str, overlap: i64) -> Result<Credential, Status> {
        let reply = self.rotate_once(key_id, overlap, "").await?;
        Ok(Credential { key_id: key_id.to_owned(), secret: reply.secret })
    }

    pub async fn rotate_once(
        &self,
        key_id: &str,
        overlap: i64,
        request_id: &str,
    ) -> Result<RotateKeyResponse, Status> {
        let request = RotateKeyRequest {
            key_id: key_id.to_owned(),
            overlap: Some(Duration { seconds: overlap, nanos: 0 }),
            request_id: request_id.to_owned(),
            ..Default::default()
        };
        let reply = self.admin().rotate_key(request).await?.into_inner();
        canary::record_secret(&reply.secret);
        Ok(reply)
    }

    pub async fn expire_secret(&self, key_id: &str, number: i32) -> Result<Key, Status> {
        let request =
            ExpireSecretRequest { key_id: key_id.to_owned(), number, ..Default::default() };
        Ok(self.admin().expire_secret(request).await?.into_inner().key.expect("a key"))
    }

    pub async fn disable(&self, key_id: &str) -> Result<Key, Status> {
        let request = DisableKeyRequest { key_id: key_id.to_owned(), ..Default::default() };
        Ok(self.admin().disable_key(request).await?.into_inner().key.expect("a key"))
    }

    pub async fn enable(&self, key_id: &str) -> Result<Key, Status> {
        let request = EnableKeyRequest { key_id: key_id.to_owned(), ..Default::default() };
        Ok(self.admin().enable_key(request).await?.into_inner().key.expect("a key"))
    }

    pub async fn revoke(&self, key_id: &str) -> Result<Key, Status> {
        let reason = RevokeReason::Compromised.into();
        let request = RevokeKeyRequest { key_id: key_id.to_owned(), reason, ..Default::default() };
        Ok(self.admin().revoke_key(request).await?.into_inner().key.expect("a key"))
    }

    pub async fn delete(&self, key_id: &str) -> Result<(), Status> {
        let request = DeleteKeyRequest { key_id: key_id.to_owned(), ..Default::default() };
        self.admin().delete_key(request).await.map(drop)
    }

    /// All events that fit, of the first page of 1,000.
    pub async fn events(&self, filter: &str) -> Result<Vec<AuditEvent>, Status> {
        let filter = filter.to_owned();
        let request = ListAuditEventsRequest { filter, page_size: 1_000, ..Default::default() };
        Ok(self.admin().list_audit_events(request).await?.into_inner().events)
    }

    /// What happened to a key, as the names of the event types without their prefix.
    pub async fn history_of(&self, key_id: &str) -> Vec<String> {
        let events = self.events(&format!("key_id = \"{key_id}\"")).await.expect("the log");
        let names =
            events.iter().map(|event| event.r#type().as_str_name().replace("TYPE_KEY_", ""));
        names.collect()
    }
}
