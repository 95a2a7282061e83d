//! Virtual time: tasks run until none can go on, then the clock jumps to the next timer. One seed, one run.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use futures::future::BoxFuture;

/// True time, tasks and timers. Cheap to clone.
#[derive(Clone, Default)]
pub struct Executor(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    now: Duration,
    /// Alarms in the order of time, then of setting.
    timers: BinaryHeap<Reverse<Alarm>>,
    set: u64,
    spawned: Vec<BoxFuture<'static, ()>>,
}

struct Alarm {
    at: Duration,
    number: u64,
    waker: Waker,
}

impl PartialEq for Alarm {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number
    }
}

impl Eq for Alarm {}

impl PartialOrd for Alarm {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Alarm {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}

impl Executor {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().expect("one thread")
    }

    /// True time, which no host can read.
    pub fn now(&self) -> Duration {
        self.inner().now
    }

    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.inner().spawned.push(Box::pin(task));
    }

    pub fn sleep(&self, duration: Duration) -> Sleep {
        self.sleep_until(self.now() + duration)
    }

    pub fn sleep_until(&self, until: Duration) -> Sleep {
        Sleep { executor: self.clone(), until }
    }
}

/// Runs the tasks of an executor.
///
/// Tasks that were woken since the last round are polled in an order that depends on nothing but their numbers and that
/// of the round: who wakes several at once (tokio's `watch` does) may do so in another order each time.
pub struct Runner {
    executor: Executor,
    tasks: BTreeMap<u64, BoxFuture<'static, ()>>,
    woken: Woken,
    spawned: u64,
    rounds: u64,
}

type Woken = Arc<Mutex<BTreeSet<u64>>>;

/// Wakes one task.
struct Bell {
    task: u64,
    woken: Woken,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.woken.lock().expect("one thread").insert(self.task);
    }
}

impl Runner {
    pub fn of(executor: Executor) -> Self {
        let (tasks, woken) = (BTreeMap::new(), Woken::default());
        Self { executor, tasks, woken, spawned: 0, rounds: 0 }
    }

    /// Runs everything up to that time.
    pub fn run_until(&mut self, end: Duration) {
        loop {
            self.run_until_stalled();
            let mut due = Vec::new();
            {
                let mut inner = self.executor.inner();
                if inner.timers.peek().is_none_or(|Reverse(next)| next.at > end) {
                    inner.now = end;
                    return;
                }
                let Some(Reverse(next)) = inner.timers.peek() else { return };
                inner.now = inner.now.max(next.at);
                while inner.timers.peek().is_some_and(|Reverse(alarm)| alarm.at <= inner.now) {
                    due.extend(inner.timers.pop().map(|Reverse(alarm)| alarm.waker));
                }
            }
            due.into_iter().for_each(Waker::wake);
        }
    }

    /// Polls whoever was woken, round after round, until nobody is.
    fn run_until_stalled(&mut self) {
        loop {
            for task in std::mem::take(&mut self.executor.inner().spawned) {
                self.spawned += 1;
                self.tasks.insert(self.spawned, task);
                self.woken.lock().expect("one thread").insert(self.spawned);
            }
            let woken = std::mem::take(&mut *self.woken.lock().expect("one thread"));
            if woken.is_empty() {
                return;
            }
            self.rounds += 1;
            let mut woken: Vec<_> = woken.into_iter().collect();
            woken.sort_by_cached_key(|task| mixed(*task, self.rounds));
            for number in woken {
                // One that has ended may still be rung for.
                let Some(task) = self.tasks.get_mut(&number) else { continue };
                let bell = Arc::new(Bell { task: number, woken: Arc::clone(&self.woken) });
                let waker = Waker::from(bell);
                if task.as_mut().poll(&mut Context::from_waker(&waker)).is_ready() {
                    self.tasks.remove(&number);
                }
            }
        }
    }
}

/// A number that looks as if it had nothing to do with either (the finisher of SplitMix64, Steele et al. 2014).
fn mixed(task: u64, round: u64) -> u64 {
    let mixed = task ^ round.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// Ends at a point in true time.
pub struct Sleep {
    executor: Executor,
    until: Duration,
}

impl Future for Sleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut inner = self.executor.inner();
        if inner.now >= self.until {
            return Poll::Ready(());
        }
        inner.set += 1;
        let alarm = Alarm { at: self.until, number: inner.set, waker: cx.waker().clone() };
        inner.timers.push(Reverse(alarm));
        Poll::Pending
    }
}
