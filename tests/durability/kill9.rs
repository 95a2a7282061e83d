//! Promise P3: kill -9 at any moment of 10,000 admin writes loses nothing that was acknowledged.
//!
//! ```text
//!   clients write ──► so many acknowledged ──► kill -9 ──► (a start that is killed too) ──► restart
//!        ▲                                                                                    │
//!        └──── every key, secret and event as it was told ◄──── what got no answer is settled ◄
//! ```

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::future::join_all;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::ledger::Ledger;
use super::log::{assert_log_is_right, read_on, whole_log};
use super::writes::Write;
use crate::harness::seeded::Random;
use crate::harness::{Caller, Database, Server, Store, run, server::Builder};

const WRITES: usize = 10_000;
const CLIENTS: usize = 16;
const KILLS: usize = 25;
/// That the first administrator's key was made.
const FIRST_EVENTS: usize = 1;
/// Every so many kills, the start after it is killed too.
const KILL_A_START_EVERY: usize = 3;

/// One client: what it was told, and the write that got no answer.
struct Client {
    ledger: Ledger,
    random: Random,
    unanswered: Option<Write>,
}

/// What all clients of one life of the server share.
struct Life {
    acknowledged: watch::Sender<usize>,
    /// Set before the kill: from then on a call may fail.
    dying: AtomicBool,
}

impl Client {
    /// Writes until all is written, or the server is gone.
    async fn write(mut self, caller: Caller, life: Arc<Life>) -> Self {
        while *life.acknowledged.borrow() < WRITES {
            let write = self.ledger.next(&mut self.random);
            match write.send(&caller).await {
                Ok(reply) => {
                    self.ledger.book(&write, reply);
                    life.acknowledged.send_modify(|acknowledged| *acknowledged += 1);
                }
                Err(status) => {
                    let killed = life.dying.load(Ordering::SeqCst);
                    assert!(killed, "{write:?} failed while the server lived: {status}");
                    self.unanswered = Some(write);
                    break;
                }
            }
        }
        self
    }

    /// Finds out what became of the write that got no answer, and demands that all is as it was
    /// told. Says whether the write had been made.
    async fn look(&mut self, caller: &Caller) -> Option<bool> {
        let was_made = match self.unanswered.take() {
            Some(write) => Some(self.ledger.settle(caller, &write).await),
            None => None,
        };
        self.ledger.holds_at(caller).await;
        was_made
    }
}

/// A server that does not spend the time of this test on the log.
fn quiet(store: &Arc<Store>) -> Builder {
    Server::on_store(Arc::clone(store)).with_env("COUNTERSIGN_LOG", "warn")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_9_at_any_moment_loses_nothing_that_was_acknowledged() {
    let mut random = Random::seeded();
    let store = Arc::new(Store::fresh(Database::Sqlite).await);
    let mut server = quiet(&store).start().await;
    let mut clients: Vec<Client> = (0..CLIENTS)
        .map(|number| Client {
            ledger: Ledger::of(format!("client-{number}")),
            random: random.fork(),
            unanswered: None,
        })
        .collect();
    let (mut written, mut made, mut not_made) = (0, 0, 0);
    let mut seen = Vec::new();

    for kill in 1..=KILLS {
        let share = WRITES / (KILLS + 1);
        let jitter = usize::try_from(random.below(share as u64 / 2)).expect("small");
        let target = share * kill - jitter;
        (clients, written) =
            write_until_killed(&mut server, clients, written, target, &mut random).await;
        if kill % KILL_A_START_EVERY == 0 {
            let (_, log) = run::log_file(&store.name);
            let mut starting = quiet(&store).program().start(log);
            tokio::time::sleep(Duration::from_micros(random.below(60_000))).await;
            starting.kill9();
        }
        server = quiet(&store).start().await;

        let caller = server.as_admin().await;
        let looks = join_all(clients.iter_mut().map(|client| client.look(&caller)));
        let (looks, _events) = tokio::join!(looks, assert_log_is_right(&store));
        let looks: Vec<bool> = looks.into_iter().flatten().collect();
        made += looks.iter().filter(|was_made| **was_made).count();
        not_made += looks.iter().filter(|was_made| !**was_made).count();
        written += looks.len();
        read_on(&mut seen, &caller).await;
        assert_eq!(seen.len(), FIRST_EVENTS + written, "one event for each write, kill {kill}");
    }

    let last = write_the_rest(&server, clients, written).await;
    let caller = server.as_admin().await;
    for client in &last {
        client.ledger.holds_at(&caller).await;
    }
    let log = whole_log(&caller).await;
    assert!(log.starts_with(&seen), "events that were read after a kill are still the same");
    assert!(log.len() >= FIRST_EVENTS + WRITES, "{} events of {WRITES} writes", log.len());
    last.iter().for_each(|client| client.ledger.is_the_history_in(&log));
    assert_eq!(assert_log_is_right(&store).await, log.len() as u64);
    println!("unanswered writes: {made} had been made, {not_made} had not");
    assert!(made > 0 && not_made > 0, "the kills came between, not at, the writes");
}

/// Lets the clients write until `target` writes are acknowledged and kills the server a moment
/// later, in the midst of the next ones.
async fn write_until_killed(
    server: &mut Server,
    clients: Vec<Client>,
    written: usize,
    target: usize,
    random: &mut Random,
) -> (Vec<Client>, usize) {
    let (mut tasks, life) = start(server, clients, written).await;
    let mut acknowledged = life.acknowledged.subscribe();
    tokio::select! {
        reached = acknowledged.wait_for(|acknowledged| *acknowledged >= target) => {
            reached.expect("the clients are counted as long as they live");
        }
        ended = tasks.join_next() => {
            ended.expect("there are clients").expect("no client fails while the server lives");
            panic!("a client ended before the kill");
        }
    }
    tokio::time::sleep(Duration::from_micros(random.below(10_000))).await;
    life.dying.store(true, Ordering::SeqCst);
    server.kill9();
    let clients = tasks.join_all().await;
    let written = *life.acknowledged.borrow();
    (clients, written)
}

async fn write_the_rest(server: &Server, clients: Vec<Client>, written: usize) -> Vec<Client> {
    let (tasks, _life) = start(server, clients, written).await;
    tasks.join_all().await
}

/// Each client on a connection of its own.
async fn start(
    server: &Server,
    clients: Vec<Client>,
    written: usize,
) -> (JoinSet<Client>, Arc<Life>) {
    let acknowledged = watch::Sender::new(written);
    let life = Arc::new(Life { acknowledged, dying: AtomicBool::new(false) });
    let mut tasks = JoinSet::new();
    for client in clients {
        tasks.spawn(client.write(server.as_admin().await, Arc::clone(&life)));
    }
    (tasks, life)
}
