use std::collections::BTreeSet;
use std::future::{pending, ready};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::testing::{MemoryFeed, NoMark, event, replica};
use super::{
    Feeds, Follower, Log, NotYetVisible, Patience, Propagation, Settings, Start, TokioTimer, start,
};
use crate::domain::Error;
use crate::domain::ids::StoreId;
use crate::domain::position::Position;
use crate::domain::replica::{Place, ReplicaRow, ReplicaState};
use crate::domain::time::{Clock, SystemClock};
use crate::domain::token::{LogPosition, PositionKind};
use crate::domain::verdict::IndexChange;

pub(super) const STORE: StoreId = StoreId([1; 16]);

pub(super) struct Following {
    pub(super) feed: MemoryFeed,
    pub(super) log: Log<MemoryFeed>,
    pub(super) position: Arc<Position>,
    pub(super) clock: Arc<SystemClock>,
    removed: Arc<Mutex<Vec<String>>>,
    index: Arc<Mutex<BTreeSet<String>>>,
}

impl Following {
    /// The keys that are in the index.
    pub(super) fn index(&self) -> Vec<String> {
        self.index.lock().expect("no panic").iter().cloned().collect()
    }

    /// Whether answers are given.
    pub(super) fn has_a_lease(&self) -> bool {
        self.position.staleness(&self.position.basis(), self.clock.as_ref()).is_some()
    }
}

/// Follows a log that holds `events` events, with room for eight in memory.
async fn follow(events: u64) -> (Following, Follower<MemoryFeed>) {
    let feed = MemoryFeed::default();
    feed.append(events);
    follow_feed(feed).await
}

pub(super) async fn follow_feed(feed: MemoryFeed) -> (Following, Follower<MemoryFeed>) {
    follow_with(feed, settings()).await
}

pub(super) fn settings() -> Settings {
    Settings {
        poll_interval: Duration::from_millis(1),
        visible_within: Duration::from_millis(100),
        ring_events: 8,
        ..Settings::default()
    }
}

pub(super) async fn follow_with(
    feed: MemoryFeed,
    settings: Settings,
) -> (Following, Follower<MemoryFeed>) {
    let position = Arc::new(Position::default());
    let removed = Arc::new(Mutex::new(Vec::new()));
    let index = Arc::new(Mutex::new(BTreeSet::new()));
    let (seen, kept) = (Arc::clone(&removed), Arc::clone(&index));
    let apply = Box::new(move |change| {
        let mut kept = kept.lock().expect("no panic");
        match change {
            IndexChange::Put(key) => _ = kept.insert(key.key_id.to_string()),
            IndexChange::Remove(key_id) => {
                kept.remove(key_id.as_str());
                seen.lock().expect("no panic").push(key_id.to_string());
            }
            IndexChange::Clear => kept.clear(),
            IndexChange::Expect(_) => {}
        }
    });
    let clock = Arc::new(SystemClock::start());
    let started = start(Start {
        feeds: Feeds { follower: feed.clone(), watchers: feed.clone() },
        store: STORE,
        replica: replica("one", settings.max_staleness),
        settings,
        clock: Arc::clone(&clock) as Arc<dyn Clock>,
        timer: Arc::new(TokioTimer),
        position: Arc::clone(&position),
        high_water: Arc::new(NoMark),
        apply,
    });
    let (log, follower) = started.await.expect("starts");
    (Following { feed, log, position, clock, removed, index }, follower)
}

#[tokio::test]
async fn a_change_is_in_the_index_before_its_revision_is_applied() {
    let (following, follower) = follow(3).await;
    assert_eq!(following.log.applied(), 3);
    tokio::spawn(follower.run());
    following.feed.append(2);
    following.log.wait_for(5).await.expect("visible");
    assert_eq!(*following.removed.lock().expect("no panic"), ["key-4", "key-5"]);
    assert_eq!(following.position.applied(), 5);
}

#[tokio::test]
async fn what_happens_while_the_keys_are_loaded_is_there_at_the_start() {
    let feed = MemoryFeed::default();
    feed.append(2);
    feed.append_while_scanned(3);
    let (following, _) = follow_feed(feed).await;
    assert_eq!(following.log.applied(), 5);
    assert_eq!(following.removed.lock().expect("no panic").len(), 3);
}

#[tokio::test]
async fn a_replica_beats_while_it_loads() {
    let feed = MemoryFeed::default();
    feed.load_until_beats(6);
    let settings = Settings { max_staleness: Duration::from_millis(200), ..settings() };
    let (following, _) = in_time(follow_with(feed, settings)).await;
    assert_eq!(following.log.applied(), 0);
}

/// What does not end at all fails here.
pub(super) async fn in_time<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), future).await.expect("it ends")
}

/// The change is made, so whoever made it is told, and told what is not known.
#[tokio::test]
async fn a_change_that_is_not_seen_here_is_pending_at_the_deadline_and_at_shutdown() {
    let for_ever = Duration::from_secs(86_400);
    for is_shared in [false, true] {
        let feed = MemoryFeed::default();
        if is_shared {
            feed.load_until_beats(0);
        }
        let settings = Settings { visible_within: for_ever, max_staleness: for_ever, ..settings() };
        let (following, follower) = follow_with(feed, settings).await;
        tokio::spawn(follower.run());
        following.feed.set_broken(true);
        let (log, now) = (&following.log, following.clock.uptime());
        let change = LogPosition { store: STORE, epoch: 1, revision: 1 };
        let place = Place { revision: 1, leaf: Some(event(1).leaf_hash) };
        for others in [Duration::ZERO, for_ever] {
            let until = |wait| Patience { others, end: now.saturating_add(wait) };
            let soon = until(Duration::from_millis(20));
            let at_the_end = in_time(log.everywhere(&change, place, now, soon, pending())).await;
            assert_eq!(own(&at_the_end, log), ReplicaState::Pending);
            let never = until(Duration::MAX);
            let at_shutdown = in_time(log.everywhere(&change, place, now, never, ready(()))).await;
            assert_eq!(own(&at_shutdown, log), ReplicaState::Pending);
        }
        following.feed.set_broken(false);
        following.feed.append(1);
        let one_look = Patience { others: Duration::ZERO, end: Duration::MAX };
        let seen = in_time(log.everywhere(&change, place, now, one_look, pending())).await;
        assert_eq!(own(&seen, log), ReplicaState::Confirmed);
    }
}

/// Between the failover and its end, one connection may still lead to the old primary.
#[tokio::test]
async fn rows_are_not_believed_that_come_from_a_log_without_the_change() {
    let for_ever = Duration::from_secs(86_400);
    let feed = MemoryFeed::default();
    feed.load_until_beats(0);
    let settings = Settings { max_staleness: for_ever, ..settings() };
    let (following, follower) = follow_with(feed, settings).await;
    tokio::spawn(follower.run());
    following.feed.read_rows_from_old_primary(true);
    let other = replica("two", for_ever);
    following.feed.set_rows(vec![other.clone()]);
    following.feed.append(1);
    let log = &following.log;
    let committed_at = following.clock.uptime();
    let change = LogPosition { store: STORE, epoch: 1, revision: 1 };
    let place = Place { revision: 1, leaf: Some(event(1).leaf_hash) };
    let told = async |others| {
        let patience = Patience { others, end: Duration::MAX };
        in_time(log.everywhere(&change, place, committed_at, patience, pending())).await
    };
    let of_nobody = told(Duration::ZERO).await;
    assert!(!of_nobody.is_complete(), "{of_nobody:?}");

    following.feed.read_rows_from_old_primary(false);
    let one_look = told(Duration::ZERO).await;
    let two = ("two".to_owned(), ReplicaState::Pending);
    assert!(one_look.replicas.contains(&two), "{one_look:?}");

    following.feed.set_rows(vec![ReplicaRow { applied: 1, ..other }]);
    let waited = told(for_ever).await;
    let two = ("two".to_owned(), ReplicaState::Confirmed);
    assert!(waited.is_complete() && waited.replicas.contains(&two), "{waited:?}");
}

fn own(told: &Propagation, log: &Log<MemoryFeed>) -> ReplicaState {
    let own = told.replicas.iter().find(|(id, _)| id == log.replica_id());
    own.expect("it says something of itself").1
}

#[tokio::test]
async fn waiting_for_a_revision_that_does_not_come_ends() {
    let (following, follower) = follow(0).await;
    tokio::spawn(follower.run());
    assert_eq!(following.log.wait_for(1).await, Err(NotYetVisible));
}

#[tokio::test]
async fn a_poll_that_fails_is_repeated() {
    let (following, follower) = follow(0).await;
    following.feed.set_broken(true);
    following.feed.append(1);
    tokio::spawn(follower.run());
    assert!(following.log.wait_for(1).await.is_err());
    following.feed.set_broken(false);
    following.log.wait_for(1).await.expect("visible");
}

#[tokio::test]
async fn a_gap_in_the_log_is_never_passed() {
    let (following, follower) = follow(2).await;
    following.feed.append(3);
    following.feed.lose(4);
    tokio::spawn(follower.run());
    assert!(following.log.wait_for(3).await.is_err());
    assert_eq!(following.log.applied(), 2);
}

#[tokio::test]
async fn a_subscription_replays_then_follows_each_event_once_and_in_order() {
    let (following, follower) = follow(200).await;
    let mut subscription = following.log.subscribe(0);
    tokio::spawn(follower.run());
    let mut seen = Vec::new();
    while seen.len() < 300 {
        // No more at once than what is kept in memory, so that a reader that reads is never too slow.
        if seen.len() >= 200 {
            following.feed.append(5);
        }
        let events = subscription.next().await.expect("events");
        seen.extend(events.iter().map(|logged| logged.event.revision));
    }
    assert_eq!(seen, (1..=300).collect::<Vec<_>>());
}

#[tokio::test]
async fn live_subscriptions_share_what_is_in_memory() {
    let (following, follower) = follow(0).await;
    let mut subscriptions: Vec<_> = (0..200).map(|_| following.log.subscribe(0)).collect();
    tokio::spawn(follower.run());
    following.feed.append(5);
    following.log.wait_for(5).await.expect("visible");
    let before = following.feed.reads();
    for subscription in &mut subscriptions {
        let events = subscription.next().await.expect("events");
        assert_eq!(events.len(), 5);
        assert!(Arc::strong_count(&events[0]) >= 2, "the event is shared, not copied");
    }
    assert!(following.feed.reads() <= before + 1, "no watcher reads the store by itself");
}

#[tokio::test]
async fn a_live_subscription_that_falls_behind_is_told_where_to_resume() {
    let (following, follower) = follow(0).await;
    let mut subscription = following.log.subscribe(0);
    tokio::spawn(follower.run());
    following.feed.append(2);
    assert_eq!(subscription.next().await.expect("events").len(), 2);
    following.feed.append(20);
    following.log.wait_for(22).await.expect("visible");
    let Err(Error::SlowWatcher { cursor }) = subscription.next().await else {
        panic!("not told to resume");
    };
    let resume_after = LogPosition::decode(PositionKind::Cursor, &cursor).expect("a cursor");
    assert_eq!(resume_after, LogPosition { store: STORE, epoch: 1, revision: 2 });
}
