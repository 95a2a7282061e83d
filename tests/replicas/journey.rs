//! One life of keys over three replicas, each step by way of another one: what one has acknowledged, all know. It holds
//! whatever brings the news: a notification, looking alone, or looking through a pooler.

use std::collections::BTreeSet;

use countersign::rpc::proto::replica_outcome::State;
use countersign::rpc::proto::{
    DeleteKeyRequest, DenialReason, DisableKeyRequest, EnableKeyRequest, Key,
    ListAuditEventsRequest, ReplicaOutcome, RotateKeyRequest, UpdateKeyRequest, VerifyRequest,
    VerifyResponse, Wait, WatchAuditEventsRequest, watch_audit_events_request::Start,
    watch_audit_events_response::Message,
};
use prost_types::FieldMask;

use super::{SOON, count};
use crate::durability::log::assert_log_is_right;
use crate::harness::replicas::Told;
use crate::harness::{Caller, Credential, Pooler, Replicas, Store, canary, key, postgres};

const REPLICAS: usize = 3;
const EVERYWHERE: i32 = Wait::AllReplicas as i32;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn woken_by_notifications() {
    let store = Store::fresh(crate::harness::Database::Postgres).await;
    journey(store, Told::default()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn by_looking_alone() {
    let store = Store::fresh(crate::harness::Database::Postgres).await;
    journey(store, Told::default().database_listen(false)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn behind_a_transaction_pooler() {
    let url = postgres::new_database().await;
    let pooler = Pooler::before(&url).await;
    // Migrations and the first administrator go through it too.
    let store = Store::fresh_at(pooler.url().to_owned()).await;
    journey(store, Told::default()).await;
}

/// Every replica confirmed: so it was, and not only promised.
fn everywhere(replicas: &[ReplicaOutcome]) {
    let confirmed = count(replicas, State::Confirmed);
    assert_eq!((confirmed, replicas.len()), (REPLICAS, REPLICAS), "{replicas:?}");
}

/// What all replicas say at this moment; they must agree.
async fn verdict(replicas: &Replicas, credential: &Credential) -> Result<(), DenialReason> {
    let answers: Vec<VerifyResponse> = replicas
        .verify_everywhere(credential)
        .await
        .into_iter()
        .map(|answer| answer.expect("every replica answers"))
        .collect();
    let of = |answer: &VerifyResponse| (answer.allowed, answer.denial_reason());
    for answer in &answers {
        assert_eq!(of(answer), of(&answers[0]), "the replicas agree");
    }
    if answers[0].allowed { Ok(()) } else { Err(answers[0].denial_reason()) }
}

async fn journey(store: Store, told: Told) {
    let replicas = Replicas::on(store, REPLICAS, told).await;
    let [first, second, third] = [0, 1, 2].map(|number| replicas[number].caller());
    let watched = watch(&third).await;

    // A new key works everywhere when its reply is there, without anybody asking for it.
    let minted = first.mint(key("acme", "billing")).await;
    let old = minted.credential;
    assert_eq!(verdict(&replicas, &old).await, Ok(()));
    let key_id = old.key_id.clone();

    let overlap = Some(prost_types::Duration::default());
    let request = RotateKeyRequest {
        key_id: key_id.clone(),
        overlap,
        wait: EVERYWHERE,
        ..Default::default()
    };
    let reply = second.admin().rotate_key(request).await.expect("rotates").into_inner();
    canary::record_secret(&reply.secret);
    everywhere(&reply.replicas);
    let new = Credential { key_id: key_id.clone(), secret: reply.secret };
    assert_eq!(verdict(&replicas, &old).await, Err(DenialReason::SecretExpired));
    assert_eq!(verdict(&replicas, &new).await, Ok(()));

    let change =
        Key { key_id: key_id.clone(), scopes: vec!["bills:read".to_owned()], ..Key::default() };
    let update_mask = Some(FieldMask { paths: vec!["scopes".to_owned()] });
    let request =
        UpdateKeyRequest { key: Some(change), update_mask, wait: EVERYWHERE, ..Default::default() };
    let reply = third.admin().update_key(request).await.expect("updates").into_inner();
    everywhere(&reply.replicas);
    let scoped =
        VerifyRequest { required_scopes: vec!["bills:read".to_owned()], ..Default::default() };
    for caller in [&first, &second, &third] {
        assert!(caller.verify_with(&new, scoped.clone()).await.allowed, "the new scope is granted");
    }

    // Read your writes: the change's token makes the next replica wait for it.
    let request =
        DisableKeyRequest { key_id: key_id.clone(), wait: Wait::None.into(), ..Default::default() };
    let reply = first.admin().disable_key(request).await.expect("disables").into_inner();
    let at_least = VerifyRequest { at_least: reply.consistency_token, ..Default::default() };
    for caller in [&second, &third] {
        let answer = caller.try_verify(&new, at_least.clone()).await.expect("it comes that far");
        assert_eq!(answer.denial_reason(), DenialReason::Disabled);
    }
    let request = EnableKeyRequest { key_id: key_id.clone(), ..Default::default() };
    let reply = second.admin().enable_key(request).await.expect("enables").into_inner();
    everywhere(&reply.replicas);
    assert_eq!(verdict(&replicas, &new).await, Ok(()));

    let reply = replicas[2].revoke(&key_id, Wait::AllReplicas, SOON).await.expect("revokes");
    everywhere(&reply.replicas);
    assert_eq!(verdict(&replicas, &new).await, Err(DenialReason::Revoked));
    let request =
        DeleteKeyRequest { key_id: key_id.clone(), wait: EVERYWHERE, ..Default::default() };
    let reply = first.admin().delete_key(request).await.expect("deletes").into_inner();
    everywhere(&reply.replicas);
    assert_eq!(verdict(&replicas, &new).await, Err(DenialReason::InvalidCredential));

    let log = log_of(&first).await;
    assert_eq!(log_of(&second).await, log);
    assert_eq!(log_of(&third).await, log);
    let of_key: Vec<i64> =
        log.iter().filter(|(_, id)| *id == key_id).map(|(revision, _)| *revision).collect();
    let seen = tokio::time::timeout(SOON, watched.take_as_many_as(of_key.len())).await;
    assert_eq!(seen.expect("the watch goes on"), of_key, "a watch sees what others change");

    let mut ids = BTreeSet::new();
    for replica in replicas.each() {
        let rows = replica.rows().await;
        assert_eq!(rows.len(), REPLICAS);
        assert_eq!(rows.iter().filter(|row| row.self_).count(), 1);
        assert!(rows.iter().all(|row| !row.version.is_empty() && row.lease_duration.is_some()));
        ids.insert(rows.into_iter().find(|row| row.self_).map(|row| row.replica_id));
    }
    assert_eq!(ids.len(), REPLICAS, "each is somebody else");
    for replica in replicas.each() {
        assert!(replica.stop().await.0.success());
    }
    assert_log_is_right(&replicas.store).await;
}

/// The whole log as this replica gives it: revisions and what they are about.
async fn log_of(caller: &Caller) -> Vec<(i64, String)> {
    let request = ListAuditEventsRequest { page_size: 1_000, ..Default::default() };
    let reply = caller.admin().list_audit_events(request).await.expect("the log can be read");
    reply.into_inner().events.into_iter().map(|event| (event.revision, event.key_id)).collect()
}

/// A watch of what comes.
struct Watched(tonic::Streaming<countersign::rpc::proto::WatchAuditEventsResponse>);

async fn watch(caller: &Caller) -> Watched {
    let revision = log_of(caller).await.last().map_or(0, |(revision, _)| *revision);
    let start = Some(Start::AfterRevision(revision));
    let request = WatchAuditEventsRequest { start, ..Default::default() };
    let stream = caller.admin().watch_audit_events(request).await.expect("a watch begins");
    Watched(stream.into_inner())
}

impl Watched {
    /// The revisions of the next so many events.
    async fn take_as_many_as(mut self, count: usize) -> Vec<i64> {
        let mut seen = Vec::new();
        while seen.len() < count {
            let message = self.0.message().await.expect("no error").expect("no end");
            if let Some(Message::Event(event)) = message.message {
                seen.push(event.revision);
            }
        }
        seen
    }
}
