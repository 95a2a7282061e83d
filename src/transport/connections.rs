//! The cap on a listener's connections, and what is known of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The connections of one listener.
#[derive(Debug)]
pub struct Connections {
    places: Arc<Semaphore>,
    limit: usize,
    refused: AtomicU64,
}

impl Connections {
    /// At most so many at once.
    pub fn new(limit: usize) -> Self {
        let limit = limit.min(Semaphore::MAX_PERMITS);
        Self { places: Arc::new(Semaphore::new(limit)), limit, refused: AtomicU64::new(0) }
    }

    /// A place for one more, until it is dropped; `None` above the cap.
    pub(super) fn place(&self) -> Option<OwnedSemaphorePermit> {
        let place = Arc::clone(&self.places).try_acquire_owned().ok();
        if place.is_none() {
            self.refuse();
        }
        place
    }

    /// One more is closed at once.
    pub(super) fn refuse(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    /// How many there are.
    pub fn open(&self) -> usize {
        self.limit.saturating_sub(self.places.available_permits())
    }

    /// The most that there may be.
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// How many were closed at once since the start, because they were above the cap or every thread was far behind.
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }
}
