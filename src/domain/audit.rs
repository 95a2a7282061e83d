//! Audit events: what happened to which key, when, and who did it; and their canonical form.

use serde::{Deserialize, Serialize};

use super::Timestamp;
use super::permission::{Origin, Principal};
use super::tree::{TreeHash, leaf_hash};

/// What happened. The numbers are those of the proto.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[repr(i32)]
pub enum EventType {
    /// A key was created.
    KeyCreated = 1,
    /// Fields of a key were changed.
    KeyUpdated = 2,
    /// A key got a new secret version.
    KeyRotated = 3,
    /// A secret version was killed.
    KeySecretExpired = 4,
    /// A key was switched off.
    KeyDisabled = 5,
    /// A key was switched on again.
    KeyEnabled = 6,
    /// A key was killed for ever.
    KeyRevoked = 7,
    /// A revoked key was removed.
    KeyDeleted = 8,
    /// An operator accepted that the log had lost events; a new epoch of it begins. It names no key.
    StoreEpochAccepted = 9,
    /// Something that a later release does; its name is in the event's text.
    #[serde(other)]
    Unknown = 0,
}

impl EventType {
    /// Whether it leaves its revision in the row of the key that it names.
    pub fn changes_its_key(self) -> bool {
        !matches!(self, Self::KeyDeleted | Self::StoreEpochAccepted | Self::Unknown)
    }

    /// All that this release knows.
    pub const ALL: [Self; 9] = [
        Self::KeyCreated,
        Self::KeyUpdated,
        Self::KeyRotated,
        Self::KeySecretExpired,
        Self::KeyDisabled,
        Self::KeyEnabled,
        Self::KeyRevoked,
        Self::KeyDeleted,
        Self::StoreEpochAccepted,
    ];

    /// Its name in filters and in the proto's enum, e.g. `TYPE_KEY_CREATED`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "TYPE_UNSPECIFIED",
            Self::KeyCreated => "TYPE_KEY_CREATED",
            Self::KeyUpdated => "TYPE_KEY_UPDATED",
            Self::KeyRotated => "TYPE_KEY_ROTATED",
            Self::KeySecretExpired => "TYPE_KEY_SECRET_EXPIRED",
            Self::KeyDisabled => "TYPE_KEY_DISABLED",
            Self::KeyEnabled => "TYPE_KEY_ENABLED",
            Self::KeyRevoked => "TYPE_KEY_REVOKED",
            Self::KeyDeleted => "TYPE_KEY_DELETED",
            Self::StoreEpochAccepted => "TYPE_STORE_EPOCH_ACCEPTED",
        }
    }
}

/// Why a key was revoked. The numbers are those of the proto.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[repr(i32)]
pub enum RevokeReason {
    /// The secret is, or may be, known to somebody who should not know it.
    Compromised = 1,
    /// Another key took its place.
    Superseded = 2,
    /// Nobody needs it any more.
    Unused = 3,
    /// Its owner left or lost the right to it.
    OwnerLeft = 4,
    /// It was used against the rules.
    Abuse = 5,
    /// Something else.
    Other = 6,
}

impl RevokeReason {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Compromised,
        Self::Superseded,
        Self::Unused,
        Self::OwnerLeft,
        Self::Abuse,
        Self::Other,
    ];

    /// Its name in events and in the database, e.g. `COMPROMISED`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Compromised => "COMPROMISED",
            Self::Superseded => "SUPERSEDED",
            Self::Unused => "UNUSED",
            Self::OwnerLeft => "OWNER_LEFT",
            Self::Abuse => "ABUSE",
            Self::Other => "OTHER",
        }
    }
}

/// Who did something, and from where. Exactly one of `key_id` and `identity` is not empty.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Actor {
    /// The peer's address; empty for a local command.
    pub address: String,
    /// A name for what is not a key.
    pub identity: String,
    /// The id of the key that made the call.
    pub key_id: String,
    /// The `user-agent` header.
    pub user_agent: String,
}

impl Actor {
    /// The key behind a principal.
    pub fn of(principal: &Principal) -> Self {
        let Origin { address, user_agent, .. } = principal.origin().clone();
        Self {
            address,
            identity: String::new(),
            key_id: principal.key_id().to_string(),
            user_agent,
        }
    }

    /// A local command, by name.
    pub fn local(identity: &str) -> Self {
        Self {
            address: String::new(),
            identity: identity.to_owned(),
            key_id: String::new(),
            user_agent: String::new(),
        }
    }

    /// The key id or the identity.
    pub fn name(&self) -> &str {
        if self.key_id.is_empty() { &self.identity } else { &self.key_id }
    }
}

/// A field of a key before and after a change. Never holds a secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FieldChange {
    /// Its value after; empty where there is none.
    pub after: String,
    /// Its value before; empty where there was none.
    pub before: String,
    /// The field's path, as in the proto's `Key`.
    pub field: String,
}

/// One entry of the log.
///
/// Its canonical form is RFC 8785 JSON of exactly these fields, all present, times as RFC 3339 with
/// six digits, the seal as lower-case hex. The struct's fields stand in the canonical (alphabetical)
/// order, and none holds a floating-point number, so plain compact JSON of it is canonical; a property
/// test holds it against an independent implementation of the RFC.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditEvent {
    /// The account of the key; the reserved one where it names no key.
    pub account_id: String,
    /// Who did it.
    pub actor: Actor,
    /// The application of the key.
    pub application_id: String,
    /// The fields that changed, sorted by field.
    pub changes: Vec<FieldChange>,
    /// What the caller said about it.
    pub comment: String,
    /// The key; empty for an event of the store as a whole.
    pub key_id: String,
    /// The seal of the key's row after the change, as hex; empty after a deletion.
    pub key_seal: String,
    /// The caller's `request_id`, or empty.
    pub request_id: String,
    /// Position in the log, from 1, without gaps.
    pub revision: u64,
    /// For a revocation, why; otherwise empty.
    pub revoke_reason: String,
    /// When it happened.
    pub time: Timestamp,
    /// The W3C trace id of the call, or empty.
    pub trace_id: String,
    /// What happened.
    #[serde(rename = "type")]
    pub kind: EventType,
    /// Version of this canonical form.
    pub v: u32,
}

/// The version of the canonical form that this release writes.
pub const CANONICAL_VERSION: u32 = 1;

/// An event could not be written to, or read from, its canonical form.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not an audit event in canonical form: {0}")]
pub struct NotCanonical(String);

impl AuditEvent {
    /// The canonical form: what is stored, and what the leaf hash covers.
    pub fn canonical(&self) -> Result<String, NotCanonical> {
        serde_json::to_string(self).map_err(|error| NotCanonical(error.to_string()))
    }

    /// Reads the canonical form. That of a later release may have fields and types that this one does not know; of
    /// this release's own, nothing but the one text that [`Self::canonical`] gives is taken.
    pub fn parse(text: &str) -> Result<Self, NotCanonical> {
        let event: Self =
            serde_json::from_str(text).map_err(|error| NotCanonical(error.to_string()))?;
        let of_later_release = event.v > CANONICAL_VERSION || event.kind == EventType::Unknown;
        if !of_later_release && event.canonical()? != text {
            return Err(NotCanonical("it has other fields, or another order".to_owned()));
        }
        Ok(event)
    }

    /// What the text of an event calls its type, in the words of the proto; also a type of a later release.
    pub fn type_named_in(text: &str) -> Option<String> {
        #[derive(Deserialize)]
        struct Typed {
            #[serde(rename = "type")]
            kind: String,
        }
        serde_json::from_str(text).ok().map(|Typed { kind }| format!("TYPE_{kind}"))
    }
}

/// An event with its leaf hash, which covers the canonical form as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoggedEvent {
    /// The event.
    pub event: AuditEvent,
    /// RFC 6962 leaf hash of its canonical form.
    pub leaf_hash: TreeHash,
}

impl LoggedEvent {
    /// Reads a stored event; the leaf hash is computed from the text, not believed.
    pub fn from_canonical(text: &str) -> Result<Self, NotCanonical> {
        Ok(Self { event: AuditEvent::parse(text)?, leaf_hash: leaf_hash(text.as_bytes()) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn any_event() -> impl Strategy<Value = AuditEvent> {
        let text = || any::<String>();
        let change = (text(), text(), text());
        let change = change.prop_map(|(field, before, after)| FieldChange { after, before, field });
        let actor = (text(), text(), text(), text());
        let actor = actor.prop_map(|(address, identity, key_id, user_agent)| Actor {
            address,
            identity,
            key_id,
            user_agent,
        });
        let texts = (text(), text(), text(), text(), text(), text(), text(), text());
        let rest = (actor, prop::collection::vec(change, 0..4), 0..EventType::ALL.len());
        let numbers = (0..1_u64 << 53, Timestamp::MIN.micros()..=Timestamp::MAX.micros());
        (texts, rest, numbers).prop_map(|(texts, (actor, changes, kind), (revision, time))| {
            AuditEvent {
                account_id: texts.0,
                actor,
                application_id: texts.1,
                changes,
                comment: texts.2,
                key_id: texts.3,
                key_seal: texts.4,
                request_id: texts.5,
                revision,
                revoke_reason: texts.6,
                time: Timestamp::from_micros(time).expect("in range"),
                trace_id: texts.7,
                kind: EventType::ALL[kind],
                v: CANONICAL_VERSION,
            }
        })
    }

    proptest! {
        #[test]
        fn the_canonical_form_is_rfc_8785_and_reads_back(event in any_event()) {
            let text = event.canonical().expect("serialisable");
            let value: serde_json::Value = serde_json::from_str(&text).expect("JSON");
            let independent = serde_json_canonicalizer::to_string(&value).expect("canonical");
            prop_assert_eq!(&text, &independent);
            prop_assert_eq!(AuditEvent::parse(&text).expect("reads back"), event);
        }
    }

    fn text_of(event: &AuditEvent, v: u32, extra: &str) -> String {
        let event = AuditEvent { v, ..event.clone() };
        event.canonical().expect("serialisable").replacen('{', &format!("{{{extra}"), 1)
    }

    proptest! {
        #[test]
        fn what_only_a_later_release_knows_is_passed_over(event in any_event()) {
            let extra = r#""aa_extra":[1],"#;
            prop_assert!(AuditEvent::parse(&text_of(&event, 1, extra)).is_err());
            let later = AuditEvent::parse(&text_of(&event, 2, extra)).expect("reads");
            prop_assert_eq!(later, AuditEvent { v: 2, ..event.clone() });

            let known = serde_json::to_string(&event.kind).expect("a name");
            let text = text_of(&event, 1, "");
            let unknown = text.replace(&format!(r#""type":{known}"#), r#""type":"KEY_SUNG""#);
            let read = AuditEvent::parse(&unknown).expect("reads");
            prop_assert_eq!(read, AuditEvent { kind: EventType::Unknown, ..event });
            let named = AuditEvent::type_named_in(&unknown);
            prop_assert_eq!(named.as_deref(), Some("TYPE_KEY_SUNG"));
        }
    }
}
