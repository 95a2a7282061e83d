//! What a replica asks of the store at each turn, and the rows in which replicas report.

use std::time::Duration;

use countersign::domain::Error;
use countersign::domain::replica::{Place, ReplicaRow, Roster};
use countersign::domain::tree::TreeHash;
use countersign::store::Store;

use super::bench::*;
use crate::harness::Database;
use crate::on_both_databases;

fn row(id: &str, beat: u64) -> ReplicaRow {
    ReplicaRow {
        id: id.to_owned(),
        lease_ms: 30_000,
        applied: 0,
        beat,
        beat_age: Duration::ZERO,
        version: "1.2.3 'quoted'".to_owned(),
        reads_up_to: 2,
        root_key_versions: vec![1, 7],
    }
}

async fn leaf(store: &Store, revision: u64) -> Option<TreeHash> {
    store.leaf(revision).await.expect("reads")
}

/// All rows, without what time does to them.
async fn rows(store: &Store) -> Vec<ReplicaRow> {
    let rows = store.replicas(&[]).await.expect("reads").rows.into_iter();
    rows.map(|row| ReplicaRow { beat_age: Duration::ZERO, ..row }).collect()
}

on_both_databases! {
    async fn a_poll_gives_what_comes_after_and_what_it_rests_on(db: Database) {
        let bench = Bench::new(db).await;
        let store = bench.store.for_follower();
        let empty = store.poll("r1", 0).await.expect("polls");
        assert_eq!((empty.epoch, empty.leaf, empty.events.len(), empty.complete), (1, None, 0, true));
        let end = store.end().await.expect("reads");
        assert_eq!((end.epoch, end.revision, end.leaf), (1, 0, None));

        for number in 1..=53 {
            create(&bench.store, &format!("k{number}")).await.expect("creates");
        }
        let all = bench.store.events_after(0, 100).await.expect("reads");
        let end = store.end().await.expect("reads");
        assert_eq!((end.revision, end.leaf), (53, Some(all[52].leaf_hash)));
        assert!(end.clock >= end.time);

        let first = store.poll("r1", 0).await.expect("polls");
        assert_eq!((first.leaf, first.complete), (None, false));
        assert_eq!(first.events, all[..50]);
        let from_two = store.poll("r1", 2).await.expect("polls");
        assert_eq!((from_two.leaf, from_two.complete), (Some(all[1].leaf_hash), false));
        assert_eq!(from_two.events, all[2..52]);
        let from_three = store.poll("r1", 3).await.expect("polls");
        assert_eq!((from_three.leaf, from_three.complete), (Some(all[2].leaf_hash), true));
        assert_eq!(from_three.events, all[3..]);
        let last = store.poll("r1", 53).await.expect("polls");
        assert_eq!((last.leaf, last.events.len(), last.complete), (Some(all[52].leaf_hash), 0, true));
        let ahead = store.poll("r1", 54).await.expect("polls");
        assert_eq!((ahead.leaf, ahead.events.len(), ahead.complete), (None, 0, true));
        assert!(last.clock >= end.clock && ahead.clock >= last.clock);

        assert_eq!(leaf(&store, 53).await, Some(all[52].leaf_hash));
        assert_eq!((leaf(&store, 0).await, leaf(&store, 54).await), (None, None));
        assert_eq!(leaf(&store, u64::MAX).await, None);
        assert_eq!(store.epochs().await.expect("reads"), []);
    }

    async fn an_id_that_is_not_plain_goes_into_no_statement(db: Database) {
        let bench = Bench::new(db).await;
        for id in ["", "a'b", "a b", "ä", &"a".repeat(65)] {
            let polled = bench.store.poll(id, 0).await;
            assert!(matches!(polled, Err(Error::Internal(_))), "{id}");
        }
    }

    async fn a_broken_event_is_no_answer(db: Database) {
        let bench = Bench::new(db).await;
        create(&bench.store, "k1").await.expect("creates");
        bench.sql("UPDATE audit_events SET canonical = '{}'").await;
        assert!(matches!(bench.store.poll("r1", 0).await, Err(Error::Internal(_))));
        assert!(bench.store.poll("r1", 1).await.is_ok(), "its text is not read again");
    }
}

#[tokio::test]
async fn on_sqlite_there_are_no_rows() {
    let bench = Bench::new(Database::Sqlite).await;
    let store = &bench.store;
    assert!(!store.is_shared());
    store.register(&row("r1", 1)).await.expect("nothing to do");
    assert!(store.beat("r1", 2, 0, None).await.expect("nothing to do"));
    assert_eq!(store.poll("r1", 0).await.expect("polls").beat, Some(0));
    assert_eq!(rows(store).await, []);
    assert!(store.sweep("r1", 2, 0).await.expect("nothing to do"));
    store.deregister("r1").await.expect("nothing to do");
    assert!(bench.texts("SELECT id FROM replicas").await.is_empty());
}

#[tokio::test]
async fn a_row_says_what_its_replica_says_of_itself() {
    let bench = Bench::new(Database::Postgres).await;
    let store = bench.store.for_follower();
    assert!(store.is_shared());
    assert_eq!(store.poll("r1", 0).await.expect("polls").beat, None, "there is no row yet");
    assert!(!store.beat("r1", 1, 0, None).await.expect("no such row"));
    store.register(&row("r1", 1)).await.expect("registers");
    store.register(&row("r2", 9)).await.expect("registers");
    assert_eq!(rows(&bench.store).await, [row("r1", 1), row("r2", 9)]);
    assert_eq!(store.poll("r1", 0).await.expect("polls").beat, Some(1));
    assert_eq!(store.poll("r2", 0).await.expect("polls").beat, Some(9));

    create(&bench.store, "k1").await.expect("creates");
    let first = leaf(&store, 1).await;
    assert!(store.beat("r1", 2, 1, first).await.expect("beats"));
    assert_eq!(store.poll("r1", 1).await.expect("polls").beat, Some(2));
    assert_eq!(rows(&store).await[0], ReplicaRow { applied: 1, ..row("r1", 2) });
    let age = store.replicas(&[]).await.expect("reads").rows[0].beat_age;
    assert!(age < Duration::from_secs(60), "{age:?}");

    store.deregister("r1").await.expect("deregisters");
    store.deregister("r1").await.expect("is gone already");
    assert_eq!(rows(&store).await, [row("r2", 9)]);
}

#[tokio::test]
async fn rows_come_with_what_the_same_database_has_at_some_revisions() {
    let bench = Bench::new(Database::Postgres).await;
    let store = &bench.store;
    let of_nobody = store.replicas(&[1]).await.expect("reads");
    assert_eq!(of_nobody, Roster::default());
    for id in ["k1", "k2", "k3"] {
        create(store, id).await.expect("creates");
    }
    for id in ["r1", "r2"] {
        store.register(&row(id, 1)).await.expect("registers");
    }
    let roster = store.replicas(&[3, 2, 7]).await.expect("reads");
    assert_eq!(roster.rows.len(), 2);
    let leaves = [2, 3].map(async |at| (at, leaf(store, at).await.expect("is there")));
    let leaves = futures::future::join_all(leaves).await;
    assert_eq!(roster.leaves.into_iter().collect::<Vec<_>>(), leaves);
}

#[tokio::test]
async fn a_change_says_which_log_has_it() {
    let bench = Bench::new(Database::Postgres).await;
    let changed = create(&bench.store, "k1").await.expect("creates");
    let first = Place { revision: 1, leaf: leaf(&bench.store, 1).await };
    assert_eq!(changed.place, first);
    assert!(first.leaf.is_some());
}

#[tokio::test]
async fn a_beat_from_another_log_or_from_the_past_is_not_taken() {
    let bench = Bench::new(Database::Postgres).await;
    let store = bench.store.for_follower();
    create(&bench.store, "k1").await.expect("creates");
    create(&bench.store, "k2").await.expect("creates");
    let (first, second) = (leaf(&store, 1).await, leaf(&store, 2).await);
    store.register(&row("r1", 5)).await.expect("registers");
    assert!(!store.beat("r1", 6, 1, second).await.expect("another leaf"));
    assert!(!store.beat("r1", 6, 3, second).await.expect("no such revision"));
    assert!(!store.beat("r1", 5, 1, first).await.expect("the same beat"));
    assert!(!store.beat("r1", 4, 1, first).await.expect("an older beat"));
    assert_eq!(rows(&store).await, [row("r1", 5)]);
    assert!(store.beat("r1", 6, 2, second).await.expect("its own log"));

    // What was sent before and arrives late does not take anything back.
    let late = store.register(&row("r1", 6)).await;
    assert!(matches!(late, Err(Error::Internal(_))), "{late:?}");
    assert_eq!(rows(&store).await, [ReplicaRow { applied: 2, ..row("r1", 6) }]);
    let anew = ReplicaRow { lease_ms: 1_000, version: "2".to_owned(), ..row("r1", 7) };
    store.register(&anew).await.expect("registers anew");
    assert_eq!(rows(&store).await, [anew]);
}

#[tokio::test]
async fn a_row_is_swept_by_value() {
    let bench = Bench::new(Database::Postgres).await;
    let store = bench.store.for_follower();
    store.register(&row("r1", 5)).await.expect("registers");
    assert!(!store.sweep("r1", 4, 0).await.expect("another beat"));
    assert!(!store.sweep("r1", 5, 1).await.expect("another revision"));
    assert!(!store.sweep("r2", 5, 0).await.expect("another replica"));
    assert_eq!(rows(&store).await, [row("r1", 5)]);
    assert!(store.sweep("r1", 5, 0).await.expect("the very row"));
    assert!(!store.sweep("r1", 5, 0).await.expect("is gone"));
    assert_eq!(rows(&store).await, []);
}

#[tokio::test]
async fn rows_are_written_while_somebody_else_holds_the_writers_lock() {
    let bench = Bench::new(Database::Postgres).await;
    let store = bench.store.for_follower();
    let other = bench.raw().await;
    let session = sea_orm::TransactionTrait::begin(&other).await.expect("begins");
    let lock = "SELECT pg_advisory_xact_lock(7166187325031739239)";
    sea_orm::ConnectionTrait::execute_unprepared(&session, lock).await.expect("locks");
    let refused = create(&impatient(&bench).await, "k1").await;
    assert!(matches!(refused, Err(Error::Overloaded { .. })), "nobody holds the lock: {refused:?}");
    store.register(&row("r1", 1)).await.expect("registers");
    assert!(store.beat("r1", 2, 0, None).await.expect("beats"));
    assert_eq!(store.poll("r1", 0).await.expect("polls").beat, Some(2));
    assert!(store.sweep("r1", 2, 0).await.expect("sweeps"));
    session.rollback().await.expect("ends");
}

/// The same store, which waits for the lock for a moment only.
async fn impatient(bench: &Bench) -> Store {
    let settings = countersign::store::Settings {
        lock_timeout: Duration::from_millis(100),
        ..bench.settings.clone()
    };
    let root = keyring(bench.root_key());
    let random = std::sync::Arc::new(countersign::domain::random::OsRandom);
    Store::open(&settings, root, random).await.expect("opens")
}

#[tokio::test]
async fn an_answer_of_a_database_that_takes_no_writes_is_none() {
    let bench = Bench::new(Database::Postgres).await;
    let store = bench.store.for_follower();
    let url = bench.settings.url.to_string();
    let (_, name) = url.rsplit_once('/').expect("names a database");
    // New sessions only: none of this store's connections for messages has been made yet.
    bench.sql(&format!("ALTER DATABASE {name} SET default_transaction_read_only = on")).await;
    let read_only = || Error::Unavailable("the database is read-only");
    assert_eq!(store.poll("r1", 0).await.expect_err("is refused"), read_only());
    assert_eq!(store.replicas(&[]).await.expect_err("is refused"), read_only());
    bench.sql(&format!("ALTER DATABASE {name} SET default_transaction_read_only = off")).await;
    // The sessions that only read are not used again.
    store.poll("r1", 0).await.expect("polls");
    store.replicas(&[]).await.expect("reads");
}
