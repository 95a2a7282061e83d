//! Waiting until a change holds on every replica.
//!
//! ```text
//!  waiter     COMMIT ─ looks at the rows ─────────┬──────────────► per row: "applied", or its lease is over
//!  replica A      poll ─ index ─ beat "applied" ──┘
//!  replica B  (frozen, cut off)  … lease ends                 by the waiter's clock: lease_ms + 0.1 % after COMMIT
//!  replica C                 registers ─ poll (sees the change)   not in the rows: nothing to wait for
//! ```
//!
//! With none pending, no verification that is sent after the reply is answered from before the change.
//!
//! A look counts only if the database that gave the rows has the change itself, which its leaf hash tells, in the same
//! statement. A primary that was deposed may go on answering, and has neither the rows that were made elsewhere since nor
//! the change:
//!
//! ```text
//!  old primary   … 90                        a look here: C is not in the rows
//!  new primary   … 90 ─ C registers ─ 91     a look here: C is in the rows
//! ```
//!
//! The waiter's own replica comes first: whoever is told of a change asks the same server next. It waits for itself as
//! long as the settings say, or until the caller's deadline, shutdown, or the end of the process; then it is pending
//! like any other.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::feed::Feed;
use super::lease::prolonged;
use super::membership::Look;
use super::timer::sleep_until;
use super::{Log, Shared};
use crate::domain::Timestamp;
use crate::domain::replica::{LONGEST_LEASE, Place, ReplicaState};
use crate::domain::token::LogPosition;

/// How long one look at the rows may take, when nothing more was asked for.
const ONE_LOOK: Duration = Duration::from_millis(250);
/// The name of a replica of which nothing could be learned, not even whether it exists.
const UNKNOWN: &str = "unknown";

/// How long to wait for replicas.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// For how long to wait for the others once this one has the change; zero: one look tells who has it by then.
    pub others: Duration,
    /// The uptime at which all waiting ends.
    pub end: Duration,
}

/// How far a change has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Propagation {
    /// What is known of each replica that might have answered from before the change, by id.
    pub replicas: Vec<(String, ReplicaState)>,
    /// From when on no replica answers from before it, whatever happens.
    pub effective_everywhere_by: Timestamp,
}

impl Propagation {
    /// Whether the change holds everywhere already.
    pub fn is_complete(&self) -> bool {
        self.replicas.iter().all(|(_, state)| *state != ReplicaState::Pending)
    }
}

/// One replica for which is waited.
struct Awaited {
    /// The uptime at which its lease from before the change is certainly over.
    expires: Duration,
    state: ReplicaState,
}

impl<F: Feed> Log<F> {
    /// Waits until a change is visible here, then until it is everywhere. Logs that have `place` have the change;
    /// `committed_at` is the uptime right after its COMMIT. Ends early when this replica leaves, and with one look when
    /// `cut_short` does; what is not known by then is pending.
    pub async fn everywhere(
        &self,
        change: &LogPosition,
        place: Place,
        committed_at: Duration,
        patience: Patience,
        cut_short: impl Future<Output = ()>,
    ) -> Propagation {
        let shared = &self.shared;
        tokio::pin!(cut_short);
        let mut is_cut_short =
            self.visible_here(change, patience.end, cut_short.as_mut()).await == Visible::CutShort;
        if !shared.feed.is_shared() {
            let own = BTreeMap::from([(shared.replica.id.clone(), self.own(change, committed_at))]);
            return self.propagation(&own);
        }
        let mut one_look_will_do = is_cut_short || patience.others.is_zero();
        let others = if one_look_will_do { ONE_LOOK } else { patience.others };
        let mut until = shared.clock.uptime().saturating_add(others).min(patience.end);
        let _waiting = Waiting::begin(shared, place.revision);
        let (mut looks, mut leaving) = (shared.look.subscribe(), shared.leaving.subscribe());
        let mut applied = shared.applied.subscribe();
        let mut awaited: Option<BTreeMap<String, Awaited>> = None;
        loop {
            let look = Arc::clone(&looks.borrow_and_update());
            applied.mark_unchanged();
            // Only a look that began after the commit: a replica that registered before that one and after an
            // earlier one would be missed. And only one at a database that has the change.
            if look.began >= committed_at && place.is_in(&look.roster) {
                let awaited = awaited.get_or_insert_with(|| self.found(&look, committed_at));
                self.learn(awaited, &look, change);
            }
            let now = shared.clock.uptime();
            let mut next = until;
            if let Some(awaited) = &mut awaited {
                for replica in awaited.values_mut().filter(|one| one.state == ReplicaState::Pending)
                {
                    if now >= replica.expires {
                        replica.state = ReplicaState::LeaseExpired;
                    } else {
                        next = next.min(replica.expires);
                    }
                }
                let is_pending = |one: &Awaited| one.state == ReplicaState::Pending;
                if one_look_will_do || !awaited.values().any(is_pending) {
                    break;
                }
            }
            if awaited.is_none() {
                // Nobody can be read, and it does not pay to go on trying once every lease is over that we know of.
                next = next.min(self.longest_lease_ends(&look, committed_at));
            }
            if now >= next || *leaving.borrow_and_update() {
                break;
            }
            tokio::select! {
                biased;
                // The senders live as long as the log does.
                _ = looks.changed() => {}
                _ = applied.changed() => {}
                _ = leaving.changed() => {}
                () = sleep_until(shared.timer.as_ref(), shared.clock.as_ref(), next) => {}
                () = &mut cut_short, if !is_cut_short => {
                    (is_cut_short, one_look_will_do) = (true, true);
                    until = until.min(shared.clock.uptime() + ONE_LOOK);
                }
            }
        }
        let nothing_known = || {
            // Somebody may have registered since the last look, with any lease that the settings allow.
            let expires = committed_at + prolonged(LONGEST_LEASE);
            let unknown = Awaited { expires, state: ReplicaState::Pending };
            let own = self.own(change, committed_at);
            BTreeMap::from([(UNKNOWN.to_owned(), unknown), (shared.replica.id.clone(), own)])
        };
        self.propagation(&awaited.unwrap_or_else(nothing_known))
    }

    /// Waits until verifications of this replica see a change.
    async fn visible_here(
        &self,
        change: &LogPosition,
        end: Duration,
        cut_short: impl Future<Output = ()>,
    ) -> Visible {
        let shared = &self.shared;
        let is_visible = || self.own_state(change) == ReplicaState::Confirmed;
        let end = shared.clock.uptime().saturating_add(shared.settings.visible_within).min(end);
        let (mut applied, mut leaving) = (shared.applied.subscribe(), shared.leaving.subscribe());
        shared.wake.committed();
        tokio::select! {
            biased;
            // The senders live as long as the log does.
            _ = applied.wait_for(|_| is_visible()) => Visible::Yes,
            _ = leaving.wait_for(|leaving| *leaving) => Visible::NotInTime,
            () = cut_short => Visible::CutShort,
            () = sleep_until(shared.timer.as_ref(), shared.clock.as_ref(), end) => Visible::NotInTime,
        }
    }

    /// When the longest lease is over that we know of: another's may be longer than ours.
    fn longest_lease_ends(&self, look: &Look, committed_at: Duration) -> Duration {
        let leases = look.roster.rows.iter().map(|row| row.lease_ms).max();
        let length = Duration::from_millis(leases.unwrap_or_default());
        committed_at + prolonged(length.max(self.shared.settings.max_staleness))
    }

    /// The replicas that are to be waited for.
    fn found(&self, look: &Look, committed_at: Duration) -> BTreeMap<String, Awaited> {
        let row_of = |row: &crate::domain::replica::ReplicaRow| {
            // The lease of the row, not ours: it is the other's clock that runs out.
            let expires = committed_at + prolonged(Duration::from_millis(row.lease_ms));
            (row.id.clone(), Awaited { expires, state: ReplicaState::Pending })
        };
        let mut found: BTreeMap<_, _> = look.roster.rows.iter().map(row_of).collect();
        let own = || Awaited {
            expires: committed_at + prolonged(self.shared.settings.max_staleness),
            state: ReplicaState::Pending,
        };
        found.entry(self.shared.replica.id.clone()).or_insert_with(own);
        found
    }

    /// What a look tells about those that are waited for.
    fn learn(&self, awaited: &mut BTreeMap<String, Awaited>, look: &Look, change: &LogPosition) {
        for (id, replica) in awaited {
            if replica.state != ReplicaState::Pending {
                continue;
            }
            if *id == self.shared.replica.id {
                replica.state = self.own_state(change);
                continue;
            }
            replica.state = match look.roster.rows.iter().find(|row| row.id == *id) {
                Some(row) if row.applied >= change.revision => ReplicaState::Confirmed,
                Some(_) => ReplicaState::Pending,
                // It left after its last answer, or was swept long after its lease.
                None => ReplicaState::LeaseExpired,
            };
        }
    }

    fn own_state(&self, change: &LogPosition) -> ReplicaState {
        let position = &self.shared.position;
        if position.epoch() == change.epoch && position.applied() >= change.revision {
            ReplicaState::Confirmed
        } else {
            ReplicaState::Pending
        }
    }

    fn own(&self, change: &LogPosition, committed_at: Duration) -> Awaited {
        let expires = committed_at + prolonged(self.shared.settings.max_staleness);
        let state = match self.own_state(change) {
            ReplicaState::Pending if self.shared.clock.uptime() >= expires => {
                ReplicaState::LeaseExpired
            }
            state => state,
        };
        Awaited { expires, state }
    }

    fn propagation(&self, awaited: &BTreeMap<String, Awaited>) -> Propagation {
        let clock = self.shared.clock.as_ref();
        let uptime = clock.uptime();
        let pending = awaited.values().filter(|one| one.state == ReplicaState::Pending);
        let left = pending.map(|one| one.expires.saturating_sub(uptime)).max().unwrap_or_default();
        let replicas = awaited.iter().map(|(id, one)| (id.clone(), one.state)).collect();
        let by = self.now(clock).checked_add(left).unwrap_or(Timestamp::MAX);
        Propagation { replicas, effective_everywhere_by: by }
    }
}

/// Whether verifications of this replica see a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Visible {
    Yes,
    NotInTime,
    /// Nobody has the time to wait for it.
    CutShort,
}

/// While it lives, the rows are read over and over.
struct Waiting<'s, F> {
    shared: &'s Shared<F>,
    revision: u64,
}

impl<'s, F> Waiting<'s, F> {
    fn begin(shared: &'s Shared<F>, revision: u64) -> Self {
        shared.one_more_waits(revision);
        Self { shared, revision }
    }
}

impl<F> Drop for Waiting<'_, F> {
    fn drop(&mut self) {
        self.shared.one_less_waits(self.revision);
    }
}

#[cfg(test)]
#[path = "everywhere_tests.rs"]
mod tests;
