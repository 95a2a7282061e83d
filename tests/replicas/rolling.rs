//! Promise P13: a rolling restart of three replicas fails no Verify of a caller who tries once more, and each ends in
//! time, whatever its callers do.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use countersign::rpc::proto::{VerifyRequest, WatchAuditEventsRequest};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::load::Outcome;
use super::{SOON, mint};
use crate::harness::replicas::Told;
use crate::harness::{Caller, Credential, Replicas, eventually};

const REPLICAS: usize = 3;
const CALLERS: usize = 6;
const EXIT_LIMIT: Duration = Duration::from_secs(10);
/// Calls that each replica answers between two restarts.
const CALLS_BETWEEN: usize = 200;

/// What all callers together have seen.
#[derive(Default)]
struct Seen {
    answered: [AtomicUsize; REPLICAS],
    retried: AtomicUsize,
}

/// A caller as most are: takes the replicas in turn, and asks the next one when one fails.
async fn call_on(
    replicas: Arc<Replicas>,
    credential: Credential,
    seen: Arc<Seen>,
    stop: CancellationToken,
) -> Vec<Outcome> {
    let mut failed = Vec::new();
    let mut turn = 0;
    let mut pace = tokio::time::interval(Duration::from_millis(3));
    while !stop.is_cancelled() {
        pace.tick().await;
        turn += 1;
        let mut outcomes = Vec::new();
        for attempt in 0..2 {
            let number = (turn + attempt) % REPLICAS;
            let caller = replicas[number].caller().anonymous();
            let asked = caller.try_verify(&credential, VerifyRequest::default());
            let asked = tokio::time::timeout(SOON, asked).await.expect("every call ends");
            let outcome = Outcome::of(asked);
            if outcome == Outcome::Allowed {
                seen.answered[number].fetch_add(1, Ordering::SeqCst);
                seen.retried.fetch_add(attempt, Ordering::SeqCst);
                break;
            }
            outcomes.push(outcome);
        }
        if outcomes.len() == 2 {
            failed.extend(outcomes);
        }
    }
    failed
}

/// Callers who would keep a server from ending: one that says nothing, and one that listens for ever.
async fn hangers_on(caller: &Caller, address: &str) -> JoinSet<()> {
    let mut hanging = JoinSet::new();
    let mut silent = TcpStream::connect(address).await.expect("the server takes connections");
    hanging.spawn(async move {
        let _ = silent.read_to_end(&mut Vec::new()).await;
    });
    let watch = caller.admin().watch_audit_events(WatchAuditEventsRequest::default()).await;
    let mut watch = watch.expect("a watch begins").into_inner();
    hanging.spawn(async move { while let Ok(Some(_)) = watch.message().await {} });
    hanging
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_rolling_restart_fails_no_verify_with_one_retry() {
    let replicas = Arc::new(Replicas::start(REPLICAS, Told::default()).await);
    let good = mint(&replicas[0].caller(), 1).await.remove(0);
    replicas.all_allow(&good, SOON).await;
    let (seen, stop) = (Arc::new(Seen::default()), CancellationToken::new());
    let mut callers = JoinSet::new();
    for _ in 0..CALLERS {
        let (replicas, seen) = (Arc::clone(&replicas), Arc::clone(&seen));
        callers.spawn(call_on(replicas, good.clone(), seen, stop.clone()));
    }
    for number in 0..REPLICAS {
        let replica = &replicas[number];
        let goes_on = seen.answered[number].load(Ordering::SeqCst) + CALLS_BETWEEN;
        eventually("it takes its share", SOON, async || {
            seen.answered[number].load(Ordering::SeqCst) >= goes_on
        })
        .await;
        let hanging = hangers_on(&replica.caller(), &replica.address()).await;
        let (status, took) = replica.stop().await;
        println!("replica {number} ended in {took:?}");
        assert!(status.success(), "{status}");
        assert!(took <= EXIT_LIMIT, "it took {took:?}");
        hanging.join_all().await;
        replica.start().await;
    }
    stop.cancel();
    let failed = callers.join_all().await.concat();
    assert!(failed.is_empty(), "{} attempts failed twice: {:?}", failed.len(), failed.first());
    let answered: usize = seen.answered.iter().map(|count| count.load(Ordering::SeqCst)).sum();
    let retried = seen.retried.load(Ordering::SeqCst);
    println!("{answered} calls, {retried} of them at the second attempt");
    assert!(retried > 0, "no caller met a replica that was down");
}
