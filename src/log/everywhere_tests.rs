use std::future::pending;

use super::*;
use crate::domain::ids::StoreId;
use crate::domain::position::Position;
use crate::domain::time::{Clock, SystemClock};
use crate::log::testing::{MemoryFeed, NoMark, replica};
use crate::log::{Feeds, Settings, Start, TokioTimer, start};

const STORE: StoreId = StoreId([1; 16]);

/// Another replica may have come since the last look at the rows, and answer for longer than this one.
#[tokio::test]
async fn what_nobody_could_learn_may_take_as_long_as_any_lease() {
    let feed = MemoryFeed::default();
    feed.load_until_beats(0);
    let settings = Settings {
        max_staleness: Duration::from_secs(30),
        visible_within: Duration::from_millis(1),
        ..Settings::default()
    };
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::start());
    let started = start(Start {
        feeds: Feeds { follower: feed.clone(), watchers: feed },
        store: STORE,
        replica: replica("one", settings.max_staleness),
        settings,
        clock: Arc::clone(&clock),
        timer: Arc::new(TokioTimer),
        position: Arc::new(Position::default()),
        high_water: Arc::new(NoMark),
        apply: Box::new(|_| {}),
    });
    // Nobody reads the rows.
    let (log, _not_run) = started.await.expect("starts");

    let (before, committed_at) = (log.now(clock.as_ref()), clock.uptime());
    let change = LogPosition { store: STORE, epoch: 1, revision: 1 };
    let one_look = Patience { others: Duration::ZERO, end: Duration::MAX };
    let place = Place { revision: 1, leaf: None };
    let told = log.everywhere(&change, place, committed_at, one_look, pending()).await;
    let unknown = told.replicas.iter().find(|(id, _)| id == UNKNOWN);
    assert_eq!(unknown.expect("it says so").1, ReplicaState::Pending);
    let within = told.effective_everywhere_by.saturating_since(before);
    assert!(within >= LONGEST_LEASE, "one may answer for longer than {within:?} after the change");
}
