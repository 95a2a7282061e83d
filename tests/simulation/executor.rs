//! Virtual time: tasks run until none can go on, then the clock jumps to the next timer. One seed, one run.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures::executor::LocalPool;
use futures::future::BoxFuture;
use futures::task::LocalSpawnExt as _;

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
pub struct Runner {
    executor: Executor,
    pool: LocalPool,
}

impl Runner {
    pub fn of(executor: Executor) -> Self {
        Self { executor, pool: LocalPool::new() }
    }

    /// Runs everything up to that time.
    pub fn run_until(&mut self, end: Duration) {
        loop {
            loop {
                let spawned = std::mem::take(&mut self.executor.inner().spawned);
                if spawned.is_empty() {
                    break;
                }
                for task in spawned {
                    self.pool.spawner().spawn_local(task).expect("the pool lives");
                }
                self.pool.run_until_stalled();
            }
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
            self.pool.run_until_stalled();
        }
    }
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
