//! `KeyAdmin.DisableKey`

use countersign::rpc::proto::key::State;
use countersign::rpc::proto::{DenialReason, DisableKeyRequest};
use tonic::Code;

use super::refusal::{denied, invalid, is_revoked, last_administrator, not_found, refused};
use super::verbs::{ALL_RESERVED, RESERVED_ACCOUNT, key_with_scopes};
use crate::harness::{Database, Server, key};
use crate::on_both_databases;

on_both_databases! {
    async fn a_disabled_key_is_denied_until_it_is_enabled(db: Database) {
        let server = Server::start(db).await;
        let admin = server.as_admin().await;
        let minted = admin.mint(key("acme", "billing")).await;
        let id = &minted.key.key_id;
        let request = DisableKeyRequest {
            key_id: id.clone(),
            comment: "on holiday 🏖".to_owned(),
            ..Default::default()
        };
        let disabled = admin.admin().disable_key(request).await.unwrap().into_inner().key.unwrap();
        assert_eq!(disabled.state(), State::Disabled);
        assert_eq!(admin.verify(&minted.credential).await.denial_reason(), DenialReason::Disabled);
        assert_eq!(admin.disable(id).await.unwrap(), disabled, "repeating it changes nothing");
        let events = admin.events(&format!("key_id = {id} AND type = KEY_DISABLED")).await.unwrap();
        let [event] = &events[..] else { panic!("one event: {events:?}") };
        assert_eq!(event.comment, "on holiday 🏖");
        let [change] = &event.changes[..] else { panic!("one change") };
        let change = (&*change.field, &*change.before, &*change.after);
        assert_eq!(change, ("state", "STATE_ACTIVE", "STATE_DISABLED"));
        admin.enable(id).await.unwrap();
        assert!(admin.verify(&minted.credential).await.allowed);
    }
}

#[tokio::test]
async fn bad_input_is_named() {
    let server = Server::start(Database::Sqlite).await;
    let admin = server.as_admin().await;
    let id = admin.mint(key("acme", "billing")).await.key.key_id;
    for (comment, words) in [("a\nb".to_owned(), "control"), ("ü".repeat(1_025), "at most 1024")] {
        let request = DisableKeyRequest { key_id: id.clone(), comment, ..Default::default() };
        invalid(admin.admin().disable_key(request).await, "comment", words);
    }
    invalid(admin.disable("").await, "key_id", "must not be empty");
    not_found(admin.disable("nobody").await, "nobody");
    assert_eq!(admin.history_of(&id).await, ["CREATED"]);
    let longest =
        DisableKeyRequest { key_id: id, comment: "ü".repeat(1_024), ..Default::default() };
    admin.admin().disable_key(longest).await.expect("the longest comment");
}

#[tokio::test]
async fn a_revoked_key_is_beyond_disabling() {
    let server = Server::start(Database::Sqlite).await;
    let admin = server.as_admin().await;
    let id = admin.mint(key("acme", "billing")).await.key.key_id;
    admin.revoke(&id).await.unwrap();
    is_revoked(admin.disable(&id).await);
}

#[tokio::test]
async fn disabling_is_for_whoever_may_revoke_and_within_their_account() {
    let server = Server::start(Database::Sqlite).await;
    let admin = server.as_admin().await;
    let foreign = admin.mint(key("globex", "billing")).await.key.key_id;
    let writer = admin.colleague("acme", &["countersign.keys:write"]).await;
    denied(writer.disable(&foreign).await, "needs the scope countersign.keys:revoke");
    let acme = admin.colleague("acme", &["countersign.keys:revoke"]).await;
    for beyond in [foreign, server.admin().key_id] {
        not_found(acme.disable(&beyond).await, &beyond);
    }
}

#[tokio::test]
async fn the_last_administrator_stays_unless_forced() {
    let server = Server::start(Database::Sqlite).await;
    let admin = server.as_admin().await;
    let own = server.admin().key_id;
    // None of these could take over.
    admin.mint(key_with_scopes("acme", &ALL_RESERVED)).await;
    admin.mint(key_with_scopes(RESERVED_ACCOUNT, &["countersign.keys:read"])).await;
    let off = admin.mint(key_with_scopes(RESERVED_ACCOUNT, &ALL_RESERVED)).await.key.key_id;
    admin.disable(&off).await.expect("there is another");
    last_administrator(admin.disable(&own).await);
    let by_force = DisableKeyRequest { key_id: own, force: true, ..Default::default() };
    admin.admin().disable_key(by_force).await.expect("forced");
    refused(admin.list("").await, Code::Unauthenticated, "UNAUTHENTICATED").says("refused");
}
