//! The key and its state machine. Every transition is here; each says whether it changed anything.

use std::collections::BTreeMap;
use std::time::Duration;

use arrayvec::ArrayVec;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::audit::{FieldChange, RevokeReason};
use super::cidr::CidrSet;
use super::draft::{KeyPatch, KeySpec};
use super::error::Error;
use super::ids::{AccountId, ApplicationId, Environment, KeyId};
use super::keyring::Digest;
use super::permission::Permission;
use super::scope::GrantedScopes;
use super::time::Timestamp;
use super::verdict::{MAX_SECRETS, SecretSlot, Standing, VerifiableKey};

/// Where a key stands in its life, apart from expiry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Lifecycle {
    /// Usable.
    Active,
    /// Switched off, reversibly.
    Disabled,
    /// Dead for ever.
    Revoked(RevokeReason),
}

/// What callers see of a key's life: the first that holds of revoked, disabled, expired.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum State {
    /// Usable.
    Active,
    /// Switched off, reversibly.
    Disabled,
    /// Dead for ever.
    Revoked,
    /// Past its expiry.
    Expired,
}

impl State {
    /// Its name in filters and in the proto's enum.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "STATE_ACTIVE",
            Self::Disabled => "STATE_DISABLED",
            Self::Revoked => "STATE_REVOKED",
            Self::Expired => "STATE_EXPIRED",
        }
    }
}

/// How far a key can administer the service for all accounts: with every permission, since nobody can
/// hand out one that nobody holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Administration {
    /// Not at all, or not with every permission.
    None,
    /// For some time, or from some networks.
    Limited,
    /// From anywhere, with no end in sight.
    Lasting,
}

/// A secret that was just made: what is kept of it.
#[derive(Debug, Clone)]
pub struct NewSecret {
    /// HMAC of the credential.
    pub digest: Digest,
    /// The last characters of the secret.
    pub hint: String,
}

/// One version of a key's secret, as kept. Serialised, it leaves its digest behind.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SecretVersion {
    /// From 1, never used twice within a key.
    pub number: u32,
    /// HMAC of the credential.
    #[serde(skip, default = "Digest::absent")]
    pub digest: Digest,
    /// When it was made.
    pub create_time: Timestamp,
    /// From when on it is refused; `None`: as long as the key.
    pub expire_time: Option<Timestamp>,
    /// The last characters of the secret.
    pub hint: String,
}

impl SecretVersion {
    /// Whether it is accepted at that time.
    pub fn is_live(&self, now: Timestamp) -> bool {
        self.expire_time.is_none_or(|end| now < end)
    }
}

/// A managed key.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Key {
    /// The public id.
    pub key_id: KeyId,
    /// The account that owns the key.
    pub account_id: AccountId,
    /// The application that the key belongs to.
    pub application_id: ApplicationId,
    /// Live or test.
    pub environment: Environment,
    /// A name for people.
    pub display_name: String,
    /// What the key is for.
    pub description: String,
    /// What the key may do.
    pub scopes: GrantedScopes,
    /// Where it may be used from; empty: anywhere.
    pub allowed_cidrs: CidrSet,
    /// Labels of its owner.
    pub labels: BTreeMap<String, String>,
    /// From when on it is refused.
    pub expire_time: Option<Timestamp>,
    /// Active, disabled or revoked.
    pub lifecycle: Lifecycle,
    /// When it was created.
    pub create_time: Timestamp,
    /// When it was last changed.
    pub update_time: Timestamp,
    /// The key id or identity that created it.
    pub creator: String,
    /// The revision of its last change.
    pub revision: u64,
    /// How many secret versions were ever made: the number of the newest.
    pub last_secret_number: u32,
    /// The versions that are kept, oldest first.
    pub secrets: ArrayVec<SecretVersion, MAX_SECRETS>,
}

impl Key {
    /// A new key with its first secret.
    pub fn create(
        spec: KeySpec,
        key_id: KeyId,
        secret: NewSecret,
        creator: &str,
        now: Timestamp,
    ) -> Self {
        let mut key = Self {
            key_id,
            account_id: spec.account_id,
            application_id: spec.application_id,
            environment: spec.environment,
            display_name: spec.display_name,
            description: spec.description,
            scopes: spec.scopes,
            allowed_cidrs: spec.allowed_cidrs,
            labels: spec.labels,
            expire_time: spec.expire_time,
            lifecycle: Lifecycle::Active,
            create_time: now,
            update_time: now,
            creator: creator.to_owned(),
            revision: 0,
            last_secret_number: 0,
            secrets: ArrayVec::new(),
        };
        key.add_secret(secret, now);
        key
    }

    /// What callers see of the key's life at that time.
    pub fn state(&self, now: Timestamp) -> State {
        match self.lifecycle {
            Lifecycle::Revoked(_) => State::Revoked,
            Lifecycle::Disabled => State::Disabled,
            Lifecycle::Active if self.expire_time.is_some_and(|end| end <= now) => State::Expired,
            Lifecycle::Active => State::Active,
        }
    }

    /// Changes whenever the key changes.
    pub fn etag(&self) -> String {
        let mut hash = Sha256::new_with_prefix("countersign etag v1");
        hash.update(self.revision.to_be_bytes());
        hash.update(self.key_id.as_str());
        BASE64.encode(&hash.finalize()[..12])
    }

    /// Changes the fields that the patch names.
    pub fn update(&mut self, patch: KeyPatch) -> Result<(), Error> {
        self.refuse_if_revoked()?;
        let KeyPatch { display_name, description, scopes, allowed_cidrs, labels, expire_time } =
            patch;
        set(&mut self.display_name, display_name);
        set(&mut self.description, description);
        set(&mut self.scopes, scopes);
        set(&mut self.allowed_cidrs, allowed_cidrs);
        set(&mut self.labels, labels);
        set(&mut self.expire_time, expire_time);
        Ok(())
    }

    /// Adds a secret version; the older live ones die after `overlap` at the latest.
    ///
    /// At most three versions are kept. A place is made by forgetting the oldest version that is no
    /// longer live; if all three are, the rotation is refused.
    pub fn rotate(
        &mut self,
        secret: NewSecret,
        overlap: Duration,
        now: Timestamp,
    ) -> Result<(), Error> {
        self.refuse_if_revoked()?;
        let end = now.checked_add(overlap).unwrap_or(Timestamp::MAX);
        for version in self.secrets.iter_mut().filter(|version| version.is_live(now)) {
            version.expire_time = Some(version.expire_time.map_or(end, |own| own.min(end)));
        }
        if self.secrets.is_full() {
            let dead = self.secrets.iter().position(|version| !version.is_live(now));
            self.secrets.remove(dead.ok_or(Error::TooManySecrets)?);
        }
        self.add_secret(secret, now);
        Ok(())
    }

    /// Kills one secret version.
    pub fn expire_secret(&mut self, number: u32, now: Timestamp) -> Result<(), Error> {
        let revoked = matches!(self.lifecycle, Lifecycle::Revoked(_));
        let version = self.secrets.iter_mut().find(|version| version.number == number);
        let version = version.ok_or(Error::SecretNotFound { number })?;
        if version.is_live(now) {
            if revoked {
                return Err(Error::KeyRevoked);
            }
            version.expire_time = Some(now);
        }
        Ok(())
    }

    /// Switches the key off.
    pub fn disable(&mut self) -> Result<(), Error> {
        self.refuse_if_revoked()?;
        self.lifecycle = Lifecycle::Disabled;
        Ok(())
    }

    /// Switches the key on again.
    pub fn enable(&mut self) -> Result<(), Error> {
        self.refuse_if_revoked()?;
        self.lifecycle = Lifecycle::Active;
        Ok(())
    }

    /// Kills the key for ever. A second reason changes nothing.
    pub fn revoke(&mut self, reason: RevokeReason) {
        if !matches!(self.lifecycle, Lifecycle::Revoked(_)) {
            self.lifecycle = Lifecycle::Revoked(reason);
        }
    }

    /// How far this key can administer the service for all accounts at that time.
    pub fn administration(&self, now: Timestamp) -> Administration {
        let holds = |permission: &Permission| {
            self.scopes.iter().any(|scope| scope.as_str() == permission.scope())
        };
        let live = || self.secrets.iter().filter(|version| version.is_live(now));
        if !self.account_id.is_reserved()
            || self.environment != Environment::Live
            || self.state(now) != State::Active
            || live().next().is_none()
            || !Permission::ALL.iter().all(holds)
        {
            return Administration::None;
        }
        let for_ever =
            self.expire_time.is_none() && live().any(|version| version.expire_time.is_none());
        if for_ever && self.allowed_cidrs.is_empty() {
            Administration::Lasting
        } else {
            Administration::Limited
        }
    }

    /// What decides a verification of this key.
    pub fn verifiable(&self) -> VerifiableKey {
        let superseded = |number| {
            let newer = self.secrets.iter().filter(|other| other.number > number);
            newer.map(|other| other.create_time).min()
        };
        let slots = self.secrets.iter().map(|version| SecretSlot {
            number: version.number,
            digest: version.digest,
            expire_time: version.expire_time,
            superseded_time: superseded(version.number),
        });
        VerifiableKey {
            key_id: self.key_id.clone(),
            account_id: self.account_id.clone(),
            application_id: self.application_id.clone(),
            environment: self.environment,
            standing: match self.lifecycle {
                Lifecycle::Active => Standing::Active,
                Lifecycle::Disabled => Standing::Disabled,
                Lifecycle::Revoked(_) => Standing::Revoked,
            },
            scopes: self.scopes.clone(),
            allowed_cidrs: self.allowed_cidrs.clone(),
            expire_time: self.expire_time,
            revision: self.revision,
            slots: slots.collect(),
        }
    }

    fn add_secret(&mut self, secret: NewSecret, now: Timestamp) {
        self.last_secret_number += 1;
        self.secrets.push(SecretVersion {
            number: self.last_secret_number,
            digest: secret.digest,
            create_time: now,
            expire_time: None,
            hint: secret.hint,
        });
    }

    fn refuse_if_revoked(&self) -> Result<(), Error> {
        if matches!(self.lifecycle, Lifecycle::Revoked(_)) {
            Err(Error::KeyRevoked)
        } else {
            Ok(())
        }
    }
}

fn set<T>(field: &mut T, new: Option<T>) {
    if let Some(new) = new {
        *field = new;
    }
}

/// The fields in which two states of a key differ, sorted; `None` stands for no key.
///
/// Times of change, etag and revision are left out: they differ because something else does.
pub fn changes(before: Option<&Key>, after: Option<&Key>) -> Vec<FieldChange> {
    let mut before = before.map(fields).unwrap_or_default();
    let mut after = after.map(fields).unwrap_or_default();
    let names: std::collections::BTreeSet<String> =
        before.keys().chain(after.keys()).cloned().collect();
    let changes = names.into_iter().map(|field| FieldChange {
        before: before.remove(&field).unwrap_or_default(),
        after: after.remove(&field).unwrap_or_default(),
        field,
    });
    changes.filter(|change| change.before != change.after).collect()
}

fn fields(key: &Key) -> BTreeMap<String, String> {
    let list = |items: Vec<String>| if items.is_empty() { String::new() } else { json(&items) };
    let time = |time: Option<Timestamp>| time.map(|time| time.to_string()).unwrap_or_default();
    let (state, reason) = match key.lifecycle {
        Lifecycle::Active => (State::Active, ""),
        Lifecycle::Disabled => (State::Disabled, ""),
        Lifecycle::Revoked(reason) => (State::Revoked, reason.as_str()),
    };
    let mut fields: BTreeMap<String, String> = [
        ("environment", key.environment.as_str().to_owned()),
        ("display_name", key.display_name.clone()),
        ("description", key.description.clone()),
        ("scopes", list(key.scopes.iter().map(ToString::to_string).collect())),
        ("allowed_cidrs", list(key.allowed_cidrs.iter().map(ToString::to_string).collect())),
        ("labels", if key.labels.is_empty() { String::new() } else { json(&key.labels) }),
        ("expire_time", time(key.expire_time)),
        ("state", state.as_str().to_owned()),
        ("revoke_reason", reason.to_owned()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into();
    for version in &key.secrets {
        let number = version.number;
        fields.insert(format!("secrets.{number}.create_time"), version.create_time.to_string());
        fields.insert(format!("secrets.{number}.expire_time"), time(version.expire_time));
        fields.insert(format!("secrets.{number}.hint"), version.hint.clone());
    }
    fields
}

fn json<T: serde::Serialize>(value: &T) -> String {
    // Lists and maps of strings always serialise.
    serde_json::to_string(value).unwrap_or_default()
}

#[cfg(test)]
#[path = "key_tests.rs"]
mod tests;
