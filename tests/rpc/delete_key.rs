//! `KeyAdmin.DeleteKey`

use countersign::rpc::proto::{DeleteKeyRequest, DenialReason};
use tonic::Code;

use super::refusal::{denied, invalid, not_found, refused};
use crate::harness::{Database, Server, key};
use crate::on_both_databases;

on_both_databases! {
    async fn a_deleted_key_leaves_its_history_and_never_comes_back(db: Database) {
        let server = Server::start(db).await;
        let admin = server.as_admin().await;
        let minted = admin.mint(key("acme", "billing")).await;
        let id = &minted.key.key_id;
        admin.revoke(id).await.unwrap();
        let request = DeleteKeyRequest { key_id: id.clone(), comment: "GDPR".to_owned(), ..Default::default() };
        let reply = admin.admin().delete_key(request).await.unwrap().into_inner();
        assert!(!reply.consistency_token.is_empty());

        not_found(admin.get(id).await, id);
        assert!(admin.list("account_id = acme").await.unwrap().is_empty());
        let answer = admin.verify(&minted.credential).await;
        assert_eq!(answer.denial_reason(), DenialReason::InvalidCredential);
        assert_eq!(answer.key, None, "nothing is known of it any more");
        assert_eq!(admin.history_of(id).await, ["CREATED", "REVOKED", "DELETED"]);
        let events = admin.events(&format!("key_id = {id} AND type = KEY_DELETED")).await.unwrap();
        assert_eq!((&*events[0].comment, &*events[0].account_id), ("GDPR", "acme"));
        assert!(events[0].key_seal.is_empty() && !events[0].changes.is_empty());

        admin.delete(id).await.expect("repeating it is OK");
        assert_eq!(admin.history_of(id).await.len(), 3, "and makes no second event");
        for outcome in [
            admin.enable(id).await.map(drop),
            admin.revoke(id).await.map(drop),
            admin.rotate(id, 0).await.map(drop),
            admin.expire_secret(id, 1).await.map(drop),
        ] {
            not_found(outcome, id);
        }
    }
}

#[tokio::test]
async fn only_a_revoked_key_is_deleted() {
    let server = Server::start(Database::Sqlite).await;
    let admin = server.as_admin().await;
    let minted = admin.mint(key("acme", "billing")).await;
    let id = &minted.key.key_id;
    let refusal = refused(admin.delete(id).await, Code::FailedPrecondition, "KEY_NOT_REVOKED");
    refusal.says("revoke it before");
    assert!(admin.verify(&minted.credential).await.allowed);
    admin.disable(id).await.unwrap();
    refused(admin.delete(id).await, Code::FailedPrecondition, "KEY_NOT_REVOKED");
}

#[tokio::test]
async fn an_accounts_admin_learns_nothing_of_what_others_deleted() {
    let server = Server::start(Database::Sqlite).await;
    let admin = server.as_admin().await;
    let acme = admin.colleague("acme", &["countersign.keys:write"]).await;
    let own = admin.mint(key("acme", "billing")).await.key.key_id;
    let foreign = admin.mint(key("globex", "billing")).await.key.key_id;
    for id in [&own, &foreign] {
        admin.revoke(id).await.unwrap();
    }
    not_found(acme.delete(&foreign).await, &foreign);
    admin.delete(&foreign).await.unwrap();
    not_found(acme.delete(&foreign).await, &foreign);
    for _ in 0..2 {
        acme.delete(&own).await.expect("its own, once and again");
    }
    not_found(acme.delete(&server.admin().key_id).await, &server.admin().key_id);
    let revoker = admin.colleague("acme", &["countersign.keys:revoke"]).await;
    denied(revoker.delete(&own).await, "needs the scope countersign.keys:write");
}

#[tokio::test]
async fn bad_input_is_named() {
    let server = Server::start(Database::Sqlite).await;
    let admin = server.as_admin().await;
    let id = admin.mint(key("acme", "billing")).await.key.key_id;
    admin.revoke(&id).await.unwrap();
    for (comment, words) in [("a\tb".to_owned(), "control"), ("x".repeat(1_025), "at most 1024")] {
        let request = DeleteKeyRequest { key_id: id.clone(), comment, ..Default::default() };
        invalid(admin.admin().delete_key(request).await, "comment", words);
    }
    invalid(admin.delete("").await, "key_id", "must not be empty");
    not_found(admin.delete("nobody").await, "nobody");
    admin.get(&id).await.expect("it is still there");
}
