//! What a database's trouble looks like, and that a store gets over it without being opened anew.

use std::time::Duration;

use countersign::domain::Error;
use countersign::store::Store;
use sea_orm::ConnectionTrait;

use super::bench::*;
use crate::harness::{Database, run};

/// Ends all sessions of the database but the one that asks, as a restart of the server would.
const END_ALL_SESSIONS: &str = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                                WHERE datname = current_database() AND pid <> pg_backend_pid()";

async fn impatient(database: Database) -> (Bench, Store) {
    let mut bench = Bench::new(database).await;
    bench.settings.lock_timeout = Duration::from_secs(2);
    let store = bench.open_again().await;
    (bench, store)
}

#[tokio::test]
async fn lost_connections_are_replaced_without_an_error() {
    let (bench, store) = impatient(Database::Postgres).await;
    for number in 0..5 {
        let id = format!("k{number}");
        create(&store, &id).await.expect("creates");
        bench.sql(END_ALL_SESSIONS).await;
        assert!(store.get_key(&id).await.expect("reads").is_some());
    }
    bench.assert_log_is_right().await;
}

#[tokio::test]
async fn a_session_that_can_not_write_is_not_used() {
    let (bench, store) = impatient(Database::Postgres).await;
    create(&store, "k1").await.expect("creates");
    let url = real_url(&bench.settings);
    let (_, name) = url.rsplit_once('/').expect("names a database");
    let cluster = sea_orm::Database::connect(run::postgres_url()).await.expect("connects");
    let set_read_only = format!("ALTER DATABASE {name} SET default_transaction_read_only = on");
    cluster.execute_unprepared(&set_read_only).await.expect("sets");
    bench.sql(END_ALL_SESSIONS).await;
    let refused = Err(Error::Unavailable("the database can't be reached"));
    assert_eq!(create(&store, "k2").await.map(|_| ()), refused);
    assert_eq!(
        store.last_revision().await.map(|_| ()),
        refused,
        "a primary of the past knows nothing"
    );
    let reset = format!("ALTER DATABASE {name} RESET default_transaction_read_only");
    cluster.execute_unprepared(&reset).await.expect("resets");
    create(&store, "k2").await.expect("the database takes writes again");
    bench.assert_log_is_right().await;
}

#[tokio::test]
async fn a_closed_store_says_that_it_is_unavailable() {
    for database in [Database::Sqlite, Database::Postgres] {
        let (_bench, store) = impatient(database).await;
        let clone = store.clone();
        store.close().await;
        let refused = Err(Error::Unavailable("the database can't be reached"));
        assert_eq!(create(&clone, "k1").await.map(|_| ()), refused);
        assert_eq!(clone.last_revision().await.map(|_| ()), refused);
    }
}
