//! What the replicas share: a log, keys and rows, in a database that fails over, with or without a loss.

use std::collections::BTreeMap;

use countersign::domain::Timestamp;
use countersign::domain::audit::{Actor, AuditEvent, CANONICAL_VERSION, EventType, LoggedEvent};
use countersign::domain::replica::{EpochStart, LogEnd, Polled, ReplicaRow};
use countersign::domain::tree::TreeHash;

/// Events that one poll gives.
const PAGE: usize = 4;

/// One server of the database.
#[derive(Clone, Default)]
pub struct Database {
    pub epoch: u32,
    pub epochs: Vec<EpochStart>,
    pub events: Vec<LoggedEvent>,
    /// The revision at which a key was revoked; a key that is not in here is active since revision zero.
    pub revoked: BTreeMap<String, u64>,
    pub rows: BTreeMap<String, ReplicaRow>,
}

impl Database {
    pub fn new() -> Self {
        Self { epoch: 1, ..Self::default() }
    }

    pub fn revision(&self) -> u64 {
        self.events.len() as u64
    }

    pub fn leaf(&self, revision: u64) -> Option<TreeHash> {
        let index = usize::try_from(revision).expect("small").checked_sub(1)?;
        self.events.get(index).map(|logged| logged.leaf_hash)
    }

    pub fn revoke(&mut self, key_id: &str, now: Timestamp) -> u64 {
        let revision = self.append(EventType::KeyRevoked, key_id, now);
        self.revoked.insert(key_id.to_owned(), revision);
        revision
    }

    /// What `countersign store accept` does.
    pub fn accept(&mut self, now: Timestamp) {
        let first_revision = self.append(EventType::Unknown, "", now);
        self.epoch += 1;
        self.epochs.push(EpochStart { epoch: self.epoch, first_revision });
    }

    fn append(&mut self, kind: EventType, key_id: &str, time: Timestamp) -> u64 {
        let revision = self.revision() + 1;
        let event = AuditEvent {
            account_id: "acme".to_owned(),
            actor: Actor::local("simulation"),
            application_id: "web".to_owned(),
            changes: Vec::new(),
            comment: String::new(),
            key_id: key_id.to_owned(),
            key_seal: String::new(),
            request_id: String::new(),
            revision,
            revoke_reason: String::new(),
            time,
            trace_id: String::new(),
            kind,
            v: CANONICAL_VERSION,
        };
        let canonical = event.canonical().expect("serialises");
        self.events.push(LoggedEvent::from_canonical(&canonical).expect("parses"));
        revision
    }

    pub fn poll(&self, replica: &str, applied: u64, clock: Timestamp) -> Polled {
        let after = self.events.iter().skip(usize::try_from(applied).expect("small"));
        let complete = after.clone().count() <= PAGE;
        Polled {
            epoch: self.epoch,
            clock,
            beat: self.rows.get(replica).map(|row| row.beat),
            leaf: self.leaf(applied),
            refused: None,
            events: after.take(PAGE).cloned().collect(),
            complete,
        }
    }

    pub fn end(&self, clock: Timestamp) -> LogEnd {
        let time = self.events.last().map_or(Timestamp::default(), |logged| logged.event.time);
        let revision = self.revision();
        LogEnd { epoch: self.epoch, revision, time, leaf: self.leaf(revision), clock }
    }

    pub fn beat(&mut self, replica: &str, beat: u64, applied: u64, leaf: Option<TreeHash>) -> bool {
        if applied > 0 && self.leaf(applied) != leaf {
            return false;
        }
        let Some(row) = self.rows.get_mut(replica) else { return false };
        // One that arrives after its successor says nothing.
        if row.beat >= beat {
            return false;
        }
        (row.beat, row.applied) = (beat, applied);
        true
    }

    /// A row, over one with a lower beat.
    pub fn register(&mut self, row: ReplicaRow) {
        if self.rows.get(&row.id).is_none_or(|old| old.beat < row.beat) {
            self.rows.insert(row.id.clone(), row);
        }
    }

    pub fn sweep(&mut self, replica: &str, beat: u64, applied: u64) -> bool {
        let said = self.rows.get(replica).map(|row| (row.beat, row.applied));
        said == Some((beat, applied)) && self.rows.remove(replica).is_some()
    }
}
