//! Filling the index: at the start, with a log that took the place of the one before, and with one that is back.
//!
//! ```text
//!  reload   no lease, not loaded ─► index empty ─► end ─► keys, each reading held against that end ─► loaded
//!                                                   └─ fails ─► not loaded: the next poll begins anew
//! ```
//!
//! Half of an index is worse than none: what is absent from it does not exist, and what is in it may be of another log.
//! So whichever log a poll finds after a load that failed, nothing is answered before all keys have been read again.

use std::sync::atomic::Ordering;

use super::feed::Feed;
use super::follower::Follower;
use super::high_water::Mark;
use super::ring::Ring;
use crate::domain::Error;
use crate::domain::replica::EpochStart;
use crate::domain::verdict::IndexChange;

impl<F: Feed> Follower<F> {
    /// Fills an empty index.
    pub(super) async fn load(&self) -> Result<(), Error> {
        // The end is read before the keys: a key that changes meanwhile is read as it is then, and its event is
        // applied again by a poll, which changes nothing.
        let end = self.feed.end().await?;
        *self.shared.epochs() = self.epochs_with(end.epoch).await?;
        self.shared.position.see(end.revision);
        let keys = self.feed.load(&end, &self.apply).await?;
        tracing::info!(keys, revision = end.revision, "keys loaded");
        let settings = self.settings();
        *self.shared.ring() = Ring::new(end.revision, settings.ring_events, settings.ring_bytes);
        // Whoever subscribed while the other log was still in memory has that one.
        self.shared.begin_another_log();
        {
            let mut state = self.state();
            state.followed = end.into();
            state.loaded = true;
        }
        self.shared.position.restart(end.epoch, end.revision, end.time);
        self.shared.applied.send_replace(end.revision);
        self.keep_mark(true);
        Ok(())
    }

    /// Empties the index and fills it again.
    pub(super) async fn reload(&self, why: &'static str) -> Result<(), Error> {
        let term = {
            let mut state = self.state();
            // Before anything is taken out: whatever becomes of this load, nothing is answered until one is complete.
            state.loaded = false;
            // An operator has said which log counts, or it is the old one: there is something to live for again.
            state.forked = false;
            self.shared.forked.store(false, Ordering::Release);
            state.term
        };
        self.void(term);
        // A load may take longer than a lease, and without beats the row would be swept meanwhile.
        self.shared.row_is_gone.notify_one();
        tracing::warn!(why, "loading all keys");
        (self.apply)(IndexChange::Clear);
        self.shared.begin_another_log();
        self.load().await
    }

    /// The log has entered a later epoch, and is the one that we followed.
    pub(super) async fn enter(&self, epoch: u32) -> Result<(), Error> {
        *self.shared.epochs() = self.epochs_with(epoch).await?;
        self.state().followed.epoch = epoch;
        self.shared.position.enter(epoch);
        tracing::info!(epoch, "the log has entered another epoch");
        Ok(())
    }

    /// All epochs after the first, with that one among them: without it, nobody here would know what it has lost.
    async fn epochs_with(&self, epoch: u32) -> Result<Vec<EpochStart>, Error> {
        let epochs = self.feed.epochs().await?;
        if epoch > 1 && epochs.iter().all(|known| known.epoch != epoch) {
            return Err(Error::Unavailable("the epochs were read from another log"));
        }
        Ok(epochs)
    }

    /// Whether the log has something else where the mark was.
    pub(super) async fn is_lost(&self, mark: &Mark) -> Result<bool, Error> {
        let end = self.feed.end().await?;
        if mark.epoch != end.epoch {
            // An operator has accepted what was lost since, or what was accepted is itself lost.
            return Ok(mark.epoch > end.epoch);
        }
        Ok(self.feed.leaf(mark.revision).await? != Some(mark.leaf))
    }
}
