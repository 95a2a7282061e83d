//! A key as rows, and back. What comes back has had its seal checked.

use arrayvec::ArrayVec;
use sea_orm::ActiveValue::Set;
use serde::Serialize;

use super::entity::{key, key_label, key_scope, key_secret};
use super::error::Fault;
use crate::domain::Timestamp;
use crate::domain::audit::RevokeReason;
use crate::domain::cidr::CidrSet;
use crate::domain::hex::unhex;
use crate::domain::ids::{AccountId, ApplicationId, KeyId};
use crate::domain::key::{Key, Lifecycle, SecretVersion};
use crate::domain::keyring::Digest;
use crate::domain::scope::GrantedScopes;
use crate::domain::seal::{SealFault, SealKeys};

/// A key's rows, as they are read.
pub(super) struct StoredKey {
    pub(super) key: key::Model,
    /// By number; `None` if they can't be read.
    pub(super) secrets: Option<Vec<key_secret::Model>>,
}

/// A key that was read: itself, or why it is not served.
pub(super) type Read = Result<Key, Unserved>;

/// A stored key that is not served.
#[derive(Debug, Clone)]
pub(super) struct Unserved {
    pub(super) key_id: String,
    pub(super) create_time: i64,
    pub(super) update_time: i64,
    pub(super) fault: SealFault,
}

impl From<Unserved> for Fault {
    fn from(unserved: Unserved) -> Self {
        Self::internal(format!("key {}: {}", unserved.key_id, unserved.fault))
    }
}

impl StoredKey {
    /// The key, if the rows make one and its seal fits.
    pub(super) fn open(self, seals: &SealKeys) -> Read {
        let key_id = self.key.key_id.clone();
        let (create_time, update_time) = (self.key.create_time, self.key.update_time);
        let seal = self.key.seal.clone();
        // Rows that make no key were not written by us, so no seal can fit them.
        let key = self.parse().ok_or(SealFault::Broken);
        let checked = key.and_then(|key| seals.check(&key.verifiable(), &seal).map(|()| key));
        checked.map_err(|fault| Unserved { key_id, create_time, update_time, fault })
    }

    fn parse(self) -> Option<Key> {
        let row = self.key;
        let scopes: Vec<String> = serde_json::from_str(&row.scopes).ok()?;
        let cidrs: Vec<String> = serde_json::from_str(&row.allowed_cidrs).ok()?;
        let mut secrets = ArrayVec::new();
        for secret in self.secrets? {
            secrets.try_push(parse_secret(secret)?).ok()?;
        }
        Some(Key {
            key_id: KeyId::from_stored(row.key_id).ok()?,
            account_id: AccountId::parse(&row.account_id).ok()?,
            application_id: ApplicationId::parse(&row.application_id).ok()?,
            environment: row.environment.parse().ok()?,
            display_name: row.display_name,
            description: row.description,
            scopes: GrantedScopes::parse(scopes.iter().map(String::as_str)).ok()?,
            allowed_cidrs: CidrSet::parse(cidrs.iter().map(String::as_str)).ok()?,
            labels: serde_json::from_str(&row.labels).ok()?,
            expire_time: optional_time(row.expire_time)?,
            lifecycle: parse_lifecycle(row.lifecycle, row.revoke_reason.as_deref())?,
            create_time: Timestamp::from_micros(row.create_time)?,
            update_time: Timestamp::from_micros(row.update_time)?,
            creator: row.creator,
            revision: u64::try_from(row.revision).ok()?,
            last_secret_number: u32::try_from(row.last_secret_number).ok()?,
            secrets,
        })
    }
}

/// The rows of a key's secrets, by number, from the JSON that the database makes of them.
pub(super) fn secrets_of_json(key_id: &str, json: &str) -> Option<Vec<key_secret::Model>> {
    let read: Vec<(i32, String, i64, Option<i64>, String)> = serde_json::from_str(json).ok()?;
    let row = |(number, digest, create_time, expire_time, hint): (_, String, _, _, _)| {
        let digest = unhex(&digest)?;
        let key_id = key_id.to_owned();
        Some(key_secret::Model { key_id, number, digest, create_time, expire_time, hint })
    };
    let mut rows = read.into_iter().map(row).collect::<Option<Vec<_>>>()?;
    rows.sort_by_key(|row| row.number);
    Some(rows)
}

fn parse_secret(row: key_secret::Model) -> Option<SecretVersion> {
    Some(SecretVersion {
        number: u32::try_from(row.number).ok()?,
        digest: Digest::from_bytes(row.digest.try_into().ok()?),
        create_time: Timestamp::from_micros(row.create_time)?,
        expire_time: optional_time(row.expire_time)?,
        hint: row.hint,
    })
}

/// `None` for a time out of range.
fn optional_time(micros: Option<i64>) -> Option<Option<Timestamp>> {
    micros.map_or(Some(None), |micros| Timestamp::from_micros(micros).map(Some))
}

pub(super) const ACTIVE: i16 = 1;
pub(super) const DISABLED: i16 = 2;
pub(super) const REVOKED: i16 = 3;

fn parse_lifecycle(number: i16, reason: Option<&str>) -> Option<Lifecycle> {
    match (number, reason) {
        (ACTIVE, None) => Some(Lifecycle::Active),
        (DISABLED, None) => Some(Lifecycle::Disabled),
        (REVOKED, Some(reason)) => {
            let known = RevokeReason::ALL.into_iter().find(|known| known.as_str() == reason);
            known.map(Lifecycle::Revoked)
        }
        _ => None,
    }
}

/// The key's own row.
pub(super) fn key_row(key: &Key, seal: &[u8]) -> Result<key::ActiveModel, Fault> {
    let (lifecycle, reason) = match key.lifecycle {
        Lifecycle::Active => (ACTIVE, None),
        Lifecycle::Disabled => (DISABLED, None),
        Lifecycle::Revoked(reason) => (REVOKED, Some(reason.as_str().to_owned())),
    };
    let scopes: Vec<&str> = key.scopes.iter().map(|scope| scope.as_str()).collect();
    let cidrs: Vec<String> = key.allowed_cidrs.iter().map(ToString::to_string).collect();
    Ok(key::ActiveModel {
        key_id: Set(key.key_id.to_string()),
        account_id: Set(key.account_id.to_string()),
        application_id: Set(key.application_id.to_string()),
        environment: Set(key.environment.as_str().to_owned()),
        display_name: Set(key.display_name.clone()),
        description: Set(key.description.clone()),
        scopes: Set(json(&scopes)?),
        allowed_cidrs: Set(json(&cidrs)?),
        labels: Set(json(&key.labels)?),
        expire_time: Set(key.expire_time.map(Timestamp::micros)),
        lifecycle: Set(lifecycle),
        revoke_reason: Set(reason),
        create_time: Set(key.create_time.micros()),
        update_time: Set(key.update_time.micros()),
        creator: Set(key.creator.clone()),
        revision: Set(signed(key.revision)?),
        last_secret_number: Set(signed_small(key.last_secret_number)?),
        seal: Set(seal.to_vec()),
    })
}

/// The rows of the key's secret versions.
pub(super) fn secret_rows(key: &Key) -> Result<Vec<key_secret::ActiveModel>, Fault> {
    let row = |version: &SecretVersion| {
        Ok(key_secret::ActiveModel {
            key_id: Set(key.key_id.to_string()),
            number: Set(signed_small(version.number)?),
            digest: Set(version.digest.as_bytes().to_vec()),
            create_time: Set(version.create_time.micros()),
            expire_time: Set(version.expire_time.map(Timestamp::micros)),
            hint: Set(version.hint.clone()),
        })
    };
    key.secrets.iter().map(row).collect()
}

/// The rows of the key's scopes.
pub(super) fn scope_rows(key: &Key) -> impl Iterator<Item = key_scope::ActiveModel> {
    key.scopes.iter().map(|scope| key_scope::ActiveModel {
        key_id: Set(key.key_id.to_string()),
        scope: Set(scope.to_string()),
    })
}

/// The rows of the key's labels.
pub(super) fn label_rows(key: &Key) -> impl Iterator<Item = key_label::ActiveModel> {
    key.labels.iter().map(|(name, value)| key_label::ActiveModel {
        key_id: Set(key.key_id.to_string()),
        name: Set(name.clone()),
        value: Set(value.clone()),
    })
}

/// A revision as the databases have it.
pub(super) fn signed(revision: u64) -> Result<i64, Fault> {
    i64::try_from(revision).map_err(|_| Fault::internal("a number is too large for the database"))
}

/// A revision as the rules have it.
pub(super) fn unsigned(revision: i64) -> Result<u64, Fault> {
    u64::try_from(revision).map_err(|_| Fault::internal("the database holds a negative number"))
}

/// A time as the rules have it.
pub(super) fn time(micros: i64) -> Result<Timestamp, Fault> {
    Timestamp::from_micros(micros)
        .ok_or_else(|| Fault::internal("the database holds a time out of range"))
}

/// A small number as the rules have it.
pub(super) fn small(number: i32) -> Result<u32, Fault> {
    u32::try_from(number).map_err(|_| Fault::internal("the database holds a negative number"))
}

/// A small number as the databases have it.
pub(super) fn signed_small(number: u32) -> Result<i32, Fault> {
    i32::try_from(number).map_err(|_| Fault::internal("a number is too large for the database"))
}

fn json<T: Serialize>(value: &T) -> Result<String, Fault> {
    serde_json::to_string(value).map_err(|error| Fault::internal(error.to_string()))
}
