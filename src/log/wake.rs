//! When the next poll begins: at its turn, or earlier if somebody asks for it.

use std::time::Duration;

use tokio::sync::Notify;

use super::timer::{Timer, sleep_until};
use crate::domain::time::Clock;

/// The least time between the beginnings of two polls that others asked for.
const POLLS_APART: Duration = Duration::from_millis(5);

/// Asks the follower for an early poll.
#[derive(Debug, Default)]
pub(super) struct Wake {
    /// By a change of this replica's own, whose reply waits for it.
    committed: Notify,
    /// By anybody else: other replicas, and requests that name a revision.
    asked: Notify,
}

impl Wake {
    /// There may be something new. Whoever asks often does not make us poll more often than [`POLLS_APART`].
    pub(super) fn ask(&self) {
        self.asked.notify_one();
    }

    /// A change of this replica's own is committed: a poll begins at once. There are at most as many as changes.
    pub(super) fn committed(&self) {
        self.committed.notify_one();
    }

    /// Ends when the next poll is due, if the one before began then and polls begin so often by themselves.
    pub(super) async fn next(
        &self,
        timer: &dyn Timer,
        clock: &dyn Clock,
        began: Duration,
        interval: Duration,
    ) {
        let asked = async {
            self.asked.notified().await;
            sleep_until(timer, clock, began + POLLS_APART).await;
        };
        tokio::select! {
            biased;
            () = sleep_until(timer, clock, began + interval) => {}
            () = self.committed.notified() => {}
            () = asked => {}
        }
    }
}
