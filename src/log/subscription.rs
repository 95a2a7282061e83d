//! One reader of the log: first from the store, then from memory.

use std::sync::Arc;

use tokio::sync::watch;

use super::{Feed, Log};
use crate::domain::Error;
use crate::domain::audit::LoggedEvent;
use crate::domain::token::PositionKind;

/// Events handed over at once: enough to be quick, few enough that many slow readers cost little.
const BATCH: u32 = 64;
/// Most bytes handed over at once, unless one event alone has more.
const BATCH_BYTES: usize = 256 * 1024;

/// Follows the events after a revision, each once and in order.
///
/// It holds a position and no events, so a reader that does not read costs nothing. One that has been
/// live and then falls behind what is kept in memory is told to resume later; it is not served from
/// the store again, since it would read for ever what others have long seen.
#[derive(Debug)]
pub struct Subscription<F> {
    log: Log<F>,
    applied: watch::Receiver<u64>,
    /// Which log it is, of those that were followed here.
    replaced: u64,
    after: u64,
    live: bool,
}

impl<F: Feed> Subscription<F> {
    pub(super) fn new(log: Log<F>, after: u64) -> Self {
        let (applied, replaced) = (log.shared.applied.subscribe(), log.shared.replaced());
        Self { log, applied, replaced, after, live: false }
    }

    /// The revision of the last event that was handed over, or after which this began.
    pub fn revision(&self) -> u64 {
        self.after
    }

    /// Whether every event that this replica has applied was handed over.
    pub fn has_caught_up(&self) -> bool {
        self.after >= *self.applied.borrow()
    }

    /// The next events, at least one; waits for them. Nothing is lost if this future is dropped.
    ///
    /// # Errors
    ///
    /// [`Error::SlowWatcher`] if the reader fell behind; [`Error::CursorOutOfRange`] if another log took the place of
    /// this one; those of the store while replaying.
    pub async fn next(&mut self) -> Result<Vec<Arc<LoggedEvent>>, Error> {
        loop {
            if self.log.shared.replaced() != self.replaced {
                return Err(Error::CursorOutOfRange("it is of another store or epoch"));
            }
            let in_memory = self.log.shared.ring().after(self.after, BATCH as usize, BATCH_BYTES);
            let events = match in_memory {
                Some(events) => {
                    self.live = true;
                    events
                }
                None if self.live => {
                    let last = self.log.position_at(self.after);
                    return Err(Error::SlowWatcher { cursor: last.encode(PositionKind::Cursor) });
                }
                None => self.replay().await?,
            };
            if let Some(last) = events.last() {
                self.after = last.event.revision;
                return Ok(events);
            }
            if self.applied.changed().await.is_err() {
                return Err(Error::Unavailable("shutting down"));
            }
        }
    }

    /// Events from the store, but none that verifications on this replica do not see yet.
    async fn replay(&self) -> Result<Vec<Arc<LoggedEvent>>, Error> {
        let applied = *self.applied.borrow();
        let feed = &self.log.shared.feed;
        let read = feed.events_after(self.after, BATCH, BATCH_BYTES).await?;
        let visible = read.events.into_iter().take_while(|logged| logged.event.revision <= applied);
        let events: Vec<_> = visible.map(Arc::new).collect();
        match events.first() {
            Some(first) if first.event.revision == self.after + 1 => Ok(events),
            _ => Err(Error::Internal(format!("the log lacks revision {}", self.after + 1))),
        }
    }
}
