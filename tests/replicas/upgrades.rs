//! Promise P17: replicas that migrate at the same time, and releases beside one another.

use countersign::domain::keyring::RootKey;
use countersign::domain::random::{OsRandom, draw};
use countersign::rpc::proto::{DenialReason, VerifyRequest, Wait};
use futures::future::join_all;
use sea_orm::{ConnectionTrait as _, Database, DatabaseConnection, Statement};

use super::load::Outcome;
use super::{SOON, mint};
use crate::harness::replicas::Told;
use crate::harness::{Caller, Credential, Replicas, Store, eventually};

const AT_ONCE: usize = 4;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_several_that_migrate_at_once_one_applies_and_all_serve() {
    let store = Store::with_root_key().await;
    let migrating = (0..AT_ONCE).map(|_| {
        let program = store.command(["migrate"]);
        tokio::task::spawn_blocking(move || program.run())
    });
    for migrated in join_all(migrating).await {
        migrated.expect("no panic").succeeded();
    }
    let around = around(&store).await;
    let applied = "SELECT count(*), count(DISTINCT version) FROM seaql_migrations";
    let applied = Statement::from_string(around.get_database_backend(), applied);
    let row = around.query_one_raw(applied).await.unwrap().expect("a row");
    let number = |index| row.try_get_by_index::<i64>(index).expect("a number");
    assert!(number(0) >= 2, "there are migrations");
    assert_eq!(number(0), number(1), "each was applied once");

    let replicas = Replicas::on(store.bootstrapped(), 2, Told::default()).await;
    let good = mint(&replicas[0].caller(), 1).await.remove(0);
    replicas.all_allow(&good, SOON).await;
}

async fn around(store: &Store) -> DatabaseConnection {
    let url = store.url.as_deref().expect("on PostgreSQL");
    Database::connect(url).await.expect("the database takes connections")
}

/// The version of the root key that a key made now is sealed with: the second to the fifth byte of the seal.
async fn seals_with(caller: &Caller, around: &DatabaseConnection) -> i32 {
    let key_id = mint(caller, 1).await.remove(0).key_id;
    let version = format!("SELECT get_byte(seal, 4) FROM keys WHERE key_id = '{key_id}'");
    let version = Statement::from_string(around.get_database_backend(), version);
    let row = around.query_one_raw(version).await.expect("readable").expect("the key has a row");
    row.try_get_by_index(0).expect("a number")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_root_key_is_used_once_every_replica_holds_it() {
    let replicas = Replicas::start(2, Told::default()).await;
    let around = around(&replicas.store).await;
    let second = RootKey::new(2, draw(&OsRandom).expect("the machine has randomness"));
    assert_eq!(seals_with(&replicas[0].caller(), &around).await, 1);

    replicas[0].store().add_root_key(&second);
    assert!(replicas[0].stop().await.0.success());
    replicas[0].start().await;
    assert_eq!(seals_with(&replicas[0].caller(), &around).await, 1, "the other could not read it");
    let minted = mint(&replicas[0].caller(), 1).await.remove(0);
    replicas.all_allow(&minted, SOON).await;

    replicas[1].store().add_root_key(&second);
    assert!(replicas[1].stop().await.0.success());
    replicas[1].start().await;
    for replica in replicas.each() {
        assert_eq!(seals_with(&replica.caller(), &around).await, 2, "all hold it");
    }
    let minted = mint(&replicas[1].caller(), 1).await.remove(0);
    replicas.all_allow(&minted, SOON).await;

    // A server of an older release, as far as anybody can tell; it dies, and is held back for no longer than it may live.
    let row = "INSERT INTO replicas (id, lease_ms, applied, beat, beat_time, start_time, version, reads_up_to, \
               root_key_versions) VALUES ('older', 2000, 0, 1, 0, 0, '0.0.1', 1, '1')";
    around.execute_unprepared(row).await.expect("a row can be written by hand");
    assert_eq!(seals_with(&replicas[0].caller(), &around).await, 1, "an older server may read it");
    let rows = replicas[1].rows().await;
    assert!(rows.iter().any(|row| row.replica_id == "older" && row.version == "0.0.1"), "{rows:?}");
    let caller = replicas[0].caller();
    eventually("the older server's row is swept", SOON, async || {
        seals_with(&caller, &around).await == 2
    })
    .await;
}

/// What a release leaves that knows of replicas, but neither of records nor of the root key in use: the tables and
/// columns that came later were never there, and the rows of the keys are the same to this day.
const AS_WITHOUT_RECORDS: &str = "DROP TABLE key_records; ALTER TABLE store DROP COLUMN root_key_in_use; \
    UPDATE store SET min_reader = 2; \
    DELETE FROM seaql_migrations WHERE version IN ('m0003_records', 'm0004_root_key')";
/// More than a migration copies at once.
const MANY: usize = 510;

/// The keys of an older release are served as it left them, and none of its servers may come back: it would revoke a key
/// and leave the record that the others start from.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_older_release_left_is_migrated_and_served() {
    let replicas = Replicas::start(1, Told::default()).await;
    let around = around(&replicas.store).await;
    let caller = replicas[0].caller();
    let mut minted = mint(&caller, MANY).await;
    let (revoked, last) = (minted.remove(1), minted.pop().expect("many"));
    replicas[0].revoke(&revoked.key_id, Wait::None, SOON).await.expect("revokes");
    assert!(replicas[0].stop().await.0.success());
    around.execute_unprepared(AS_WITHOUT_RECORDS).await.expect("can be undone by hand");

    let mut starting = replicas[0].builder().begin();
    eventually("it does not start so", SOON, async || starting.has_ended()).await;
    assert!(!starting.is_ready());
    replicas[0].command(["migrate"]).run().succeeded();
    replicas[0].start().await;
    let caller = replicas[0].caller();
    for good in [&minted[0], &minted[MANY / 2], &last] {
        assert!(caller.verify(good).await.allowed, "{} is refused", good.key_id);
    }
    assert_eq!(caller.verify(&revoked).await.denial_reason(), DenialReason::Revoked);
    let without = "SELECT count(*) FROM keys LEFT JOIN key_records USING (key_id) WHERE keys.seal IS DISTINCT FROM \
                   key_records.seal";
    let without = Statement::from_string(around.get_database_backend(), without);
    let row = around.query_one_raw(without).await.expect("readable").expect("a row");
    assert_eq!(row.try_get_by_index::<i64>(0).expect("a number"), 0, "records are missing");
}

/// What somebody is answered, and whether that says nothing about the key.
async fn knows_nothing(caller: &Caller, credential: &Credential) -> bool {
    let answer = caller.anonymous().try_verify(credential, VerifyRequest::default()).await;
    Outcome::of(answer).is_unavailable()
}

/// A later release has changed what stands in the rows, beside a server that runs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_answers_nothing_once_the_store_needs_a_later_release() {
    let replicas = Replicas::start(2, Told::default().max_staleness("60s")).await;
    let around = around(&replicas.store).await;
    let good = mint(&replicas[0].caller(), 1).await.remove(0);
    replicas.all_allow(&good, SOON).await;
    let raise = "UPDATE store SET min_reader = min_reader + 1";
    around.execute_unprepared(raise).await.expect("can be written by hand");
    for replica in replicas.each() {
        let caller = replica.caller();
        eventually("it answers nothing", SOON, async || knows_nothing(&caller, &good).await).await;
        assert!(replica.log().contains("migrated by a newer release"), "it says why");
    }
    let lower = "UPDATE store SET min_reader = min_reader - 1";
    around.execute_unprepared(lower).await.expect("can be written by hand");
    replicas.all_allow(&good, SOON).await;
}

/// While it stood still nobody waited for it, so the others went on to a root key that it does not have. It would take
/// every key that is sealed with it for a forgery.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_comes_back_without_the_root_key_in_use_is_refused() {
    let replicas = Replicas::start(2, Told::default().max_staleness("1s")).await;
    let around = around(&replicas.store).await;
    let second = RootKey::new(2, draw(&OsRandom).expect("the machine has randomness"));
    let (caller, far) = (replicas[0].caller(), replicas[1].caller());
    let there = replicas[1].id().await;
    let old = mint(&caller, 1).await.remove(0);
    replicas.all_allow(&old, SOON).await;

    replicas[1].freeze();
    replicas[0].store().add_root_key(&second);
    assert!(replicas[0].stop().await.0.success());
    replicas[0].start().await;
    let caller = replicas[0].caller();
    eventually("the new root key is used without it", SOON, async || {
        seals_with(&caller, &around).await == 2
    })
    .await;
    let new = mint(&caller, 1).await.remove(0);
    replicas[1].thaw();
    eventually("it says what it lacks", SOON, async || {
        replicas[1].log().contains("sealed with a root key version that this server lacks")
    })
    .await;
    for credential in [&old, &new] {
        eventually("it answers nothing", SOON, async || knows_nothing(&far, credential).await)
            .await;
    }
    let rows = replicas[0].rows().await;
    assert!(rows.iter().all(|row| row.replica_id != there), "nobody waits for it: {rows:?}");

    assert!(replicas[1].stop().await.0.success());
    let mut starting = replicas[1].builder().begin();
    eventually("it does not start so", SOON, async || starting.has_ended()).await;
    assert!(!starting.is_ready());
    replicas[1].store().add_root_key(&second);
    replicas[1].start().await;
    replicas.all_allow(&new, SOON).await;
}
