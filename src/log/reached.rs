//! Whether this replica has come as far as a consistency token says.
//!
//! ```text
//!  administrator   RevokeKey ─► token (store, epoch 1, revision 92)
//!  another service        Verify(at_least: token) ─► waits ──────────► answered from 92 or later
//!  this replica    … 90 ─ 91 ──────────────────────── poll ─ 92
//!
//!  epoch 1         … 89 ─ 90 ─ 91 ─ 92            91 and 92 were lost in a failover; an operator has accepted that
//!  epoch 2                 └─ 91' ─ 92'           (1, 90): reached     (1, 92): lost     (2, 92): reached
//!
//!  this replica    … 85 ─ polls: the log is in epoch 2 now ─ 86 ─ 87 …          (1, 90): not before it is at 90
//! ```

use std::cmp::Ordering;
use std::time::Duration;

use super::feed::Feed;
use super::timer::timeout;
use super::{Log, NotYetVisible};
use crate::domain::Error;
use crate::domain::token::LogPosition;

/// How a place in a log lies to what this replica answers from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// Answers rest on it.
    Reached,
    /// It is further on, as far as can be known here.
    Ahead,
    /// It was in an epoch that ended before it: the event was lost.
    Lost,
}

impl<F: Feed> Log<F> {
    /// Waits until answers of this replica rest on a place in the log.
    ///
    /// # Errors
    ///
    /// A place in another store's log: [`Error::InvalidRequest`]. One that was lost when an operator accepted a
    /// fork: [`Error::PositionLost`]. One that this replica has not reached in time: [`Error::Unavailable`].
    pub async fn reached(&self, place: &LogPosition, patience: Duration) -> Result<(), Error> {
        if place.store != self.shared.store {
            return Err(Error::invalid("at_least", "is of another store"));
        }
        let mut applied = self.shared.applied.subscribe();
        let arrives = async {
            loop {
                applied.mark_unchanged();
                match self.standing(place) {
                    Standing::Reached => return Ok(()),
                    Standing::Lost => return Err(Error::PositionLost),
                    Standing::Ahead => {}
                }
                if applied.changed().await.is_err() {
                    return Err(Error::Unavailable("shutting down"));
                }
            }
        };
        // Before the first wait, so that a token of what is there costs no timer.
        if self.standing(place) == Standing::Reached {
            return Ok(());
        }
        self.wake();
        let arrived = timeout(self.shared.timer.as_ref(), patience, arrives).await;
        arrived.unwrap_or(Err(Error::Unavailable("this replica has not come as far as at_least")))
    }

    fn standing(&self, place: &LogPosition) -> Standing {
        let position = &self.shared.position;
        let basis = position.basis();
        match place.epoch.cmp(&basis.epoch) {
            Ordering::Greater => Standing::Ahead,
            Ordering::Equal if basis.revision >= place.revision => Standing::Reached,
            Ordering::Equal => Standing::Ahead,
            // What its own epoch kept, every later one has; but this replica may have entered that one from further
            // back.
            Ordering::Less => match self.shared.end_of(place.epoch) {
                Some(end) if place.revision >= end => Standing::Lost,
                Some(_) if basis.revision >= place.revision => Standing::Reached,
                Some(_) | None => Standing::Ahead,
            },
        }
    }

    /// Waits until verifications on this replica see a revision.
    ///
    /// # Errors
    ///
    /// [`NotYetVisible`] if that takes longer than the settings allow.
    pub async fn wait_for(&self, revision: u64) -> Result<(), NotYetVisible> {
        let mut applied = self.shared.applied.subscribe();
        self.wake();
        let visible = applied.wait_for(|applied| *applied >= revision);
        match timeout(self.shared.timer.as_ref(), self.shared.settings.visible_within, visible)
            .await
        {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(NotYetVisible),
        }
    }
}
