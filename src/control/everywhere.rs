//! How long the reply of a change waits for this replica and the others.
//!
//! ```text
//!              COMMIT                                              end        deadline
//!  database  ────┬───────────────────────────────────────────────────────────────────►
//!                └► committed_at                                    │             │
//!  this replica ───────┴─ visible here ─── the others ──────────────┴─ the reply ─┴───
//! ```
//!
//! The change is made, so the reply is never an error: who is not known to have it by the end is PENDING, be it this
//! replica itself.
//!
//! `committed_at` is taken when the database has said that the change is committed, so it lies after the COMMIT. That is
//! what the counting of leases and the look at the rows rest on (`log` says how): a moment before would let a replica
//! that has not seen the change pass for one that has.

use std::future::Future;
use std::time::Duration;

use super::{Control, Made};
use crate::domain::replica::Place;
use crate::domain::token::{LogPosition, PositionKind};
use crate::log::{Patience, Propagation};

/// What a change that hands something out waits by default. A replica that lives has come along long before.
const BRIEFLY: Duration = Duration::from_secs(1);
/// What is kept of the time until the deadline for the way of the reply: this, or a tenth.
const FOR_THE_REPLY: Duration = Duration::from_millis(100);

/// For how long the reply of a change waits for the other replicas.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// Not at all: one look.
    None,
    /// One second at most, so that what was handed out works everywhere.
    Briefly,
    /// Until none of them can answer from before the change.
    AllReplicas,
}

impl Wait {
    /// The same for a caller who stops waiting after so long (`None`: never).
    fn patience(self, now: Duration, time_left: Option<Duration>) -> Patience {
        let others = match self {
            Self::None => Duration::ZERO,
            Self::Briefly => BRIEFLY,
            // Nothing is pending any more once the longest lease is over.
            Self::AllReplicas => Duration::MAX,
        };
        let possible = time_left.map(|left| left.saturating_sub(FOR_THE_REPLY.min(left / 10)));
        Patience { others, end: now.saturating_add(possible.unwrap_or(Duration::MAX)) }
    }
}

/// A change that the database has committed.
#[derive(Debug, Clone, Copy)]
pub struct Committed {
    /// Where it is in the log.
    pub(super) position: LogPosition,
    /// What a log has that has it.
    place: Place,
    /// The clock's uptime right after.
    at: Duration,
}

impl Committed {
    /// The state of the store after the change, as its reply says it.
    pub(super) fn consistency_token(&self) -> String {
        self.position.encode(PositionKind::ConsistencyToken)
    }
}

impl Control {
    /// Notes that a change was committed just now.
    pub(super) fn committed(&self, position: LogPosition, place: Place) -> Committed {
        Committed { position, place, at: self.clock.uptime() }
    }

    /// Waits until verifications of this replica see a change, and says how far it has come on all: at the latest when
    /// `wait` says so, shortly before the caller stops waiting (after `time_left`; `None`: never), or when `cut_short`
    /// ends. The change is made whatever becomes of this, so it may be dropped.
    pub async fn everywhere(
        &self,
        change: Committed,
        wait: Wait,
        time_left: Option<Duration>,
        cut_short: impl Future<Output = ()>,
    ) -> Propagation {
        let patience = wait.patience(self.clock.uptime(), time_left);
        let Committed { position, place, at } = change;
        self.log.everywhere(&position, place, at, patience, cut_short).await
    }

    /// This replica, as [`Self::everywhere`] names it.
    pub fn replica_id(&self) -> &str {
        self.log.replica_id()
    }
}

impl<T> Made<T> {
    /// The change behind the reply.
    pub fn committed(&self) -> Committed {
        self.committed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reply_comes_before_the_deadline() {
        const NOW: Duration = Duration::from_secs(7_000);
        let (seconds, millis) = (Duration::from_secs, Duration::from_millis);
        let patience = |wait: Wait, time_left| {
            let Patience { others, end } = wait.patience(NOW, time_left);
            (others, end.saturating_sub(NOW))
        };
        assert_eq!(patience(Wait::None, Some(seconds(9))), (Duration::ZERO, millis(8_900)));
        assert_eq!(patience(Wait::Briefly, Some(millis(500))), (seconds(1), millis(450)));
        assert_eq!(patience(Wait::AllReplicas, Some(seconds(9))), (Duration::MAX, millis(8_900)));
        for wait in [Wait::None, Wait::Briefly, Wait::AllReplicas] {
            assert_eq!(patience(wait, Some(millis(10))).1, millis(9));
            assert_eq!(patience(wait, Some(Duration::ZERO)).1, Duration::ZERO);
            for never in [None, Some(Duration::MAX)] {
                assert!(patience(wait, never).1 > seconds(1 << 40), "{wait:?} with {never:?}");
            }
        }
    }
}
