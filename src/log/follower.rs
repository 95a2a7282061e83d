//! Loads every key, then follows the log: polls, compares, applies, confirms.
//!
//! ```text
//!  start   register the row ─ committed ─► load all keys ─► poll ─► …           (beside all of it: beats, sweeps)
//!  poll    begins ─► one look at the log ─► is it still the same log? ─► index ─► applied ─► lease, from `begins`
//! ```
//!
//! The row comes first. A waiter looks at the rows after its commit; a replica whose row it does not find registers
//! later, so that all polls that count, which come after that, see the commit.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::feed::Feed;
use super::high_water::{HighWater, Mark};
use super::lease::Lease;
use super::start::ApplyChange;
use super::state::{Comparison, Followed, State};
use super::{Settings, Shared};
use crate::domain::Error;
use crate::domain::replica::{Polled, ReplicaRow};

/// The loops that follow the log. One follower for each process.
pub struct Follower<F> {
    /// The follower's own; the watchers share another, so that none of them is in its way.
    pub(super) feed: F,
    pub(super) shared: Arc<Shared<F>>,
    /// What this replica's row says of it; beat and position are in [`State`].
    pub(super) row: ReplicaRow,
    pub(super) apply: ApplyChange,
    high_water: Arc<dyn HighWater>,
    state: Mutex<State>,
}

impl<F> std::fmt::Debug for Follower<F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Follower").field("replica", &self.row.id).finish_non_exhaustive()
    }
}

/// What clocks of healthy machines differ by at the most, generously. The alert on the metric says the same.
const CLOCKS_DIFFER_BY: Duration = Duration::from_secs(5);
/// The mark is kept at most this often.
const MARK_EVERY: Duration = Duration::from_secs(1);

impl<F: Feed> Follower<F> {
    /// Registers, and loads every key into the index, then everything that happened meanwhile.
    ///
    /// If the database's log is not the one of the high-water mark, nothing is loaded and nothing will be answered
    /// until an operator accepts it.
    pub(super) async fn begin(
        feed: F,
        shared: Arc<Shared<F>>,
        row: ReplicaRow,
        apply: ApplyChange,
        high_water: Arc<dyn HighWater>,
    ) -> Result<Self, Error> {
        let store = shared.store;
        let mark = high_water.read(store).map_err(|error| Error::Internal(error.to_string()))?;
        let nowhere = Followed { epoch: 1, revision: 0, leaf: None };
        let state = State {
            followed: nowhere,
            lease: Lease::default(),
            beat: 0,
            registered: false,
            term: 0,
            loaded: false,
            forked: false,
            refused: false,
            skewed: false,
            marked: None,
            mark_tried: None,
        };
        let follower = Self { feed, shared, row, apply, high_water, state: Mutex::new(state) };
        follower.register().await?;
        match mark {
            Some(mark) if follower.is_lost(&mark).await? => {
                let Mark { epoch, revision, leaf, .. } = mark;
                let followed = Followed { epoch, revision, leaf: Some(leaf) };
                follower.state().followed = followed;
                follower.lose(followed).await;
            }
            _ => {
                // A load may take longer than a lease. Without beats the row would be swept meanwhile, and there would
                // be no lease to begin with.
                tokio::select! {
                    biased;
                    caught_up = follower.catch_up() => caught_up?,
                    () = follower.beat_on() => {}
                }
            }
        }
        Ok(follower)
    }

    /// Loads, and applies what others wrote meanwhile.
    async fn catch_up(&self) -> Result<(), Error> {
        self.load().await?;
        self.poll().await
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        // A panic elsewhere while it was locked left it whole: each change of it is one assignment or two.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn settings(&self) -> &Settings {
        &self.shared.settings
    }

    pub(super) fn uptime(&self) -> Duration {
        self.shared.clock.uptime()
    }

    /// Follows for ever: polls, and beside it beats, sweeps, and reads rows for whoever waits.
    pub async fn run(self) {
        let mut leaving = self.shared.leaving.subscribe();
        let leave = async {
            let asked = leaving.wait_for(|leaving| *leaving).await.is_ok();
            if !asked {
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            biased;
            () = self.poll_on() => {}
            () = self.beat_on() => {}
            () = self.read_rows_on() => {}
            () = leave => self.leave().await,
        }
        // Nothing is followed any more, but that is no fault.
        std::future::pending::<()>().await;
    }

    /// Polls every so often, counted from the beginning of the poll before. One that fails is tried again at the
    /// next turn; meanwhile the lease runs out.
    async fn poll_on(&self) {
        let (clock, timer) = (self.shared.clock.as_ref(), self.shared.timer.as_ref());
        let mut failing = false;
        loop {
            let began = self.uptime();
            match self.poll().await {
                Ok(()) if failing => {
                    failing = false;
                    tracing::info!("the log can be read again");
                }
                Ok(()) => {}
                Err(error) if failing => tracing::debug!(?error, "the log still can't be read"),
                Err(error) => {
                    failing = true;
                    tracing::error!(?error, "the log can't be read; trying again");
                }
            }
            let interval = self.settings().poll_interval;
            self.shared.wake.next(timer, clock, began, interval).await;
        }
    }

    /// Reads and applies all events that this replica has not seen.
    pub(super) async fn poll(&self) -> Result<(), Error> {
        loop {
            let began = self.uptime();
            let (followed, term, registered) = {
                let state = self.state();
                (state.followed, state.term, state.registered)
            };
            let polled = self.feed.poll(&self.row.id, followed.revision).await?;
            if let Some(why) = polled.refused {
                self.refuse(term, why);
                return Err(Error::Unavailable(why));
            }
            self.welcome_again();
            match followed.compare(&polled) {
                // It is there again, and nothing of it is here: it was lost when this replica started, or a load of
                // the one that took its place did not come to its end.
                Comparison::Same | Comparison::LaterEpoch if !self.state().loaded => {
                    self.reload("the log that was followed is back").await?;
                    continue;
                }
                Comparison::Same => {}
                Comparison::LaterEpoch => self.enter(polled.epoch).await?,
                Comparison::Another => {
                    self.reload("the log was replaced, and an operator has accepted it").await?;
                    continue;
                }
                Comparison::Lost => {
                    self.lose(followed).await;
                    return Ok(());
                }
            }
            self.found_again();
            if self.feed.is_shared() && registered && polled.beat.is_none() {
                // Swept. Waiters no longer count on us, so nothing may be answered until we are in the rows again.
                tracing::warn!("this replica's row is gone; registering again");
                self.void(term);
                self.shared.row_is_gone.notify_one();
            }
            if let Some(last) = polled.events.last() {
                self.shared.position.see(last.event.revision);
            }
            self.take(&polled.events).await?;
            if polled.complete {
                self.confirm(began, term, registered, &polled);
                self.keep_mark(false);
                return Ok(());
            }
        }
    }

    /// A poll that began then found nothing that is not applied by now.
    fn confirm(&self, began: Duration, term: u64, registered: bool, polled: &Polled) {
        self.shared.position.confirm(began, polled.clock, self.shared.clock.as_ref());
        let mut state = self.state();
        self.look_at_the_clocks(&mut state, began, polled);
        // Only a poll that was begun while our row was there: whoever commits while it is not counts without us.
        if state.term == term && (registered || !self.feed.is_shared()) {
            state.lease.polled(began, polled.beat);
        }
        self.grant(&state);
    }

    /// Nothing is decided by this machine's wall clock, but it stands in its log, and may be the right one.
    fn look_at_the_clocks(&self, state: &mut State, began: Duration, polled: &Polled) {
        let (here, there) = (self.shared.clock.now(), polled.clock);
        let apart = here.saturating_since(there).max(there.saturating_since(here));
        // The database said its time at some moment of the poll: of one that was slow, that is no clock's fault.
        let took = self.uptime().saturating_sub(began);
        let skewed = apart.saturating_sub(took) > CLOCKS_DIFFER_BY;
        if skewed && !state.skewed {
            tracing::warn!(%here, database = %there, "this machine's clock and the database's are far apart");
        }
        state.skewed = skewed;
    }

    pub(super) fn grant(&self, state: &State) {
        let is_shared = self.feed.is_shared();
        if is_shared && !state.registered {
            return;
        }
        let length = self.settings().max_staleness;
        if let Some(end) = state.lease.end(length, is_shared) {
            self.shared.position.grant_next(end, length, self.shared.clock.as_ref());
        }
    }

    /// Loses the lease, unless that has happened since `term`.
    pub(super) fn void(&self, term: u64) {
        let mut state = self.state();
        if state.term == term {
            state.term += 1;
            state.registered = false;
            state.lease.void();
            self.shared.position.void();
        }
    }

    /// Keeps the mark if it has moved; not at once, at every poll, so that it is behind by [`MARK_EVERY`] at most.
    pub(super) fn keep_mark(&self, at_once: bool) {
        let now = self.uptime();
        let followed = {
            let mut state = self.state();
            let recently = state.mark_tried.is_some_and(|tried| now < tried + MARK_EVERY);
            let has_moved = state.marked != Some(state.followed);
            if state.forked || !has_moved || (recently && !at_once) {
                return;
            }
            state.mark_tried = Some(now);
            state.followed
        };
        let Followed { epoch, revision, leaf: Some(leaf) } = followed else { return };
        let mark = Mark { store: self.shared.store.0, epoch, revision, leaf };
        let kept = if at_once {
            let kept = self.high_water.keep(&mark);
            kept.inspect_err(|error| tracing::warn!(%error, "can't keep the high-water mark"))
                .is_ok()
        } else {
            self.high_water.keep_soon(&mark)
        };
        if kept {
            self.state().marked = Some(followed);
        }
    }
}
