//! A database that is missing, locked, read-only, something else, too new, not migrated, or out of
//! reach.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use sea_orm::{ConnectOptions, ConnectionTrait, Database as Connect, DatabaseConnection};

use super::{on_free_ports, refuses, serve, serve_bound_by_permissions, served_before};
use crate::harness::{Database, Server, Store, postgres, tools};
use crate::on_both_databases;

fn file_of(store: &Store) -> std::path::PathBuf {
    store.data_dir.join("countersign.db")
}

fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).expect("our own files");
}

/// One connection around the server.
async fn connect(store: &Store) -> DatabaseConnection {
    let sqlite = || format!("sqlite://{}", file_of(store).display());
    let mut options = ConnectOptions::new(store.url.clone().unwrap_or_else(sqlite));
    options.max_connections(1).sqlx_logging(false);
    Connect::connect(options).await.expect("connects")
}

on_both_databases! {
    async fn a_database_of_a_newer_release_is_left_alone(db: Database) {
        let store = served_before(db).await;
        let connection = connect(&store).await;
        let newer = "UPDATE store SET min_reader = 99";
        connection.execute_unprepared(newer).await.expect("can be changed");
        connection.close().await.expect("closes");
        refuses(serve(&store), &["migrated by a newer release", "min_reader 99", "install"]);
    }
}

#[tokio::test]
async fn a_database_that_another_process_keeps_locked_is_said_to_be_locked() {
    let store = served_before(Database::Sqlite).await;
    let connection = connect(&store).await;
    for sql in ["PRAGMA locking_mode = EXCLUSIVE", "BEGIN EXCLUSIVE"] {
        connection.execute_unprepared(sql).await.expect("nobody else uses it");
    }
    refuses(serve(&store), &["is locked by another process; stop that one"]);
}

#[tokio::test]
async fn a_database_file_that_can_only_be_read_is_said_to_be_read_only() {
    let store = served_before(Database::Sqlite).await;
    chmod(&file_of(&store), 0o400);
    let program = serve_bound_by_permissions(&store.data_dir);
    refuses(program, &["countersign.db", "is read-only; make the file", "writable for this user"]);
}

#[tokio::test]
async fn a_data_folder_that_can_only_be_read_is_said_to_be_so() {
    let store = served_before(Database::Sqlite).await;
    chmod(&store.data_dir, 0o500);
    let program = serve_bound_by_permissions(&store.data_dir);
    refuses(program, &["countersign.db", "its directory", "writable for this user"]);
    chmod(&store.data_dir, 0o700);
}

#[tokio::test]
async fn an_empty_data_folder_that_can_only_be_read_is_said_to_be_so() {
    let store = Store::unprepared(Database::Sqlite).await;
    chmod(&store.data_dir, 0o500);
    let program = serve_bound_by_permissions(&store.data_dir);
    refuses(program, &["lock", "permission denied"]);
    chmod(&store.data_dir, 0o700);
}

#[tokio::test]
async fn a_file_that_is_no_database_is_said_to_be_none() {
    let store = Store::unprepared(Database::Sqlite).await;
    fs::write(file_of(&store), "Dear Sir or Madam, ".repeat(500)).expect("writes");
    refuses(serve(&store), &["countersign.db is not a database", "restore"]);
}

#[tokio::test]
async fn a_database_without_its_directory_is_missing() {
    let store = Store::unprepared(Database::Sqlite).await;
    let url = format!("sqlite:{}", store.data_dir.join("no/such/store.db").display());
    refuses(serve(&store).arg("--database-url").arg(url), &["no directory for the database"]);
    let in_a_file = "/dev/null/data";
    let program = serve(&store).env("COUNTERSIGN_DATABASE_URL", "sqlite:/dev/null/x.db");
    refuses(program, &["sqlite:/dev/null/x.db"]);
    let program = tools::countersign().args(["serve", "--data-dir", in_a_file]);
    refuses(on_free_ports(program), &["can't make the data folder /dev/null/data"]);
}

/// A PostgreSQL store with a root key, whose URL is another one.
async fn elsewhere(url: impl FnOnce(&str) -> String) -> Store {
    let mut store = Store::fresh(Database::Postgres).await;
    store.url = store.url.as_deref().map(url);
    store
}

#[tokio::test]
async fn a_postgres_database_that_is_not_there_is_missing() {
    let store = elsewhere(|url| format!("{url}_not")).await;
    refuses(serve(&store), &["the server has no database postgres://", "createdb"]);
}

#[tokio::test]
async fn a_postgres_database_that_was_not_migrated_says_how_to_do_it() {
    let fresh = postgres::new_database().await;
    let store = elsewhere(|_| fresh).await;
    refuses(
        serve(&store),
        &["needs migrating: run `countersign migrate --database-url postgres://"],
    );
}

#[tokio::test]
async fn a_wrong_password_is_said_to_be_wrong_and_shown_nowhere() {
    let store = elsewhere(|url| {
        let (head, tail) = url.rsplit_once('@').expect("the URL names a user");
        let (head, _password) = head.rsplit_once(':').expect("the URL has a password");
        format!("{head}:hunter2@{tail}")
    });
    let line = refuses(serve(&store.await), &["refuses this user and password"]);
    assert!(!line.contains("hunter2"), "{line}");
}

#[tokio::test]
async fn a_postgres_server_that_does_not_run_is_said_to_be_absent() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("binds");
    let address = free.local_addr().expect("it is bound");
    drop(free);
    let store = elsewhere(|url| postgres::through(url, address)).await;
    refuses(serve(&store), &["nothing answers at postgres://", "start the database"]);
}

#[tokio::test]
async fn a_database_that_can_lose_what_it_confirmed_is_warned_of() {
    let warns = |server: &Server| {
        let log = server.log();
        log.lines().filter(|line| line.contains("PostgreSQL has no synchronous standby")).count()
    };
    let server = Server::start(Database::Postgres).await;
    assert_eq!(warns(&server), 1, "{}", server.log());
    assert_eq!(warns(&Server::start(Database::Sqlite).await), 0);
}
