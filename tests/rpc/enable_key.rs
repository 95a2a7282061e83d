//! `KeyAdmin.EnableKey`

use countersign::rpc::proto::EnableKeyRequest;
use countersign::rpc::proto::key::State;

use super::refusal::{denied, invalid, is_revoked, not_found};
use super::verbs::{RESERVED_ACCOUNT, key_with_scopes};
use crate::harness::{Database, Server, key};
use crate::on_both_databases;

on_both_databases! {
    async fn a_disabled_key_works_again(db: Database) {
        let server = Server::start(db).await;
        let admin = server.as_admin().await;
        let minted = admin.mint(key("acme", "billing")).await;
        let id = &minted.key.key_id;
        admin.disable(id).await.unwrap();
        let request = EnableKeyRequest { key_id: id.clone(), comment: "back".to_owned(), ..Default::default() };
        let enabled = admin.admin().enable_key(request).await.unwrap().into_inner().key.unwrap();
        assert_eq!(enabled.state(), State::Active);
        assert!(admin.verify(&minted.credential).await.allowed, "as soon as the reply is here");
        assert_eq!(admin.enable(id).await.unwrap(), enabled, "repeating it changes nothing");
        assert_eq!(admin.history_of(id).await, ["CREATED", "DISABLED", "ENABLED"]);
        let events = admin.events(&format!("key_id = {id} AND type = KEY_ENABLED")).await.unwrap();
        assert_eq!(events[0].comment, "back");
    }
}

#[tokio::test]
async fn a_revoked_key_stays_revoked() {
    let server = Server::start(Database::Sqlite).await;
    let admin = server.as_admin().await;
    let minted = admin.mint(key("acme", "billing")).await;
    admin.disable(&minted.key.key_id).await.unwrap();
    admin.revoke(&minted.key.key_id).await.unwrap();
    is_revoked(admin.enable(&minted.key.key_id).await);
    assert!(!admin.verify(&minted.credential).await.allowed);
}

#[tokio::test]
async fn a_weaker_admin_does_not_wake_a_stronger_key() {
    let server = Server::start(Database::Sqlite).await;
    let admin = server.as_admin().await;
    let stronger =
        admin.mint(key_with_scopes(RESERVED_ACCOUNT, &["countersign.keys:revoke"])).await;
    admin.disable(&stronger.key.key_id).await.unwrap();
    let weaker = admin.colleague(RESERVED_ACCOUNT, &["countersign.keys:write"]).await;
    denied(weaker.enable(&stronger.key.key_id).await, "reserved scope countersign.keys:revoke");
    assert!(!admin.verify(&stronger.credential).await.allowed);

    let revoker = admin.colleague("acme", &["countersign.keys:revoke"]).await;
    denied(revoker.enable("nobody").await, "needs the scope countersign.keys:write");
    let acme = admin.colleague("acme", &["countersign.keys:write"]).await;
    let foreign = admin.mint(key("globex", "billing")).await.key.key_id;
    for beyond in [foreign, stronger.key.key_id] {
        not_found(acme.enable(&beyond).await, &beyond);
    }
}

#[tokio::test]
async fn bad_input_is_named() {
    let server = Server::start(Database::Sqlite).await;
    let admin = server.as_admin().await;
    let id = admin.mint(key("acme", "billing")).await.key.key_id;
    admin.disable(&id).await.unwrap();
    for (comment, words) in [("\u{7}".to_owned(), "control"), ("x".repeat(1_025), "at most 1024")] {
        let request = EnableKeyRequest { key_id: id.clone(), comment, ..Default::default() };
        invalid(admin.admin().enable_key(request).await, "comment", words);
    }
    invalid(admin.enable("").await, "key_id", "must not be empty");
    not_found(admin.enable("nobody").await, "nobody");
    assert_eq!(admin.get(&id).await.unwrap().state(), State::Disabled);
}
