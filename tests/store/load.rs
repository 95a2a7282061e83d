//! Loading every key: the same answers as asking for each, whatever else happens.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use countersign::domain::Error;
use countersign::domain::audit::{EventType, RevokeReason};
use countersign::domain::canonical;
use countersign::domain::draft::KeyDraft;
use countersign::domain::replica::LogEnd;
use countersign::domain::verdict::IndexChange;
use countersign::store::{KeyState, Store, migrate};

use super::bench::*;
use crate::on_both_databases;

/// Keys by id, each in the bytes that say all of it that decides a verification.
type Keys = BTreeMap<String, Vec<u8>>;

/// What a load hands over, the newest record of each key.
async fn load(store: &Store) -> Keys {
    let keys = Mutex::new(BTreeMap::new());
    let end = store.end().await.expect("reads");
    let count = store
        .load(&end, &|change| {
            let IndexChange::Put(key) = change else { return };
            let mut keys = keys.lock().expect("no panic");
            let (revision, bytes) = keys.entry(key.key_id.to_string()).or_default();
            if key.revision >= *revision {
                (*revision, *bytes) = (key.revision, canonical::encode(&key));
            }
        })
        .await
        .expect("loads");
    let keys = keys.into_inner().expect("no panic");
    assert!(count >= keys.len() as u64, "{count} for {} keys", keys.len());
    keys.into_iter().map(|(key_id, (_, bytes))| (key_id, bytes)).collect()
}

/// What is told of each of these ids.
async fn asked_for(store: &Store, ids: &[String]) -> Keys {
    let states = store.key_states(ids).await.expect("reads");
    let sealed = states.into_iter().filter_map(|state| match state {
        KeyState::Sealed(key) => Some((key.key_id.to_string(), canonical::encode(&key))),
        KeyState::Absent(_) | KeyState::Broken { .. } => None,
    });
    sealed.collect()
}

async fn all_ids(bench: &Bench) -> Vec<String> {
    bench.texts("SELECT key_id FROM keys ORDER BY key_id").await
}

async fn insert_many(store: &Store, prefix: &str, count: usize, draft: impl Fn(usize) -> KeyDraft) {
    let now = countersign::domain::Timestamp::default();
    let keys = (0..count).map(|number| {
        let key = new_key(&format!("{prefix}{number:05}"), draft(number), now);
        let event = event(EventType::KeyCreated, None, Some(&key));
        (key, event)
    });
    store.insert_many(keys.collect()).await.expect("inserts");
}

async fn rotate(store: &Store, id: &str) -> Result<(), Error> {
    let hour = Duration::from_secs(3_600);
    let rotated = change(store, id, EventType::KeyRotated, |key, before| {
        key.rotate(secret(), hour, before.now)
    });
    rotated.await.map(drop)
}

/// A store with keys of every kind.
async fn with_keys(db: crate::harness::Database) -> Bench {
    let bench = Bench::new(db).await;
    for number in 0..8 {
        create(&bench.store, &format!("k{number}")).await.expect("creates");
    }
    let wide = KeyDraft {
        scopes: (0..900).map(|scope| format!("service-{scope}:action")).collect(),
        allowed_cidrs: (0..100).map(|net| format!("10.{net}.0.0/16")).collect(),
        ..acme()
    };
    create_from(&bench.store, "wide", wide, None).await.expect("creates");
    let plain = KeyDraft { scopes: vec![], allowed_cidrs: vec![], ..acme() };
    create_from(&bench.store, "plain", plain, None).await.expect("creates");
    for _ in 0..2 {
        rotate(&bench.store, "k1").await.expect("rotates");
    }
    rotate(&bench.store, "k2").await.expect("rotates");
    let store = &bench.store;
    let disabled = change(store, "k3", EventType::KeyDisabled, |key, _| key.disable());
    disabled.await.expect("disables");
    let revoked = change(store, "k4", EventType::KeyRevoked, |key, _| {
        key.revoke(RevokeReason::Compromised);
        Ok(())
    });
    revoked.await.expect("revokes");
    delete(&bench.store, "k5").await.expect("deletes");
    bench
}

on_both_databases! {
    async fn an_empty_store_has_no_keys(db: Database) {
        let bench = Bench::new(db).await;
        assert_eq!(load(&bench.store).await, Keys::new());
    }

    async fn keys_of_another_log_than_the_one_whose_end_is_known_are_not_handed_over(db: Database) {
        let bench = with_keys(db).await;
        let store = &bench.store;
        let end = store.end().await.expect("reads");
        let ahead = LogEnd { revision: end.revision + 1, ..end };
        let another = LogEnd { leaf: Some([7; 32]), ..end };
        for end in [ahead, another] {
            let loaded = store.load(&end, &|_| {}).await;
            assert!(matches!(loaded, Err(Error::Unavailable(_))), "{end:?}: {loaded:?}");
        }
        create(store, "later").await.expect("creates");
        store.load(&end, &|_| {}).await.expect("the log goes on");
    }

    async fn a_load_says_what_asking_for_each_says(db: Database) {
        let bench = with_keys(db).await;
        // More than are read at once, some of them large, and gaps.
        insert_many(&bench.store, "many", 3_000, |number| KeyDraft {
            account_id: format!("account-{}", number % 7),
            scopes: (0..number % 50).map(|scope| format!("s{scope}:{number}")).collect(),
            ..acme()
        }).await;
        bench.sql("DELETE FROM keys WHERE key_id LIKE 'many%7' OR key_id BETWEEN 'many01000' AND 'many02000'").await;
        let expected = asked_for(&bench.store, &all_ids(&bench).await).await;
        assert!(expected.len() > 1_500);
        assert_eq!(load(&bench.store).await, expected);
        assert_eq!(load(&bench.store.for_follower()).await, expected);
        assert_eq!(load(&bench.open_again().await).await, expected);
    }

    async fn a_record_that_was_changed_is_not_believed(db: Database) {
        const TAMPERED: [(&str, &str); 7] = [
            ("bytes of another key", "UPDATE key_records SET record = (SELECT record FROM key_records AS other WHERE other.key_id = 'k2') WHERE key_id = 'k1'"),
            ("the seal of another key", "UPDATE key_records SET seal = (SELECT seal FROM key_records AS other WHERE other.key_id = 'k2') WHERE key_id = 'k1'"),
            ("no bytes", "UPDATE key_records SET record = (SELECT canonical FROM empty_bytes) WHERE key_id = 'k1'"),
            ("no seal", "UPDATE key_records SET seal = (SELECT canonical FROM empty_bytes) WHERE key_id = 'k1'"),
            ("a long seal", "UPDATE key_records SET seal = record WHERE key_id = 'k1'"),
            ("bytes and seal the wrong way round", "UPDATE key_records SET seal = record, record = seal WHERE key_id = 'k1'"),
            ("no record", "DELETE FROM key_records WHERE key_id = 'k1'"),
        ];
        let bench = with_keys(db).await;
        let empty = if bench.is_sqlite() { "SELECT CAST('' AS BLOB) AS canonical" } else { "SELECT ''::bytea AS canonical" };
        bench.sql(&format!("CREATE TABLE empty_bytes AS {empty}")).await;
        let expected = asked_for(&bench.store, &all_ids(&bench).await).await;
        for (what, sql) in TAMPERED {
            bench.sql("CREATE TABLE backup AS SELECT * FROM key_records").await;
            bench.sql(sql).await;
            assert_eq!(load(&bench.store).await, expected, "{what}: the row still says what is true");
            let report = bench.store.check_log().await.expect("can be checked");
            assert!(report.faults.iter().any(|fault| fault.contains("k1")), "{what}: {:?}", report.faults);
            // With a row that was changed too, there is nothing left to believe.
            bench.sql("UPDATE keys SET lifecycle = 2 WHERE key_id = 'k1'").await;
            let mut without = expected.clone();
            without.remove("k1");
            assert_eq!(load(&bench.store).await, without, "{what}");
            bench.sql(
                "UPDATE keys SET lifecycle = 1 WHERE key_id = 'k1'; DELETE FROM key_records; \
                 INSERT INTO key_records SELECT * FROM backup; DROP TABLE backup",
            ).await;
        }
        bench.assert_log_is_right().await;
    }

    async fn what_changes_during_a_load_is_as_it_was_or_as_it_is(db: Database) {
        let bench = with_keys(db).await;
        insert_many(&bench.store, "many", 2_000, |_| acme()).await;
        let (before, _) = bench.store.last_revision().await.expect("reads");
        let changes = async {
            for number in 0..60 {
                rename(&bench.store, &format!("many{:05}", number * 31), "renamed").await.expect("renames");
                create(&bench.store, &format!("new{number}")).await.expect("creates");
                delete(&bench.store, &format!("many{:05}", number * 31 + 1)).await.expect("deletes");
                rotate(&bench.store, &format!("many{:05}", number * 31 + 2)).await.expect("rotates");
            }
        };
        let mut changes = std::pin::pin!(changes);
        let mut loads = 0;
        loop {
            let mut changing = true;
            let loaded = load(&bench.store);
            tokio::pin!(loaded);
            let mut loaded = loop {
                tokio::select! {
                    keys = &mut loaded => break keys,
                    () = &mut changes, if changing => changing = false,
                }
            };
            loads += 1;
            loop {
                // What the follower does next: the events since, on top of what was loaded.
                let events = bench.store.events_after(before, 1_000).await.expect("reads");
                let revision = events.last().map_or(before, |logged| logged.event.revision);
                let changed: Vec<String> = events.into_iter().map(|logged| logged.event.key_id).collect();
                let now = asked_for(&bench.store, &changed).await;
                loaded.retain(|key_id, _| !changed.contains(key_id));
                loaded.extend(now);
                let all = asked_for(&bench.store, &all_ids(&bench).await).await;
                // The change that was under way may have been committed in between.
                if bench.store.last_revision().await.expect("reads").0 == revision {
                    assert_eq!(loaded, all, "load {loads}");
                    break;
                }
            }
            if !changing {
                break;
            }
        }
    }

    async fn a_store_of_the_release_before_gets_its_records(db: Database) {
        let bench = with_keys(db).await;
        insert_many(&bench.store, "many", 1_200, |_| acme()).await;
        let expected = asked_for(&bench.store, &all_ids(&bench).await).await;
        bench.sql("UPDATE keys SET scopes = 'x' WHERE key_id = 'k7'").await;
        bench.sql("DROP TABLE key_records; DELETE FROM seaql_migrations WHERE version = 'm0003_records'").await;
        let migrated = migrate(&bench.settings).await.expect("migrates");
        assert_eq!(migrated.applied, ["m0003_records"]);
        let store = bench.open_again().await;
        let mut without = expected.clone();
        without.remove("k7");
        assert_eq!(load(&store).await, without);
        let report = store.check_log().await.expect("can be checked");
        assert!(report.faults.iter().all(|fault| fault.contains("k7")), "{:?}", report.faults);
        let records = bench.texts("SELECT key_id FROM key_records ORDER BY key_id").await;
        assert_eq!(records.len(), expected.len() - 1);
    }
}
