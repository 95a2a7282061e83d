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

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::feed::Feed;
use super::lease::prolonged;
use super::membership::Look;
use super::timer::sleep_until;
use super::{Log, Shared};
use crate::domain::Timestamp;
use crate::domain::replica::ReplicaState;
use crate::domain::token::LogPosition;

/// How long one look at the rows may take, when nothing more was asked for.
const ONE_LOOK: Duration = Duration::from_millis(250);
/// The name of a replica of which nothing could be learned, not even whether it exists.
const UNKNOWN: &str = "unknown";

/// How long to wait for other replicas.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Patience {
    /// Not at all: one look tells who has the change by now.
    OneLook,
    /// Until this uptime.
    Until(Duration),
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
    /// Waits until a change is everywhere; `committed_at` is the uptime right after its COMMIT. Ends early when this
    /// replica leaves, and with one look when `cut_short` does; what is not known by then is pending.
    pub async fn everywhere(
        &self,
        change: &LogPosition,
        committed_at: Duration,
        patience: Patience,
        cut_short: impl Future<Output = ()>,
    ) -> Propagation {
        let shared = &self.shared;
        if !shared.feed.is_shared() {
            let own = BTreeMap::from([(shared.replica.id.clone(), self.own(change, committed_at))]);
            return self.propagation(&own);
        }
        let mut until = match patience {
            Patience::OneLook => shared.clock.uptime() + ONE_LOOK,
            Patience::Until(uptime) => uptime,
        };
        let mut one_look_will_do = patience == Patience::OneLook;
        let mut is_cut_short = false;
        let _waiting = Waiting::begin(shared);
        let (mut looks, mut leaving) = (shared.look.subscribe(), shared.leaving.subscribe());
        let mut applied = shared.applied.subscribe();
        let mut awaited: Option<BTreeMap<String, Awaited>> = None;
        tokio::pin!(cut_short);
        loop {
            let look = Arc::clone(&looks.borrow_and_update());
            applied.mark_unchanged();
            // Only a look that began after the commit: a replica that registered before that one and after an
            // earlier one would be missed.
            if look.began >= committed_at {
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
            if now >= until || *leaving.borrow_and_update() {
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
            // The longest lease that we know of: another's may be longer than ours.
            let leases = looks.borrow().rows.iter().map(|row| row.lease_ms).max();
            let length = Duration::from_millis(leases.unwrap_or_default());
            let expires = committed_at + prolonged(length.max(shared.settings.max_staleness));
            let unknown = Awaited { expires, state: ReplicaState::Pending };
            let own = self.own(change, committed_at);
            BTreeMap::from([(UNKNOWN.to_owned(), unknown), (shared.replica.id.clone(), own)])
        };
        self.propagation(&awaited.unwrap_or_else(nothing_known))
    }

    /// The replicas that are to be waited for.
    fn found(&self, look: &Look, committed_at: Duration) -> BTreeMap<String, Awaited> {
        let row_of = |row: &crate::domain::replica::ReplicaRow| {
            // The lease of the row, not ours: it is the other's clock that runs out.
            let expires = committed_at + prolonged(Duration::from_millis(row.lease_ms));
            (row.id.clone(), Awaited { expires, state: ReplicaState::Pending })
        };
        let mut found: BTreeMap<_, _> = look.rows.iter().map(row_of).collect();
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
            replica.state = match look.rows.iter().find(|row| row.id == *id) {
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
        Awaited { expires, state: self.own_state(change) }
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

/// While it lives, the rows are read over and over.
struct Waiting<'s, F> {
    shared: &'s Shared<F>,
}

impl<'s, F> Waiting<'s, F> {
    fn begin(shared: &'s Shared<F>) -> Self {
        shared.one_more_waits();
        Self { shared }
    }
}

impl<F> Drop for Waiting<'_, F> {
    fn drop(&mut self) {
        self.shared.one_less_waits();
    }
}
