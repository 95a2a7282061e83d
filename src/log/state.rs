//! Where a replica stands, and what a poll says about the log that it follows.

use std::cmp::Ordering;
use std::time::Duration;

use super::lease::Lease;
use crate::domain::replica::{LogEnd, Polled};
use crate::domain::tree::TreeHash;

/// Where this replica stands; never locked while anything is waited for.
#[derive(Debug)]
pub(super) struct State {
    pub(super) followed: Followed,
    pub(super) lease: Lease,
    /// The last beat that was written or tried.
    pub(super) beat: u64,
    /// Whether our row was committed and not found missing since.
    pub(super) registered: bool,
    /// Counts the voidings, so that what was begun before one is not taken for news after it.
    pub(super) term: u64,
    /// The index holds all keys of the log that is followed. Not so where the log was lost at the start, nor from the
    /// beginning of a load to its end.
    pub(super) loaded: bool,
    /// The database's log is not the one that we followed.
    pub(super) forked: bool,
    /// What is written there by now is not for this replica to read.
    pub(super) refused: bool,
    /// What the mark in the data directory says.
    pub(super) marked: Option<Followed>,
    /// The uptime at which it was last written, or tried to be.
    pub(super) mark_tried: Option<Duration>,
    /// The machine's wall clock and the database's are far apart, and somebody was told.
    pub(super) skewed: bool,
}

impl State {
    /// How far this replica has come, as its row may say it: nowhere while the index is not whole. What was followed
    /// until then may be of a log that the database no longer has, which would refuse the beat.
    pub(super) fn reported(&self) -> (u64, Option<TreeHash>) {
        if self.loaded { (self.followed.revision, self.followed.leaf) } else { (0, None) }
    }
}

/// How far the log was followed: everything in the index is of this log, up to here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Followed {
    pub(super) epoch: u32,
    pub(super) revision: u64,
    pub(super) leaf: Option<TreeHash>,
}

impl From<LogEnd> for Followed {
    fn from(end: LogEnd) -> Self {
        Self { epoch: end.epoch, revision: end.revision, leaf: end.leaf }
    }
}

/// What a poll says about the log that was followed until then.
pub(super) enum Comparison {
    /// It goes on.
    Same,
    /// It goes on in a later epoch.
    LaterEpoch,
    /// It was lost, and somebody has accepted that.
    Another,
    /// It was lost.
    Lost,
}

impl Followed {
    pub(super) fn compare(&self, polled: &Polled) -> Comparison {
        // The hash, not the number: a log that lost its end grows again.
        match (polled.leaf == self.leaf, polled.epoch.cmp(&self.epoch)) {
            (true, Ordering::Equal) => Comparison::Same,
            (true, Ordering::Greater) => Comparison::LaterEpoch,
            (false, Ordering::Greater) => Comparison::Another,
            (false, _) | (true, Ordering::Less) => Comparison::Lost,
        }
    }
}
