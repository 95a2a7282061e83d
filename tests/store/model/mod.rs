//! Random sequences of operations: the model, SQLite and PostgreSQL give the same answers, step by step.

mod reference;

use std::collections::BTreeMap;
use std::time::Duration;

use countersign::domain::Error;
use countersign::domain::audit::{EventType, RevokeReason};
use countersign::domain::filter::{self, parse};
use countersign::domain::key::{Key, Lifecycle};
use countersign::store::{
    Changed, Decision, EventQuery, KeyOrder, KeyQuery, KeySort, ReplySlot, Store, Target,
};
use proptest::test_runner::Config;
use proptest_state_machine::{StateMachineTest, prop_state_machine};
use tokio::runtime::Runtime;

use self::reference::{Histories, IDS, Model, ModelKey, Operation, Outcome, SCOPES};
use super::bench::*;
use crate::harness::Database;

/// The same operation, done to a store.
async fn run(store: &Store, operation: &Operation) -> Outcome {
    let outcome = match operation {
        Operation::Reopen => store.last_revision().await.map(|(revision, _)| (false, revision)),
        Operation::Create { id, request } => {
            create_requested(store, IDS[*id], *request).await.map(position)
        }
        Operation::Delete { id } => delete(store, IDS[*id]).await.map(position),
        Operation::Rename { id, name } => {
            let (id, kind) = (IDS[*id], EventType::KeyUpdated);
            let renamed = change(store, id, kind, |key, _| {
                refuse_if_revoked(key)?;
                key.display_name.clone_from(name);
                Ok(())
            });
            renamed.await.map(position)
        }
        Operation::Grant { id, scopes } => {
            let (id, kind) = (IDS[*id], EventType::KeyUpdated);
            let granted = change(store, id, kind, |key, before| {
                refuse_if_revoked(key)?;
                let scopes = scopes.iter().map(|scope| SCOPES[*scope].to_owned()).collect();
                key.scopes = new_key(
                    id,
                    countersign::domain::draft::KeyDraft { scopes, ..acme() },
                    before.now,
                )
                .scopes;
                Ok(())
            });
            granted.await.map(position)
        }
        Operation::Label { id, value } => {
            let (id, kind) = (IDS[*id], EventType::KeyUpdated);
            let labelled = change(store, id, kind, |key, _| {
                refuse_if_revoked(key)?;
                key.labels = value.iter().map(|value| ("team".to_owned(), value.clone())).collect();
                Ok(())
            });
            labelled.await.map(position)
        }
        Operation::Rotate { id, kill } => {
            let (id, kind) = (IDS[*id], EventType::KeyRotated);
            let overlap = Duration::from_secs(if *kill { 0 } else { 3_600 });
            let rotated =
                change(store, id, kind, |key, before| key.rotate(secret(), overlap, before.now));
            rotated.await.map(position)
        }
        Operation::Switch { id, on } => {
            let kind = if *on { EventType::KeyEnabled } else { EventType::KeyDisabled };
            let switched =
                change(
                    store,
                    IDS[*id],
                    kind,
                    |key, _| if *on { key.enable() } else { key.disable() },
                );
            switched.await.map(position)
        }
        Operation::Revoke { id } => {
            let revoked = change(store, IDS[*id], EventType::KeyRevoked, |key, _| {
                refuse_if_revoked(key)?;
                key.revoke(RevokeReason::Compromised);
                Ok(())
            });
            revoked.await.map(position)
        }
    };
    match outcome {
        Ok((true, revision)) => Outcome::Changed(revision),
        Ok((false, revision)) => Outcome::Unchanged(revision),
        Err(error) => Outcome::Refused(error),
    }
}

fn position<T>(changed: Changed<T>) -> (bool, u64) {
    (changed.changed, changed.position.revision)
}

fn refuse_if_revoked(key: &Key) -> Result<(), Error> {
    if matches!(key.lifecycle, Lifecycle::Revoked(_)) { Err(Error::KeyRevoked) } else { Ok(()) }
}

async fn create_requested(
    store: &Store,
    id: &str,
    request: Option<(u8, u8)>,
) -> Result<Changed<()>, Error> {
    let slot = request.map(|(slot, body)| ReplySlot { slot: [slot; 32], request_hash: [body; 32] });
    let new = key_id(id);
    let create = store.change_key(Target::New(&new), slot.as_ref(), |before| {
        match &before.remembered {
            Some(remembered) if remembered.same_request => return Ok(Decision::Unchanged(())),
            Some(_) => return Err(Error::RequestIdReused),
            None if before.key.is_some() => return Ok(Decision::Unchanged(())),
            None if before.deleted.is_some() => {
                return Err(Error::KeyNotFound { key_id: id.to_owned() });
            }
            None => {}
        }
        let mut key = new_key(id, acme(), before.now);
        before.stamp(&mut key);
        let event = event(EventType::KeyCreated, None, Some(&key));
        Ok(Decision::Put { key, event, remember: slot.map(|_| b"sealed".to_vec()), reply: () })
    });
    create.await
}

/// Both databases, side by side.
struct Both {
    runtime: Runtime,
    benches: Vec<Bench>,
}

struct SameAnswers;

impl StateMachineTest for SameAnswers {
    type SystemUnderTest = Both;
    type Reference = Histories;

    fn init_test(_: &Model) -> Both {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let runtime = runtime.expect("a runtime");
        let benches = runtime.block_on(async {
            vec![Bench::new(Database::Sqlite).await, Bench::new(Database::Postgres).await]
        });
        Both { runtime, benches }
    }

    fn apply(mut both: Both, model: &Model, operation: Operation) -> Both {
        let Both { runtime, benches } = &mut both;
        for bench in benches {
            runtime.block_on(async {
                if let Operation::Reopen = operation {
                    let again = bench.open_again().await;
                    std::mem::replace(&mut bench.store, again).close().await;
                }
                let outcome = run(&bench.store, &operation).await;
                assert_eq!(Some(outcome), model.outcome, "{operation:?} on {}", bench.settings.url);
            });
        }
        both
    }

    fn check_invariants(both: &Both, model: &Model) {
        for bench in &both.benches {
            both.runtime.block_on(compare(bench, model));
        }
    }

    fn teardown(both: Both, _: Model) {
        for bench in both.benches {
            both.runtime.block_on(async {
                bench.assert_log_is_right().await;
                bench.store.close().await;
            });
        }
    }
}

type Filter = (&'static str, fn(&ModelKey) -> bool);

/// What the side tables of keys answer.
const FILTERS: [Filter; 4] = [
    ("scopes:\"read\"", |key| key.scopes.contains("read")),
    ("scopes:\"transactions:read\"", |key| key.scopes.contains("transactions:read")),
    ("labels:team", |key| key.label.is_some()),
    ("labels.team != \"payments\"", |key| key.label.as_deref() != Some("payments")),
];

async fn compare(bench: &Bench, model: &Model) {
    let keys = list(bench, "").await;
    let stored: BTreeMap<String, ModelKey> =
        keys.iter().map(|key| (key.key_id.to_string(), as_modelled(key))).collect();
    assert_eq!(stored, model.keys);
    assert!(
        keys.iter().map(|key| key.key_id.as_str()).eq(model.keys.keys()),
        "in the order of bytes"
    );
    for (text, fits) in FILTERS {
        let found = list(bench, text).await;
        let expected = model.keys.iter().filter(|(_, key)| fits(key)).map(|(id, _)| id);
        assert!(found.iter().map(|key| key.key_id.as_str()).eq(expected), "{text}");
    }
    let events = EventQuery { account: None, filter: None, after_revision: 0, limit: 10_000 };
    let events = bench.store.list_events(&events).await.expect("lists");
    let log: Vec<_> =
        events.iter().map(|logged| (logged.event.kind, logged.event.key_id.clone())).collect();
    assert_eq!(log, model.log);
}

async fn list(bench: &Bench, text: &str) -> Vec<Key> {
    let order = KeyOrder { by: KeySort::KeyId, descending: false };
    let filter = parse(text, &filter::KEYS).expect("a good filter");
    let now = countersign::domain::Timestamp::default();
    let query = KeyQuery { account: None, filter, order, after: None, limit: 100, now };
    bench.store.list_keys(&query).await.expect("lists")
}

fn as_modelled(key: &Key) -> ModelKey {
    ModelKey {
        name: key.display_name.clone(),
        scopes: key.scopes.iter().map(ToString::to_string).collect(),
        label: key.labels.get("team").cloned(),
        lifecycle: key.lifecycle,
        secrets: key
            .secrets
            .iter()
            .map(|version| (version.number, version.is_live(key.update_time)))
            .collect(),
        revision: key.revision,
    }
}

prop_state_machine! {
    #![proptest_config(Config { cases: 24, failure_persistence: None, ..Config::default() })]

    #[test]
    fn the_model_and_both_databases_give_the_same_answers(sequential 1..40 => SameAnswers);
}
