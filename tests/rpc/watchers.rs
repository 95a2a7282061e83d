//! Many watchers at once, and ones that do not read: memory stays bounded and nobody misses an event.

use std::time::Duration;

use countersign::rpc::proto::key_admin_client::KeyAdminClient;
use countersign::rpc::proto::{Key, ListAuditEventsRequest};
use tokio::task::JoinSet;
use tonic::transport::Endpoint;
use tonic::{Code, Request, Status};

use super::refusal::refused;
use super::watching::{Watching, after, from_now, from_the_beginning};
use crate::harness::{Caller, Database, Server, key};
use crate::on_both_databases;

const MEGABYTE: u64 = 1_024 * 1_024;

/// The resident memory of a process, in bytes.
fn resident(pid: u32) -> u64 {
    memory(pid, "VmRSS:")
}

/// The most that it ever was.
fn resident_at_most(pid: u32) -> u64 {
    memory(pid, "VmHWM:")
}

fn memory(pid: u32, name: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("a line for it");
    let kilobytes: u64 = line.trim().trim_end_matches(" kB").parse().expect("a number of kB");
    kilobytes * 1_024
}

on_both_databases! {
    async fn two_hundred_watchers_each_see_every_event_of_two_writers_once(db: Database) {
        // At the level of a server in use: here it is about memory, not about what is logged.
        let server = Server::on(db).await.with_env("COUNTERSIGN_LOG", "info").start().await;
        let admin = server.as_admin().await;
        let before = resident(server.pid());
        let mut watchers = JoinSet::new();
        for _ in 0..10 {
            let connection = server.as_admin().await;
            for _ in 0..20 {
                let mut watch = connection.watch(from_now()).await.unwrap();
                watch.heartbeat().await;
                watchers.spawn(async move { watch.revisions(100).await });
            }
        }
        let writer = async |account: &str| {
            let connection = server.as_admin().await;
            for _ in 0..25 {
                let id = connection.mint(key(account, "billing")).await.key.key_id;
                connection.disable(&id).await.unwrap();
            }
        };
        tokio::join!(writer("acme"), writer("globex"));

        let expected: Vec<i64> = (2..=101).collect();
        let mut complete = 0;
        while let Some(seen) = watchers.join_next().await {
            assert_eq!(seen.expect("a watcher"), expected, "each once, in order, without gaps");
            complete += 1;
        }
        assert_eq!(complete, 200);
        let accounts = admin.events("").await.unwrap();
        let acme = accounts.iter().filter(|event| event.account_id == "acme").count();
        assert_eq!(acme, 50, "both writers wrote");
        let grown = resident(server.pid()).saturating_sub(before);
        assert!(grown < 64 * MEGABYTE, "grew by {} MiB", grown / MEGABYTE);
    }
}

/// As many scopes as a key may have, with as many bytes.
fn as_many_scopes_as_can_be(word: &str) -> Vec<String> {
    (0..1_000).map(|number| format!("{word}-{number:027}")).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_as_long_as_can_be_take_little_memory() {
    let server =
        Server::on(Database::Sqlite).await.with_env("COUNTERSIGN_LOG", "info").start().await;
    let admin = server.as_admin().await;
    let created = crate::harness::key("acme", "billing");
    let scopes = as_many_scopes_as_can_be("read");
    let mut key = admin.mint(Key { scopes, ..created }).await.key;
    let before = resident(server.pid());
    let mut watchers = Vec::new();
    for _ in 0..10 {
        let connection = server.as_admin().await;
        for _ in 0..20 {
            let mut watch = connection.watch(from_now()).await.unwrap();
            watch.heartbeat().await;
            watchers.push(watch);
        }
    }
    for number in 0..150 {
        let (letter, word) = if number % 2 == 0 { ("🔑", "seen") } else { ("🔒", "read") };
        let description = letter.repeat(2_048);
        let changed = Key { description, scopes: as_many_scopes_as_can_be(word), ..key };
        key = admin.update(changed, &["description", "scopes"]).await.unwrap();
    }
    let ring = 32 * MEGABYTE;
    let grown = resident_at_most(server.pid()).saturating_sub(before);
    assert!(grown < 64 * MEGABYTE + ring, "watchers: grew by {} MiB", grown / MEGABYTE);

    let before = resident_at_most(server.pid());
    let mut lists = JoinSet::new();
    for _ in 0..16 {
        let admin = server.as_admin().await;
        lists.spawn(async move {
            let request = ListAuditEventsRequest { page_size: 1_000, ..Default::default() };
            admin.admin().list_audit_events(request).await.unwrap().into_inner()
        });
    }
    for list in lists.join_all().await {
        assert!(list.events.len() > 20 && !list.next_page_token.is_empty());
    }
    let grown = resident_at_most(server.pid()).saturating_sub(before);
    assert!(grown < 192 * MEGABYTE, "lists: grew by {} MiB", grown / MEGABYTE);
    drop(watchers);
}

/// What became of a watcher that did not read, on a server with a small ring.
pub struct SlowReader {
    /// What it got all the same.
    pub seen: Vec<i64>,
    pub status: Status,
    /// The last revision of the log.
    pub last: i64,
}

/// Opens a watch from the beginning over a connection whose windows take next to nothing, reads the
/// first event and no more of it while the log grows, then reads to the end.
pub async fn slow_reader(server: &Server, admin: &Caller) -> SlowReader {
    let endpoint = Endpoint::from_shared(server.endpoint()).unwrap();
    let endpoint =
        endpoint.initial_stream_window_size(65_535).initial_connection_window_size(65_535);
    let mut client = KeyAdminClient::new(endpoint.connect().await.unwrap());
    let mut request = Request::new(from_the_beginning());
    let token = format!("Bearer {}", server.admin().token());
    request.metadata_mut().insert("authorization", token.parse().unwrap());
    let mut slow = Watching::of(client.watch_audit_events(request).await.unwrap().into_inner());
    let first = slow.event().await.revision;

    let before = resident(server.pid());
    let mut key = admin.mint(key("acme", "billing")).await.key;
    for number in 0..400 {
        // 16 KiB of event: the description before and after.
        let letter = if number % 2 == 0 { "🔑" } else { "🔒" };
        let changed = Key { description: letter.repeat(2_048), ..key };
        key = admin.update(changed, &["description"]).await.unwrap();
    }
    let grown = resident(server.pid()).saturating_sub(before);
    assert!(grown < 64 * MEGABYTE, "grew by {} MiB", grown / MEGABYTE);

    let (mut seen, status) = slow.rest().await;
    seen.insert(0, first);
    // Short, unlike the others: a list of those is more than one page.
    let newest = admin.mint(crate::harness::key("acme", "billing")).await.key.key_id;
    let newest = admin.events(&format!("key_id = {newest}")).await.unwrap();
    SlowReader { seen, status, last: newest[0].revision }
}

#[tokio::test]
async fn a_slow_reader_is_told_where_to_resume_and_misses_nothing() {
    let server = Server::on(Database::Sqlite)
        .await
        .with_args(["--watch-ring-events", "8"])
        .with_env("COUNTERSIGN_LOG", "info")
        .start()
        .await;
    let admin = server.as_admin().await;
    let SlowReader { seen, status, last } = slow_reader(&server, &admin).await;
    let refusal = refused::<()>(Err(status), Code::ResourceExhausted, "SLOW_WATCHER");
    let reached = *seen.last().unwrap();
    assert_eq!(seen, (1..=reached).collect::<Vec<_>>(), "what arrives before the end has no gap");
    assert!(reached < last, "it could not have kept up");

    let mut resumed = admin.watch(after(refusal.metadata("cursor"))).await.unwrap();
    let missing: Vec<i64> = (reached + 1..=last).collect();
    assert_eq!(resumed.revisions(missing.len()).await, missing, "exactly what is missing");
    resumed.heartbeat().await;
}

#[tokio::test]
async fn one_watcher_too_many_is_turned_away_and_the_next_takes_the_place_of_one_that_left() {
    let server =
        Server::on(Database::Sqlite).await.with_args(["--max-watchers", "2"]).start().await;
    let admin = server.as_admin().await;
    let mut first = admin.watch(from_now()).await.unwrap();
    let mut second = admin.watch(from_now()).await.unwrap();
    let third = admin.watch(from_now()).await.map(drop);
    let refusal = refused(third, Code::ResourceExhausted, "OVERLOADED").says("too many watchers");
    assert!(refusal.retry_delay().is_some_and(|delay| delay > Duration::ZERO));
    first.heartbeat().await;
    second.heartbeat().await;
    drop(first);
    let mut third =
        crate::harness::eventually("a place is free", Duration::from_secs(30), async || {
            admin.watch(from_now()).await.ok()
        })
        .await;
    third.heartbeat().await;
}
