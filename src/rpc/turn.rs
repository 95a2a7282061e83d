//! Turns: long work on a core that others share gives way now and then.

use std::time::Duration;

use crate::domain::time::Clock;

/// After so long, others on the same core get their turn. One piece of work may take a hundred times as long as
/// another, so pieces are not counted.
const TURN: Duration = Duration::from_micros(100);

/// The turn of one call.
pub(super) struct Turn<'c> {
    clock: &'c dyn Clock,
    began: Duration,
}

impl<'c> Turn<'c> {
    /// It begins now.
    pub(super) fn begin(clock: &'c dyn Clock) -> Self {
        Self { clock, began: clock.uptime() }
    }

    /// To be called between two pieces of work.
    pub(super) async fn give_way(&mut self) {
        if self.clock.uptime().saturating_sub(self.began) >= TURN {
            tokio::task::yield_now().await;
            self.began = self.clock.uptime();
        }
    }
}
