//! Following a store's log within a test, without a server around it.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use countersign::domain::ids::StoreId;
use countersign::domain::position::Position;
use countersign::domain::replica::ReplicaRow;
use countersign::domain::time::Clock;
use countersign::log::{
    ApplyChange, Feeds, Follower, HighWater, Log, Mark, Settings, Start, TokioTimer, start,
};
use countersign::store::Store;

/// Keeps no mark: what is followed here ends with its test.
struct NoMark;

impl HighWater for NoMark {
    fn read(&self, _: StoreId) -> io::Result<Option<Mark>> {
        Ok(None)
    }

    fn keep(&self, _: &Mark) -> io::Result<()> {
        Ok(())
    }
}

/// The row of a replica that has nothing yet, as a server of this release writes it.
pub fn replica_row(store: &Store, id: &str, lease: Duration) -> ReplicaRow {
    ReplicaRow {
        id: id.to_owned(),
        lease_ms: u64::try_from(lease.as_millis()).expect("short"),
        applied: 0,
        beat: 0,
        beat_age: Duration::ZERO,
        version: "0.1.0".to_owned(),
        reads_up_to: store.reads_up_to(),
        root_key_versions: store.root_key_versions(),
    }
}

/// Starts to follow; the second value has to be run.
pub async fn follow(
    store: &Store,
    settings: Settings,
    clock: Arc<dyn Clock>,
    position: Arc<Position>,
    apply: ApplyChange,
) -> (Log<Store>, Follower<Store>) {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let id = format!("{:032x}", NEXT.fetch_add(1, Ordering::Relaxed));
    let replica = replica_row(store, &id, settings.max_staleness);
    let started = start(Start {
        feeds: Feeds { follower: store.for_follower(), watchers: store.clone() },
        store: store.store_id(),
        replica,
        settings,
        clock,
        timer: Arc::new(TokioTimer),
        position,
        high_water: Arc::new(NoMark),
        apply,
    });
    started.await.expect("starts")
}
