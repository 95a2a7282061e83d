//! One process: the real follower and the real waiter, verifying threads, and an administrator who revokes keys.

use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use countersign::domain::ids::StoreId;
use countersign::domain::position::Position;
use countersign::domain::replica::Place;
use countersign::domain::time::Clock as _;
use countersign::domain::token::LogPosition;
use countersign::domain::verdict::{IndexChange, Standing};
use countersign::log::{self, Feeds, HighWater, Log, Mark, Patience, Settings, Start, Timer as _};

use super::feed::{SimulatedFeed, row};
use super::oracle::{Answer, Oracle};
use super::world::{Call, Host, HostTimer};

pub const STORE: StoreId = StoreId([9; 16]);

/// What a process leaves behind for the next on the same machine.
#[derive(Clone, Default)]
pub struct Disk(Arc<Mutex<Option<Mark>>>);

impl HighWater for Disk {
    fn read(&self, _: StoreId) -> io::Result<Option<Mark>> {
        Ok(*self.0.lock().expect("one thread"))
    }

    fn keep(&self, mark: &Mark) -> io::Result<()> {
        *self.0.lock().expect("one thread") = Some(*mark);
        Ok(())
    }
}

/// The index of a process: what was said of each key, and since which revision.
type Index = Mutex<HashMap<String, (u64, Standing)>>;

pub struct Replica {
    pub host: Arc<Host>,
    pub lease: Duration,
    position: Arc<Position>,
    index: Arc<Index>,
    log: Mutex<Option<Log<SimulatedFeed>>>,
    oracle: Arc<Oracle>,
    /// Whether verifications are taken.
    open: AtomicBool,
    in_flight: AtomicUsize,
}

/// Verifying threads of a process.
const THREADS: usize = 2;

impl Replica {
    pub fn start(
        host: Arc<Host>,
        id: String,
        lease: Duration,
        disk: Disk,
        oracle: &Arc<Oracle>,
    ) -> Arc<Self> {
        let replica = Arc::new(Self {
            host: Arc::clone(&host),
            lease,
            position: Arc::default(),
            index: Arc::default(),
            log: Mutex::default(),
            oracle: Arc::clone(oracle),
            open: AtomicBool::new(true),
            in_flight: AtomicUsize::new(0),
        });
        let process = Arc::clone(&replica);
        host.spawn(async move {
            // What can't start is started again, as a supervisor would.
            let (log, follower) = loop {
                match process.begin(&id, disk.clone()).await {
                    Ok(started) => break started,
                    Err(_) => HostTimer(Arc::clone(&process.host)).sleep(RESTART).await,
                }
            };
            *process.log.lock().expect("one thread") = Some(log);
            for _ in 0..THREADS {
                let thread = Arc::clone(&process);
                process.host.spawn(async move { thread.verify_on().await });
            }
            follower.run().await;
        });
        replica
    }

    async fn begin(
        &self,
        id: &str,
        disk: Disk,
    ) -> Result<(Log<SimulatedFeed>, log::Follower<SimulatedFeed>), countersign::domain::Error>
    {
        let feed = SimulatedFeed(Arc::clone(&self.host));
        // Another process: nothing is left of the one that could not start.
        self.index.lock().expect("one thread").clear();
        let index = Arc::clone(&self.index);
        let apply = move |change| {
            let mut index = index.lock().expect("one thread");
            match change {
                IndexChange::Put(key) => {
                    let at_hand =
                        index.entry(key.key_id.to_string()).or_insert((0, Standing::Active));
                    if key.revision >= at_hand.0 {
                        *at_hand = (key.revision, key.standing);
                    }
                }
                IndexChange::Remove(key_id) => _ = index.remove(key_id.as_str()),
                IndexChange::Clear => index.clear(),
                IndexChange::Expect(_) => {}
            }
        };
        let started = log::start(Start {
            feeds: Feeds { follower: feed.clone(), watchers: feed },
            store: STORE,
            replica: row(id.to_owned(), self.lease),
            settings: Settings { max_staleness: self.lease, ..Settings::default() },
            clock: Arc::clone(&self.host) as Arc<dyn countersign::domain::time::Clock>,
            timer: Arc::new(HostTimer(Arc::clone(&self.host))),
            position: Arc::clone(&self.position),
            high_water: Arc::new(disk),
            apply: Box::new(apply),
        });
        started.await
    }

    /// Whether it has a lease, and how far it has come: epoch and revision.
    pub fn stands(&self) -> (bool, u32, u64) {
        let basis = self.position.basis();
        let held = self.position.staleness(&basis, self.host.as_ref()).is_some();
        (held, basis.epoch, basis.revision)
    }

    pub fn log(&self) -> Option<Log<SimulatedFeed>> {
        self.log.lock().expect("one thread").clone()
    }

    async fn pause(&self, most_ms: u64) {
        HostTimer(Arc::clone(&self.host)).sleep(self.host.world.up_to_ms(most_ms)).await;
    }

    /// Now and then a thread loses its core in the worst moment.
    async fn stall(&self) {
        match self.host.world.below(30) {
            0 => self.pause(400).await,
            1..=4 => self.pause(5).await,
            _ => {}
        }
    }

    /// One verifying thread.
    async fn verify_on(&self) {
        let world = &self.host.world;
        while self.open.load(Ordering::Relaxed) {
            self.pause(40).await;
            let Some(key_id) = self.oracle.some_key(world.below(1 << 32)) else { continue };
            let sent = world.executor.now();
            self.pause(2).await;
            let asked = self.oracle.token(&key_id).filter(|_| world.below(3) == 0);
            if let (Some(place), Some(log)) = (&asked, self.log())
                && log.reached(place, AT_LEAST_WITHIN).await.is_err()
            {
                continue;
            }
            if !self.open.load(Ordering::Relaxed) {
                return;
            }
            self.in_flight.fetch_add(1, Ordering::Relaxed);
            // The order of `verify::Verifier::verify`.
            let basis = self.position.basis();
            self.stall().await;
            let record = self.index.lock().expect("one thread").get(&key_id).copied();
            self.stall().await;
            let held = self.position.staleness(&basis, self.host.as_ref()).is_some();
            let given = world.executor.now();
            self.in_flight.fetch_sub(1, Ordering::Relaxed);
            let is_active = record.is_none_or(|(_, standing)| standing == Standing::Active);
            self.oracle.answered(&Answer {
                key_id,
                host: self.host.number,
                sent,
                given,
                lease: self.lease,
                is_held: held,
                is_active,
                basis: (basis.epoch, basis.revision),
                at_least: asked,
            });
        }
    }

    /// `RevokeKey` with `WAIT_ALL_REPLICAS`, from commit to reply.
    pub async fn revoke(self: Arc<Self>, key_id: String, patience: Duration) {
        let Some(log) = self.log() else { return };
        let feed = SimulatedFeed(Arc::clone(&self.host));
        let world = &self.host.world;
        let (oracle, executor) = (Arc::clone(&self.oracle), world.executor.clone());
        let revoked = key_id.clone();
        let committed = feed.call(Call::Change, move |database, now| {
            let revision = database.revoke(&revoked, now);
            let leaf = database.leaf(revision);
            oracle.committed(&revoked, executor.now(), leaf);
            (Place { revision, leaf }, database.epoch)
        });
        let Ok((place, epoch)) = committed.await else { return };
        let committed_at = self.host.uptime();
        let change = LogPosition { store: STORE, epoch, revision: place.revision };
        self.oracle.told(&key_id, change);
        let patience = Patience { others: patience, end: committed_at + patience };
        let everywhere =
            log.everywhere(&change, place, committed_at, patience, std::future::pending());
        let everywhere = everywhere.await;
        self.oracle.replied(&key_id, world.executor.now(), &everywhere);
    }

    /// As after SIGTERM: no more requests, the last answers, then the row.
    pub fn stop(self: &Arc<Self>) {
        self.open.store(false, Ordering::Relaxed);
        let process = Arc::clone(self);
        self.host.spawn(async move {
            while process.in_flight.load(Ordering::Relaxed) > 0 {
                process.pause(1).await;
            }
            if let Some(log) = process.log() {
                log.leave().await;
            }
            process.host.kill();
        });
    }
}

/// How long a verification waits for what it shall rest on.
const AT_LEAST_WITHIN: Duration = Duration::from_millis(150);
/// After a start that failed.
const RESTART: Duration = Duration::from_millis(200);
