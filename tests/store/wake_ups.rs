//! NOTIFY and LISTEN: they wake, they carry nothing else, and nothing depends on them.

use std::sync::Arc;
use std::time::Duration;

use countersign::domain::random::OsRandom;
use countersign::store::{Settings, Store, WakeUps};
use sea_orm::sqlx::postgres::PgListener;

use super::bench::*;
use crate::harness::{Database, eventually};

const PATIENCE: Duration = Duration::from_secs(60);

/// The same store, opened with `--database-listen off`.
async fn deaf_and_mute(bench: &Bench) -> Store {
    let settings = Settings { wake_ups: false, ..bench.settings.clone() };
    let root = keyring(bench.root_key());
    Store::open(&settings, root, Arc::new(OsRandom)).await.expect("opens")
}

async fn next(wake_ups: &mut WakeUps) -> Result<(), countersign::domain::Error> {
    tokio::time::timeout(PATIENCE, wake_ups.next()).await.expect("something happens")
}

#[tokio::test]
async fn a_change_wakes_the_other_replicas() {
    let bench = Bench::new(Database::Postgres).await;
    let other = bench.open_again().await;
    let mut wake_ups = other.wake_ups().expect("PostgreSQL has them");
    next(&mut wake_ups).await.expect("has begun to listen");
    create(&bench.store, "k1").await.expect("creates");
    next(&mut wake_ups).await.expect("is woken");
    bench
        .store
        .accept(1, None, &countersign::domain::audit::Actor::local("test"))
        .await
        .expect("accepts");
    next(&mut wake_ups).await.expect("is woken");
}

#[tokio::test]
async fn listening_goes_on_after_its_connection_was_lost() {
    let bench = Bench::new(Database::Postgres).await;
    let mut wake_ups = bench.store.wake_ups().expect("PostgreSQL has them");
    next(&mut wake_ups).await.expect("has begun to listen");
    let end = "SELECT pg_terminate_backend(pid)::text FROM pg_stat_activity \
               WHERE datname = current_database() AND query LIKE 'LISTEN%'";
    assert_eq!(bench.texts(end).await, ["true"]);
    next(&mut wake_ups).await.expect_err("says that it is lost");
    next(&mut wake_ups).await.expect("listens again");
    create(&bench.store, "k1").await.expect("creates");
    next(&mut wake_ups).await.expect("is woken");
}

#[tokio::test]
async fn the_newest_revision_is_told_and_only_what_changed() {
    let bench = Bench::new(Database::Postgres).await;
    let mut listener = PgListener::connect(&real_url(&bench.settings)).await.expect("connects");
    listener.listen("countersign").await.expect("listens");
    // What is refused, or changes nothing, wakes nobody; nor does a server that is to wake nobody.
    delete(&bench.store, "no such key").await.expect_err("is refused");
    let mute = deaf_and_mute(&bench).await;
    create(&mute, "k1").await.expect("creates");
    create(&bench.store, "k1").await.expect("is there already");
    for number in 2..=20 {
        create(&bench.store, &format!("k{number}")).await.expect("creates");
    }
    let mut told = Vec::new();
    while told.last() != Some(&20) {
        let heard = tokio::time::timeout(PATIENCE, listener.recv()).await.expect("is woken");
        told.push(heard.expect("listens").payload().parse::<u64>().expect("a revision"));
    }
    assert!(told.is_sorted() && told[0] >= 2, "{told:?}");
}

#[tokio::test]
async fn where_nobody_can_listen_nobody_does() {
    let bench = Bench::new(Database::Sqlite).await;
    assert!(bench.store.wake_ups().is_none(), "SQLite has one process");
    let bench = Bench::new(Database::Postgres).await;
    assert!(deaf_and_mute(&bench).await.wake_ups().is_none(), "it was told not to");
}

#[tokio::test]
async fn a_change_does_not_depend_on_what_sends() {
    let bench = Bench::new(Database::Postgres).await;
    create(&bench.store, "k1").await.expect("creates");
    let gone = "SELECT pg_terminate_backend(pid)::text FROM pg_stat_activity \
                WHERE datname = current_database() AND query LIKE '%pg_notify%' AND pid <> pg_backend_pid()";
    eventually("a connection has sent", PATIENCE, async || {
        (bench.texts(gone).await == ["true"]).then_some(())
    })
    .await;
    create(&bench.store, "k2").await.expect("creates, though what sends is gone");
    create(&bench.store, "k3").await.expect("creates");
}
