//! `KeyAdmin.RevokeKey`

use countersign::rpc::proto::key::State;
use countersign::rpc::proto::{DenialReason, RevokeKeyRequest, RevokeReason};
use tonic::Code;

use super::refusal::{denied, invalid, last_administrator, not_found, refused};
use super::verbs::{ALL_RESERVED, RESERVED_ACCOUNT, key_with_scopes};
use crate::harness::{Database, Server, key};
use crate::on_both_databases;

fn request(key_id: &str, reason: RevokeReason, comment: &str) -> RevokeKeyRequest {
    let (key_id, comment) = (key_id.to_owned(), comment.to_owned());
    RevokeKeyRequest { key_id, reason: reason.into(), comment, ..Default::default() }
}

on_both_databases! {
    async fn a_revoked_key_is_never_allowed_again(db: Database) {
        let server = Server::start(db).await;
        let admin = server.as_admin().await;
        let minted = admin.mint(key("acme", "billing")).await;
        let id = &minted.key.key_id;
        let first = request(id, RevokeReason::Abuse, "crawled us");
        let reply = admin.admin().revoke_key(first).await.unwrap().into_inner();
        let revoked = reply.key.unwrap();
        assert_eq!((revoked.state(), revoked.revoke_reason()), (State::Revoked, RevokeReason::Abuse));
        assert!(!reply.consistency_token.is_empty());
        let answer = admin.verify(&minted.credential).await;
        assert_eq!(answer.denial_reason(), DenialReason::Revoked, "as soon as the reply is here");

        let second = request(id, RevokeReason::Unused, "never mind");
        let again = admin.admin().revoke_key(second).await.unwrap().into_inner().key.unwrap();
        assert_eq!(again, revoked, "the first reason stays");
        assert_eq!(admin.history_of(id).await, ["CREATED", "REVOKED"]);
        let events = admin.events(&format!("key_id = {id} AND type = KEY_REVOKED")).await.unwrap();
        assert_eq!((events[0].revoke_reason(), &*events[0].comment), (RevokeReason::Abuse, "crawled us"));
    }
}

#[tokio::test]
async fn every_reason_is_kept() {
    let server = Server::start(Database::Sqlite).await;
    let admin = server.as_admin().await;
    let reasons = (1..).map_while(|number| RevokeReason::try_from(number).ok());
    let mut seen = 0;
    for reason in reasons {
        let id = admin.mint(key("acme", "billing")).await.key.key_id;
        admin.disable(&id).await.unwrap();
        admin.admin().revoke_key(request(&id, reason, "")).await.expect("also a disabled key");
        assert_eq!(admin.get(&id).await.unwrap().revoke_reason(), reason);
        let events = admin.events(&format!("key_id = {id} AND type = KEY_REVOKED")).await.unwrap();
        assert_eq!(events[0].revoke_reason(), reason);
        seen += 1;
    }
    assert_eq!(seen, 6);
}

#[tokio::test]
async fn bad_input_is_named_and_revokes_nothing() {
    let server = Server::start(Database::Sqlite).await;
    let admin = server.as_admin().await;
    let minted = admin.mint(key("acme", "billing")).await;
    let id = &minted.key.key_id;
    let with = |request| {
        let mut admin = admin.admin();
        async move { admin.revoke_key(request).await }
    };
    invalid(with(request(id, RevokeReason::Unspecified, "")).await, "reason", "must say why");
    for unknown in [7, -1] {
        let request = RevokeKeyRequest { reason: unknown, ..request(id, RevokeReason::Abuse, "") };
        invalid(with(request).await, "reason", "a value of RevokeReason");
    }
    invalid(with(request(id, RevokeReason::Abuse, "a\r\nb")).await, "comment", "control");
    let long = "x".repeat(1_025);
    invalid(with(request(id, RevokeReason::Abuse, &long)).await, "comment", "at most 1024");
    invalid(with(request("", RevokeReason::Abuse, "")).await, "key_id", "must not be empty");
    not_found(admin.revoke("nobody").await, "nobody");
    assert!(admin.verify(&minted.credential).await.allowed);
}

#[tokio::test]
async fn whoever_may_revoke_can_also_stop_a_stronger_key() {
    let server = Server::start(Database::Sqlite).await;
    let admin = server.as_admin().await;
    let stronger = admin.mint(key_with_scopes("acme", &["countersign.keys:write"])).await;
    let writer = admin.colleague("acme", &["countersign.keys:write"]).await;
    denied(writer.revoke(&stronger.key.key_id).await, "needs the scope countersign.keys:revoke");
    let acme = admin.colleague("acme", &["countersign.keys:revoke"]).await;
    acme.revoke(&stronger.key.key_id).await.expect("a leak must be stopped by whoever sees it");
    refused(
        admin.with(stronger.credential).list("").await,
        Code::Unauthenticated,
        "UNAUTHENTICATED",
    );

    let foreign = admin.mint(key("globex", "billing")).await.key.key_id;
    for beyond in [foreign, server.admin().key_id] {
        not_found(acme.revoke(&beyond).await, &beyond);
    }
}

#[tokio::test]
async fn the_last_administrator_stays_unless_forced() {
    let server = Server::start(Database::Sqlite).await;
    let admin = server.as_admin().await;
    let own = server.admin().key_id;
    last_administrator(admin.revoke(&own).await);
    let deputy = admin.mint(key_with_scopes(RESERVED_ACCOUNT, &ALL_RESERVED)).await;
    let (last, deputy) = (deputy.key.key_id, admin.with(deputy.credential));
    deputy.revoke(&own).await.expect("there is another now");
    last_administrator(deputy.revoke(&last).await);
    let by_force =
        RevokeKeyRequest { force: true, ..request(&last, RevokeReason::Other, "the end") };
    deputy.admin().revoke_key(by_force).await.expect("forced");
    refused(deputy.revoke(&last).await, Code::Unauthenticated, "UNAUTHENTICATED");
}
