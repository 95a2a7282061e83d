//! Loads every key, then follows the log: polls, compares, applies, confirms.
//!
//! ```text
//!  start   register the row ─ committed ─► load all keys ─► poll ─► …           (beside all of it: beats, sweeps)
//!  poll    begins ─► one look at the log ─► is it still the same log? ─► index ─► applied ─► lease, from `begins`
//! ```
//!
//! The row comes first. A waiter looks at the rows after its commit; a replica whose row it does not find registers
//! later, so that all polls that count, which come after that, see the commit.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::feed::Feed;
use super::high_water::{HighWater, Mark};
use super::lease::Lease;
use super::ring::Ring;
use super::start::ApplyChange;
use super::state::{Comparison, Followed, State};
use super::{Settings, Shared};
use crate::domain::Error;
use crate::domain::audit::LoggedEvent;
use crate::domain::ids::KeyId;
use crate::domain::replica::{Polled, ReplicaRow};
use crate::domain::verdict::IndexChange;
use crate::store::KeyState;

/// The loops that follow the log. One follower for each process.
pub struct Follower<F> {
    /// The follower's own; the watchers share another, so that none of them is in its way.
    pub(super) feed: F,
    pub(super) shared: Arc<Shared<F>>,
    /// What this replica's row says of it; beat and position are in [`State`].
    pub(super) row: ReplicaRow,
    apply: ApplyChange,
    high_water: Arc<dyn HighWater>,
    state: Mutex<State>,
}

impl<F> std::fmt::Debug for Follower<F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Follower").field("replica", &self.row.id).finish_non_exhaustive()
    }
}

/// What clocks of healthy machines differ by at the most, generously.
const CLOCKS_DIFFER_BY: Duration = Duration::from_secs(60);
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
        let mark = high_water.read(store).map_err(|error| {
            Error::Internal(format!("the high-water mark in the data directory: {error}"))
        })?;
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
                // It is there again, and nothing of it is here: it was lost when this replica started.
                Comparison::Same | Comparison::LaterEpoch if !self.state().loaded => {
                    self.reload().await?;
                    continue;
                }
                Comparison::Same => {}
                Comparison::LaterEpoch => self.enter(polled.epoch).await?,
                Comparison::Another => {
                    self.reload().await?;
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
            self.take(&polled.events).await?;
            if polled.complete {
                self.confirm(began, term, registered, &polled);
                self.keep_mark(false);
                return Ok(());
            }
        }
    }

    /// Applies events: the index first, then the position, then everybody who waits for it.
    async fn take(&self, events: &[LoggedEvent]) -> Result<(), Error> {
        let Some(last) = events.last() else { return Ok(()) };
        let mut expected = self.state().followed.revision;
        let mut named = BTreeMap::new();
        for logged in events {
            expected += 1;
            let event = &logged.event;
            if event.revision != expected {
                let found = event.revision;
                let gap = format!("the log has revision {found} where {expected} must be");
                return Err(Error::Internal(gap));
            }
            if !event.key_id.is_empty() {
                named
                    .insert(event.key_id.clone(), event.kind.changes_its_key().then_some(expected));
            }
        }
        let key_ids: Vec<String> = named.keys().cloned().collect();
        if !key_ids.is_empty() {
            let states = self.feed.key_states(&key_ids).await?;
            // A key's row may be newer than the event that names it; its own event follows then. It is never older,
            // unless these two readings came from two databases.
            let is_older = |state: &KeyState| match state {
                KeyState::Sealed(key) => {
                    named.get(key.key_id.as_str()).is_some_and(|named| Some(key.revision) < *named)
                }
                KeyState::Absent(_) | KeyState::Broken { .. } => false,
            };
            if states.iter().any(is_older) {
                return Err(Error::Unavailable("a key is older than its last event"));
            }
            states.into_iter().filter_map(index_change).for_each(&self.apply);
        }
        {
            let mut state = self.state();
            state.followed.revision = last.event.revision;
            state.followed.leaf = Some(last.leaf_hash);
        }
        self.shared.position.advance(last.event.revision, last.event.time);
        self.shared.ring().extend(events.to_vec());
        self.shared.applied.send_replace(last.event.revision);
        Ok(())
    }

    /// A poll that began then found nothing that is not applied by now.
    fn confirm(&self, began: Duration, term: u64, registered: bool, polled: &Polled) {
        self.shared.position.confirm(began, polled.clock, self.shared.clock.as_ref());
        let mut state = self.state();
        self.look_at_the_clocks(&mut state, polled);
        // Only a poll that was begun while our row was there: whoever commits while it is not counts without us.
        if state.term == term && (registered || !self.feed.is_shared()) {
            state.lease.polled(began, polled.beat);
        }
        self.grant(&state);
    }

    /// Nothing is decided by this machine's wall clock, but it stands in its log, and may be the right one.
    fn look_at_the_clocks(&self, state: &mut State, polled: &Polled) {
        let (here, there) = (self.shared.clock.now(), polled.clock);
        let apart = here.saturating_since(there).max(there.saturating_since(here));
        let skewed = apart > CLOCKS_DIFFER_BY;
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
        if let Some(end) = state.lease.end(self.settings().max_staleness, is_shared) {
            self.shared.position.grant(end);
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

    /// The log has entered a later epoch, and is the one that we followed.
    async fn enter(&self, epoch: u32) -> Result<(), Error> {
        *self.shared.epochs() = self.feed.epochs().await?;
        self.state().followed.epoch = epoch;
        self.shared.position.enter(epoch);
        tracing::info!(epoch, "the log has entered another epoch");
        Ok(())
    }

    /// Begins from nothing: at the start, and with a log that took the place of the one before.
    async fn load(&self) -> Result<(), Error> {
        *self.shared.epochs() = self.feed.epochs().await?;
        // The end is read before the keys: a key that changes meanwhile is read as it is then, and its event is
        // applied again by a poll, which changes nothing.
        let end = self.feed.end().await?;
        let keys = self.feed.load(&self.apply).await?;
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

    async fn reload(&self) -> Result<(), Error> {
        let term = self.state().term;
        self.void(term);
        tracing::warn!("the log was replaced, and an operator has accepted it; loading all keys");
        (self.apply)(IndexChange::Clear);
        self.shared.begin_another_log();
        self.load().await
    }

    /// Whether the log has something else where the mark was.
    async fn is_lost(&self, mark: &Mark) -> Result<bool, Error> {
        let end = self.feed.end().await?;
        if mark.epoch != end.epoch {
            // An operator has accepted what was lost since, or what was accepted is itself lost.
            return Ok(mark.epoch > end.epoch);
        }
        Ok(self.feed.leaf(mark.revision).await? != Some(mark.leaf))
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
        match self.high_water.keep(&Mark { store: self.shared.store.0, epoch, revision, leaf }) {
            Ok(()) => self.state().marked = Some(followed),
            Err(error) => {
                tracing::warn!(%error, "can't keep the high-water mark in the data directory");
            }
        }
    }
}

/// What a key's state means for the index. A row whose seal does not fit is never served.
pub(super) fn index_change(state: KeyState) -> Option<IndexChange> {
    match state {
        KeyState::Sealed(key) => Some(IndexChange::Put(Arc::new(key))),
        KeyState::Absent(key_id) => KeyId::from_stored(key_id).ok().map(IndexChange::Remove),
        KeyState::Broken { key_id, fault } => {
            tracing::error!(key_id, %fault, "ALARM: a key's row was changed from outside; it is not served");
            KeyId::from_stored(key_id).ok().map(IndexChange::Remove)
        }
    }
}
