//! Replies are remembered, for a while.

use countersign::domain::Error;
use countersign::store::{Decision, Forgotten, Remembered, ReplySlot, Target};

use super::bench::*;
use crate::on_both_databases;

async fn remembered(bench: &Bench, slot: &ReplySlot) -> Option<Remembered> {
    let asked = bench.store.change_key(Target::Existing("none"), Some(slot), |before| {
        Ok::<_, Error>(Decision::Unchanged(before.remembered.clone()))
    });
    asked.await.expect("reads").reply
}

/// As if all replies had been made that much earlier.
async fn age(bench: &Bench, seconds: u64) {
    bench.sql(&format!("UPDATE replies SET create_time = create_time - {seconds}000000")).await;
}

on_both_databases! {
    async fn a_reply_is_given_again_for_ten_minutes_and_remembered_for_seven_days(db: Database) {
        let bench = Bench::new(db).await;
        let slot = slot();
        assert_eq!(remembered(&bench, &slot).await, None);
        create_from(&bench.store, "k1", acme(), Some(&slot)).await.expect("creates");
        let kept = |sealed: bool| Remembered {
            same_request: true,
            key_id: "k1".to_owned(),
            sealed_reply: sealed.then(|| b"sealed reply of k1".to_vec()),
        };
        assert_eq!(remembered(&bench, &slot).await, Some(kept(true)));
        let other = ReplySlot { request_hash: [8; 32], ..slot };
        assert_eq!(remembered(&bench, &other).await.map(|there| there.same_request), Some(false));
        assert_eq!(bench.store.forget_replies().await, Ok(Forgotten::default()));

        age(&bench, 590).await;
        assert_eq!(remembered(&bench, &slot).await, Some(kept(true)));
        age(&bench, 10).await;
        assert_eq!(remembered(&bench, &slot).await, Some(kept(false)), "without any sweep");
        let sealed = "SELECT key_id FROM replies WHERE sealed IS NOT NULL";
        assert_eq!(bench.texts(sealed).await, ["k1"]);
        assert_eq!(bench.store.forget_replies().await, Ok(Forgotten { secrets: 1, records: 0 }));
        assert_eq!(bench.texts(sealed).await, [""; 0]);
        assert_eq!(remembered(&bench, &slot).await, Some(kept(false)));

        age(&bench, 7 * 24 * 3_600 - 610).await;
        assert_eq!(remembered(&bench, &slot).await, Some(kept(false)));
        age(&bench, 10).await;
        assert_eq!(remembered(&bench, &slot).await, None, "without any sweep");
        // The slot is free again, although the sweep has not run.
        create_from(&bench.store, "k2", acme(), Some(&slot)).await.expect("creates");
        assert_eq!(remembered(&bench, &slot).await.map(|there| there.key_id), Some("k2".to_owned()));
        age(&bench, 7 * 24 * 3_600).await;
        assert_eq!(bench.store.forget_replies().await, Ok(Forgotten { secrets: 1, records: 1 }));
        assert_eq!(bench.store.forget_replies().await, Ok(Forgotten::default()));
    }

    async fn a_lost_commit_reply_is_found_by_its_slot(db: Database) {
        let bench = Bench::new(db).await;
        let lossy = losing_the_first_reply(&bench);
        let slot = slot();
        // With a slot, the store itself asks again and finds that it is done.
        let id = key_id("k1");
        let created = lossy.change_key(Target::New(&id), Some(&slot), |before| {
            if let Some(there) = &before.remembered {
                return Ok(Decision::Unchanged(there.sealed_reply.clone()));
            }
            let mut key = new_key("k1", acme(), before.now);
            before.stamp(&mut key);
            let event = event(countersign::domain::audit::EventType::KeyCreated, None, Some(&key));
            Ok(Decision::Put { key, event, remember: Some(b"first".to_vec()), reply: None })
        });
        let created = created.await.expect("found");
        assert_eq!((created.reply, created.changed), (Some(b"first".to_vec()), false));
        assert_eq!(bench.store.last_revision().await.map(|(last, _)| last), Ok(1));
        // Without one, only the caller can know.
        let lossy = losing_the_first_reply(&bench);
        let unknown = create(&lossy, "k2").await.map(|_| ());
        assert_eq!(unknown, Err(Error::Unavailable("the outcome of the change is unknown; repeat it")));
        assert!(bench.key("k2").await.is_some());
        bench.assert_log_is_right().await;
    }
}

fn losing_the_first_reply(bench: &Bench) -> countersign::store::Store {
    use std::sync::atomic::{AtomicBool, Ordering};

    let lost = AtomicBool::new(false);
    let mut store = bench.store.clone();
    store.on_statement(std::sync::Arc::new(move |name| {
        let lose = name == "committed" && !lost.swap(true, Ordering::SeqCst);
        if lose { Err(countersign::store::InjectedFault) } else { Ok(()) }
    }));
    store
}
