//! A filter selects the same keys in SQL as in memory, on both databases.

use std::borrow::Cow;
use std::time::Duration;

use countersign::domain::Timestamp;
use countersign::domain::audit::{AuditEvent, EventType, RevokeReason};
use countersign::domain::filter::{self, Comparison, Expr, FieldType, Op, Row, Value, matches};
use countersign::domain::ids::Environment;
use countersign::domain::key::{Key, Lifecycle};
use countersign::store::{EventQuery, KeyOrder, KeyQuery, KeySort};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::bench::*;
use crate::on_both_databases;

struct KeyRow<'k>(&'k Key, Timestamp);

impl Row for KeyRow<'_> {
    fn text(&self, field: &str) -> Option<Cow<'_, str>> {
        let Self(key, now) = self;
        Some(match field {
            "key_id" => key.key_id.as_str().into(),
            "account_id" => key.account_id.as_str().into(),
            "application_id" => key.application_id.as_str().into(),
            "display_name" => key.display_name.as_str().into(),
            "environment" => match key.environment {
                Environment::Live => "ENVIRONMENT_LIVE".into(),
                Environment::Test => "ENVIRONMENT_TEST".into(),
            },
            "state" => key.state(*now).as_str().into(),
            _ => return None,
        })
    }

    fn time(&self, field: &str) -> Option<Timestamp> {
        match field {
            "create_time" => Some(self.0.create_time),
            "update_time" => Some(self.0.update_time),
            _ => self.0.expire_time,
        }
    }

    fn number(&self, _: &str) -> Option<u64> {
        None
    }

    fn has_member(&self, field: &str, member: &str) -> bool {
        match field {
            "scopes" => self.0.scopes.iter().any(|scope| scope.as_str() == member),
            _ => self.0.labels.contains_key(member),
        }
    }

    fn entry(&self, _: &str, key: &str) -> Option<Cow<'_, str>> {
        self.0.labels.get(key).map(|value| value.as_str().into())
    }
}

struct EventRow<'e>(&'e AuditEvent);

impl Row for EventRow<'_> {
    fn text(&self, field: &str) -> Option<Cow<'_, str>> {
        let event = self.0;
        Some(match field {
            "type" => event.kind.as_str().into(),
            "account_id" => event.account_id.as_str().into(),
            "application_id" => event.application_id.as_str().into(),
            "key_id" => event.key_id.as_str().into(),
            "actor" => event.actor.name().into(),
            _ => event.request_id.as_str().into(),
        })
    }

    fn time(&self, _: &str) -> Option<Timestamp> {
        Some(self.0.time)
    }

    fn number(&self, _: &str) -> Option<u64> {
        Some(self.0.revision)
    }

    fn has_member(&self, _: &str, _: &str) -> bool {
        false
    }

    fn entry(&self, _: &str, _: &str) -> Option<Cow<'_, str>> {
        None
    }
}

/// Texts that are there, almost there, and trouble: cases, languages, quotes, wildcards of LIKE, a NUL.
const TEXTS: [&str; 16] = [
    "acme", "Acme", "ACME", "billing", "k1", "K1", "", "é", "É", "e\u{301}", "%", "_", "'", "\"",
    "\\", "a\0b",
];
const SCOPES: [&str; 4] = ["a", "a:*", "b:c", "countersign.keys:write"];
const LABELS: [&str; 4] = ["team", "a/b", "x.y", "z"];

fn at(second: i64) -> Timestamp {
    Timestamp::from_micros(second * 1_000_000).expect("in range")
}

fn any_comparison(schema: filter::Schema) -> impl Strategy<Value = Expr> {
    let any_of =
        (any::<prop::sample::Index>(), any::<prop::sample::Index>(), any::<prop::sample::Index>());
    (any_of, 0_i64..12).prop_map(move |((field, op, value), second)| {
        let field = field.get(schema.0);
        let orders = [Op::Eq, Op::Ne, Op::Lt, Op::Le, Op::Gt, Op::Ge];
        let (ops, value, path): (&[Op], Value, Option<String>) = match field.kind {
            FieldType::Text => (&orders[..2], Value::Text((*value.get(&TEXTS)).to_owned()), None),
            FieldType::Enum(names) => {
                (&orders[..2], Value::Enum(names[value.index(names.len())]), None)
            }
            FieldType::Time => (&orders[..], Value::Time(at(second)), None),
            FieldType::Number => {
                (&orders[..], Value::Number([0, 1, 5, 30, u64::MAX][second as usize % 5]), None)
            }
            FieldType::TextSet => {
                (&[Op::Has][..], Value::Text((*value.get(&SCOPES)).to_owned()), None)
            }
            FieldType::Map if second % 3 == 0 => {
                (&[Op::Has][..], Value::Text((*value.get(&LABELS)).to_owned()), None)
            }
            FieldType::Map => {
                let name = LABELS[second as usize % 4].to_owned();
                (&orders[..2], Value::Text((*value.get(&TEXTS)).to_owned()), Some(name))
            }
        };
        Expr::Compare(Comparison { field: field.name, path, op: *op.get(ops), value })
    })
}

fn any_filter(schema: filter::Schema) -> impl Strategy<Value = Expr> {
    any_comparison(schema).prop_recursive(3, 12, 3, |part| {
        let parts = prop::collection::vec(part, 2..4);
        prop_oneof![parts.clone().prop_map(Expr::And), parts.prop_map(Expr::Or)]
    })
}

/// Sixty keys that differ in everything a filter can ask about, made by repeating a few rules.
async fn varied_keys(bench: &Bench) -> Vec<Key> {
    let pick = |list: &[&str], number: usize| list[number % list.len()].to_owned();
    for number in 0..60 {
        let mut draft = acme();
        draft.account_id = pick(&["acme", "Acme", "ACME", "other"], number);
        draft.application_id = pick(&["billing", "k1", "K1"], number);
        draft.environment =
            Some(if number % 2 == 0 { Environment::Live } else { Environment::Test });
        draft.display_name = pick(&["é", "É", "e\u{301}", "%", "_", "'", "\"", "\\", "k1"], number);
        draft.scopes = SCOPES
            .iter()
            .enumerate()
            .filter(|(at, _)| number >> at & 1 == 1)
            .map(|(_, s)| (*s).to_owned())
            .collect();
        draft.labels = LABELS
            .iter()
            .enumerate()
            .filter(|(at, _)| number >> (at + 1) & 1 == 1)
            .map(|(at, name)| {
                ((*name).to_owned(), pick(&["acme", "Acme", "", "é", "%"], number + at))
            })
            .collect();
        draft.expire_time = (number % 3 > 0).then(|| at(number as i64 % 12));
        // A draft's expiry must lie in the future of the time that it is checked at, which is before all of these.
        draft.expire_time = draft.expire_time.filter(|time| *time > Timestamp::default());
        let id = if number == 0 { "k1".to_owned() } else { format!("key-{number}") };
        create_from(&bench.store, &id, draft, None).await.expect("creates");
        let state = change(&bench.store, &id, EventType::KeyUpdated, |key, _| {
            key.create_time = at(number as i64 % 7);
            match number % 5 {
                0 => key.lifecycle = Lifecycle::Disabled,
                1 => key.revoke(RevokeReason::Other),
                _ => {}
            }
            Ok(())
        });
        state.await.expect("changes");
    }
    let everything = list(bench, None, at(0)).await;
    assert_eq!(everything.len(), 60);
    everything
}

async fn list(bench: &Bench, filter: Option<Expr>, now: Timestamp) -> Vec<Key> {
    let order = KeyOrder { by: KeySort::KeyId, descending: false };
    let query = KeyQuery { account: None, filter, order, after: None, limit: 1_000, now };
    bench.store.list_keys(&query).await.expect("lists")
}

fn ids<'k>(keys: impl IntoIterator<Item = &'k Key>) -> Vec<String> {
    keys.into_iter().map(|key| key.key_id.to_string()).collect()
}

on_both_databases! {
    async fn sql_and_memory_agree_on_keys(db: Database) {
        let bench = Bench::new(db).await;
        let keys = varied_keys(&bench).await;
        let mut runner = TestRunner::new(Config { cases: 300, failure_persistence: None, ..Config::default() });
        let cases = (any_filter(filter::KEYS), 0_i64..13);
        let outcome = tokio::task::block_in_place(|| runner.run(&cases, |(filter, now)| {
            let now = at(now);
            let expected = ids(keys.iter().filter(|key| matches(&filter, &KeyRow(key, now))));
            let listing = list(&bench, Some(filter.clone()), now);
            let listed = ids(&tokio::runtime::Handle::current().block_on(listing));
            prop_assert_eq!(listed, expected, "{} at {}", filter, now);
            Ok(())
        }));
        outcome.unwrap_or_else(|failure| panic!("{failure}"));
    }

    async fn sql_and_memory_agree_on_events(db: Database) {
        let bench = Bench::new(db).await;
        for number in 0..20 {
            let id = format!("k{number}");
            create(&bench.store, &id).await.expect("creates");
            rename(&bench.store, &id, "renamed").await.expect("renames");
        }
        let events = bench.store.events_after(0, 100).await.expect("reads");
        let mut runner = TestRunner::new(Config { cases: 200, failure_persistence: None, ..Config::default() });
        let outcome = tokio::task::block_in_place(|| runner.run(&any_filter(filter::AUDIT), |filter| {
            let fits = events.iter().filter(|logged| matches(&filter, &EventRow(&logged.event)));
            let expected: Vec<u64> = fits.map(|logged| logged.event.revision).collect();
            let query = EventQuery { account: None, filter: Some(filter.clone()), after_revision: 0, limit: 100 };
            let listed = tokio::runtime::Handle::current().block_on(bench.store.list_events(&query)).expect("lists");
            let listed: Vec<u64> = listed.iter().map(|logged| logged.event.revision).collect();
            prop_assert_eq!(listed, expected, "{}", filter);
            Ok(())
        }));
        outcome.unwrap_or_else(|failure| panic!("{failure}"));
    }
}

#[test]
fn a_state_changes_by_itself_at_the_moment_of_expiry() {
    let mut key = new_key("k1", acme(), at(0));
    key.expire_time = at(0).checked_add(Duration::from_secs(5));
    let expired =
        filter::parse("state = EXPIRED", &filter::KEYS).expect("good").expect("not empty");
    assert!(!matches(&expired, &KeyRow(&key, at(4))) && matches(&expired, &KeyRow(&key, at(5))));
}
