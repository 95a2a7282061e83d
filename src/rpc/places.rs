//! So many pieces of work at once, and no more; and what is known of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::waiters::Waiters;
use crate::domain::Error;

/// When to try again after being turned away: longer than most administration requests take.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// A handle on the places.
#[derive(Debug, Clone)]
pub(super) struct Places {
    free: Arc<Semaphore>,
    limit: usize,
    shed: Arc<AtomicU64>,
}

impl Places {
    pub(super) fn new(limit: usize) -> Self {
        let limit = limit.min(Semaphore::MAX_PERMITS);
        Self { free: Arc::new(Semaphore::new(limit)), limit, shed: Arc::default() }
    }

    /// A place, until it is dropped.
    pub(super) fn take(&self, what: &'static str) -> Result<OwnedSemaphorePermit, Error> {
        Arc::clone(&self.free).try_acquire_owned().map_err(|_| {
            self.shed.fetch_add(1, Ordering::Relaxed);
            Error::Overloaded { what, retry_after: RETRY_AFTER }
        })
    }

    fn taken(&self) -> usize {
        self.limit.saturating_sub(self.free.available_permits())
    }
}

/// What administration carries.
#[derive(Debug, Clone)]
pub struct AdminLoad {
    pub(super) admission: Places,
    pub(super) watchers: Places,
    pub(super) waiters: Waiters,
}

impl AdminLoad {
    /// Calls that are in work.
    pub fn in_flight(&self) -> usize {
        self.admission.taken()
    }

    /// The most of them.
    pub fn limit(&self) -> usize {
        self.admission.limit
    }

    /// Open streams of the audit log.
    pub fn watchers(&self) -> usize {
        self.watchers.taken()
    }

    /// The most of them.
    pub fn watchers_limit(&self) -> usize {
        self.watchers.limit
    }

    /// Calls and streams that were turned away since the start.
    pub fn shed(&self) -> u64 {
        self.admission.shed.load(Ordering::Relaxed) + self.watchers.shed.load(Ordering::Relaxed)
    }

    /// Replies that wait for other replicas.
    pub fn waiting(&self) -> usize {
        self.waiters.waiting()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_finds_no_place_is_counted_and_told_to_come_back() {
        let places = Places::new(1);
        let place = places.take("full").expect("a place");
        assert_eq!(places.taken(), 1);
        let refused = places.take("full");
        assert!(matches!(refused, Err(Error::Overloaded { what: "full", .. })), "{refused:?}");
        drop(place);
        assert_eq!((places.taken(), places.shed.load(Ordering::Relaxed)), (0, 1));
    }
}
