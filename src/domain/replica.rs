//! Replicas of one store and the log that they follow, as they see both: each has a row, and reports in it how far it
//! has come.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Timestamp;
use super::audit::LoggedEvent;
use super::tree::TreeHash;

/// No replica answers for longer than this after it last knew that nothing newer existed: far more than any outage that
/// should be ridden out, and no more than anybody would call an answer of the present.
pub const LONGEST_LEASE: Duration = Duration::from_secs(3_600);

/// What a replica says of itself in its row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplicaRow {
    /// Drawn at random when the process starts, so that a restarted one is another.
    pub id: String,
    /// For how long the replica answers after it last knew that nothing newer existed, in milliseconds. It never
    /// changes within a row: others count on it.
    pub lease_ms: u64,
    /// Every thread of the replica answers from this revision or a newer one.
    pub applied: u64,
    /// Grows with every change of the row, also over a new registration, so that no two states of a row look alike.
    pub beat: u64,
    /// How long ago the row changed, by the database's clock. For people to see; nothing is decided by it.
    pub beat_age: Duration,
    /// The release that the replica runs.
    pub version: String,
    /// The newest stored format that it can read.
    pub reads_up_to: u32,
    /// The versions of the root key that it holds, in ascending order.
    pub root_key_versions: Vec<u32>,
}

/// The rows of all replicas, and what the log of the very database that gave them has, all of it at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Roster {
    /// The rows, by id.
    pub rows: Vec<ReplicaRow>,
    /// The leaf hashes at the revisions that were asked for, as far as there are events.
    pub leaves: BTreeMap<u64, TreeHash>,
}

/// A place in a log by which it is told from others: what has that leaf there has all that came before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The revision.
    pub revision: u64,
    /// The leaf hash of its event; `None` where a log begins.
    pub leaf: Option<TreeHash>,
}

impl Place {
    /// Whether the log of the database that gave the rows has it.
    pub fn is_in(&self, roster: &Roster) -> bool {
        self.leaf.is_none_or(|leaf| roster.leaves.get(&self.revision) == Some(&leaf))
    }
}

/// What is known of one replica with regard to one change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ReplicaState {
    /// All its threads answer from the change on.
    Confirmed,
    /// It may not answer any more from before the change: its lease has ended, or it has gone.
    LeaseExpired,
    /// It may still answer from before the change.
    Pending,
}

/// What one poll saw, all of it at one moment.
#[derive(Debug, Clone)]
pub struct Polled {
    /// The epoch of the log.
    pub epoch: u32,
    /// The database's clock.
    pub clock: Timestamp,
    /// The beat in the polling replica's own row; `None`: there is no such row.
    pub beat: Option<u64>,
    /// The leaf hash of the event at the revision that the poll started from; `None`: there is no such event.
    pub leaf: Option<TreeHash>,
    /// Why this replica must not answer from this store (any more); then nothing of the log was read.
    pub refused: Option<&'static str>,
    /// The events after that revision, oldest first.
    pub events: Vec<LoggedEvent>,
    /// Whether there was nothing after them.
    pub complete: bool,
}

/// The end of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogEnd {
    /// The epoch of the log.
    pub epoch: u32,
    /// The newest revision; 0 for an empty log.
    pub revision: u64,
    /// Its time; the Unix epoch for an empty log.
    pub time: Timestamp,
    /// Its leaf hash; `None` for an empty log.
    pub leaf: Option<TreeHash>,
    /// The database's clock.
    pub clock: Timestamp,
}

impl LogEnd {
    /// Whether a log that ends here may have lost this revision first: one that it has, where something else is in its
    /// place by now, or the one after its end.
    pub fn may_have_lost(&self, revision: u64) -> bool {
        (1..=self.revision.saturating_add(1)).contains(&revision)
    }
}

/// An epoch of the log after the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EpochStart {
    /// Its number.
    pub epoch: u32,
    /// From this revision on, what earlier epochs had was lost: at most the revision of the event with which it begins,
    /// less where others were written in the place of what was lost.
    pub first_revision: u64,
}
