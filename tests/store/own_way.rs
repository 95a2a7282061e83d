//! Whatever else is asked for at once, the follower has its way to the database, and lists have places.

use countersign::domain::Error;
use countersign::store::{Settings, Store};
use sea_orm::ConnectionTrait as _;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;

use super::bench::*;
use crate::harness::{Database, eventually};

/// A store with few connections and little patience.
async fn with_few_connections(bench: &Bench) -> Store {
    let mut settings: Settings = bench.settings.clone();
    settings.max_connections = 2;
    settings.lock_timeout = Duration::from_secs(30);
    let root = keyring(bench.root_key());
    let random = Arc::new(countersign::domain::random::OsRandom);
    Store::open(&settings, root, random).await.expect("opens")
}

#[tokio::test]
async fn the_follower_reads_while_every_other_connection_is_busy() {
    let bench = Bench::new(Database::Postgres).await;
    create(&bench.store, "k1").await.expect("creates");
    let store = with_few_connections(&bench).await;
    let blocker = bench.raw().await;
    let begin = "BEGIN; LOCK TABLE keys IN ACCESS EXCLUSIVE MODE";
    // One connection only, so that both statements go to the same session.
    blocker.execute_unprepared(begin).await.expect("locks");
    let mut readers = JoinSet::new();
    for _ in 0..20 {
        let store = store.clone();
        readers.spawn(async move { store.get_key("k1").await });
    }
    let waiting = "SELECT 'x' FROM pg_stat_activity WHERE datname = current_database() \
                   AND wait_event_type = 'Lock'";
    eventually("both connections wait", Duration::from_secs(30), async || {
        bench.texts(waiting).await.len() >= 2
    })
    .await;
    let own = store.for_follower();
    let (revision, _) = own.last_revision().await.expect("reads");
    assert_eq!(revision, 1);
    assert_eq!(own.events_after(0, 10).await.expect("reads").len(), 1);
    assert_eq!(readers.try_join_next().map(|_| ()), None, "the others are still waiting");
    blocker.execute_unprepared("ROLLBACK").await.expect("lets go");
    while let Some(read) = readers.join_next().await {
        assert!(read.expect("no panic").expect("reads").is_some());
    }
}

#[tokio::test]
async fn lists_above_their_places_wait_and_are_then_turned_away() {
    let bench = Bench::new(Database::Sqlite).await;
    let mut settings = bench.settings.clone();
    settings.lock_timeout = Duration::from_millis(50);
    let root = keyring(bench.root_key());
    let random = Arc::new(countersign::domain::random::OsRandom);
    let store = Store::open(&settings, root, random).await.expect("opens");
    let mut places = Vec::new();
    let refused = loop {
        match store.place_to_list().await {
            Ok(place) => places.push(place),
            Err(refused) => break refused,
        }
        assert!(places.len() <= 4, "more lists than connections to spare");
    };
    assert!(matches!(refused, Error::Overloaded { .. }), "{refused:?}");
    assert!(!places.is_empty());
    assert!(store.get_key("k1").await.expect("reads").is_none(), "one row is always to be had");
    places.pop();
    let _place = store.place_to_list().await.expect("a place is free again");
}
