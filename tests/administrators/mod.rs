//! Those who run the service: what they lose at once, what they can't lose by mistake, and how the first
//! of them comes to be.

use std::sync::Arc;
use std::time::Duration;

use countersign::rpc::proto::Key;
use sea_orm::{ConnectionTrait, Database as Connect, Statement};

use crate::errors::beside::Beside;
use crate::harness::{Credential, Database, Program, Server, Store, canary, eventually, tools};
use crate::on_both_databases;
use crate::rpc::refusal::{invalid, last_administrator, refused};
use crate::rpc::verbs::{ALL_RESERVED, RESERVED_ACCOUNT, in_millis, key_with_scopes};

/// "csignlog" in ASCII, as `store/write.rs` has it.
const WRITERS_LOCK: i64 = 0x6373_6967_6e6c_6f67;
const SOON: Duration = Duration::from_secs(30);

/// How many sessions of that database wait for the writer's lock.
async fn waiting(url: &str) -> usize {
    let sql = "SELECT count(*) AS waiting FROM pg_locks JOIN pg_database ON oid = database \
               WHERE locktype = 'advisory' AND NOT granted AND datname = current_database()";
    let connection = Connect::connect(url).await.expect("the database is there");
    let row =
        connection.query_one_raw(Statement::from_string(connection.get_database_backend(), sql));
    let row = row.await.expect("a count").expect("a row");
    let waiting: i64 = row.try_get("", "waiting").expect("a number");
    usize::try_from(waiting).expect("a count")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waited_for_the_lock_while_its_caller_was_revoked_is_refused() {
    let server = Server::start(Database::Postgres).await;
    let admin = server.as_admin().await;
    let other = admin.mint(key_with_scopes(RESERVED_ACCOUNT, &ALL_RESERVED)).await;
    let revoked = admin.with(other.credential);
    let url = server.store().url.clone().expect("on PostgreSQL");

    let beside = Beside::of(server.store()).await;
    beside.run(&format!("SELECT pg_advisory_lock({WRITERS_LOCK})")).await;
    let revocation = {
        let (admin, key_id) = (admin.clone(), other.key.key_id.clone());
        tokio::spawn(async move { admin.revoke(&key_id).await })
    };
    eventually("the revocation waits for the lock", SOON, async || waiting(&url).await == 1).await;
    let back_door = tokio::spawn(async move {
        revoked.create(key_with_scopes(RESERVED_ACCOUNT, &ALL_RESERVED), "").await
    });
    eventually("both wait for the lock", SOON, async || waiting(&url).await == 2).await;
    beside.run(&format!("SELECT pg_advisory_unlock({WRITERS_LOCK})")).await;

    revocation.await.expect("no panic").expect("revoked");
    let outcome = back_door.await.expect("no panic");
    refused(outcome, tonic::Code::Unauthenticated, "UNAUTHENTICATED").says("lost its right");
    let of_ours = format!("account_id = {RESERVED_ACCOUNT}");
    assert_eq!(admin.list(&of_ours).await.expect("listed").len(), 2);
}

#[tokio::test]
async fn the_last_administrator_is_kept_from_networks_ends_and_lesser_deputies() {
    let server = Server::start(Database::Sqlite).await;
    let admin = server.as_admin().await;
    let own = admin.get(&server.admin().key_id).await.expect("there");

    let bound = Key { allowed_cidrs: vec!["203.0.113.1/32".to_owned()], ..own.clone() };
    last_administrator(admin.update(bound, &["allowed_cidrs"]).await);
    let ending = Key { expire_time: Some(in_millis(3_600_000)), ..own.clone() };
    last_administrator(admin.update(ending.clone(), &["expire_time"]).await);

    // One that can write keys, but not hand out all rights, is no replacement.
    admin.mint(key_with_scopes(RESERVED_ACCOUNT, &["countersign.keys:write"])).await;
    last_administrator(admin.revoke(&own.key_id).await);

    // Nor is it a reason to let the last one go that it will end one day.
    let ending = Key { etag: String::new(), ..ending };
    admin.update_by_force(ending, &["expire_time"]).await.expect("forced");
    last_administrator(admin.revoke(&own.key_id).await);
    last_administrator(admin.disable(&own.key_id).await);

    admin.mint(key_with_scopes(RESERVED_ACCOUNT, &ALL_RESERVED)).await;
    admin.revoke(&own.key_id).await.expect("there is another now");
}

#[tokio::test]
async fn a_secret_in_the_wrong_field_is_not_repeated() {
    let server = Server::start(Database::Sqlite).await;
    let admin = server.as_admin().await;
    let Credential { key_id, secret } = server.admin();
    for wrong in [secret.clone(), format!("{key_id}.{secret}"), format!("{secret}x")] {
        let outcome = admin.get(&wrong).await;
        let said = format!("{:?}", outcome.as_ref().expect_err("refused"));
        assert!(!said.contains(&secret[12..20]), "a part of a secret was repeated");
        invalid(outcome, "key_id", "");
        invalid(admin.disable(&wrong).await, "key_id", "");
        invalid(admin.rotate(&wrong, 0).await, "key_id", "");
        invalid(admin.delete(&wrong).await, "key_id", "");
    }
}

/// A store that is migrated and has no administrator.
async fn empty(db: Database) -> Store {
    let store = Store::unprepared(db).await;
    if db == Database::Postgres {
        let file = store.root_key_file();
        let file = file.to_str().expect("a path in ASCII");
        tools::countersign().args(["root-key", "generate", "--out", file]).run().succeeded();
    }
    store.command(["migrate"]).run().succeeded();
    store
}

fn mint_to_file(store: &Store, name: &str, environment: &str) -> (String, Credential) {
    let words = ["keys", "mint", "--json", "--environment", environment];
    let pair = tools::countersign().args(words).run().succeeded();
    let credential = Credential::from_json(&pair.json());
    canary::record_secret(&credential.secret);
    let path = store.data_dir.join(format!("{name}.credential"));
    crate::harness::run::write_private(&path, &pair.stdout);
    (path.to_str().expect("a path in ASCII").to_owned(), credential)
}

fn install(store: &Store, file: &str) -> Program {
    store.command(["bootstrap", "--credential-file", file])
}

on_both_databases! {
    async fn of_several_first_administrators_one_is_installed(db: Database) {
        let store = empty(db).await;
        let pairs: Vec<_> =
            (0..6).map(|n| mint_to_file(&store, &format!("first-{n}"), "live").0).collect();
        let outcomes: Vec<bool> = std::thread::scope(|threads| {
            let started: Vec<_> = pairs
                .iter()
                .map(|file| threads.spawn(|| install(&store, file).run().status.success()))
                .collect();
            started.into_iter().map(|thread| thread.join().expect("no panic")).collect()
        });
        assert_eq!(outcomes.iter().filter(|done| **done).count(), 1, "{outcomes:?}");
    }

    async fn a_credential_that_can_administer_no_more_is_not_called_installed(db: Database) {
        let store = Arc::new(empty(db).await);
        let (file, credential) = mint_to_file(&store, "first", "live");
        install(&store, &file).run().succeeded();
        install(&store, &file).run().succeeded();
        let server = Server::on_store(Arc::clone(&store)).start().await;
        let admin = server.caller(Some(credential.clone())).await;
        let other = admin.mint(key_with_scopes(RESERVED_ACCOUNT, &ALL_RESERVED)).await;
        admin.revoke(&credential.key_id).await.expect("there is another");
        drop(server);
        let said = install(&store, &file).run().failed().stderr;
        assert!(said.contains("can't administer any more"), "{said}");
        assert!(!other.key.key_id.is_empty());
    }

    async fn a_test_credential_is_no_administrators(db: Database) {
        let store = empty(db).await;
        let (file, _) = mint_to_file(&store, "test", "test");
        let said = install(&store, &file).run().failed().stderr;
        assert!(said.contains("test credential"), "{said}");
    }
}
