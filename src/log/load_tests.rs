//! Logs that take another's place, and what comes of it half-way.

use std::time::Duration;

use super::testing::{MemoryFeed, event, event_of, key};
use super::tests::{STORE, follow_feed, follow_with, in_time, settings};
use super::{Follower, Settings};
use crate::domain::Error;
use crate::domain::audit::{EventType, LoggedEvent};
use crate::domain::replica::EpochStart;
use crate::domain::token::LogPosition;

/// The log that was followed, the first four events of the one that took its place, and how that began.
fn fork() -> (Vec<LoggedEvent>, Vec<LoggedEvent>, Vec<EpochStart>) {
    let old = (1..=6).map(event).collect();
    let others = (1..=4).map(|at| event_of(at, &format!("other-{at}"), EventType::KeyCreated));
    (old, others.collect(), vec![EpochStart { epoch: 2, first_revision: 1 }])
}

fn keys(name: &str, count: u64) -> Vec<String> {
    (1..=count).map(|number| format!("{name}-{number}")).collect()
}

#[tokio::test]
async fn a_load_that_fails_half_way_is_begun_anew_though_the_old_log_is_back() {
    let (old, new, epochs) = fork();
    let feed = MemoryFeed::default();
    feed.have_keys();
    feed.replace(old.clone(), Vec::new());
    let (following, follower) = follow_feed(feed).await;
    assert_eq!((following.index(), following.has_a_lease()), (keys("key", 6), true));

    following.feed.replace(new.clone(), epochs.clone());
    following.feed.let_loads_fail(true);
    assert!(follower.poll().await.is_err());
    assert_eq!((following.index(), following.has_a_lease()), (keys("other", 2), false));
    assert!(follower.poll().await.is_err());
    assert!(!following.has_a_lease());

    following.feed.replace(old, Vec::new());
    following.feed.let_loads_fail(false);
    follower.poll().await.expect("polls");
    assert_eq!((following.index(), following.has_a_lease()), (keys("key", 6), true));

    following.feed.replace(new, epochs);
    follower.poll().await.expect("polls");
    assert_eq!((following.index(), following.has_a_lease()), (keys("other", 4), true));
}

#[tokio::test]
async fn a_replica_that_enters_an_epoch_from_further_back_has_not_come_as_far_as_that_began() {
    const BRIEFLY: Duration = Duration::from_millis(1);
    let at = |epoch, revision| LogPosition { store: STORE, epoch, revision };
    let feed = MemoryFeed::default();
    feed.append(2);
    let (following, follower) = follow_feed(feed).await;
    let goes_on = vec![EpochStart { epoch: 2, first_revision: 6 }];
    following.feed.replace((1..=7).map(event).collect(), goes_on);
    following.feed.let_states_fail(true);
    assert!(follower.poll().await.is_err(), "it enters the epoch, and comes no further");
    assert_eq!((following.position.epoch(), following.position.applied()), (2, 2));
    let log = &following.log;
    assert_eq!(log.reached(&at(1, 2), BRIEFLY).await, Ok(()));
    for ahead in [at(1, 3), at(1, 5), at(2, 6)] {
        let reached = log.reached(&ahead, BRIEFLY).await;
        assert!(matches!(reached, Err(Error::Unavailable(_))), "{ahead:?}: {reached:?}");
    }
    assert_eq!(log.reached(&at(1, 6), BRIEFLY).await, Err(Error::PositionLost));

    following.feed.let_states_fail(false);
    follower.poll().await.expect("polls");
    for reached in [at(1, 3), at(1, 5), at(2, 6), at(2, 7)] {
        assert_eq!(log.reached(&reached, BRIEFLY).await, Ok(()));
    }
    assert_eq!(log.reached(&at(1, 6), BRIEFLY).await, Err(Error::PositionLost));
}

#[tokio::test]
async fn epochs_of_another_log_are_not_taken_for_those_of_the_one_that_is_entered() {
    let feed = MemoryFeed::default();
    feed.append(2);
    let (following, follower) = follow_feed(feed).await;
    assert!(follower.enter(2).await.is_err());
    assert_eq!(following.position.epoch(), 1);
}

#[tokio::test]
async fn the_row_of_a_replica_that_loads_anew_says_that_it_lives_and_has_come_nowhere() {
    let (old, new, epochs) = fork();
    let feed = MemoryFeed::default();
    feed.replace(old, Vec::new());
    feed.load_until_beats(0);
    let settings = Settings { max_staleness: Duration::from_millis(200), ..settings() };
    let (following, follower) = follow_with(feed, settings).await;

    following.feed.replace(new, epochs);
    following.feed.load_until_beats(following.feed.last_beat() + 6);
    poll_and_beat(&follower).await;
    assert_eq!((following.position.epoch(), following.position.applied()), (2, 4));
    assert_eq!(following.feed.beats_refused(), 0);
}

/// One poll, and beside it the beats. The poll begins first.
async fn poll_and_beat(follower: &Follower<MemoryFeed>) {
    let both = async {
        tokio::select! {
            biased;
            polled = follower.poll() => polled.expect("polls"),
            () = follower.beat_on() => {}
        }
    };
    in_time(both).await;
}

#[tokio::test]
async fn a_key_that_was_deleted_does_not_come_back_from_a_database_that_lags() {
    let feed = MemoryFeed::default();
    feed.replace(vec![event_of(1, "k", EventType::KeyCreated)], Vec::new());
    let (following, follower) = follow_feed(feed).await;
    let page = [
        event_of(1, "k", EventType::KeyCreated),
        event_of(2, "k", EventType::KeyRevoked),
        event_of(3, "k", EventType::KeyDeleted),
    ];
    following.feed.replace(page.to_vec(), Vec::new());
    for before in [1, 2] {
        following.feed.say_of_its_key(key("k", before));
        let polled = follower.poll().await;
        assert!(matches!(polled, Err(Error::Unavailable(_))), "{before}: {polled:?}");
        assert_eq!((following.index(), following.position.applied()), (Vec::new(), 1));
    }
}
