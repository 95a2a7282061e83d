//! The verbs of administration, one file each. Every verb takes the [`Principal`] first and checks its
//! permission and reach itself, so no door to this room goes around it.
//!
//! In: checked words of the domain, or drafts that are checked here. Out: views of keys and events.
//! Never in here: gRPC, HTTP, files. The shape of a change:
//!
//! ```text
//! verb ─ permission ─► Store::change_key ─ one transaction: read, decide, write, event, commit ─► Made
//! everywhere ──────────► Log::everywhere ─ this replica's verifications see it
//!                                     └─── how far the other replicas are ──────────────────────► reply
//! ```

mod bootstrap;
mod change;
mod create_key;
mod delete_key;
mod disable_key;
mod enable_key;
mod everywhere;
mod expire_secret;
mod get_key;
mod list_audit_events;
mod list_keys;
mod list_replicas;
mod page;
mod remember;
mod revoke_key;
mod rotate_key;
mod update_key;
mod watch_audit_events;

use std::fmt;
use std::sync::Arc;

pub use bootstrap::{BootstrapError, FirstCredential, Installed, Occasion, install_administrator};
pub use create_key::CreateKey;
pub use delete_key::DeleteKey;
pub use disable_key::DisableKey;
pub use enable_key::EnableKey;
pub use everywhere::{Committed, Wait};
pub use expire_secret::ExpireSecret;
pub use list_audit_events::{EventPage, ListAuditEvents};
pub use list_keys::{KeyPage, ListKeys};
pub use list_replicas::{ListReplicas, ReplicaList, ReplicaView};
pub use revoke_key::RevokeKey;
pub use rotate_key::RotateKey;
pub use update_key::UpdateKey;
pub use watch_audit_events::{Watch, WatchAuditEvents, WatchMessage, WatchStart};

use crate::domain::audit::LoggedEvent;
use crate::domain::credential::{Brands, Secret};
use crate::domain::ids::KeyId;
use crate::domain::key::{Key, State};
use crate::domain::permission::Principal;
use crate::domain::random::Random;
use crate::domain::time::Clock;
use crate::domain::{Error, Timestamp};
use crate::log::Log;
use crate::store::Store;

/// What the verbs work with. Cheap to clone.
#[derive(Clone)]
pub struct Control {
    store: Store,
    log: Log<Store>,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
    brands: Brands,
}

impl fmt::Debug for Control {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Control").field("log", &self.log).finish_non_exhaustive()
    }
}

impl Control {
    /// The verbs over a store whose log is followed.
    pub fn new(
        store: Store,
        log: Log<Store>,
        clock: Arc<dyn Clock>,
        random: Arc<dyn Random>,
        brands: Brands,
    ) -> Self {
        Self { store, log, clock, random, brands }
    }

    /// The present, as verifications on this replica have it.
    fn now(&self) -> Timestamp {
        self.log.now(self.clock.as_ref())
    }

    /// Refuses what can't be a key's id, without repeating it: it may be a secret in the wrong field.
    /// Nothing is more likely a forgotten field than a key that is not there.
    fn require_key_id(&self, field: &str, key_id: &str) -> Result<(), Error> {
        if key_id.is_empty() {
            return Err(Error::invalid(field, "must not be empty"));
        }
        let parsed = KeyId::parse(key_id, &self.brands);
        parsed.map(drop).map_err(|error| Error::invalid(field, error.to_string()))
    }
}

/// A key and its state at the time of the reply.
#[derive(Debug, Clone)]
pub struct KeyView {
    /// The key.
    pub key: Key,
    /// What its lifecycle and the time make of it.
    pub state: State,
}

impl KeyView {
    fn of(key: Key, now: Timestamp) -> Self {
        Self { state: key.state(now), key }
    }
}

/// What a change gives once it is committed: its reply, and what [`Control::everywhere`] needs to follow it to the
/// verifications of this replica and of the others. Nobody is told before that.
#[derive(Debug)]
pub struct Made<T> {
    /// The reply.
    pub reply: T,
    committed: Committed,
}

/// The reply of a change.
#[derive(Debug, Clone)]
pub struct Changed {
    /// The key after the change.
    pub view: KeyView,
    /// The state of the store after the change.
    pub consistency_token: String,
}

/// The reply of a change that made a secret. The only place from which a secret leaves.
#[derive(Debug)]
pub struct Minted {
    /// The key after the change.
    pub view: KeyView,
    /// The new secret.
    pub secret: Secret,
    /// The state of the store after the change.
    pub consistency_token: String,
}

/// An event with the cursor behind it.
#[derive(Debug, Clone)]
pub struct CursoredEvent {
    /// The event.
    pub logged: Arc<LoggedEvent>,
    /// Where to resume after it.
    pub cursor: String,
}

/// The key, if it is there and within the principal's reach; otherwise as if it were not there.
fn within_reach<'k>(
    principal: &Principal,
    key_id: &str,
    key: Option<&'k Key>,
) -> Result<&'k Key, Error> {
    let reachable = key.filter(|key| principal.reach().covers(&key.account_id));
    reachable.ok_or_else(|| Error::KeyNotFound { key_id: key_id.to_owned() })
}
