//! Several clients write at once, on PostgreSQL through two replicas: one log without gaps, each
//! watcher sees each event once and in order, and each client's own writes are visible to the
//! replica that made them when the reply arrives.

use std::sync::Arc;

use countersign::rpc::proto::watch_audit_events_request::Start;
use countersign::rpc::proto::watch_audit_events_response::Message;
use countersign::rpc::proto::{AuditEvent, WatchAuditEventsRequest, WatchAuditEventsResponse};
use futures::future::join_all;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tonic::Streaming;

use super::ledger::Ledger;
use super::log::{assert_log_is_right, whole_log};
use super::seeded::Random;
use crate::harness::{Caller, Database, Server};
use crate::on_both_databases;

const WRITES_OF_EACH: usize = 300;
const WATCHERS_OF_EACH: usize = 3;

on_both_databases! {
    async fn two_clients_of_one_server_write_at_once(db: Database) {
        let server = Server::start(db).await;
        write_at_once([&server, &server]).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_of_two_replicas_write_at_once() {
    let one = Server::start(Database::Postgres).await;
    let url = one.store().url.clone().expect("PostgreSQL has a URL");
    let other = Server::on_store(Arc::new(one.store().seen_through(url))).start().await;
    write_at_once([&one, &other]).await;
}

/// One client at each replica writes; watchers of both look on from the beginning, from the start
/// of the writing, and from its midst.
async fn write_at_once(replicas: [&Server; 2]) {
    let mut random = Random::seeded();
    let (newest, ended) = watch::channel(None);
    let mut watchers = Vec::new();
    for replica in replicas {
        for _ in 0..WATCHERS_OF_EACH {
            let caller = replica.as_admin().await;
            watchers.push(collect(caller.clone(), Some(Start::AfterRevision(0)), &ended).await);
            watchers.push(collect(caller, None, &ended).await);
        }
    }
    let writers = replicas.into_iter().enumerate().map(|(number, replica)| {
        let (random, ended) = (random.fork(), ended.clone());
        async move {
            let caller = replica.as_admin().await;
            let mut ledger = Ledger::of(format!("client-{number}"));
            let late = write(&mut ledger, &caller, random, &ended).await;
            (ledger, late)
        }
    });
    let written = join_all(writers).await;

    let caller = replicas[0].as_admin().await;
    let log = whole_log(&caller).await;
    assert_eq!(log.len(), 1 + 2 * WRITES_OF_EACH, "one event for each write, and the first");
    newest.send_replace(log.last().map(|event| event.revision));
    let (ledgers, late): (Vec<_>, Vec<_>) = written.into_iter().unzip();
    watchers.extend(late);
    for watcher in watchers {
        let seen = watcher.await.expect("the watch goes on to the end");
        assert!(seen.len() >= WRITES_OF_EACH, "a watcher saw only {} events", seen.len());
        assert!(log.ends_with(&seen), "a watcher saw something else than the log");
    }
    // The watchers of both replicas saw the newest event, so their verifications do.
    for ledger in &ledgers {
        ledger.is_the_history_in(&log);
        for replica in replicas {
            ledger.holds_at(&replica.as_admin().await).await;
        }
    }
    assert_eq!(assert_log_is_right(replicas[0].store()).await, log.len() as u64);
}

/// Writes, and looks after each write whether the replica that made it answers accordingly.
/// Half-way it begins to watch.
async fn write(
    ledger: &mut Ledger,
    caller: &Caller,
    mut random: Random,
    ended: &watch::Receiver<Option<i64>>,
) -> JoinHandle<Vec<AuditEvent>> {
    let mut late = None;
    for number in 0..WRITES_OF_EACH {
        if number == WRITES_OF_EACH / 2 {
            let start = Some(Start::AfterRevision(1));
            late = Some(collect(caller.clone(), start, ended).await);
        }
        let write = ledger.next(&mut random);
        let reply = write.send(caller).await;
        let reply = reply.unwrap_or_else(|status| panic!("{write:?}: {status}"));
        let key_id = ledger.book(&write, reply);
        ledger.is_visible_at(caller, &key_id).await;
    }
    late.expect("half-way comes")
}

/// Watches until the newest event of all, and gives what it saw.
async fn collect(
    caller: Caller,
    start: Option<Start>,
    ended: &watch::Receiver<Option<i64>>,
) -> JoinHandle<Vec<AuditEvent>> {
    let request = WatchAuditEventsRequest { start, ..WatchAuditEventsRequest::default() };
    let opened = caller.admin().watch_audit_events(request).await;
    let mut stream = opened.expect("the log can be watched").into_inner();
    let mut ended = ended.clone();
    tokio::spawn(async move {
        let mut seen: Vec<AuditEvent> = Vec::new();
        loop {
            let newest = *ended.borrow_and_update();
            if newest.is_some() && newest <= seen.last().map(|event| event.revision) {
                return seen;
            }
            tokio::select! {
                event = next(&mut stream) => seen.extend(event),
                changed = ended.changed() => if changed.is_err() { return seen },
            }
        }
    })
}

/// The next message, if it is an event.
async fn next(stream: &mut Streaming<WatchAuditEventsResponse>) -> Option<AuditEvent> {
    let message = stream.message().await.expect("the watch goes on");
    match message.expect("the watch goes on").message {
        Some(Message::Event(event)) => Some(*event),
        _ => None,
    }
}
