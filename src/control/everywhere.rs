//! How long the reply of a change waits for the other replicas.
//!
//! ```text
//!              COMMIT                                             until       deadline
//!  database  ────┬───────────────────────────────────────────────────────────────────►
//!                └► committed_at                                    │             │
//!  this replica ───────┴─ visible here ─── Log::everywhere ─────────┴─ the reply ─┴───
//! ```
//!
//! `committed_at` is taken when the database has said that the change is committed, so it lies after the COMMIT. That is
//! what the counting of leases and the look at the rows rest on (`log` says how): a moment before would let a replica
//! that has not seen the change pass for one that has.

use std::future::Future;
use std::time::Duration;

use super::{Control, Made};
use crate::domain::token::LogPosition;
use crate::log::{Patience, Propagation};

/// What a change that hands something out waits by default. A replica that lives has come along long before.
const BRIEFLY: Duration = Duration::from_secs(1);
/// Longer than any lease: nothing is pending after it.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);
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
        let wanted = match self {
            Self::None => return Patience::OneLook,
            Self::Briefly => BRIEFLY,
            Self::AllReplicas => LONGEST,
        };
        let possible = time_left.map(|left| left.saturating_sub(FOR_THE_REPLY.min(left / 10)));
        let patience = possible.map_or(wanted, |possible| wanted.min(possible));
        Patience::Until(now.saturating_add(patience))
    }
}

/// A change that the database has committed.
#[derive(Debug, Clone, Copy)]
pub struct Committed {
    /// Where it is in the log.
    pub(super) position: LogPosition,
    /// The clock's uptime right after.
    at: Duration,
}

impl Control {
    /// Notes that a change was committed just now.
    pub(super) fn committed(&self, position: LogPosition) -> Committed {
        Committed { position, at: self.clock.uptime() }
    }

    /// How far a change has come on all replicas: at the latest when `wait` says so, shortly before the caller stops
    /// waiting (after `time_left`; `None`: never), or when `cut_short` ends. The change is made whatever becomes of
    /// this, so it may be dropped.
    pub async fn everywhere(
        &self,
        change: Committed,
        wait: Wait,
        time_left: Option<Duration>,
        cut_short: impl Future<Output = ()>,
    ) -> Propagation {
        let patience = wait.patience(self.clock.uptime(), time_left);
        self.log.everywhere(&change.position, change.at, patience, cut_short).await
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
        let until = |wait: Wait, time_left| match wait.patience(NOW, time_left) {
            Patience::Until(uptime) => uptime - NOW,
            Patience::OneLook => panic!("{wait:?} looks once"),
        };
        for time_left in [None, Some(seconds(9)), Some(Duration::ZERO)] {
            assert_eq!(Wait::None.patience(NOW, time_left), Patience::OneLook);
        }
        assert_eq!(until(Wait::Briefly, None), seconds(1));
        assert_eq!(until(Wait::Briefly, Some(seconds(9))), seconds(1));
        assert_eq!(until(Wait::Briefly, Some(millis(500))), millis(450));
        assert_eq!(until(Wait::AllReplicas, Some(seconds(9))), millis(8_900));
        assert_eq!(until(Wait::AllReplicas, Some(millis(10))), millis(9));
        assert_eq!(until(Wait::AllReplicas, Some(Duration::ZERO)), Duration::ZERO);
        assert_eq!(until(Wait::AllReplicas, Some(Duration::MAX)), LONGEST);
        assert_eq!(until(Wait::AllReplicas, None), LONGEST);
    }
}
