//! The narrow door to the store: what following a log needs of it, and all that it needs.

use crate::domain::Error;
use crate::domain::replica::{EpochStart, LogEnd, Polled, ReplicaRow, Roster};
use crate::domain::tree::TreeHash;
use crate::domain::verdict::IndexChange;
use crate::store::{Events, KeyState, Store};

/// Where the index changes of a load go; called from several threads at once.
pub type Apply = dyn Fn(IndexChange) + Send + Sync;

/// A log, the keys that it is about, and the rows of the replicas that follow it. Tests follow a log in memory
/// through it, and the simulation one whose network and clocks go wrong.
///
/// A call may take long, fail, or fail although it was carried out; nothing here relies on more. The store bounds
/// each of them by a few seconds, those of a poll and a beat by parts of the lease; then a connection is given up.
pub trait Feed: Clone + Send + Sync + 'static {
    /// Whether other processes may answer from the same log. If not, there are no rows: nobody has to be told.
    fn is_shared(&self) -> bool;

    /// Looks at the log from a revision on, in one statement that takes no lock.
    fn poll(
        &self,
        replica: &str,
        applied: u64,
    ) -> impl Future<Output = Result<Polled, Error>> + Send;

    /// The end of the log.
    fn end(&self) -> impl Future<Output = Result<LogEnd, Error>> + Send;

    /// The leaf hash of one event, if it is there.
    fn leaf(&self, revision: u64) -> impl Future<Output = Result<Option<TreeHash>, Error>> + Send;

    /// All epochs after the first, oldest first.
    fn epochs(&self) -> impl Future<Output = Result<Vec<EpochStart>, Error>> + Send;

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

    /// Hands every key of the log that has this end over, in no order, and says how many there were. A key that
    /// changes meanwhile may come as it was or as it is. An error may come when some keys were handed over already; it
    /// does come if any of them was read from a log that does not have this end.
    fn load(&self, end: &LogEnd, apply: &Apply) -> impl Future<Output = Result<u64, Error>> + Send;

    /// Writes a replica's row, with nothing applied, over one of the same id if there is one. On return it is
    /// committed.
    fn register(&self, row: &ReplicaRow) -> impl Future<Output = Result<(), Error>> + Send;

    /// Writes into a replica's row how far it has come; `false`: there is no such row, or this log does not have
    /// that leaf at that revision, so whoever has come that far has followed another. On return it is committed,
    /// to the standby too if the database has a synchronous one.
    fn beat(
        &self,
        replica: &str,
        beat: u64,
        applied: u64,
        leaf: Option<TreeHash>,
    ) -> impl Future<Output = Result<bool, Error>> + Send;

    /// Removes a replica's row.
    fn deregister(&self, replica: &str) -> impl Future<Output = Result<(), Error>> + Send;

    /// All rows, and the leaf hashes at these revisions.
    fn replicas(&self, revisions: &[u64]) -> impl Future<Output = Result<Roster, Error>> + Send;

    /// Removes a row if it still has these values.
    fn sweep(
        &self,
        replica: &str,
        beat: u64,
        applied: u64,
    ) -> impl Future<Output = Result<bool, Error>> + Send;
}

impl Feed for Store {
    fn is_shared(&self) -> bool {
        Self::is_shared(self)
    }

    async fn poll(&self, replica: &str, applied: u64) -> Result<Polled, Error> {
        Self::poll(self, replica, applied).await
    }

    async fn end(&self) -> Result<LogEnd, Error> {
        Self::end(self).await
    }

    async fn leaf(&self, revision: u64) -> Result<Option<TreeHash>, Error> {
        Self::leaf(self, revision).await
    }

    async fn epochs(&self) -> Result<Vec<EpochStart>, Error> {
        Self::epochs(self).await
    }

    async fn events_after(&self, revision: u64, limit: u32, bytes: usize) -> Result<Events, Error> {
        self.events_within(revision, limit, bytes).await
    }

    async fn key_states(&self, key_ids: &[String]) -> Result<Vec<KeyState>, Error> {
        Self::key_states(self, key_ids).await
    }

    async fn load(&self, end: &LogEnd, apply: &Apply) -> Result<u64, Error> {
        Self::load(self, end, apply).await
    }

    async fn register(&self, row: &ReplicaRow) -> Result<(), Error> {
        Self::register(self, row).await
    }

    async fn beat(
        &self,
        replica: &str,
        beat: u64,
        applied: u64,
        leaf: Option<TreeHash>,
    ) -> Result<bool, Error> {
        Self::beat(self, replica, beat, applied, leaf).await
    }

    async fn deregister(&self, replica: &str) -> Result<(), Error> {
        Self::deregister(self, replica).await
    }

    async fn replicas(&self, revisions: &[u64]) -> Result<Roster, Error> {
        Self::replicas(self, revisions).await
    }

    async fn sweep(&self, replica: &str, beat: u64, applied: u64) -> Result<bool, Error> {
        Self::sweep(self, replica, beat, applied).await
    }
}
