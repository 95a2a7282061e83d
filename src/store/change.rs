//! What goes into a change of a key and what comes out: the words between the verbs and the transaction.

use crate::domain::Timestamp;
use crate::domain::audit::{Actor, EventType, FieldChange, RevokeReason};
use crate::domain::ids::{AccountId, KeyId};
use crate::domain::key::{Administration, Key};
use crate::domain::replica::Place;
use crate::domain::token::LogPosition;

/// The key that a change is about.
#[derive(Debug, Clone, Copy)]
pub enum Target<'a> {
    /// One that is to be made, under an id that was just minted or is to be imported.
    New(&'a KeyId),
    /// One that should be there, by the id that a caller gave.
    Existing(&'a str),
}

impl Target<'_> {
    pub(super) fn key_id(&self) -> &str {
        match self {
            Self::New(key_id) => key_id.as_str(),
            Self::Existing(key_id) => key_id,
        }
    }
}

/// Where the reply of a request with a `request_id` is remembered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReplySlot {
    /// Hash of who asked, for which method, under which `request_id`.
    pub slot: [u8; 32],
    /// Hash of all that was asked.
    pub request_hash: [u8; 32],
}

/// What is there before a change, read under the writer's lock.
#[derive(Debug, Clone)]
pub struct Before {
    /// The target, if it is there.
    pub key: Option<Key>,
    /// The account of the target, if it was deleted, so that its id never comes back.
    pub deleted: Option<AccountId>,
    /// The time of the change: the database's clock, but never before the newest event.
    pub now: Timestamp,
    /// The revision that the change will get.
    pub revision: u64,
    /// How far the best of the other keys can administer the service. Only looked up where it matters: where the
    /// target is of the reserved account, or nobody makes the change; otherwise [`Administration::None`].
    pub others: Administration,
    /// The key of whoever makes the change, as it is now; `None` if it is gone, or nobody makes the change.
    pub caller: Option<Key>,
    /// The request that used the reply slot before, if one did.
    pub remembered: Option<Remembered>,
}

impl Before {
    /// Writes the change's revision and time into the key that it makes.
    pub fn stamp(&self, key: &mut Key) {
        key.revision = self.revision;
        key.update_time = self.now;
    }
}

/// A request whose reply is, or was, remembered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remembered {
    /// Whether it asked for the same.
    pub same_request: bool,
    /// The key that it made or changed.
    pub key_id: String,
    /// Its reply, sealed; `None` once it is ten minutes old.
    pub sealed_reply: Option<Vec<u8>>,
}

/// What is to be done.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "one at a time, and the large one is the usual one")]
pub enum Decision<T> {
    /// Nothing: it is so already, or was done before.
    Unchanged(T),
    /// Write the key, with its event.
    Put {
        /// The key after the change, [stamped](Before::stamp).
        key: Key,
        /// What happened.
        event: EventDraft,
        /// The sealed reply, to be kept in the request's reply slot.
        remember: Option<Vec<u8>>,
        /// The reply.
        reply: T,
    },
    /// Remove the key for ever, with its event.
    Delete {
        /// What happened.
        event: EventDraft,
        /// The reply.
        reply: T,
    },
}

/// An event without what only the transaction knows.
#[derive(Debug, Clone)]
pub struct EventDraft {
    /// What happened.
    pub kind: EventType,
    /// Who did it.
    pub actor: Actor,
    /// The fields that changed.
    pub changes: Vec<FieldChange>,
    /// For a revocation, why.
    pub revoke_reason: Option<RevokeReason>,
    /// What the caller said about it.
    pub comment: String,
    /// The caller's `request_id`, or empty.
    pub request_id: String,
    /// The W3C trace id of the call, or empty.
    pub trace_id: String,
}

/// What a change came to.
#[derive(Debug, Clone)]
pub struct Changed<T> {
    /// The reply.
    pub reply: T,
    /// The change's place in the log; if nothing was changed, the log's last.
    pub position: LogPosition,
    /// The same place by its hash: whatever log has it has the change.
    pub place: Place,
    /// Whether an event was written.
    pub changed: bool,
}
