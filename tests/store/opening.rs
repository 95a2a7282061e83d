//! What stands in the way of opening a store is said in one line.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::sync::Arc;
use std::time::Duration;

use countersign::domain::audit::{EventType, RevokeReason};
use countersign::domain::key::Lifecycle;
use countersign::domain::random::OsRandom;
use countersign::store::{DatabaseUrl, OpenError, Settings, Store, migrate};
use sea_orm::ConnectionTrait;

use super::bench::*;
use crate::harness::{Database, postgres, run};
use crate::on_both_databases;

async fn open_error(settings: &Settings, root_keys: &str) -> String {
    match Store::open(settings, keyring(root_keys), Arc::new(OsRandom)).await {
        Ok(_) => panic!("it opened"),
        Err(error) => one_line(&error),
    }
}

fn one_line(error: &OpenError) -> String {
    let line = error.to_string();
    assert!(!line.contains('\n') && !line.ends_with('.'), "{line:?}");
    line
}

/// Makes of a store what a release leaves that knows of replicas, but neither of records nor of the root key in use. What
/// it writes elsewhere is the same to this day.
const AS_WITHOUT_RECORDS: [&str; 4] = [
    "DROP TABLE key_records",
    "ALTER TABLE store DROP COLUMN root_key_in_use",
    "UPDATE store SET min_reader = 2",
    "DELETE FROM seaql_migrations WHERE version IN ('m0003_records', 'm0004_root_key')",
];

/// The path of a SQLite database.
fn path(settings: &Settings) -> std::path::PathBuf {
    settings.url.to_string().trim_start_matches("sqlite:").into()
}

on_both_databases! {
    async fn a_store_opens_again_with_the_same_data_key(db: Database) {
        let bench = Bench::new(db).await;
        let digest = *bench.store.data_key().digest("a", "b").as_bytes();
        create(&bench.store, "k1").await.expect("creates");
        let again = bench.open_again().await;
        assert_eq!(*again.data_key().digest("a", "b").as_bytes(), digest);
        assert!(again.get_key("k1").await.expect("reads").is_some());
        assert!(migrate(&bench.settings).await.expect("nothing to do").applied.is_empty());
    }

    async fn an_unmigrated_database_says_how_to_migrate_it(db: Database) {
        let settings = unprepared(db).await;
        if settings.url.is_sqlite() {
            std::fs::write(path(&settings), "").expect("writes");
        }
        let url = &settings.url;
        assert_eq!(
            open_error(&settings, &new_root_key(1)).await,
            format!("the database needs migrating: run `countersign migrate --database-url {url}`")
        );
        let migrated = migrate(&settings).await.expect("migrates");
        assert_eq!(migrated.applied, ["m0001_first", "m0002_replicas", "m0003_records", "m0004_root_key"]);
    }

    async fn a_store_of_an_older_release_becomes_what_this_one_would_have_made_of_it(db: Database) {
        let bench = Bench::new(db).await;
        for id in ["k1", "k2", "k3"] {
            create(&bench.store, id).await.expect("creates");
        }
        let revoked = change(&bench.store, "k2", EventType::KeyRevoked, |key, _| {
            key.lifecycle = Lifecycle::Revoked(RevokeReason::Abuse);
            Ok(())
        });
        revoked.await.expect("revokes");
        let before = bench.dump().await;
        for undo in AS_WITHOUT_RECORDS {
            bench.sql(undo).await;
        }
        let url = &bench.settings.url;
        assert_eq!(
            open_error(&bench.settings, bench.root_key()).await,
            format!("the database needs migrating: run `countersign migrate --database-url {url}`")
        );
        let migrated = migrate(&bench.settings).await.expect("migrates");
        assert_eq!(migrated.applied, ["m0003_records", "m0004_root_key"]);
        assert_eq!(bench.dump().await, before);
        let loaded = bench.open_again().await.get_key("k2").await.expect("reads").expect("there");
        assert_eq!(loaded.lifecycle, Lifecycle::Revoked(RevokeReason::Abuse));
    }

    /// One that knows only replicas would revoke a key and leave its record, which a start reads, as it was; one that
    /// knows only records would not note the root key that it seals with.
    async fn no_older_release_may_write_beside_this_one(db: Database) {
        let bench = Bench::new(db).await;
        let fresh = bench.dump_of(&["store"]).await;
        let readers = "SELECT CAST(min_reader AS TEXT) FROM store";
        assert_eq!(bench.texts(readers).await, ["4"]);
        assert_eq!(bench.store.reads_up_to(), 4);
        for undo in AS_WITHOUT_RECORDS {
            bench.sql(undo).await;
        }
        assert_eq!(bench.texts(readers).await, ["2"]);
        migrate(&bench.settings).await.expect("migrates");
        assert_eq!(bench.dump_of(&["store"]).await, fresh);
    }

    async fn a_newer_schema_is_left_alone(db: Database) {
        let bench = Bench::new(db).await;
        let newer = "the database was migrated by a newer release (min_reader 99, this release reads up to 4); \
                     install that release or a newer one";
        // One that this release can still read is fine, and nothing is to be done about it.
        bench.sql("INSERT INTO seaql_migrations (version, applied_at) VALUES ('m0099_later', 1)").await;
        bench.open_again().await;
        assert!(migrate(&bench.settings).await.expect("nothing to do").applied.is_empty());
        bench.sql("UPDATE store SET min_reader = 99").await;
        let before = bench.dump().await;
        assert_eq!(open_error(&bench.settings, &new_root_key(1)).await, newer);
        let refused = migrate(&bench.settings).await.expect_err("is refused");
        assert_eq!(one_line(&refused), newer);
        assert_eq!(bench.dump().await, before);
    }

    async fn a_root_key_file_of_another_store_is_refused(db: Database) {
        let bench = Bench::new(db).await;
        assert_eq!(
            open_error(&bench.settings, &new_root_key(1)).await,
            "version 1 of the root key file is not the root key of this database; \
             use the root key file that belongs to this database"
        );
        assert_eq!(
            open_error(&bench.settings, &new_root_key(2)).await,
            "the root key file lacks version 1, which wraps this database's data key; \
             use the root key file that belongs to this database"
        );
        create(&bench.store, "k1").await.expect("creates");
        bench.sql("DELETE FROM data_keys").await;
        assert_eq!(
            open_error(&bench.settings, &new_root_key(1)).await,
            "the database has lost its data key, without which no secret can be verified; \
             restore it from a backup"
        );
    }
}

#[tokio::test]
async fn a_new_sqlite_file_is_its_owners_alone() {
    let bench = Bench::new(Database::Sqlite).await;
    create(&bench.store, "k1").await.expect("creates");
    for suffix in ["", "-wal", "-shm"] {
        let file = format!("{}{suffix}", path(&bench.settings).display());
        let mode = std::fs::metadata(&file).expect("is there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{file}");
    }
}

#[tokio::test]
async fn a_missing_sqlite_file_says_how_to_make_it() {
    let settings = unprepared(Database::Sqlite).await;
    let url = settings.url.clone();
    assert_eq!(
        open_error(&settings, &new_root_key(1)).await,
        format!("no database at {url}; create it with `countersign migrate --database-url {url}`")
    );
    let nowhere = Settings::new(DatabaseUrl::sqlite_file(&path(&settings).join("no/such/dir.db")));
    let error = migrate(&nowhere).await.expect_err("there is no such directory");
    assert!(one_line(&error).starts_with("no directory for the database"), "{error}");
}

#[tokio::test]
async fn what_is_no_sqlite_database_is_said_to_be_none() {
    let settings = unprepared(Database::Sqlite).await;
    std::fs::write(path(&settings), "this is a letter to my mother, not a database".repeat(100))
        .expect("writes");
    let says = format!(
        "{} is not a database; check --database-url, or restore the file from a backup",
        settings.url
    );
    assert_eq!(open_error(&settings, &new_root_key(1)).await, says);
    assert_eq!(one_line(&migrate(&settings).await.expect_err("no database")), says);
    let dir =
        Settings::new(DatabaseUrl::sqlite_file(path(&settings).parent().expect("a directory")));
    assert!(open_error(&dir, &new_root_key(1)).await.contains("is not a database"));
}

#[tokio::test]
async fn a_locked_sqlite_database_is_said_to_be_locked() {
    let bench = Bench::new(Database::Sqlite).await;
    let mut settings = bench.settings.clone();
    settings.lock_timeout = Duration::from_millis(100);
    let raw = bench.raw().await;
    raw.execute_unprepared("BEGIN IMMEDIATE").await.expect("takes the lock");
    assert_eq!(
        open_error(&settings, &new_root_key(1)).await,
        format!(
            "the database {} is locked by another process; stop that one, or try again",
            settings.url
        )
    );
}

#[test]
fn a_sqlite_database_that_can_not_be_written_is_said_to_be_so() {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let settings = runtime.block_on(async {
        let bench = Bench::new(Database::Sqlite).await;
        let settings = bench.settings.clone();
        bench.store.close().await;
        settings
    });
    let file = path(&settings);
    let dir = file.parent().expect("a directory").to_owned();
    let chmod = |path: &std::path::Path, mode| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("chmod");
    };
    chmod(&file, 0o444);
    chmod(&dir, 0o555);
    let am_root = std::fs::metadata("/proc/self").expect("proc").uid() == 0;
    let error = std::thread::spawn(move || {
        if am_root {
            become_nobody();
        }
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let root = keyring(&format!("1:{}", "Q".repeat(43) + "="));
        let error = runtime.block_on(Store::open(&settings, root, Arc::new(OsRandom)));
        one_line(&error.err().expect("can't be written"))
    });
    let error = error.join().expect("no panic");
    chmod(&dir, 0o755);
    assert!(error.contains("writable"), "{error}");
}

/// Gives up root's rights for this thread and those that it starts, so that permissions hold.
fn become_nobody() {
    let nobody = rustix::thread::Uid::from_raw(65_534);
    rustix::thread::set_thread_res_uid(nobody, nobody, nobody).expect("root may");
}

#[tokio::test]
async fn a_postgres_server_that_is_not_there_or_refuses_is_said_to_be_so() {
    let settings = unprepared(Database::Postgres).await;
    let real = real_url(&settings);
    let error_at = async |url: &str| {
        let url = DatabaseUrl::parse(url).expect("a URL");
        let error = migrate(&Settings::new(url)).await.expect_err("can't be migrated");
        let line = one_line(&error);
        let password = real.split_once("postgres:").and_then(|(_, rest)| rest.split_once('@'));
        assert!(password.is_none_or(|(password, _)| !line.contains(password)), "{line}");
        line
    };
    let (server, _) = real.rsplit_once('/').expect("a database");
    assert!(
        error_at(&format!("{server}/nowhere"))
            .await
            .starts_with("the server has no database postgres://")
    );
    let free = std::net::TcpListener::bind("127.0.0.1:0")
        .expect("binds")
        .local_addr()
        .expect("an address");
    let refused = error_at(&postgres::through(&real, free)).await;
    assert!(refused.starts_with("nothing answers at postgres://"), "{refused}");
    let (head, tail) = real.rsplit_once('@').expect("a user");
    let wrong = error_at(&format!("{head}x@{tail}")).await;
    assert!(wrong.contains("refuses this user and password"), "{wrong}");
    let unknown = error_at(&format!("postgres://{tail}?user=stranger&password=x")).await;
    assert!(unknown.contains("refuses this user and password"), "{unknown}");
}

#[tokio::test]
async fn a_read_only_postgres_is_said_to_be_read_only() {
    let bench = Bench::new(Database::Postgres).await;
    let (_, name) = real_url(&bench.settings)
        .rsplit_once('/')
        .map(|(a, b)| (a.to_owned(), b.to_owned()))
        .expect("a database");
    bench.sql(&format!("ALTER DATABASE {name} SET default_transaction_read_only = on")).await;
    let error = open_error(&bench.settings, &new_root_key(1)).await;
    assert!(error.contains("is read-only"), "{error}");
}

#[tokio::test]
async fn a_postgres_database_of_another_encoding_is_refused() {
    let cluster = sea_orm::Database::connect(run::postgres_url()).await.expect("connects");
    let name = format!("latin_{}", std::process::id());
    let create = format!(
        "CREATE DATABASE {name} TEMPLATE template0 ENCODING 'LATIN1' LOCALE_PROVIDER libc LOCALE 'C'"
    );
    cluster.execute_unprepared(&create).await.expect("creates");
    let cluster = run::postgres_url();
    let (server, _) = cluster.rsplit_once('/').expect("names a database");
    let settings = Settings::new(DatabaseUrl::parse(&format!("{server}/{name}")).expect("a URL"));
    let error = migrate(&settings).await.expect_err("the wrong encoding");
    assert_eq!(
        one_line(&error),
        "the database has encoding LATIN1; create it with ENCODING 'UTF8'"
    );
}
