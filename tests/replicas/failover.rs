//! Promise P6 with a synchronous standby: PostgreSQL restarts, crashes and fails over under load, and no answer is
//! wrong, no verification fails, and every change that was acknowledged is there.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use countersign::rpc::proto::{CreateKeyRequest, DenialReason, VerifyRequest, Wait};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::load::{Load, Outcome};
use super::{SOON, mint};
use crate::durability::log::{assert_log_is_right, whole_log};
use crate::harness::failover::Pair;
use crate::harness::replicas::Told;
use crate::harness::{Credential, Replicas, canary, eventually, key};

const REPLICAS: usize = 3;
/// After each disturbance so many more changes are made, so that each is survived at work.
const ROUND: usize = 20;

/// What one administrator was told.
#[derive(Default)]
struct Acknowledged {
    made: Vec<Credential>,
    revoked: Vec<Credential>,
    failed: usize,
}

/// Makes keys and revokes every second one, by way of one replica, until told to stop.
async fn administer(
    replicas: Arc<Replicas>,
    number: usize,
    done: Arc<AtomicUsize>,
    stop: CancellationToken,
) -> Acknowledged {
    let mut told = Acknowledged::default();
    while !stop.is_cancelled() {
        let request = CreateKeyRequest {
            key: Some(key("acme", &format!("of-{number}"))),
            wait: Wait::None.into(),
            ..Default::default()
        };
        let Ok(reply) = replicas[number].caller().admin().create_key(request).await else {
            told.failed += 1;
            tokio::time::sleep(Duration::from_millis(20)).await;
            continue;
        };
        let reply = reply.into_inner();
        canary::record_secret(&reply.secret);
        let key_id = reply.key.expect("CreateKey returns the key").key_id;
        let credential = Credential { key_id, secret: reply.secret };
        if told.made.len() > told.revoked.len() {
            // Until it is acknowledged: repeating it is harmless.
            let mut revoked = false;
            while !revoked && !stop.is_cancelled() {
                let reply = replicas[number].revoke(&credential.key_id, Wait::None, SOON).await;
                revoked = reply.is_ok();
                told.failed += usize::from(!revoked);
            }
            if revoked {
                told.revoked.push(credential);
            }
        } else {
            told.made.push(credential);
        }
        done.fetch_add(1, Ordering::SeqCst);
    }
    told
}

/// Waits until so many more changes were acknowledged, and gives how long the first one took.
async fn changes_go_on(done: &AtomicUsize) -> Duration {
    let (began, before) = (Instant::now(), done.load(Ordering::SeqCst));
    let more = |count: usize| async move {
        eventually("changes are acknowledged again", SOON, async || {
            done.load(Ordering::SeqCst) >= before + count
        })
        .await;
    };
    more(1).await;
    let first = began.elapsed();
    more(ROUND).await;
    first
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn restarts_and_a_failover_lose_nothing_and_fail_no_verification() {
    let mut pair = Pair::synchronous().await;
    let replicas = Arc::new(Replicas::on(pair.store().await, REPLICAS, Told::default()).await);
    let good = mint(&replicas[0].caller(), 1).await.remove(0);
    replicas.all_allow(&good, SOON).await;
    let load = Load::on(&replicas, &good).await;
    let (stop, done) = (CancellationToken::new(), Arc::new(AtomicUsize::new(0)));
    let mut administrators = JoinSet::new();
    for number in 0..REPLICAS {
        let (replicas, done) = (Arc::clone(&replicas), Arc::clone(&done));
        administrators.spawn(administer(replicas, number, done, stop.clone()));
    }
    changes_go_on(&done).await;

    pair.primary.stop();
    pair.primary.restart().await;
    println!("changes {:?} after a restart", changes_go_on(&done).await);
    pair.primary.crash();
    pair.primary.restart().await;
    println!("changes {:?} after a crash", changes_go_on(&done).await);
    pair.fail_over().await;
    println!("changes {:?} after a failover", changes_go_on(&done).await);

    stop.cancel();
    let told = administrators.join_all().await;
    let calls = load.stop().await;
    let wrong: Vec<_> = calls.iter().filter(|call| call.outcome != Outcome::Allowed).collect();
    assert!(wrong.is_empty(), "{} of {} calls: {:#?}", wrong.len(), calls.len(), wrong.first());
    assert!(told.iter().all(|told| told.failed > 0), "nothing was disturbed");

    for Acknowledged { made, revoked, .. } in &told {
        for (credentials, expected) in
            [(made, Outcome::Allowed), (revoked, Outcome::Denied(DenialReason::Revoked))]
        {
            for credential in credentials {
                for replica in replicas.each() {
                    let caller = replica.caller();
                    let asked = caller.try_verify(credential, VerifyRequest::default());
                    assert_eq!(Outcome::of(asked.await), expected, "{}", credential.key_id);
                }
            }
        }
    }
    let acknowledged: usize =
        told.iter().map(|told| told.made.len() + 2 * told.revoked.len()).sum();
    let log = whole_log(&replicas[0].caller()).await;
    assert!(log.len() >= acknowledged, "{} events of {acknowledged} changes", log.len());
    assert_log_is_right(&replicas.store).await;
}
