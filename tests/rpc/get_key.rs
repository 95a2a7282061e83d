//! `KeyAdmin.GetKey`

use std::time::Duration;

use countersign::rpc::proto::Key;
use countersign::rpc::proto::key::State;

use super::refusal::{denied, invalid, not_found};
use super::verbs::{in_millis, key_with_scopes};
use crate::harness::{Database, Server, eventually, key};
use crate::on_both_databases;

const SOON: Duration = Duration::from_secs(30);

on_both_databases! {
    async fn an_unknown_id_is_not_found_and_what_no_key_has_is_refused(db: Database) {
        let server = Server::start(db).await;
        let admin = server.as_admin().await;
        let long = "x".repeat(100_000);
        for unknown in ["csk_live_0000000000000000000000", "nobody", "a.b"] {
            not_found(admin.get(unknown).await, unknown);
        }
        for strange in ["' OR 1=1 --", "%", "ключ", "a\0b", "\u{1b}[31m", &long] {
            let refusal = invalid(admin.get(strange).await, "key_id", "");
            assert!(refusal.message.len() < 200 && !refusal.message.contains(char::is_control));
        }
        invalid(admin.get("").await, "key_id", "must not be empty");
    }

    async fn an_expired_key_says_so(db: Database) {
        let server = Server::start(db).await;
        let admin = server.as_admin().await;
        let made = admin.mint(Key { expire_time: Some(in_millis(2_000)), ..key("acme", "billing") }).await;
        assert_eq!(made.key.state(), State::Active);
        let expired = eventually("the key expires", SOON, async || {
            let key = admin.get(&made.key.key_id).await.unwrap();
            (key.state() == State::Expired).then_some(key)
        })
        .await;
        assert_eq!(expired.etag, made.key.etag, "time alone changes nothing of the key");
    }
}

#[tokio::test]
async fn an_accounts_admin_sees_no_trace_of_others() {
    let server = Server::start(Database::Sqlite).await;
    let admin = server.as_admin().await;
    let acme = admin.colleague("acme", &["countersign.keys:read"]).await;
    let own = admin.mint(key("acme", "billing")).await.key;
    let foreign = admin.mint(key("globex", "billing")).await.key;
    assert_eq!(acme.get(&own.key_id).await.unwrap(), own);
    for beyond in [foreign.key_id, server.admin().key_id] {
        not_found(acme.get(&beyond).await, &beyond);
    }
}

#[tokio::test]
async fn reading_needs_the_scope_for_reading() {
    let server = Server::start(Database::Sqlite).await;
    let admin = server.as_admin().await;
    let made = admin.mint(key_with_scopes("acme", &["*", "countersign.keys:write"])).await;
    let writer = admin.with(made.credential);
    denied(writer.get(&made.key.key_id).await, "needs the scope countersign.keys:read");
    denied(writer.get("").await, "needs the scope countersign.keys:read");
}
