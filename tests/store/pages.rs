//! Lists come in the same order on both databases, page by page, byte for byte.

use countersign::domain::audit::EventType;
use countersign::domain::filter::{self, parse};
use countersign::domain::ids::AccountId;
use countersign::domain::key::Key;
use countersign::store::{EventQuery, KeyOrder, KeyQuery, KeySort};

use super::bench::*;
use crate::on_both_databases;

/// Ids that languages sort otherwise than bytes do.
const IDS: [&str; 9] = ["B", "a", "A", "b", "_", "a-b", "a.b", "aB", "ab"];

fn sort_value(key: &Key, by: KeySort) -> i64 {
    match by {
        KeySort::CreateTime => key.create_time.micros(),
        KeySort::UpdateTime => key.update_time.micros(),
        KeySort::KeyId => 0,
    }
}

async fn pages(bench: &Bench, order: KeyOrder, limit: u64) -> Vec<String> {
    let (mut ids, mut after) = (Vec::new(), None);
    loop {
        let now = countersign::domain::Timestamp::default();
        let query = KeyQuery { account: None, filter: None, order, after, limit, now };
        let page = bench.store.list_keys(&query).await.expect("lists");
        let Some(last) = page.last() else { return ids };
        after = Some((sort_value(last, order.by), last.key_id.to_string()));
        ids.extend(page.iter().map(|key| key.key_id.to_string()));
    }
}

on_both_databases! {
    async fn pages_are_in_the_order_of_bytes_without_gaps(db: Database) {
        let bench = Bench::new(db).await;
        for id in IDS {
            create(&bench.store, id).await.expect("creates");
        }
        // Three keys of the same moment.
        bench.sql("UPDATE keys SET create_time = 1000 WHERE key_id IN ('B', 'a', '_')").await;
        rename(&bench.store, "A", "changed last").await.expect("renames");
        let mut by_id = IDS.map(str::to_owned);
        by_id.sort();
        for by in [KeySort::KeyId, KeySort::CreateTime, KeySort::UpdateTime] {
            for descending in [false, true] {
                let order = KeyOrder { by, descending };
                let all = pages(&bench, order, 100).await;
                for limit in 1..5 {
                    assert_eq!(pages(&bench, order, limit).await, all, "{order:?} by {limit}");
                }
                let mut forwards = all.clone();
                if descending {
                    forwards.reverse();
                }
                match by {
                    KeySort::KeyId => assert_eq!(forwards, by_id),
                    KeySort::CreateTime => assert_eq!(forwards[..3], ["B", "_", "a"]),
                    KeySort::UpdateTime => assert_eq!(forwards.last().unwrap(), "A"),
                }
            }
        }
    }

    async fn events_are_paged_by_revision(db: Database) {
        let bench = Bench::new(db).await;
        for number in 0..7 {
            let mut draft = acme();
            draft.account_id = if number % 2 == 0 { "acme" } else { "Acme" }.to_owned();
            create_from(&bench.store, &format!("k{number}"), draft, None).await.expect("creates");
        }
        delete(&bench.store, "k0").await.expect("deletes");
        let list = async |account: Option<&str>, text: &str, after_revision: u64, limit: u64| {
            let filter = parse(text, &filter::AUDIT).expect("a good filter");
            let account = account.map(|id| AccountId::parse(id).expect("an account"));
            let query = EventQuery { account, filter, after_revision, limit };
            let events = bench.store.list_events(&query).await.expect("lists");
            events.iter().map(|logged| logged.event.revision).collect::<Vec<_>>()
        };
        assert_eq!(list(None, "", 0, 3).await, [1, 2, 3]);
        assert_eq!(list(None, "", 3, 100).await, [4, 5, 6, 7, 8]);
        assert_eq!(list(Some("Acme"), "", 0, 100).await, [2, 4, 6]);
        assert_eq!(list(None, "type = KEY_DELETED", 0, 100).await, [8]);
        assert_eq!(list(None, "key_id = \"k0\" AND type != KEY_DELETED", 0, 100).await, [1]);
        assert_eq!(list(Some("acme"), "revision > 2 AND actor = \"test\"", 3, 2).await, [5, 7]);
        assert_eq!(list(None, "revision > 18446744073709551615", 0, 100).await, [0_u64; 0]);
        assert_eq!(list(None, "revision <= 18446744073709551615", u64::MAX, 100).await, [0_u64; 0]);
        let kinds = bench.store.events_after(0, 100).await.expect("reads");
        assert_eq!(kinds.last().map(|logged| logged.event.kind), Some(EventType::KeyDeleted));
    }
}
