use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use futures::FutureExt as _;

use super::*;
use crate::domain::ids::StoreId;
use crate::domain::time::SystemClock;

const OURS: StoreId = StoreId([1; 16]);

/// A log that has come as far as `applied`, and a note of every wait that takes time.
#[derive(Clone, Default)]
struct Stub {
    applied: Arc<AtomicU64>,
    /// How far it comes while somebody waits.
    comes_to: Arc<AtomicU64>,
    waits: Arc<Mutex<Vec<(u64, Duration)>>>,
}

impl Stub {
    fn at_least(&self) -> AtLeast {
        let stub = self.clone();
        AtLeast::by(move |place, patience| {
            if !patience.is_zero() {
                stub.waits.lock().expect("whole").push((place.revision, patience));
                stub.applied.store(stub.comes_to.load(Ordering::Relaxed), Ordering::Relaxed);
            }
            let applied = stub.applied.load(Ordering::Relaxed);
            let outcome = match place {
                LogPosition { store, .. } if store != OURS => {
                    Err(Error::invalid("at_least", "is of another store"))
                }
                LogPosition { epoch: 0, .. } => Err(Error::PositionLost),
                LogPosition { revision, .. } if revision <= applied => Ok(()),
                _ => Err(Error::Unavailable("not yet")),
            };
            std::future::ready(outcome).boxed()
        })
    }

    fn waits(&self) -> Vec<(u64, Duration)> {
        self.waits.lock().expect("whole").clone()
    }
}

fn request(store: StoreId, epoch: u32, revision: u64) -> VerifyRequest<'static> {
    let place = LogPosition { store, epoch, revision };
    at(place.encode(PositionKind::ConsistencyToken).leak())
}

fn at(at_least: &str) -> VerifyRequest<'_> {
    VerifyRequest { at_least, ..VerifyRequest::default() }
}

#[tokio::test]
async fn a_request_waits_for_a_second_or_half_of_its_time() {
    let stub = Stub::default();
    let at_least = stub.at_least();
    assert_eq!(at_least.of(&request(OURS, 1, 0), None).await, Ok(()));
    assert_eq!(stub.waits(), [], "nothing to wait for");
    for (time_left, longest) in [(None, 1_000), (Some(60_000), 1_000), (Some(1_600), 800)] {
        let deadline = time_left.map(|left| {
            Deadline((tokio::time::Instant::now() + Duration::from_millis(left)).into_std())
        });
        let outcome = at_least.of(&request(OURS, 1, 5), deadline.as_ref()).await;
        assert_eq!(outcome, Err(Error::ReplicaBehind));
        let (revision, patience) = stub.waits().pop().expect("it waited");
        assert!(revision == 5 && patience <= Duration::from_millis(longest), "{patience:?}");
        assert!(longest < 1_000 || patience == LONGEST, "{patience:?}");
    }
    stub.comes_to.store(5, Ordering::Relaxed);
    assert_eq!(at_least.of(&request(OURS, 1, 5), None).await, Ok(()));
}

#[tokio::test]
async fn nobody_waits_for_what_never_comes() {
    let stub = Stub::default();
    let at_least = stub.at_least();
    let cursor = LogPosition { store: OURS, epoch: 1, revision: 1 }.encode(PositionKind::Cursor);
    for request in [at("x"), at(cursor.leak()), request(StoreId([2; 16]), 1, 9)] {
        let outcome = at_least.of(&request, None).await;
        assert!(matches!(outcome, Err(Error::InvalidRequest(_))), "{outcome:?}");
    }
    assert_eq!(at_least.of(&request(OURS, 0, 9), None).await, Err(Error::PositionLost));
    assert_eq!(stub.waits(), []);
}

#[tokio::test]
async fn a_batch_waits_once_for_its_newest() {
    let stub = Stub::default();
    stub.comes_to.store(7, Ordering::Relaxed);
    let requests = [
        request(OURS, 1, 3),
        VerifyRequest::default(),
        request(OURS, 1, 9),
        at("x"),
        request(OURS, 1, 7),
        request(OURS, 0, 1),
        request(StoreId([2; 16]), 1, 99),
    ];
    let clock = SystemClock::start();
    let mut turn = Turn::begin(&clock);
    let errors = stub.at_least().of_batch(&requests, None, &mut turn).await;
    assert_eq!(stub.waits(), [(9, Duration::from_secs(1))]);
    assert_eq!(errors.keys().copied().collect::<Vec<_>>(), [2, 3, 5, 6]);
    assert_eq!(errors[&2], Error::ReplicaBehind);
    assert!(matches!(errors[&3], Error::InvalidRequest(_)));
    assert_eq!(errors[&5], Error::PositionLost);
    assert!(matches!(errors[&6], Error::InvalidRequest(_)));

    let known = [request(OURS, 1, 7), VerifyRequest::default()];
    assert!(stub.at_least().of_batch(&known, None, &mut turn).await.is_empty());
    assert_eq!(stub.waits().len(), 1, "nothing to wait for");
}

#[tokio::test]
async fn too_many_waiters_are_turned_away_and_the_others_are_answered() {
    let at_least = Stub::default().at_least();
    let all = at_least.places.try_acquire_many(1_000).expect("as many as that may wait");
    let overloaded = |error: &Error| matches!(error, Error::Overloaded { .. });
    let outcome = at_least.of(&request(OURS, 1, 5), None).await;
    assert!(outcome.as_ref().is_err_and(overloaded), "{outcome:?}");
    assert_eq!(at_least.of(&request(OURS, 1, 0), None).await, Ok(()));
    let batch = [request(OURS, 1, 5), request(OURS, 1, 0)];
    let clock = SystemClock::start();
    let errors = at_least.of_batch(&batch, None, &mut Turn::begin(&clock)).await;
    assert!(errors.len() == 1 && overloaded(&errors[&0]), "{errors:?}");
    drop(all);
    let outcome = at_least.of(&request(OURS, 1, 5), None).await;
    assert_eq!(outcome, Err(Error::ReplicaBehind));
}
