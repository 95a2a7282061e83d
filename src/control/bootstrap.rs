//! The first administrator: not a verb, since nobody is there yet to ask for it. Whoever runs this
//! holds the database and the root key, and the log says that it happened.

use std::collections::BTreeMap;

use subtle::ConstantTimeEq as _;

use crate::domain::audit::{Actor, EventType};
use crate::domain::cidr::CidrSet;
use crate::domain::credential::Secret;
use crate::domain::draft::KeySpec;
use crate::domain::ids::{AccountId, ApplicationId, Environment, KeyId};
use crate::domain::key::{Administration, Key, NewSecret, SecretVersion, changes};
use crate::domain::keyring::Digest;
use crate::domain::permission::Permission;
use crate::domain::scope::GrantedScopes;
use crate::domain::{Error, Timestamp};
use crate::store::{Before, Decision, EventDraft, Store, Target};

/// A credential made beforehand, to be installed as an administrator's.
#[derive(Debug)]
pub struct FirstCredential {
    /// The public half.
    pub key_id: KeyId,
    /// The private half.
    pub secret: Secret,
}

/// Why an administrator is installed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Occasion {
    /// The store is new: refused if somebody can administer it already.
    First,
    /// The same, where it is no mistake that somebody can: nothing is done then. For whoever asks at every
    /// upgrade, with a credential that may have been rotated or revoked since.
    IfNone,
    /// Nobody can, or nobody has the credential any more.
    Recovery,
}

/// What came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Installed {
    /// The key was made.
    Created,
    /// This very credential was installed before, and can still administer.
    AlreadyThere,
    /// Somebody else, or another credential, can administer. Only of [`Occasion::IfNone`].
    NotNeeded,
}

/// Why an administrator was not installed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BootstrapError {
    /// Somebody can administer the store.
    #[error(
        "the store has an administrator already; use its credential, or --recover to mint another"
    )]
    HasAdministrator,
    /// The key id is taken by a key with another secret, or was deleted.
    #[error(
        "the key id of this credential is in use with another secret, or was deleted; mint a new pair"
    )]
    KeyIdTaken,
    /// The credential was installed before, but its key can't administer any more.
    #[error(
        "this credential was installed before, but it can't administer any more (revoked, disabled, \
         expired, or with fewer scopes); mint a new pair and use --recover"
    )]
    NoAdministrator,
    /// A test credential never administers.
    #[error("this is a test credential, which can't administer; mint a live one")]
    TestCredential,
    /// The store refused.
    #[error(transparent)]
    Store(#[from] Error),
}

/// Installs an administrator with every permission over all accounts. Safe to repeat, and by several at
/// once: who else can administer is decided under the writer's lock.
///
/// # Errors
///
/// See [`BootstrapError`].
pub async fn install_administrator(
    store: &Store,
    credential: &FirstCredential,
    occasion: Occasion,
) -> Result<Installed, BootstrapError> {
    let FirstCredential { key_id, secret } = credential;
    if secret.expose().split('_').nth(1) == Some(Environment::Test.as_str()) {
        return Err(BootstrapError::TestCredential);
    }
    let digest = store.data_key().digest(key_id.as_str(), secret.expose());
    let identity = match occasion {
        Occasion::First | Occasion::IfNone => "bootstrap",
        Occasion::Recovery => "bootstrap --recover",
    };
    let spec = administrator()?;
    let decide = |state: &Before| {
        let administered = state.others != Administration::None
            || state.key.as_ref().is_some_and(|key| administers(key, state.now));
        if let Some(key) = &state.key {
            let reply = match found(key, &digest, state.now) {
                Err(_) if occasion == Occasion::IfNone && administered => Ok(Installed::NotNeeded),
                reply => reply,
            };
            return Ok(Decision::Unchanged(reply));
        }
        if occasion == Occasion::IfNone && administered {
            return Ok(Decision::Unchanged(Ok(Installed::NotNeeded)));
        }
        if state.deleted.is_some() {
            return Ok(Decision::Unchanged(Err(BootstrapError::KeyIdTaken)));
        }
        if occasion == Occasion::First && state.others != Administration::None {
            return Ok(Decision::Unchanged(Err(BootstrapError::HasAdministrator)));
        }
        let new = NewSecret { digest, hint: secret.hint() };
        let mut key = Key::create(spec.clone(), key_id.clone(), new, identity, state.now);
        state.stamp(&mut key);
        let event = EventDraft {
            kind: EventType::KeyCreated,
            actor: Actor::local(identity),
            changes: changes(None, Some(&key)),
            revoke_reason: None,
            comment: String::new(),
            request_id: String::new(),
            trace_id: String::new(),
        };
        Ok(Decision::Put { key, event, remember: None, reply: Ok(Installed::Created) })
    };
    store.change_key(Target::New(key_id), None, decide).await?.reply
}

/// What a key that is there under the credential's id means.
fn found(key: &Key, digest: &Digest, now: Timestamp) -> Result<Installed, BootstrapError> {
    let same = |version: &&SecretVersion| bool::from(version.digest.ct_eq(digest));
    match key.secrets.iter().find(same) {
        None => Err(BootstrapError::KeyIdTaken),
        Some(version) if version.is_live(now) && administers(key, now) => {
            Ok(Installed::AlreadyThere)
        }
        Some(_) => Err(BootstrapError::NoAdministrator),
    }
}

fn administers(key: &Key, now: Timestamp) -> bool {
    key.administration(now) > Administration::None
}

fn administrator() -> Result<KeySpec, Error> {
    let invalid = |what: &str| Error::Internal(format!("the administrator's {what} is not valid"));
    let reserved = AccountId::RESERVED;
    Ok(KeySpec {
        account_id: AccountId::parse(reserved).map_err(|_| invalid("account"))?,
        application_id: ApplicationId::parse("administration")
            .map_err(|_| invalid("application"))?,
        environment: Environment::Live,
        display_name: "first administrator".to_owned(),
        description: String::new(),
        scopes: GrantedScopes::parse(Permission::ALL.map(Permission::scope))
            .map_err(|_| invalid("scopes"))?,
        allowed_cidrs: CidrSet::default(),
        labels: BTreeMap::new(),
        expire_time: None,
    })
}
