//! Promise P8: a call that is given up at any point leaves no transaction open, and nothing is
//! acknowledged that is not committed.

use std::time::Duration;

use futures::future::join_all;
use sea_orm::{ConnectionTrait, Database as Connect, DatabaseConnection, Statement};

use super::ledger::Ledger;
use super::log::{assert_log_is_right, whole_log};
use crate::harness::seeded::Random;
use crate::harness::{Caller, Credential, Database, Server, Store, canary, eventually, key};
use crate::on_both_databases;

const CLIENTS: usize = 4;
const ABORTED_BY_EACH: usize = 50;
/// The latest moment at which a call is given up; most calls take less, so some are not.
const LATEST_MICROS: u64 = 10_000;
const SOON: Duration = Duration::from_secs(20);
/// Long enough for a call to be at work in the server, and shorter than it waits for a lock.
const GIVEN_UP: Duration = Duration::from_secs(1);
/// How often it is looked whether a transaction is open, after the last one has ended.
const LOOKS: usize = 50;

on_both_databases! {
    async fn calls_given_up_half_way_leave_nothing_half_done(db: Database) {
        let mut random = Random::seeded();
        let server = Server::start(db).await;
        let clients = (0..CLIENTS).map(|number| give_up(&server, number, random.fork()));
        let ledgers = join_all(clients).await;

        no_transaction_is_open(server.store()).await;
        let caller = server.as_admin().await;
        let log = whole_log(&caller).await;
        for ledger in &ledgers {
            ledger.holds_at(&caller).await;
            ledger.is_the_history_in(&log);
        }
        assert_eq!(assert_log_is_right(server.store()).await, log.len() as u64);
        another_process_writes(&server).await;
    }

    async fn a_change_that_nobody_waits_for_any_more_is_carried_through(db: Database) {
        let server = Server::start(db).await;
        let admin = server.as_admin().await;
        let in_the_way = connect(server.store()).await;
        in_the_way.execute_unprepared(begin(db)).await.expect("begins");
        in_the_way.execute_unprepared(keeping_writers_out(db)).await.expect("takes the lock");
        let call = admin.create(key("acme", "given-up"), "");
        assert!(tokio::time::timeout(GIVEN_UP, call).await.is_err(), "the lock was not in the way");
        in_the_way.execute_unprepared("ROLLBACK").await.expect("ends");
        eventually("the key is made all the same", SOON, async || {
            admin.list("application_id = given-up").await.expect("lists").len() == 1
        })
        .await;
        assert_log_is_right(server.store()).await;
    }

    async fn a_transaction_that_was_left_open_would_be_seen(db: Database) {
        let server = Server::start(db).await;
        let (left, looks) = (connect(server.store()).await, connect(server.store()).await);
        eventually("no transaction is open", SOON, async || is_quiet(&looks).await).await;
        left.execute_unprepared(begin(db)).await.expect("begins");
        left.execute_unprepared("DELETE FROM replies").await.expect("takes the writer's lock");
        assert!(!is_quiet(&looks).await);
        left.execute_unprepared("ROLLBACK").await.expect("ends");
        // The server writes now and then too, and is between two of its own statements then.
        eventually("no transaction is open", SOON, async || is_quiet(&looks).await).await;
    }
}

/// Begins a transaction that is going to write. On SQLite one that begins as a reader is refused at its
/// first write, without waiting, if the server happens to write at that moment.
fn begin(db: Database) -> &'static str {
    match db {
        Database::Sqlite => "BEGIN IMMEDIATE",
        Database::Postgres => "BEGIN",
    }
}

/// Writes, and gives up 50 of the calls: half of them by hanging up, half by a deadline that the
/// server is told. Each is then sent again, so that what was asked for is known.
async fn give_up(server: &Server, number: usize, mut random: Random) -> Ledger {
    let caller = server.as_admin().await;
    let mut ledger = Ledger::of(format!("client-{number}"));
    let mut given_up = 0;
    while given_up < ABORTED_BY_EACH {
        let write = ledger.next(&mut random);
        let patience = Duration::from_micros(random.below(LATEST_MICROS));
        let reply = if given_up % 2 == 0 {
            tokio::time::timeout(patience, write.send(&caller)).await.ok()
        } else {
            Some(write.send_within(&caller, Some(patience)).await)
        };
        match reply {
            Some(Ok(reply)) => _ = ledger.book(&write, reply),
            Some(Err(status)) if given_up % 2 == 0 => panic!("{write:?}: {status}"),
            Some(Err(_)) | None => {
                given_up += 1;
                ledger.repeat(&caller, &write).await;
            }
        }
    }
    ledger
}

/// What keeps every writer waiting until the end of the transaction, and no reader.
fn keeping_writers_out(db: Database) -> &'static str {
    match db {
        Database::Sqlite => "DELETE FROM replies",
        Database::Postgres => "LOCK TABLE audit_events IN EXCLUSIVE MODE",
    }
}

/// Waits until the database has no open transaction, and demands that it stays so.
async fn no_transaction_is_open(store: &Store) {
    let connection = connect(store).await;
    eventually("no transaction is open", SOON, async || is_quiet(&connection).await).await;
    for _ in 0..LOOKS {
        assert!(is_quiet(&connection).await, "a transaction was opened, and nobody asked for it");
    }
    connection.close().await.expect("closes");
}

async fn connect(store: &Store) -> DatabaseConnection {
    let url = match &store.url {
        Some(url) => url.clone(),
        None => format!("sqlite://{}", store.data_dir.join("countersign.db").display()),
    };
    let mut options = sea_orm::ConnectOptions::new(url);
    options.max_connections(1).sqlx_logging(false);
    let connection = Connect::connect(options).await.expect("connects");
    if store.url.is_none() {
        // Says at once that the lock is taken.
        connection.execute_unprepared("PRAGMA busy_timeout = 0").await.expect("can be set");
    }
    connection
}

async fn is_quiet(connection: &DatabaseConnection) -> bool {
    const OPEN: &str = "SELECT pid FROM pg_stat_activity \
         WHERE datname = current_database() AND state LIKE 'idle in transaction%'";
    match connection.get_database_backend() {
        sea_orm::DbBackend::Sqlite => {
            let began = connection.execute_unprepared("BEGIN IMMEDIATE").await.is_ok();
            if began {
                connection.execute_unprepared("ROLLBACK").await.expect("ends");
            }
            began
        }
        backend => {
            let open = connection.query_all_raw(Statement::from_string(backend, OPEN)).await;
            open.expect("can be asked").is_empty()
        }
    }
}

/// Another process takes the writer's lock, and the server follows.
async fn another_process_writes(server: &Server) {
    let command = server.store().command(["bootstrap", "--recover", "--json"]);
    let credential = Credential::from_json(&command.run().succeeded().json());
    canary::record_secret(&credential.secret);
    let known = async || server.caller(None).await.verify(&credential).await.allowed;
    eventually("the server knows the key that another process made", SOON, known).await;
    let administrator: Caller = server.caller(Some(credential)).await;
    let mut ledger = Ledger::of("afterwards");
    let write = ledger.next_create();
    ledger.repeat(&administrator, &write).await;
    ledger.holds_at(&administrator).await;
}
