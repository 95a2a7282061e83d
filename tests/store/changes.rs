//! Every decision, and what is left of it.

use std::time::Duration;

use countersign::domain::Error;
use countersign::domain::audit::{EventType, RevokeReason};
use countersign::domain::ids::KeyId;
use countersign::domain::key::{Administration, Lifecycle, NewSecret};
use countersign::domain::keyring::Digest;
use countersign::store::{Decision, Target};

use super::bench::*;
use crate::on_both_databases;

on_both_databases! {
    async fn a_created_key_reads_back_as_it_was_written(db: Database) {
        let bench = Bench::new(db).await;
        let created = create(&bench.store, "k1").await.expect("creates");
        assert!(created.changed);
        assert_eq!((created.position.store, created.position.epoch), (bench.store.store_id(), 1));
        assert_eq!(created.position.revision, 1);
        let read = bench.key("k1").await.expect("is there");
        assert_eq!(format!("{read:?}"), format!("{:?}", created.reply));
        assert_eq!(read.secrets[0].digest.as_bytes(), created.reply.secrets[0].digest.as_bytes());
        let events = bench.store.events_after(0, 10).await.expect("reads");
        assert_eq!(events.len(), 1);
        assert_eq!(events[0].event.kind, EventType::KeyCreated);
        assert_eq!(events[0].event.time, read.create_time);
        assert_eq!(bench.store.last_revision().await, Ok((1, read.create_time)));
        bench.assert_log_is_right().await;
    }

    async fn every_field_of_a_change_is_written(db: Database) {
        let bench = Bench::new(db).await;
        create(&bench.store, "k1").await.expect("creates");
        let changed = change(&bench.store, "k1", EventType::KeyUpdated, |key, before| {
            let other = new_key("k1", administrator(), before.now);
            key.display_name = "Überweisungen".to_owned();
            key.description = "line one\nline two".to_owned();
            key.scopes = other.scopes;
            key.allowed_cidrs = other.allowed_cidrs;
            key.labels = [("a".to_owned(), "ä".to_owned()), ("b".to_owned(), String::new())].into();
            key.expire_time = before.now.checked_add(std::time::Duration::from_secs(60));
            Ok(())
        });
        let changed = changed.await.expect("changes").reply;
        assert_eq!(format!("{:?}", bench.key("k1").await), format!("{:?}", Some(changed)));
        for kind in [EventType::KeyRotated, EventType::KeySecretExpired] {
            let rotated = change(&bench.store, "k1", kind, |key, before| match kind {
                EventType::KeyRotated => key.rotate(secret(), std::time::Duration::ZERO, before.now),
                _ => {
                    key.secrets[1].expire_time = Some(before.now);
                    Ok(())
                }
            });
            let rotated = rotated.await.expect("changes").reply;
            assert_eq!(format!("{:?}", bench.key("k1").await), format!("{:?}", Some(rotated)));
        }
        for lifecycle in [Lifecycle::Disabled, Lifecycle::Active, Lifecycle::Revoked(RevokeReason::Abuse)] {
            let changed = change(&bench.store, "k1", EventType::KeyDisabled, |key, _| {
                key.lifecycle = lifecycle;
                Ok(())
            });
            changed.await.expect("changes");
            assert_eq!(bench.key("k1").await.expect("is there").lifecycle, lifecycle);
        }
        bench.assert_log_is_right().await;
    }

    async fn unchanged_writes_nothing_and_gives_the_last_position(db: Database) {
        let bench = Bench::new(db).await;
        create(&bench.store, "k1").await.expect("creates");
        let before = bench.dump().await;
        let again = create(&bench.store, "k1").await.expect("is there already");
        assert_eq!((again.changed, again.position.revision), (false, 1));
        assert_eq!(bench.dump().await, before);
    }

    async fn a_refusal_writes_nothing(db: Database) {
        let bench = Bench::new(db).await;
        let before = bench.dump().await;
        let refused = rename(&bench.store, "nobody", "x").await.map(|_| ());
        assert_eq!(refused, Err(Error::KeyNotFound { key_id: "nobody".to_owned() }));
        let no_text = rename(&bench.store, "no\0body", "x").await.map(|_| ());
        assert_eq!(no_text, Err(Error::KeyNotFound { key_id: "no\0body".to_owned() }));
        assert_eq!(bench.key("no\0body").await.map(|key| key.key_id), None);
        assert_eq!(bench.dump().await, before);
    }

    async fn a_deleted_key_leaves_a_tombstone_and_never_comes_back(db: Database) {
        let bench = Bench::new(db).await;
        create(&bench.store, "k1").await.expect("creates");
        assert_eq!(delete(&bench.store, "k1").await.expect("deletes").position.revision, 2);
        assert!(bench.key("k1").await.is_none());
        assert!(!delete(&bench.store, "k1").await.expect("is deleted already").changed);
        assert!(create(&bench.store, "k1").await.is_err());
        let id = key_id("k1");
        let forced = bench.store.change_key(Target::New(&id), None, |before| {
            assert_eq!(before.deleted.as_ref().map(|account| account.as_str()), Some("acme"));
            let mut key = new_key("k1", acme(), before.now);
            before.stamp(&mut key);
            let event = event(EventType::KeyCreated, None, Some(&key));
            Ok(Decision::Put { key, event, remember: None, reply: () })
        });
        assert!(matches!(forced.await, Err(Error::Internal(_))));
        let last = bench.store.events_after(1, 10).await.expect("reads");
        assert_eq!(last.len(), 1);
        assert_eq!((last[0].event.key_seal.as_str(), last[0].event.kind), ("", EventType::KeyDeleted));
        bench.assert_log_is_right().await;
    }

    async fn a_change_that_is_not_stamped_or_of_another_key_is_refused(db: Database) {
        let bench = Bench::new(db).await;
        create(&bench.store, "k1").await.expect("creates");
        create(&bench.store, "k2").await.expect("creates");
        let before = bench.dump().await;
        for (target, written, stamped) in [("k1", "k1", false), ("k1", "k2", true)] {
            let other = bench.key(written).await.expect("is there");
            let refused = bench.store.change_key(Target::Existing(target), None, |before| {
                let mut key = other.clone();
                if stamped {
                    before.stamp(&mut key);
                }
                let event = event(EventType::KeyUpdated, None, Some(&key));
                Ok(Decision::Put { key, event, remember: None, reply: () })
            });
            assert!(matches!(refused.await, Err(Error::Internal(_))));
        }
        assert_eq!(bench.dump().await, before);
    }

    async fn it_is_known_who_else_can_administer(db: Database) {
        use Administration::{Lasting, Limited, None};
        let bench = Bench::new(db).await;
        let others = async |id: &str| {
            let asked = bench.store.change_key(Target::Existing(id), Option::None, |before| {
                Ok(Decision::Unchanged(before.others))
            });
            asked.await.expect("reads").reply
        };
        assert_eq!(others("a1").await, None);
        for id in ["a1", "a2", "a3"] {
            create_from(&bench.store, id, administrator(), Option::None).await.expect("creates");
        }
        assert_eq!(others("a1").await, Lasting);
        // With two versions each: one key's rows must not be taken for another's.
        for id in ["a1", "a2", "a3"] {
            let rotated = change(&bench.store, id, EventType::KeyRotated, |key, before| {
                let new = NewSecret { digest: Digest::from_bytes([7; 32]), hint: String::new() };
                key.rotate(new, Duration::from_secs(3_600), before.now)
            });
            rotated.await.expect("rotates");
        }
        assert_eq!(others("a1").await, Lasting);
        for id in ["a2", "a3"] {
            let expiring = change(&bench.store, id, EventType::KeyUpdated, |key, before| {
                key.expire_time = before.now.checked_add(Duration::from_secs(3_600));
                Ok(())
            });
            expiring.await.expect("changes");
        }
        assert_eq!((others("a1").await, others("a2").await), (Limited, Lasting));
        for id in ["a2", "a3"] {
            let off = change(&bench.store, id, EventType::KeyDisabled, |key, _| key.disable());
            off.await.expect("changes");
        }
        assert_eq!((others("a1").await, others("a2").await), (None, Lasting));
    }

    async fn the_callers_key_is_read_under_the_lock(db: Database) {
        let bench = Bench::new(db).await;
        create_from(&bench.store, "a1", administrator(), None).await.expect("creates");
        create(&bench.store, "k1").await.expect("creates");
        let caller = KeyId::from_stored("a1".to_owned()).expect("valid");
        let state = async || {
            let target = Target::Existing("k1");
            let asked = bench.store.change_key_for(Some(&caller), target, None, |before| {
                Ok(Decision::Unchanged(before.caller.as_ref().map(|key| key.lifecycle)))
            });
            asked.await.expect("reads").reply
        };
        assert_eq!(state().await, Some(Lifecycle::Active));
        let off = change(&bench.store, "a1", EventType::KeyDisabled, |key, _| key.disable());
        off.await.expect("changes");
        assert_eq!(state().await, Some(Lifecycle::Disabled));
    }

    async fn time_in_the_log_never_goes_back(db: Database) {
        let bench = Bench::new(db).await;
        let first = create(&bench.store, "k1").await.expect("creates").reply;
        // As if the clock had stood a year ahead when the last event was written.
        let year = 365 * 24 * 3_600 * 1_000_000_i64;
        bench.sql(&format!("UPDATE audit_events SET time = time + {year}")).await;
        let second = create(&bench.store, "k2").await.expect("creates").reply;
        assert_eq!(second.create_time.micros(), first.create_time.micros() + year);
    }
}
