//! `KeyAdmin.WatchAuditEvents`: where it starts, what it shows, how it ends. Many watchers and slow
//! ones are in `watchers`.

use std::time::Duration;

use countersign::domain::token::{LogPosition, PositionKind};
use countersign::rpc::proto::WatchAuditEventsRequest;
use countersign::rpc::proto::watch_audit_events_request::Start;
use tonic::{Code, Request};

use super::refusal::{denied, invalid, refused};
use super::verbs::key_with_scopes;
use super::watching::{Watching, after, from, from_now, from_the_beginning};
use crate::harness::{Caller, Database, Server, key};
use crate::on_both_databases;

async fn make(admin: &Caller, count: usize) {
    for _ in 0..count {
        admin.mint(key("acme", "billing")).await;
    }
}

on_both_databases! {
    async fn a_watch_starts_where_it_is_told(db: Database) {
        let server = Server::start(db).await;
        let admin = server.as_admin().await;
        make(&admin, 3).await;
        let mut now = admin.watch(from_now()).await.unwrap();
        let here = now.heartbeat().await;
        let mut all = admin.watch(from_the_beginning()).await.unwrap();
        assert_eq!(all.revisions(4).await, [1, 2, 3, 4]);
        assert_eq!(all.heartbeat().await.cursor, here.cursor, "the replay has caught up");
        let mut some = admin.watch(from(Start::AfterRevision(2))).await.unwrap();
        assert_eq!(some.revisions(2).await, [3, 4]);

        make(&admin, 2).await;
        assert_eq!(now.revisions(2).await, [5, 6]);
        assert_eq!(all.revisions(2).await, [5, 6]);
        let listed = admin.events("revision = 3").await.unwrap();
        let mut resumed = admin.watch(after(&listed[0].cursor)).await.unwrap();
        assert_eq!(resumed.revisions(3).await, [4, 5, 6], "a list's cursors are a watch's");
        let mut resumed = admin.watch(after(&here.cursor)).await.unwrap();
        let event = resumed.event().await;
        let listed = admin.events("revision = 5").await.unwrap();
        assert_eq!(event, listed[0], "an event is the same wherever it is read");
    }

    async fn a_replay_longer_than_the_ring_is_complete(db: Database) {
        let server = Server::on(db).await.with_args(["--watch-ring-events", "5"]).start().await;
        let admin = server.as_admin().await;
        make(&admin, 150).await;
        let mut all = admin.watch(from_the_beginning()).await.unwrap();
        assert_eq!(all.revisions(151).await, (1..=151).collect::<Vec<_>>());
        all.heartbeat().await;
        make(&admin, 1).await;
        assert_eq!(all.revisions(1).await, [152]);
    }
}

#[tokio::test]
async fn a_filter_holds_back_and_the_heartbeat_moves_on() {
    let server = Server::start(Database::Sqlite).await;
    let admin = server.as_admin().await;
    let filtered = WatchAuditEventsRequest {
        filter: "account_id = globex AND type = KEY_CREATED".to_owned(),
        ..from_the_beginning()
    };
    let mut watch = admin.watch(filtered.clone()).await.unwrap();
    let start = watch.heartbeat().await;
    make(&admin, 3).await;
    let moved = watch.heartbeat().await;
    assert_ne!(moved.cursor, start.cursor, "it has come past what the filter held back");
    admin.mint(key("globex", "billing")).await;
    let event = watch.event().await;
    assert_eq!((event.revision, &*event.account_id), (5, "globex"));

    let resumed = WatchAuditEventsRequest { filter: String::new(), ..after(&moved.cursor) };
    assert_eq!(admin.watch(resumed).await.unwrap().revisions(1).await, [5]);
}

#[tokio::test]
async fn an_accounts_auditor_watches_that_account_alone() {
    let server = Server::start(Database::Sqlite).await;
    let admin = server.as_admin().await;
    let acme = admin.colleague("acme", &["countersign.audit:read"]).await;
    let mut watch = acme.watch(from_the_beginning()).await.unwrap();
    assert_eq!(watch.revisions(1).await, [2], "the creation of its own key");
    admin.mint(key("globex", "billing")).await;
    make(&admin, 1).await;
    assert_eq!(watch.revisions(1).await, [4]);
    let reader = admin.colleague("acme", &["countersign.keys:read"]).await;
    denied(reader.watch(from_now()).await.map(drop), "needs the scope countersign.audit:read");
}

#[tokio::test]
async fn a_cursor_must_be_of_this_log_and_not_ahead_of_it() {
    let server = Server::start(Database::Sqlite).await;
    let admin = server.as_admin().await;
    let cursor = admin.watch(from_now()).await.unwrap().heartbeat().await.cursor;
    let here = LogPosition::decode(PositionKind::Cursor, &cursor).expect("our own cursor");
    let other_store = Server::start(Database::Sqlite).await;
    let foreign = other_store.as_admin().await.watch(from_now()).await.unwrap().heartbeat().await;
    let encode = |position: LogPosition| position.encode(PositionKind::Cursor);
    let ahead = encode(LogPosition { revision: here.revision + 1, ..here });
    let far_ahead = encode(LogPosition { revision: u64::MAX, ..here });
    let of_epoch = encode(LogPosition { epoch: here.epoch + 1, ..here });
    for (start, words) in [
        (after(&ahead), "ahead of the log"),
        (after(&far_ahead), "ahead of the log"),
        (from(Start::AfterRevision(i64::MAX)), "ahead of the log"),
        (after(&foreign.cursor), "another store or epoch"),
        (after(&of_epoch), "another store or epoch"),
    ] {
        let outcome = admin.watch(start).await.map(drop);
        refused(outcome, Code::OutOfRange, "CURSOR_OUT_OF_RANGE").says(words);
    }
    let token = here.encode(PositionKind::ConsistencyToken);
    for garbage in ["", "x", "AAAA", "ü", &token, &cursor.repeat(1_000), &cursor[1..]] {
        invalid(admin.watch(after(garbage)).await.map(drop), "cursor", "not made by this service");
    }
    let negative = admin.watch(from(Start::AfterRevision(-1))).await.map(drop);
    invalid(negative, "after_revision", "must not be negative");
    let unread = WatchAuditEventsRequest { filter: "type = ".to_owned(), ..from_now() };
    invalid(admin.watch(unread).await.map(drop), "filter", "column 8: expected a value");
}

#[tokio::test]
async fn a_watch_ends_with_the_right_to_it() {
    let server = Server::start(Database::Sqlite).await;
    let admin = server.as_admin().await;
    let scopes = ["countersign.audit:read"];
    let end_of = async |end: &str| {
        let minted = admin.mint(key_with_scopes("countersign", &scopes)).await;
        // The second kind of watch has a filter that holds back what ends it.
        let filter = if end == "revoked unseen" { "type = KEY_DELETED" } else { "" };
        let request = WatchAuditEventsRequest { filter: filter.to_owned(), ..from_now() };
        let mut watch = admin.with(minted.credential).watch(request).await.unwrap();
        watch.heartbeat().await;
        let key = minted.key;
        match end {
            "revoked" | "revoked unseen" => admin.revoke(&key.key_id).await.map(drop),
            "disabled" => admin.disable(&key.key_id).await.map(drop),
            "rotated" => admin.rotate(&key.key_id, 0).await.map(drop),
            "stripped" => {
                let powerless = countersign::rpc::proto::Key { scopes: vec![], ..key };
                admin.update(powerless, &["scopes"]).await.map(drop)
            }
            _ => panic!("no such end"),
        }
        .unwrap();
        let (seen, status) = watch.rest().await;
        assert!(seen.is_empty(), "nothing is sent to a key that is {end}, but {seen:?} was");
        if end == "stripped" {
            let lacking = "needs the scope countersign.audit:read";
            refused::<()>(Err(status), Code::PermissionDenied, "PERMISSION_DENIED").says(lacking);
        } else {
            let refused = refused::<()>(Err(status), Code::Unauthenticated, "UNAUTHENTICATED");
            refused.says("lost its right");
        }
    };
    for end in ["revoked", "revoked unseen", "disabled", "rotated", "stripped"] {
        end_of(end).await;
    }
}

#[tokio::test]
async fn a_watch_ends_at_the_callers_deadline() {
    let server = Server::start(Database::Sqlite).await;
    let admin = server.as_admin().await;
    let mut request = Request::new(from_the_beginning());
    request.set_timeout(Duration::from_secs(1));
    let reply = admin.admin().watch_audit_events(request).await.unwrap();
    let (seen, status) = Watching::of(reply.into_inner()).rest().await;
    assert_eq!(seen, [1]);
    refused::<()>(Err(status), Code::DeadlineExceeded, "DEADLINE_EXCEEDED");
}

#[tokio::test]
async fn a_watch_ends_as_unavailable_when_the_server_stops() {
    let mut server = Server::start(Database::Sqlite).await;
    let admin = server.as_admin().await;
    let mut watch = admin.watch(from_now()).await.unwrap();
    let cursor = watch.heartbeat().await.cursor;
    assert!(server.sigterm().success());
    let (_, status) = watch.rest().await;
    let refusal =
        refused::<()>(Err(status), Code::Unavailable, "UNAVAILABLE").says("shutting down");
    assert!(refusal.retry_delay().is_some());

    let server = server.restart().await;
    let admin = server.as_admin().await;
    make(&admin, 1).await;
    let mut resumed = admin.watch(after(&cursor)).await.unwrap();
    assert_eq!(resumed.revisions(1).await, [2], "the cursor outlives the server");
}
