//! Knows everything, and says when a promise was broken.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use countersign::domain::replica::ReplicaState;
use countersign::domain::token::LogPosition;
use countersign::domain::tree::TreeHash;
use countersign::log::Propagation;

/// An answer of a verifying thread, in true time.
#[allow(dead_code, reason = "printed with what was broken")]
#[derive(Debug)]
pub struct Answer {
    pub key_id: String,
    pub host: usize,
    pub sent: Duration,
    pub given: Duration,
    pub lease: Duration,
    /// Whether it was given at all: with a lease. Otherwise it was UNAVAILABLE.
    pub is_held: bool,
    pub is_active: bool,
    pub basis: (u32, u64),
    /// What it was to rest on at least.
    pub at_least: Option<LogPosition>,
}

#[derive(Default)]
pub struct Oracle(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    keys: BTreeMap<String, Revocation>,
    order: Vec<String>,
    /// What happened, so that a run in which nothing does is no proof.
    pub tally: Tally,
    broken: Vec<String>,
    no_promise_until: Duration,
}

#[derive(Default)]
struct Revocation {
    committed: Option<Duration>,
    leaf: Option<TreeHash>,
    /// Its place, once somebody was told.
    token: Option<LogPosition>,
    /// When a reply without PENDING was sent.
    everywhere: Option<Duration>,
    /// A failover lost it; the database never heard of it.
    is_lost: bool,
}

/// How often what happened.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Tally {
    pub answers: u64,
    pub unavailable: u64,
    pub denied: u64,
    pub allowed: u64,
    pub replies: u64,
    pub complete: u64,
    pub confirmed: u64,
    pub expired: u64,
    pub pending: u64,
    pub losses: u64,
    pub at_least: u64,
}

impl Tally {
    pub fn plus(self, other: Self) -> Self {
        Self {
            answers: self.answers + other.answers,
            unavailable: self.unavailable + other.unavailable,
            denied: self.denied + other.denied,
            allowed: self.allowed + other.allowed,
            replies: self.replies + other.replies,
            complete: self.complete + other.complete,
            confirmed: self.confirmed + other.confirmed,
            expired: self.expired + other.expired,
            pending: self.pending + other.pending,
            losses: self.losses + other.losses,
            at_least: self.at_least + other.at_least,
        }
    }

    /// Each kind of event must have come often, or the runs prove little.
    pub fn demand_everything(&self) {
        let Self {
            unavailable,
            denied,
            allowed,
            complete,
            confirmed,
            expired,
            pending,
            losses,
            at_least,
            ..
        } = *self;
        let kinds =
            [unavailable, denied, allowed, complete, confirmed, expired, pending, losses, at_least];
        assert!(kinds.iter().all(|count| *count >= 20), "too little happened: {self:?}");
    }
}

impl Oracle {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().expect("one thread")
    }

    /// A new key that is going to be revoked.
    pub fn announce(&self, key_id: &str) {
        let mut inner = self.inner();
        inner.order.push(key_id.to_owned());
        inner.keys.insert(key_id.to_owned(), Revocation::default());
    }

    /// One of the keys that are of interest now: mostly of the newest.
    pub fn some_key(&self, random: u64) -> Option<String> {
        let inner = self.inner();
        let among = if random.is_multiple_of(4) { inner.order.len() } else { 4 };
        let index = usize::try_from(random / 4).expect("small") % among.max(1);
        inner.order.iter().rev().nth(index).cloned()
    }

    pub fn committed(&self, key_id: &str, at: Duration, leaf: Option<TreeHash>) {
        let mut inner = self.inner();
        let is_promised = at >= inner.no_promise_until;
        let revocation = inner.keys.get_mut(key_id).expect("announced");
        (revocation.committed, revocation.leaf) = (Some(at), leaf);
        revocation.is_lost = !is_promised;
    }

    /// Somebody was told where in the log a revocation is.
    pub fn told(&self, key_id: &str, token: LogPosition) {
        self.inner().keys.get_mut(key_id).expect("announced").token = Some(token);
    }

    /// Where in the log a key was revoked, for whoever was told.
    pub fn token(&self, key_id: &str) -> Option<LogPosition> {
        self.inner().keys.get(key_id).expect("announced").token
    }

    /// The database went on with a log in which some events are not; nothing is promised for what is committed until
    /// then.
    pub fn lost(&self, is_kept: impl Fn(&TreeHash) -> bool, until: Duration) {
        let mut inner = self.inner();
        inner.no_promise_until = until;
        for revocation in inner.keys.values_mut() {
            if revocation.leaf.is_some_and(|leaf| !is_kept(&leaf)) {
                revocation.is_lost = true;
            }
        }
        inner.tally.losses += 1;
    }

    pub fn replied(&self, key_id: &str, at: Duration, propagation: &Propagation) {
        let mut inner = self.inner();
        inner.tally.replies += 1;
        for (_, state) in &propagation.replicas {
            *match state {
                ReplicaState::Confirmed => &mut inner.tally.confirmed,
                ReplicaState::LeaseExpired => &mut inner.tally.expired,
                ReplicaState::Pending => &mut inner.tally.pending,
            } += 1;
        }
        if propagation.is_complete() {
            inner.tally.complete += 1;
            inner.keys.get_mut(key_id).expect("announced").everywhere = Some(at);
        }
    }

    pub fn answered(&self, answer: &Answer) {
        let mut inner = self.inner();
        inner.tally.answers += 1;
        *match (answer.is_held, answer.is_active) {
            (false, _) => &mut inner.tally.unavailable,
            (true, false) => &mut inner.tally.denied,
            (true, true) => &mut inner.tally.allowed,
        } += 1;
        inner.tally.at_least += u64::from(answer.is_held && answer.at_least.is_some());
        if !(answer.is_held && answer.is_active) {
            return;
        }
        let revocation = inner.keys.get(&answer.key_id).expect("announced");
        if revocation.is_lost {
            return;
        }
        if let Some(everywhere) = revocation.everywhere
            && answer.sent > everywhere
        {
            let broken =
                format!("allowed after a reply without PENDING at {everywhere:?}: {answer:?}");
            inner.broken.push(broken);
            return;
        }
        if answer.at_least.is_some() {
            inner.broken.push(format!("allowed from before at_least: {answer:?}"));
            return;
        }
        // The bound under any fault; clocks may differ in speed by 0.1 %.
        let bound = |committed: Duration| committed + answer.lease + answer.lease / 500;
        if let Some(committed) = revocation.committed
            && answer.given > bound(committed)
        {
            let broken = format!("allowed later than the lease after {committed:?}: {answer:?}");
            inner.broken.push(broken);
        }
    }

    pub fn verdict(&self) -> Result<Tally, String> {
        let inner = self.inner();
        inner.broken.first().map_or(Ok(inner.tally), |first| Err(first.clone()))
    }
}
