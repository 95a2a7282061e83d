//! A log in memory, to follow in tests.

use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::domain::audit::{Actor, AuditEvent, CANONICAL_VERSION, EventType, LoggedEvent};
use crate::domain::ids::{AccountId, ApplicationId, Environment, KeyId, StoreId};
use crate::domain::replica::{EpochStart, LogEnd, Polled, ReplicaRow, Roster};
use crate::domain::tree::TreeHash;
use crate::domain::verdict::{IndexChange, Standing, VerifiableKey};
use crate::domain::{Error, Timestamp};
use crate::log::{Apply, Feed, HighWater, Mark};
use crate::store::{Events, KeyState};

/// An event of that revision about a key of that number.
pub(super) fn event(revision: u64) -> LoggedEvent {
    event_of(revision, &format!("key-{revision}"), EventType::KeyCreated)
}

/// An event of that revision about a key.
pub(super) fn event_of(revision: u64, key_id: &str, kind: EventType) -> LoggedEvent {
    let event = AuditEvent {
        account_id: "acme".to_owned(),
        actor: Actor::local("test"),
        application_id: "web".to_owned(),
        changes: Vec::new(),
        comment: String::new(),
        key_id: key_id.to_owned(),
        key_seal: String::new(),
        request_id: String::new(),
        revision,
        revoke_reason: String::new(),
        time: Timestamp::default(),
        trace_id: String::new(),
        kind,
        v: CANONICAL_VERSION,
    };
    LoggedEvent::from_canonical(&event.canonical().expect("serialises")).expect("parses")
}

/// A key as it was left by an event of that revision.
pub(super) fn key(key_id: &str, revision: u64) -> VerifiableKey {
    VerifiableKey {
        key_id: KeyId::from_stored(key_id.to_owned()).expect("valid"),
        account_id: AccountId::parse("acme").expect("valid"),
        application_id: ApplicationId::parse("web").expect("valid"),
        environment: Environment::Live,
        standing: Standing::Active,
        scopes: Default::default(),
        allowed_cidrs: Default::default(),
        expire_time: None,
        revision,
        slots: Default::default(),
    }
}

/// A log in memory that can be made to fail.
#[derive(Clone, Default)]
pub(super) struct MemoryFeed(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    events: Vec<LoggedEvent>,
    epochs: Vec<EpochStart>,
    /// A load hands over the keys that the events name.
    has_keys: bool,
    /// A load fails when it has handed half of them over.
    loads_fail: bool,
    states_fail: bool,
    /// What is said of this key, whatever the log says of it.
    stale: Option<VerifiableKey>,
    /// The rows of others.
    rows: Vec<ReplicaRow>,
    /// Who answers when rows are asked for.
    old_primary: Option<Box<State>>,
    /// Beats from another log.
    beats_refused: u64,
    reads: u64,
    broken: bool,
    while_scanned: u64,
    is_shared: bool,
    beats: u64,
    /// A load takes until so many beats have come.
    beats_while_loading: u64,
}

impl MemoryFeed {
    /// Appends this many events.
    pub(super) fn append(&self, count: u64) {
        let mut state = self.0.lock().expect("no panic");
        let first = state.events.len() as u64 + 1;
        state.events.extend((first..first + count).map(event));
    }

    /// Appends this many events while the keys are read.
    pub(super) fn append_while_scanned(&self, count: u64) {
        self.0.lock().expect("no panic").while_scanned = count;
    }

    /// Makes it one that others may follow too, and a load of it last until so many beats have come.
    pub(super) fn load_until_beats(&self, beats: u64) {
        let mut state = self.0.lock().expect("no panic");
        (state.is_shared, state.beats_while_loading) = (true, beats);
    }

    /// Lets loads hand over the keys that the events name.
    pub(super) fn have_keys(&self) {
        self.0.lock().expect("no panic").has_keys = true;
    }

    /// Puts another log in the place of this one, whose epochs after the first begin like this.
    pub(super) fn replace(&self, events: Vec<LoggedEvent>, epochs: Vec<EpochStart>) {
        let mut state = self.0.lock().expect("no panic");
        (state.events, state.epochs) = (events, epochs);
    }

    /// Lets loads fail half-way, or not.
    pub(super) fn let_loads_fail(&self, fail: bool) {
        self.0.lock().expect("no panic").loads_fail = fail;
    }

    /// Lets the reading of keys' states fail, or not.
    pub(super) fn let_states_fail(&self, fail: bool) {
        self.0.lock().expect("no panic").states_fail = fail;
    }

    /// What is said of a key from now on, whatever the log says of it.
    pub(super) fn say_of_its_key(&self, stale: VerifiableKey) {
        self.0.lock().expect("no panic").stale = Some(stale);
    }

    /// What the others say of themselves.
    pub(super) fn set_rows(&self, rows: Vec<ReplicaRow>) {
        self.0.lock().expect("no panic").rows = rows;
    }

    /// From now on, or no longer, rows are read from a primary that has just been deposed.
    pub(super) fn read_rows_from_old_primary(&self, from_old: bool) {
        let mut state = self.0.lock().expect("no panic");
        let (events, rows) = (state.events.clone(), state.rows.clone());
        let old = Box::new(State { events, rows, ..State::default() });
        state.old_primary = from_old.then_some(old);
    }

    /// The last beat that has come.
    pub(super) fn last_beat(&self) -> u64 {
        self.0.lock().expect("no panic").beats
    }

    /// How many beats came from another log.
    pub(super) fn beats_refused(&self) -> u64 {
        self.0.lock().expect("no panic").beats_refused
    }

    /// Makes every read fail, or none.
    pub(super) fn set_broken(&self, broken: bool) {
        self.0.lock().expect("no panic").broken = broken;
    }

    /// Takes an event out, which no real log ever does.
    pub(super) fn lose(&self, revision: u64) {
        self.0.lock().expect("no panic").events.retain(|logged| logged.event.revision != revision);
    }

    /// How often events were read.
    pub(super) fn reads(&self) -> u64 {
        self.0.lock().expect("no panic").reads
    }
}

impl Feed for MemoryFeed {
    fn is_shared(&self) -> bool {
        self.0.lock().expect("no panic").is_shared
    }

    async fn poll(&self, _: &str, applied: u64) -> Result<Polled, Error> {
        let read = self.events_after(applied, 500, usize::MAX).await?;
        let Events { events, complete } = read;
        let state = self.0.lock().expect("no panic");
        let clock = Timestamp::default();
        let (leaf, refused) = (state.leaf(applied), None);
        let epoch = state.epoch();
        Ok(Polled { epoch, clock, beat: Some(state.beats), leaf, refused, events, complete })
    }

    async fn end(&self) -> Result<LogEnd, Error> {
        let state = self.0.lock().expect("no panic");
        let revision = state.events.last().map_or(0, |logged| logged.event.revision);
        let time = Timestamp::default();
        let (epoch, leaf) = (state.epoch(), state.leaf(revision));
        Ok(LogEnd { epoch, revision, time, leaf, clock: time })
    }

    async fn leaf(&self, revision: u64) -> Result<Option<TreeHash>, Error> {
        Ok(self.0.lock().expect("no panic").leaf(revision))
    }

    async fn epochs(&self) -> Result<Vec<EpochStart>, Error> {
        Ok(self.0.lock().expect("no panic").epochs.clone())
    }

    async fn events_after(&self, revision: u64, limit: u32, _: usize) -> Result<Events, Error> {
        let mut state = self.0.lock().expect("no panic");
        state.reads += 1;
        if state.broken {
            return Err(Error::Unavailable("broken for the test"));
        }
        let newer = state.events.iter().filter(|logged| logged.event.revision > revision);
        let complete = newer.clone().count() <= limit as usize;
        Ok(Events { events: newer.take(limit as usize).cloned().collect(), complete })
    }

    async fn key_states(&self, key_ids: &[String]) -> Result<Vec<KeyState>, Error> {
        // As with a real store, others get their turn in between, and see how far the follower says it is.
        tokio::task::yield_now().await;
        let state = self.0.lock().expect("no panic");
        if state.states_fail {
            return Err(Error::Unavailable("broken for the test"));
        }
        let state_of = |id: &String| match &state.stale {
            Some(stale) if stale.key_id.as_str() == id => KeyState::Sealed(stale.clone()),
            _ => KeyState::Absent(id.clone()),
        };
        Ok(key_ids.iter().map(state_of).collect())
    }

    async fn load(&self, _: &LogEnd, apply: &Apply) -> Result<u64, Error> {
        let count = std::mem::take(&mut self.0.lock().expect("no panic").while_scanned);
        self.append(count);
        let is_loading = || {
            let state = self.0.lock().expect("no panic");
            state.beats < state.beats_while_loading
        };
        while is_loading() {
            tokio::task::yield_now().await;
        }
        let state = self.0.lock().expect("no panic");
        if !state.has_keys {
            return Ok(0);
        }
        let half = state.events.len() / 2;
        for (number, logged) in state.events.iter().enumerate() {
            if state.loads_fail && number >= half {
                return Err(Error::Unavailable("broken for the test"));
            }
            let event = &logged.event;
            apply(IndexChange::Put(Arc::new(key(&event.key_id, event.revision))));
        }
        Ok(state.events.len() as u64)
    }

    async fn register(&self, _: &ReplicaRow) -> Result<(), Error> {
        Ok(())
    }

    async fn beat(
        &self,
        _: &str,
        beat: u64,
        applied: u64,
        leaf: Option<TreeHash>,
    ) -> Result<bool, Error> {
        let mut state = self.0.lock().expect("no panic");
        state.beats = beat;
        let is_ours = leaf.is_none() || state.leaf(applied) == leaf;
        state.beats_refused += u64::from(!is_ours);
        Ok(is_ours)
    }

    async fn deregister(&self, _: &str) -> Result<(), Error> {
        Ok(())
    }

    async fn replicas(&self, revisions: &[u64]) -> Result<Roster, Error> {
        // Each look takes a moment, as with a real store.
        tokio::task::yield_now().await;
        let state = self.0.lock().expect("no panic");
        let state = state.old_primary.as_ref().map_or(&*state, |old| &**old);
        let leaf = |at: &u64| state.leaf(*at).map(|leaf| (*at, leaf));
        Ok(Roster { rows: state.rows.clone(), leaves: revisions.iter().filter_map(leaf).collect() })
    }

    async fn sweep(&self, _: &str, _: u64, _: u64) -> Result<bool, Error> {
        Ok(false)
    }
}

impl State {
    fn epoch(&self) -> u32 {
        self.epochs.last().map_or(1, |last| last.epoch)
    }

    fn leaf(&self, revision: u64) -> Option<TreeHash> {
        let logged = self.events.iter().find(|logged| logged.event.revision == revision);
        logged.map(|logged| logged.leaf_hash)
    }
}

/// Keeps no mark.
pub(super) struct NoMark;

impl HighWater for NoMark {
    fn read(&self, _: StoreId) -> io::Result<Option<Mark>> {
        Ok(None)
    }

    fn keep(&self, _: &Mark) -> io::Result<()> {
        Ok(())
    }
}

/// What a replica of a test says of itself.
pub(super) fn replica(id: &str, lease: Duration) -> ReplicaRow {
    ReplicaRow {
        id: id.to_owned(),
        lease_ms: u64::try_from(lease.as_millis()).expect("short"),
        applied: 0,
        beat: 0,
        beat_age: Duration::ZERO,
        version: "0.1.0".to_owned(),
        reads_up_to: 1,
        root_key_versions: vec![1],
    }
}
