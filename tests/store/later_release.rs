//! What a later release writes into the log beside us: an event of a type that this release does not know
//! reloads the key that it names.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use countersign::domain::audit::{EventType, RevokeReason};
use countersign::domain::key::Lifecycle;
use countersign::domain::position::Position;
use countersign::domain::time::SystemClock;
use countersign::domain::tree;
use countersign::domain::verdict::{IndexChange, Standing};
use countersign::log::Settings;
use countersign::store::EventQuery;

use super::bench::*;
use crate::harness::following::follow;
use crate::on_both_databases;

/// Makes the second event, the last one, look as a later release wrote it: of another type, in a newer form with
/// a field that we do not know, and with hashes that fit.
async fn as_a_later_release_wrote_it(bench: &Bench) {
    let canonical =
        |revision| format!("SELECT canonical FROM audit_events WHERE revision = {revision}");
    let first = bench.texts(&canonical(1)).await.remove(0);
    let text = bench.texts(&canonical(2)).await.remove(0);
    let text = text
        .replace(r#""type":"KEY_REVOKED","v":1"#, r#""type":"KEY_SUSPENDED","v":2,"zone":"eu""#);
    assert!(text.contains("KEY_SUSPENDED"), "{text}");
    let leaf = tree::leaf_hash(text.as_bytes());
    let stored = HashMap::from([(0, tree::leaf_hash(first.as_bytes()))]);
    let blob = |bytes: &[u8]| {
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        if bench.is_sqlite() { format!("X'{hex}'") } else { format!("'\\x{hex}'::bytea") }
    };
    bench.sql(&format!(
        "UPDATE audit_events SET canonical = '{text}', type = 'TYPE_KEY_SUSPENDED', leaf_hash = {} WHERE revision = 2",
        blob(&leaf)
    ))
    .await;
    for (position, hash) in tree::append(1, leaf, &stored).expect("two leaves") {
        bench
            .sql(&format!(
                "UPDATE tree_hashes SET hash = {} WHERE position = {position}",
                blob(&hash)
            ))
            .await;
    }
}

on_both_databases! {
    async fn an_event_of_an_unknown_type_reloads_its_key(db: Database) {
        let bench = Bench::new(db).await;
        create(&bench.store, "k1").await.expect("creates");
        let seen = Arc::new(Mutex::new(Vec::new()));
        let applied = Arc::clone(&seen);
        let apply = Box::new(move |change| {
            if let IndexChange::Put(key) = change {
                applied.lock().expect("no panic").push(key.standing);
            }
        });
        let (position, clock) = (Arc::new(Position::default()), Arc::new(SystemClock::start()));
        let (log, follower) =
            follow(&bench.store, Settings::default(), clock, position, apply).await;

        let revoked = Lifecycle::Revoked(RevokeReason::Abuse);
        let changed = change(&bench.store, "k1", EventType::KeyRevoked, |key, _| {
            key.lifecycle = revoked;
            Ok(())
        });
        changed.await.expect("changes");
        as_a_later_release_wrote_it(&bench).await;
        bench.assert_log_is_right().await;
        let mut watcher = log.subscribe(0);
        tokio::spawn(follower.run());
        log.wait_for(2).await.expect("it goes on");
        assert_eq!(seen.lock().expect("no panic").last(), Some(&Standing::Revoked), "the key is as it is now");

        let all = EventQuery { account: None, filter: None, after_revision: 1, limit: 10 };
        let listed = bench.store.list_events(&all).await.expect("lists");
        assert_eq!(listed.len(), 1);
        assert_eq!((listed[0].event.kind, listed[0].event.key_id.as_str()), (EventType::Unknown, "k1"));
        assert_eq!(listed[0].event.kind.as_str(), "TYPE_UNSPECIFIED");
        let mut watched = Vec::new();
        while watched.len() < 2 {
            watched.extend(watcher.next().await.expect("goes on"));
        }
        assert_eq!(*watched[1], listed[0]);
        rename(&bench.store, "k1", "goes on").await.expect("so does writing");
        log.wait_for(3).await.expect("it goes on");
        bench.assert_log_is_right().await;
    }
}
