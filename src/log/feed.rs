//! The narrow door to the store through which the log is followed.

use crate::domain::{Error, Timestamp};
use crate::store::{Events, KeyState, Store};

/// What the follower and the watchers need of a store, and all that they need. Tests follow a log in
/// memory through it.
pub trait Feed: Clone + Send + Sync + 'static {
    /// The newest revision and its time; 0 for an empty log.
    fn last_revision(&self) -> impl Future<Output = Result<(u64, Timestamp), Error>> + Send;

    /// Up to `limit` events after a revision, in order, without gaps, and no more than so many bytes of
    /// them; but one, if there is one.
    fn events_after(
        &self,
        revision: u64,
        limit: u32,
        bytes: usize,
    ) -> impl Future<Output = Result<Events, Error>> + Send;

    /// What the keys of these ids are now, one state for each id.
    fn key_states(
        &self,
        key_ids: &[String],
    ) -> impl Future<Output = Result<Vec<KeyState>, Error>> + Send;

    /// Up to `limit` keys after an id, in the order of ids.
    fn scan_keys(
        &self,
        after: Option<&str>,
        limit: u32,
    ) -> impl Future<Output = Result<Vec<KeyState>, Error>> + Send;
}

impl Feed for Store {
    async fn last_revision(&self) -> Result<(u64, Timestamp), Error> {
        Self::last_revision(self).await
    }

    async fn events_after(&self, revision: u64, limit: u32, bytes: usize) -> Result<Events, Error> {
        self.events_within(revision, limit, bytes).await
    }

    async fn key_states(&self, key_ids: &[String]) -> Result<Vec<KeyState>, Error> {
        Self::key_states(self, key_ids).await
    }

    async fn scan_keys(&self, after: Option<&str>, limit: u32) -> Result<Vec<KeyState>, Error> {
        Self::scan_keys(self, after, limit).await
    }
}
