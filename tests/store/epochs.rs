//! Accepting that a log has lost events.

use std::sync::{Arc, Mutex};

use countersign::domain::Error;
use countersign::domain::audit::{Actor, EventType};
use countersign::domain::position::Position;
use countersign::domain::replica::EpochStart;
use countersign::domain::time::SystemClock;
use countersign::domain::verdict::IndexChange;
use countersign::log::Settings;

use super::bench::*;
use crate::harness::following::follow;
use crate::on_both_databases;

on_both_databases! {
    async fn a_new_epoch_begins_with_an_event_that_says_so(db: Database) {
        let bench = Bench::new(db).await;
        let first = create(&bench.store, "k1").await.expect("creates");
        assert_eq!((first.position.epoch, first.position.revision), (1, 1));
        // A server that runs on the store all the while.
        let other = bench.open_again().await;
        rename(&other, "k1", "named").await.expect("changes");

        let actor = Actor::local("store accept");
        let accepted = bench.store.accept(1, None, &actor).await.expect("accepts").expect("is new");
        assert_eq!((accepted.epoch, accepted.revision), (2, 3));
        assert_eq!(accepted.store, bench.store.store_id());
        let end = other.end().await.expect("reads");
        assert_eq!((end.epoch, end.revision), (2, 3));
        assert_eq!(other.poll("r1", 3).await.expect("polls").epoch, 2);
        let starts = [EpochStart { epoch: 2, first_revision: 3 }];
        assert_eq!(other.epochs().await.expect("reads"), starts);

        let logged = other.events_after(2, 10).await.expect("reads").remove(0).event;
        assert_eq!((logged.kind, logged.actor), (EventType::StoreEpochAccepted, actor.clone()));
        assert_eq!((logged.account_id.as_str(), logged.key_id.as_str()), ("countersign", ""));
        let [change] = &logged.changes[..] else { panic!("one field: {:?}", logged.changes) };
        assert_eq!((&*change.field, &*change.before, &*change.after), ("epoch", "1", "2"));

        // What was open before goes on in the new epoch.
        let next = rename(&other, "k1", "renamed").await.expect("changes");
        assert_eq!((next.position.epoch, next.position.revision), (2, 4));
        bench.assert_log_is_right().await;

        let again = bench.store.accept(2, None, &actor).await.expect("accepts").expect("is new");
        assert_eq!((again.epoch, again.revision), (3, 5));
        let starts = other.epochs().await.expect("reads");
        assert_eq!(starts.last(), Some(&EpochStart { epoch: 3, first_revision: 5 }));
        bench.assert_log_is_right().await;
    }

    async fn what_was_lost_can_lie_below_the_end_of_the_log(db: Database) {
        let bench = Bench::new(db).await;
        for number in 1..=3 {
            create(&bench.store, &format!("k{number}")).await.expect("creates");
        }
        let actor = Actor::local("test");
        bench.store.accept(1, Some(2), &actor).await.expect("accepts").expect("is new");
        // Nothing that the log can't have lost: there is no revision 0, and 6 can't be missing without 5.
        for bad in [0, 6, 100] {
            let refused = bench.store.accept(2, Some(bad), &actor).await;
            assert!(matches!(refused, Err(Error::InvalidRequest(_))), "{bad}: {refused:?}");
        }
        bench.store.accept(2, Some(5), &actor).await.expect("accepts").expect("is new");
        let starts = [(2, 2), (3, 5)].map(|(epoch, first_revision)| EpochStart { epoch, first_revision });
        assert_eq!(bench.store.epochs().await.expect("reads"), starts);
        let logged = bench.store.events_after(3, 10).await.expect("reads").remove(0).event;
        let said = logged.changes.iter().map(|change| (&*change.field, &*change.after));
        assert_eq!(said.collect::<Vec<_>>(), [("epoch", "2"), ("lost_from", "2")]);
        bench.assert_log_is_right().await;
    }

    async fn an_epoch_that_was_accepted_meanwhile_is_not_accepted_again(db: Database) {
        let bench = Bench::new(db).await;
        create(&bench.store, "k1").await.expect("creates");
        let actor = Actor::local("test");
        bench.store.accept(1, None, &actor).await.expect("accepts").expect("is new");
        let before = bench.dump().await;
        assert_eq!(bench.store.accept(1, None, &actor).await.expect("is told"), None);
        assert_eq!(bench.dump().await, before);
    }

    async fn an_empty_log_can_be_accepted(db: Database) {
        let bench = Bench::new(db).await;
        let accepted = bench.store.accept(1, None, &Actor::local("test")).await.expect("accepts");
        assert_eq!(accepted.map(|position| position.revision), Some(1));
        bench.assert_log_is_right().await;
    }

    async fn whoever_follows_a_log_is_not_disturbed_by_an_epoch_that_fits(db: Database) {
        let bench = Bench::new(db).await;
        create(&bench.store, "k1").await.expect("creates");
        let changes = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&changes);
        let apply = Box::new(move |change| seen.lock().expect("no panic").push(change));
        let (position, clock) = (Arc::new(Position::default()), Arc::new(SystemClock::start()));
        let (log, follower) =
            follow(&bench.store, Settings::default(), clock, position, apply).await;
        tokio::spawn(follower.run());
        let accepted = bench.store.accept(1, None, &Actor::local("test")).await.expect("accepts");
        let accepted = accepted.expect("is new");
        log.wait_for(accepted.revision).await.expect("it follows");
        assert_eq!(log.position_at(accepted.revision), accepted, "in the new epoch");
        let changes = changes.lock().expect("no panic");
        let [IndexChange::Expect(1), IndexChange::Put(_)] = &changes[..] else {
            panic!("something but the key that was loaded: {changes:?}");
        };
    }
}
