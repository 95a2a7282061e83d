//! Hosts, the network between them and the database, and everything that goes wrong with both.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::Waker;
use std::time::Duration;

use countersign::domain::Timestamp;
use countersign::domain::time::Clock;
use countersign::log::Timer;
use futures::future::BoxFuture;

use super::database::Database;
use super::executor::Executor;
use crate::harness::seeded::Random;

/// 2026-01-01, where the databases' clocks begin, in microseconds since the Unix epoch.
const BEGINNING: i64 = 1_767_225_600_000_000;

/// How long a call waits for its answer, by its host's clock.
pub const CALL_LIMIT: Duration = Duration::from_secs(1);

/// Which of the two servers of the database.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Server {
    First,
    Second,
}

/// What a host asks for. Each kind has connections of its own, which may lead to another server than the others.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Call {
    Poll,
    Beat,
    Rows,
    /// The end of the log, its epochs, states of keys.
    Read,
    Load,
    Change,
}

impl Call {
    pub const KINDS: usize = 6;

    fn is_write(self) -> bool {
        matches!(self, Self::Beat | Self::Change)
    }
}

/// Everything outside of the hosts.
pub struct World {
    pub executor: Executor,
    inner: Mutex<Inner>,
}

pub struct Inner {
    pub random: Random,
    pub servers: [Database; 2],
    pub primary: Server,
    /// After a promotion the first server may go on as if nothing had happened; no commit of it is ever confirmed.
    pub first_is_deposed: bool,
    /// It was found, and is switched off.
    pub first_is_fenced: bool,
    /// One of so many readings of a load fails; zero: none.
    pub loads_fail_one_in: u64,
    /// The database answers nobody until then.
    pub silent_until: Duration,
    /// What the database's clock was set forward by, in microseconds.
    pub database_clock: i64,
    pub links: BTreeMap<usize, Link>,
}

/// The way of one host to the database.
#[derive(Clone, Copy, Default)]
pub struct Link {
    /// Nothing passes until then; nobody is told.
    pub cut_until: Duration,
    /// One of so many messages is lost; zero: none.
    pub loses_one_in: u64,
    /// Which of its connections still, or again, lead to the first server.
    pub leads_to_first: [bool; Call::KINDS],
}

impl World {
    pub fn new(random: Random) -> Arc<Self> {
        let inner = Inner {
            random,
            servers: [Database::new(), Database::new()],
            primary: Server::First,
            first_is_deposed: false,
            first_is_fenced: false,
            loads_fail_one_in: 12,
            silent_until: Duration::ZERO,
            database_clock: 0,
            links: BTreeMap::new(),
        };
        Arc::new(Self { executor: Executor::default(), inner: Mutex::new(inner) })
    }

    pub fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().expect("one thread")
    }

    pub fn below(&self, bound: u64) -> u64 {
        self.inner().random.below(bound)
    }

    /// A random time of at most so many milliseconds.
    pub fn up_to_ms(&self, most: u64) -> Duration {
        Duration::from_micros(self.below(most * 1_000 + 1))
    }

    /// The database's clock.
    pub fn database_now(&self) -> Timestamp {
        let ahead = self.inner().database_clock;
        let micros = i64::try_from(self.executor.now().as_micros()).expect("short");
        Timestamp::from_micros(BEGINNING + ahead + micros).expect("in range")
    }

    /// What one message takes; now and then much longer.
    fn transit(&self) -> Duration {
        match self.below(50) {
            0 => self.up_to_ms(1_500),
            1..=5 => self.up_to_ms(60),
            _ => self.up_to_ms(3),
        }
    }

    /// The server that a message of this host reaches now; `None`: it is lost.
    fn reached(&self, host: usize, call: Call) -> Option<Server> {
        let now = self.executor.now();
        let mut inner = self.inner();
        let link = inner.links.get(&host).copied().unwrap_or_default();
        let lost = link.loses_one_in > 0 && inner.random.below(link.loses_one_in) == 0;
        let one_in = inner.loads_fail_one_in;
        let fails = call == Call::Load && one_in > 0 && inner.random.below(one_in) == 0;
        if now < link.cut_until || now < inner.silent_until || lost || fails {
            return None;
        }
        Some(if link.leads_to_first[call as usize] { Server::First } else { inner.primary })
    }

    /// Carries a question to the database and its answer back. Only what changes nothing is answered by a server that
    /// was deposed: it can't confirm a commit without its standby.
    pub fn call<T: Send + 'static>(
        self: &Arc<Self>,
        host: usize,
        call: Call,
        work: impl FnOnce(&mut Database, Timestamp) -> T + Send + 'static,
    ) -> futures::channel::oneshot::Receiver<T> {
        let (answer, answered) = futures::channel::oneshot::channel();
        let world = Arc::clone(self);
        self.executor.spawn(async move {
            world.executor.sleep(world.transit()).await;
            let Some(server) = world.reached(host, call) else { return };
            let now = world.database_now();
            let value = {
                let mut inner = world.inner();
                if call.is_write() && server == Server::First && inner.first_is_deposed {
                    return;
                }
                work(&mut inner.servers[server as usize], now)
            };
            world.executor.sleep(world.transit()).await;
            if world.reached(host, call).is_some() {
                // Whoever asked may have given up.
                let _ = answer.send(value);
            }
        });
        answered
    }
}

/// One machine: its clock runs a little fast or slow, its wall clock is anything, and it can stand still.
pub struct Host {
    pub number: usize,
    pub world: Arc<World>,
    /// Parts in a million by which its clock is fast.
    pub fast_by_ppm: i64,
    /// What its wall clock is off by, in microseconds.
    pub wall_clock: AtomicI64,
    state: Mutex<HostState>,
}

#[derive(Default)]
struct HostState {
    frozen: bool,
    dead: bool,
    waiting: Vec<Waker>,
}

impl Host {
    pub fn new(world: &Arc<World>, number: usize) -> Arc<Self> {
        let fast_by_ppm = i64::try_from(world.below(1_801)).expect("small") - 900;
        Arc::new(Self {
            number,
            world: Arc::clone(world),
            fast_by_ppm,
            wall_clock: AtomicI64::new(0),
            state: Mutex::default(),
        })
    }

    fn state(&self) -> MutexGuard<'_, HostState> {
        self.state.lock().expect("one thread")
    }

    pub fn is_frozen(&self) -> bool {
        self.state().frozen
    }

    /// Stands still, as after SIGSTOP, or goes on.
    pub fn freeze(&self, frozen: bool) {
        let waiting = {
            let mut state = self.state();
            state.frozen = frozen;
            if frozen { Vec::new() } else { std::mem::take(&mut state.waiting) }
        };
        waiting.into_iter().for_each(Waker::wake);
    }

    /// Is gone at once, as after SIGKILL.
    pub fn kill(&self) {
        let waiting = {
            let mut state = self.state();
            (state.dead, state.frozen) = (true, false);
            std::mem::take(&mut state.waiting)
        };
        waiting.into_iter().for_each(Waker::wake);
    }

    pub fn is_dead(&self) -> bool {
        self.state().dead
    }

    /// Runs something on this host: not while it stands still, and not after its end.
    pub fn spawn(self: &Arc<Self>, task: impl Future<Output = ()> + Send + 'static) {
        let host = Arc::clone(self);
        let mut task: Option<BoxFuture<'static, ()>> = Some(Box::pin(task));
        self.world.executor.spawn(std::future::poll_fn(move |cx| {
            let mut state = host.state();
            if state.dead {
                drop(state);
                task = None;
                return std::task::Poll::Ready(());
            }
            // Noted in any case: it can be frozen, or die, while its task waits for something else.
            state.waiting.retain(|waker| !waker.will_wake(cx.waker()));
            state.waiting.push(cx.waker().clone());
            if state.frozen {
                return std::task::Poll::Pending;
            }
            drop(state);
            match &mut task {
                Some(running) => running.as_mut().poll(cx),
                None => std::task::Poll::Ready(()),
            }
        }));
    }

    /// True time in which this host's clock advances by so much.
    fn true_time(&self, by_clock: Duration) -> Duration {
        let rate = 1.0 + self.fast_by_ppm as f64 / 1e6;
        by_clock.div_f64(rate) + Duration::from_nanos(1)
    }
}

impl Clock for Host {
    fn now(&self) -> Timestamp {
        let micros = i64::try_from(self.world.executor.now().as_micros()).expect("short");
        let off = self.wall_clock.load(Ordering::Relaxed);
        Timestamp::from_micros(BEGINNING + micros + off).expect("in range")
    }

    fn uptime(&self) -> Duration {
        let rate = 1.0 + self.fast_by_ppm as f64 / 1e6;
        // Each host was started at another time.
        let started = Duration::from_secs(1_000 * (self.number as u64 + 1));
        started + self.world.executor.now().mul_f64(rate)
    }
}

/// A host's timer.
pub struct HostTimer(pub Arc<Host>);

impl Timer for HostTimer {
    fn sleep(&self, duration: Duration) -> std::pin::Pin<Box<dyn Future<Output = ()> + Send>> {
        let true_time = self.0.true_time(duration);
        Box::pin(self.0.world.executor.sleep(true_time))
    }
}
