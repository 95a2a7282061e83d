//! `KeyAdmin.ListReplicas`

use countersign::rpc::proto::{ListReplicasRequest, Replica};
use tonic::Status;

use super::refusal::{denied, unauthenticated};
use super::verbs::{ALL_RESERVED, RESERVED_ACCOUNT};
use crate::harness::replicas::Told;
use crate::harness::{Caller, Database, Replicas, Server, key};
use crate::on_both_databases;

async fn list(caller: &Caller) -> Result<Vec<Replica>, Status> {
    let reply = caller.admin().list_replicas(ListReplicasRequest {}).await?;
    Ok(reply.into_inner().replicas)
}

on_both_databases! {
    async fn a_server_that_is_alone_lists_itself(db: Database) {
        let server = Server::on(db).await.with_args(["--max-staleness", "7s"]).start().await;
        let admin = server.as_admin().await;
        let before = list(&admin).await.unwrap();
        assert_eq!(before.len(), 1, "{before:?}");
        assert!(before[0].self_ && before[0].replica_id.len() == 32);
        assert_eq!(before[0].version, env!("CARGO_PKG_VERSION"));
        let lease = before[0].lease_duration.as_ref().map(|lease| (lease.seconds, lease.nanos));
        assert_eq!(lease, Some((7, 0)));

        let made = admin.create(key("acme", "billing"), "").await.unwrap();
        assert_eq!(made.replicas.len(), 1);
        let after = list(&admin).await.unwrap();
        assert_eq!(after[0].replica_id, made.replicas[0].replica_id, "the id that outcomes name");
        let revision = admin.events("").await.unwrap().last().expect("an event").revision;
        assert_eq!(after[0].revision, revision);
        assert!(after[0].staleness.as_ref().expect("it is said").seconds < 7);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replicas_list_each_other_and_each_knows_itself() {
    let replicas = Replicas::start(2, Told::default()).await;
    let (first, second) = (replicas[0].caller(), replicas[1].caller());
    let (by_first, by_second) = (list(&first).await.unwrap(), list(&second).await.unwrap());
    let ids = |rows: &[Replica]| rows.iter().map(|row| row.replica_id.clone()).collect::<Vec<_>>();
    assert_eq!(ids(&by_first), ids(&by_second), "sorted by id");
    assert_eq!(by_first.len(), 2);
    for (one, other) in by_first.iter().zip(&by_second) {
        assert!(one.self_ != other.self_, "each replica is one of the two: {one:?} {other:?}");
    }
}

#[tokio::test]
async fn replicas_are_the_reserved_accounts_to_see() {
    let server = Server::start(Database::Sqlite).await;
    let admin = server.as_admin().await;
    let reader = admin.colleague(RESERVED_ACCOUNT, &["countersign.keys:read"]).await;
    assert_eq!(list(&reader).await.expect("it may read").len(), 1);
    let writer = admin.colleague(RESERVED_ACCOUNT, &["countersign.keys:write"]).await;
    denied(list(&writer).await, "needs the scope countersign.keys:read");
    let tenant = admin.colleague("acme", &ALL_RESERVED).await;
    denied(list(&tenant).await, "needs a key of the account countersign");
    unauthenticated(list(&admin.anonymous()).await, "header is missing");
}
