//! A root key file that is missing, empty, malformed, open to others, or not this store's.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;

use super::{on_free_ports, refuses, serve, served_before};
use crate::harness::{Database, Store, canary, run, tools};
use crate::on_both_databases;

/// A store that was served with the root key in its folder, which is then something else.
async fn with_root_key(database: Database, text: &str) -> std::sync::Arc<Store> {
    let store = served_before(database).await;
    run::write_private(&store.root_key_file(), text);
    store
}

fn new_root_key() -> String {
    let line = tools::countersign().args(["root-key", "generate"]).run().succeeded().stdout;
    let (_, base64) = line.trim().split_once(':').expect("version:base64");
    canary::record_root_key(base64);
    line
}

on_both_databases! {
    async fn an_empty_root_key_file_is_refused(db: Database) {
        let store = with_root_key(db, "# the keys are elsewhere\n\n").await;
        let says = ["root key file", "root-key", "holds no root key", "countersign root-key generate"];
        refuses(serve(&store), &says);
    }

    async fn a_malformed_root_key_file_is_refused_by_its_line(db: Database) {
        let good = new_root_key();
        let (_, base64) = good.trim().split_once(':').expect("version:base64");
        let bad = [
            base64.to_owned(),
            format!("one:{base64}"),
            format!("0:{base64}"),
            "7:c2hvcnQ=".to_owned(),
            format!("7:{base64}{base64}"),
            "7:".to_owned(),
        ];
        for bad in bad {
            let store = with_root_key(db, &format!("{good}{bad}\n")).await;
            let line = refuses(serve(&store), &["line 2 is not `version:base64-of-32-bytes`"]);
            assert!(!line.contains(base64), "the root key is shown");
        }
        let zeros = format!("1:{}=\n", "A".repeat(43));
        let store = with_root_key(db, &zeros).await;
        refuses(serve(&store), &["line 1: the root key is all zeros", "root-key generate"]);
        let store = with_root_key(db, &format!("{good}{good}")).await;
        refuses(serve(&store), &["line 2: versions must rise"]);
    }

    async fn a_root_key_file_that_others_can_read_is_refused(db: Database) {
        let store = served_before(db).await;
        let open = Permissions::from_mode(0o644);
        fs::set_permissions(store.root_key_file(), open).expect("our own file");
        refuses(serve(&store), &["can be used by others (mode 0644)", "chmod o-rwx"]);
    }

    async fn the_root_key_file_of_another_store_is_refused(db: Database) {
        let store = with_root_key(db, &new_root_key()).await;
        refuses(serve(&store), &["version 1 of the root key file is not the root key of this database"]);
    }

    async fn a_root_key_file_without_the_version_in_use_is_refused(db: Database) {
        let newer = new_root_key().replacen("1:", "2:", 1);
        let store = with_root_key(db, &newer).await;
        refuses(serve(&store), &["the root key file lacks version 1"]);
    }

    async fn a_root_key_file_that_is_a_folder_is_refused(db: Database) {
        let store = served_before(db).await;
        fs::remove_file(store.root_key_file()).expect("our own file");
        fs::create_dir(store.root_key_file()).expect("our own folder");
        refuses(serve(&store), &["root key file", "is not a regular file"]);
    }

    async fn a_root_key_file_that_was_named_and_is_missing_says_how_to_make_one(db: Database) {
        let store = Store::unprepared(db).await;
        let program = store.command(["serve"]).env("COUNTERSIGN_ROOT_KEY_FILE", "/no/such/root-key");
        let program = on_free_ports(program);
        refuses(program, &["root-key does not exist; make one with `countersign root-key generate --out"]);
    }
}

#[tokio::test]
async fn a_root_key_that_sqlite_made_and_that_is_gone_is_not_replaced() {
    let store = served_before(Database::Sqlite).await;
    fs::remove_file(store.root_key_file()).expect("our own file");
    for _ in 0..2 {
        refuses(serve(&store), &["root-key is missing", "restore it from a backup"]);
        assert!(!store.root_key_file().exists(), "a key of no use would hide what is missing");
    }
}

#[tokio::test]
async fn postgres_without_a_root_key_file_says_how_to_make_one() {
    let store = Store::fresh(Database::Postgres).await;
    let url = store.url.clone().expect("PostgreSQL has a URL");
    let program = tools::countersign().in_dir(&store.data_dir).args(["serve", "--database-url"]);
    let program = on_free_ports(program.arg(url));
    refuses(program, &["root-key-file is not given", "nothing is generated", "root-key generate"]);
}
