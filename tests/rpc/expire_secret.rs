//! `KeyAdmin.ExpireSecret`

use countersign::rpc::proto::{DenialReason, ExpireSecretRequest};
use tonic::Code;

use super::refusal::{denied, invalid, is_revoked, last_administrator, not_found, refused};
use crate::harness::{Database, Server, key};
use crate::on_both_databases;

on_both_databases! {
    async fn one_version_dies_and_the_others_live(db: Database) {
        let server = Server::start(db).await;
        let admin = server.as_admin().await;
        let first = admin.mint(key("acme", "billing")).await;
        let id = &first.key.key_id;
        let second = admin.rotate(id, 3_600).await.unwrap();
        let key = admin.expire_secret(id, 2).await.unwrap();
        let ends: Vec<_> = key.secrets.iter().map(|one| (one.number, one.expire_time.is_some())).collect();
        assert_eq!(ends, [(1, true), (2, true)], "both end; an expired version stays listed");
        assert_eq!(admin.verify(&second).await.denial_reason(), DenialReason::SecretExpired);
        assert!(admin.verify(&first.credential).await.allowed, "the overlap goes on");

        let again = admin.expire_secret(id, 2).await.unwrap();
        assert_eq!(again, key, "repeating it changes nothing");
        assert_eq!(admin.history_of(id).await, ["CREATED", "ROTATED", "SECRET_EXPIRED"]);
    }
}

#[tokio::test]
async fn a_version_must_be_there() {
    let server = Server::start(Database::Sqlite).await;
    let admin = server.as_admin().await;
    let minted = admin.mint(key("acme", "billing")).await;
    let id = &minted.key.key_id;
    let unknown = admin.expire_secret(id, 2).await;
    let refusal = refused(unknown, Code::NotFound, "SECRET_NOT_FOUND").says("no secret version 2");
    assert_eq!(refusal.metadata("number"), "2");
    for number in [0, -1, i32::MIN] {
        invalid(admin.expire_secret(id, number).await, "number", "must be 1 or more");
    }
    invalid(admin.expire_secret("", 1).await, "key_id", "must not be empty");
    not_found(admin.expire_secret("nobody", 1).await, "nobody");
    assert!(admin.verify(&minted.credential).await.allowed);
}

#[tokio::test]
async fn a_revoked_keys_live_secret_is_as_dead_as_can_be() {
    let server = Server::start(Database::Sqlite).await;
    let admin = server.as_admin().await;
    let id = admin.mint(key("acme", "billing")).await.key.key_id;
    admin.rotate(&id, 3_600).await.unwrap();
    admin.expire_secret(&id, 1).await.unwrap();
    let revoked = admin.revoke(&id).await.unwrap();
    is_revoked(admin.expire_secret(&id, 2).await);
    assert_eq!(
        admin.expire_secret(&id, 1).await.unwrap(),
        revoked,
        "what was done is OK to repeat"
    );
}

#[tokio::test]
async fn only_whoever_may_revoke_expires_secrets() {
    let server = Server::start(Database::Sqlite).await;
    let admin = server.as_admin().await;
    let foreign = admin.mint(key("globex", "billing")).await.key.key_id;
    let writer = admin.colleague("acme", &["countersign.keys:write"]).await;
    denied(writer.expire_secret(&foreign, 1).await, "needs the scope countersign.keys:revoke");
    let acme = admin.colleague("acme", &["countersign.keys:revoke"]).await;
    for beyond in [foreign, server.admin().key_id] {
        not_found(acme.expire_secret(&beyond, 1).await, &beyond);
    }
}

#[tokio::test]
async fn the_last_secret_of_the_last_administrator_stays_unless_forced() {
    let server = Server::start(Database::Sqlite).await;
    let admin = server.as_admin().await;
    let own = server.admin().key_id;
    last_administrator(admin.expire_secret(&own, 1).await);
    let new = admin.with(admin.rotate(&own, 3_600).await.unwrap());
    last_administrator(new.expire_secret(&own, 2).await);
    new.expire_secret(&own, 1).await.expect("the other version lasts");
    let by_force =
        ExpireSecretRequest { key_id: own, number: 2, force: true, ..Default::default() };
    new.admin().expire_secret(by_force).await.expect("forced");
    refused(new.list("").await, Code::Unauthenticated, "UNAUTHENTICATED");
}
