//! A row that was changed behind the store's back is never served.

use countersign::domain::Error;
use countersign::domain::seal::SealFault;
use countersign::store::{KeyOrder, KeyQuery, KeySort, KeyState};

use super::bench::*;
use crate::on_both_databases;

fn all() -> KeyQuery {
    KeyQuery {
        account: None,
        filter: None,
        order: KeyOrder { by: KeySort::KeyId, descending: false },
        after: None,
        limit: 100,
        now: countersign::domain::Timestamp::default(),
    }
}

/// What each change is, in SQL that both databases understand.
const TAMPERED: [(&str, &str); 14] = [
    (
        "the digest of another key",
        "UPDATE key_secrets SET digest = (SELECT digest FROM key_secrets AS other WHERE other.key_id = 'k2') WHERE key_id = 'k1'",
    ),
    ("more scopes", "UPDATE keys SET scopes = '[\"*\"]' WHERE key_id = 'k1'"),
    ("another account", "UPDATE keys SET account_id = 'evil' WHERE key_id = 'k1'"),
    ("another application", "UPDATE keys SET application_id = 'evil' WHERE key_id = 'k1'"),
    ("another environment", "UPDATE keys SET environment = 'test' WHERE key_id = 'k1'"),
    ("any address", "UPDATE keys SET allowed_cidrs = '[]' WHERE key_id = 'k1'"),
    ("a later end", "UPDATE keys SET expire_time = 253402300799000000 WHERE key_id = 'k1'"),
    ("another state", "UPDATE keys SET lifecycle = 2 WHERE key_id = 'k1'"),
    ("an unknown state", "UPDATE keys SET lifecycle = 9 WHERE key_id = 'k1'"),
    ("another revision", "UPDATE keys SET revision = 99 WHERE key_id = 'k1'"),
    (
        "a secret that ends",
        "UPDATE key_secrets SET expire_time = 253402300799000000 WHERE key_id = 'k1'",
    ),
    ("no secret", "DELETE FROM key_secrets WHERE key_id = 'k1'"),
    (
        "the seal of another key",
        "UPDATE keys SET seal = (SELECT seal FROM keys AS other WHERE other.key_id = 'k2') WHERE key_id = 'k1'",
    ),
    ("scopes that are none", "UPDATE keys SET scopes = 'x' WHERE key_id = 'k1'"),
];

on_both_databases! {
    async fn a_changed_row_is_named_but_not_served(db: Database) {
        let bench = Bench::new(db).await;
        create(&bench.store, "k1").await.expect("creates");
        create(&bench.store, "k2").await.expect("creates");
        for (what, sql) in TAMPERED {
            let backup = "CREATE TABLE b1 AS SELECT * FROM keys; CREATE TABLE b2 AS SELECT * FROM key_secrets; \
                          CREATE TABLE b3 AS SELECT * FROM key_records";
            bench.sql(backup).await;
            bench.sql(sql).await;
            let names_it = |error: Error| match error {
                Error::Internal(detail) => detail.contains("k1"),
                _ => false,
            };
            let got = bench.store.get_key("k1").await;
            assert!(got.is_err_and(names_it), "{what}: served");
            let listed = bench.store.list_keys(&all()).await.expect("lists the others");
            let listed: Vec<&str> = listed.iter().map(|key| key.key_id.as_str()).collect();
            assert_eq!(listed, ["k2"], "{what}: one broken key hides no other");
            assert!(rename(&bench.store, "k1", "x").await.is_err_and(names_it), "{what}: changed");
            let states = bench.store.key_states(&["k1".to_owned(), "k2".to_owned()]).await.expect("reads");
            assert_eq!(states.len(), 2, "{what}");
            for state in states {
                match (state.key_id(), &state) {
                    ("k1", KeyState::Broken { fault: SealFault::Broken, .. }) => {}
                    ("k2", KeyState::Sealed(_)) => {}
                    other => panic!("{what}: {other:?}"),
                }
            }
            let report = bench.store.check_log().await.expect("can be checked");
            assert!(report.faults.iter().any(|fault| fault.contains("k1")), "{what}: {:?}", report.faults);
            bench.sql(
                "DELETE FROM key_secrets; DELETE FROM key_scopes; DELETE FROM key_labels; DELETE FROM keys; \
                 INSERT INTO keys SELECT * FROM b1; INSERT INTO key_secrets SELECT * FROM b2; \
                 INSERT INTO key_records SELECT * FROM b3; DROP TABLE b1; DROP TABLE b2; DROP TABLE b3",
            ).await;
        }
        assert!(bench.key("k1").await.is_some());
        bench.assert_log_is_right().await;
    }

    async fn a_seal_of_an_unknown_version_is_another_fault(db: Database) {
        let bench = Bench::new(db).await;
        create(&bench.store, "k1").await.expect("creates");
        bench.sql("UPDATE keys SET seal = digest FROM key_secrets WHERE keys.key_id = key_secrets.key_id").await;
        let states = bench.store.key_states(&["k1".to_owned()]).await.expect("reads");
        assert!(matches!(&states[..], [KeyState::Broken { fault: SealFault::UnknownVersion, .. }]));
    }

    async fn a_list_goes_on_behind_broken_keys(db: Database) {
        let bench = Bench::new(db).await;
        for number in 0..120 {
            create(&bench.store, &format!("k{number:03}")).await.expect("creates");
        }
        bench.sql("UPDATE keys SET scopes = '[]' WHERE key_id < 'k110' AND key_id <> 'k005'").await;
        for descending in [false, true] {
            for by in [KeySort::KeyId, KeySort::CreateTime, KeySort::UpdateTime] {
                let order = KeyOrder { by, descending };
                let listed = bench.store.list_keys(&KeyQuery { order, limit: 4, ..all() }).await;
                let listed = listed.expect("lists");
                let ids: Vec<&str> = listed.iter().map(|key| key.key_id.as_str()).collect();
                let expected = match descending {
                    false => ["k005", "k110", "k111", "k112"],
                    true => ["k119", "k118", "k117", "k116"],
                };
                assert_eq!(ids, expected, "{order:?}");
                let query = KeyQuery { order, limit: 1_000, ..all() };
                assert_eq!(bench.store.list_keys(&query).await.expect("lists").len(), 11);
            }
        }
    }

    async fn states_are_told_for_every_id(db: Database) {
        let bench = Bench::new(db).await;
        for number in 0..5 {
            create(&bench.store, &format!("k{number}")).await.expect("creates");
        }
        let mut asked: Vec<String> = (0..1_200).map(|number| format!("k{number}")).collect();
        asked.push("no\0key".to_owned());
        let states = bench.store.key_states(&asked).await.expect("reads");
        assert_eq!(states.len(), asked.len());
        assert_eq!(states.iter().filter(|state| matches!(state, KeyState::Sealed(_))).count(), 5);
    }
}
