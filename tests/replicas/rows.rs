//! What replicas say of themselves in their rows, and what others make of a row whose replica is gone or older.

use std::time::Duration;

use countersign::rpc::proto::replica_outcome::State;
use countersign::rpc::proto::{DenialReason, Wait};

use super::{SOON, mint};
use crate::harness::replicas::Told;
use crate::harness::{Replicas, eventually};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crashed_replica_counts_until_its_lease_has_ended_and_is_swept() {
    let told = Told::default().max_staleness("3s");
    let replicas = Replicas::start(3, told).await;
    let minted = mint(&replicas[0].caller(), 2).await;
    replicas.all_allow(&minted[1], SOON).await;
    let crashed = replicas[2].id().await;
    replicas[2].kill9();

    let reply = replicas[0].revoke(&minted[0].key_id, Wait::None, SOON).await.expect("revokes");
    let state = |replicas: &[countersign::rpc::proto::ReplicaOutcome]| {
        let of = replicas.iter().find(|outcome| outcome.replica_id == crashed);
        of.map(countersign::rpc::proto::ReplicaOutcome::state)
    };
    // On a busy machine one look may not be enough to learn the name of the one that is awaited.
    assert!(super::count(&reply.replicas, State::Pending) > 0, "nobody knows that it is gone");
    let reply =
        replicas[0].revoke(&minted[1].key_id, Wait::AllReplicas, SOON).await.expect("revokes");
    assert_eq!(state(&reply.replicas), Some(State::LeaseExpired));
    assert_eq!(super::count(&reply.replicas, State::Confirmed), 2);
    for number in 0..2 {
        let answer = replicas[number].caller().verify(&minted[1]).await;
        assert_eq!(answer.denial_reason(), DenialReason::Revoked);
    }

    let rows = replicas[1].rows().await;
    let row = rows.iter().find(|row| row.replica_id == crashed).expect("it is still listed");
    let staleness = row.staleness.as_ref().expect("it has one").seconds;
    let lease = row.lease_duration.as_ref().expect("it has one").seconds;
    assert!(staleness >= 2, "silent since before the lease ran out, not {staleness} s");
    assert_eq!(lease, 3);
    eventually("the row of a dead replica is swept", SOON, async || {
        replicas[1].rows().await.len() == 2
    })
    .await;
    let again = mint(&replicas[0].caller(), 1).await;
    let reply =
        replicas[0].revoke(&again[0].key_id, Wait::AllReplicas, SOON).await.expect("revokes");
    assert_eq!((reply.replicas.len(), super::count(&reply.replicas, State::Confirmed)), (2, 2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_is_stopped_takes_its_row_along() {
    let replicas = Replicas::start(3, Told::default()).await;
    let stopped = replicas[1].id().await;
    assert!(replicas[1].stop().await.0.success());
    let ids: Vec<String> = replicas[0].rows().await.into_iter().map(|row| row.replica_id).collect();
    assert_eq!(ids.len(), 2, "{ids:?}");
    assert!(!ids.contains(&stopped));
    let log = replicas[1].log();
    assert!(!log.contains("can't remove the row"), "it tries again after it is gone");
    replicas[1].start().await;
    assert_eq!(replicas[0].rows().await.len(), 3);
    assert_ne!(replicas[1].id().await, stopped, "it is another one");
}

/// Its row is there from the beginning of the load on, and nobody should wait for one that never served.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_is_stopped_while_it_loads_takes_its_row_along() {
    use sea_orm::{ConnectionTrait as _, TransactionTrait as _};
    let mut replicas = Replicas::start(1, Told::default()).await;
    replicas.add(&Told::default()).await;
    let url = replicas.store.url.as_deref().expect("on PostgreSQL");
    let around = sea_orm::Database::connect(url).await.expect("connects");
    let held_up = around.begin().await.expect("begins");
    let lock = "LOCK TABLE key_records IN ACCESS EXCLUSIVE MODE";
    held_up.execute_unprepared(lock).await.expect("locks");

    let mut starting = replicas[1].builder().begin();
    eventually("it has a row", SOON, async || replicas[0].rows().await.len() == 2).await;
    assert!(!starting.is_ready());
    let ended = tokio::task::spawn_blocking(move || starting.sigterm()).await.expect("ends");
    assert!(ended.success(), "{ended}");
    assert!(replicas[1].log().contains("asked to stop before it was ready"));
    let rows = replicas[0].rows().await;
    assert_eq!(rows.len(), 1, "its row stays behind: {rows:?}");
    held_up.rollback().await.expect("unlocks");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_whose_row_is_deleted_writes_it_anew_before_it_answers() {
    use sea_orm::ConnectionTrait as _;
    let replicas = Replicas::start(2, Told::default()).await;
    let good = mint(&replicas[0].caller(), 1).await.remove(0);
    replicas.all_allow(&good, SOON).await;
    let url = replicas.store.url.as_deref().expect("on PostgreSQL");
    let around = sea_orm::Database::connect(url).await.expect("connects");
    let deleted = around.execute_unprepared("DELETE FROM replicas").await.expect("deletes");
    assert_eq!(deleted.rows_affected(), 2);
    eventually("each registers anew", Duration::from_secs(60), async || {
        let count = around.query_one_raw(sea_orm::Statement::from_string(
            around.get_database_backend(),
            "SELECT count(*) FROM replicas",
        ));
        let row = count.await.expect("reads").expect("a row");
        row.try_get_by_index::<i64>(0).expect("a number") == 2
    })
    .await;
    replicas.all_allow(&good, SOON).await;
    let reply = replicas[0].revoke(&good.key_id, Wait::AllReplicas, SOON).await.expect("revokes");
    assert_eq!(super::count(&reply.replicas, State::Confirmed), 2, "{:?}", reply.replicas);
}
