//! Several writers at once: revisions without gaps, events in order.

use std::time::Duration;

use countersign::domain::Error;
use countersign::store::migrate;
use sea_orm::ConnectionTrait;

use super::bench::*;
use crate::on_both_databases;

on_both_databases! {
    async fn two_processes_with_four_writers_leave_no_gap(db: Database) {
        let bench = Bench::new(db).await;
        let mut writers = tokio::task::JoinSet::new();
        for writer in 0..4 {
            let store = if writer % 2 == 0 { bench.store.clone() } else { bench.open_again().await };
            writers.spawn(async move {
                let mut last = 0;
                for number in 0..25 {
                    let id = format!("w{writer}-{number}");
                    let created = create(&store, &id).await.expect("creates").position.revision;
                    assert!(created > last, "a later change got an earlier revision");
                    last = rename(&store, &id, "renamed").await.expect("renames").position.revision;
                    assert!(last > created, "a later change got an earlier revision");
                }
            });
        }
        while let Some(ended) = writers.join_next().await {
            ended.expect("no panic");
        }
        let events = bench.store.events_after(0, 1_000).await.expect("reads");
        let revisions: Vec<u64> = events.iter().map(|logged| logged.event.revision).collect();
        assert_eq!(revisions, (1..=200).collect::<Vec<_>>());
        assert!(events.is_sorted_by_key(|logged| logged.event.time));
        bench.assert_log_is_right().await;
    }

    async fn two_writers_of_one_key_see_each_other(db: Database) {
        let bench = Bench::new(db).await;
        create(&bench.store, "k1").await.expect("creates");
        let other = bench.open_again().await;
        let add = async |store: &countersign::store::Store| {
            for _ in 0..20 {
                let counted = change(store, "k1", countersign::domain::audit::EventType::KeyUpdated, |key, _| {
                    key.description.push('x');
                    Ok(())
                });
                counted.await.expect("changes");
            }
        };
        tokio::join!(add(&bench.store), add(&other));
        assert_eq!(bench.key("k1").await.expect("is there").description.len(), 40);
        bench.assert_log_is_right().await;
    }

    async fn a_lock_that_is_held_for_long_is_overload(db: Database) {
        let mut bench = Bench::new(db).await;
        bench.settings.lock_timeout = Duration::from_secs(1);
        let store = bench.open_again().await;
        let raw = bench.raw().await;
        let (take, give) = if bench.is_sqlite() {
            ("BEGIN IMMEDIATE", "ROLLBACK")
        } else {
            // "csignlog" in ASCII, the key of the writer's lock.
            ("SELECT pg_advisory_lock(7166187325031739239)", "SELECT pg_advisory_unlock_all()")
        };
        raw.execute_unprepared(take).await.expect("takes the lock");
        let refused = create(&store, "k1").await.map(|_| ());
        let retry_after = Duration::from_secs(1);
        assert_eq!(refused, Err(Error::Overloaded { what: "the writer's lock", retry_after }));
        assert_eq!(store.get_key("k1").await.map(|key| key.is_none()), Ok(true), "reading goes on");
        raw.execute_unprepared(give).await.expect("gives the lock back");
        create(&store, "k1").await.expect("the lock is free");
    }

    async fn of_two_migrations_one_applies_and_both_succeed(db: Database) {
        let settings = unprepared(db).await;
        let migrations = (0..6).map(|_| {
            let settings = settings.clone();
            tokio::spawn(async move { migrate(&settings).await })
        });
        let mut applied = 0;
        for migration in futures::future::join_all(migrations).await {
            let migrated = migration.expect("no panic").unwrap_or_else(|error| panic!("{error}"));
            applied += usize::from(!migrated.applied.is_empty());
        }
        assert_eq!(applied, 1);
    }

    async fn of_two_first_openings_one_makes_the_data_key(db: Database) {
        let settings = unprepared(db).await;
        migrate(&settings).await.expect("migrates");
        let root_key = new_root_key(1);
        let open = || countersign::store::Store::open(
            &settings, keyring(&root_key), std::sync::Arc::new(countersign::domain::random::OsRandom),
        );
        let (one, other) = tokio::join!(open(), open());
        let (one, other) = (one.expect("opens"), other.expect("opens"));
        let digests = [&one, &other].map(|store| *store.data_key().digest("a", "b").as_bytes());
        assert_eq!(digests[0], digests[1]);
        assert_eq!(one.store_id(), other.store_id());
    }
}
