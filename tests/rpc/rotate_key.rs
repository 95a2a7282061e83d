//! `KeyAdmin.RotateKey`

use countersign::rpc::proto::{DenialReason, RotateKeyRequest, RotateKeyResponse};
use prost::Message;
use prost_types::Duration;
use tonic::Code;

use super::refusal::{denied, invalid, is_revoked, not_found, refused};
use super::verbs::{ALL_RESERVED, RESERVED_ACCOUNT, key_with_scopes};
use crate::harness::{Database, Server, key};
use crate::on_both_databases;

on_both_databases! {
    async fn an_overlap_keeps_the_older_secret_alive(db: Database) {
        let server = Server::start(db).await;
        let admin = server.as_admin().await;
        let old = admin.mint(key("acme", "billing")).await;
        let id = &old.key.key_id;
        let new = admin.rotate(id, 3_600).await.unwrap();
        let (from_old, from_new) = (admin.verify(&old.credential).await, admin.verify(&new).await);
        assert!(from_old.allowed && from_new.allowed);
        let numbers = [from_old.key, from_new.key].map(|key| key.unwrap().secret_number);
        assert_eq!(numbers, [1, 2]);

        let key = admin.get(id).await.unwrap();
        let [first, second] = &key.secrets[..] else { panic!("two versions: {:?}", key.secrets) };
        assert_eq!(from_old.superseded_time, second.create_time, "its owner can be reminded");
        assert_eq!(from_new.superseded_time, None);
        let lives = first.expire_time.unwrap().seconds - second.create_time.unwrap().seconds;
        assert_eq!((lives, second.expire_time), (3_600, None));
        assert!(new.secret.ends_with(&second.hint));
        assert_ne!(key.etag, old.key.etag);
        assert_eq!(admin.history_of(id).await, ["CREATED", "ROTATED"]);
    }

    async fn a_repeated_request_id_rotates_once(db: Database) {
        let server = Server::start(db).await;
        let admin = server.as_admin().await;
        let old = admin.mint(key("acme", "billing")).await;
        let id = &old.key.key_id;
        let first = admin.rotate_once(id, 60, "r-1").await.unwrap();
        let again = admin.rotate_once(id, 60, "r-1").await.unwrap();
        let first = RotateKeyResponse { effective_everywhere_by: again.effective_everywhere_by, ..first };
        assert!(first.encode_to_vec() == again.encode_to_vec(), "the same reply, secret included");
        refused(admin.rotate_once(id, 61, "r-1").await, Code::AlreadyExists, "REQUEST_ID_REUSED");
        let other = admin.mint(key("acme", "billing")).await;
        let other = admin.rotate_once(&other.key.key_id, 60, "r-1").await;
        refused(other, Code::AlreadyExists, "REQUEST_ID_REUSED");
        assert_eq!(admin.history_of(id).await, ["CREATED", "ROTATED"]);
        let created = admin.create(key("acme", "billing"), "r-1").await;
        created.expect("the ids of one method are not those of another");
    }
}

#[tokio::test]
async fn no_overlap_kills_the_older_secrets_at_once() {
    let server = Server::start(Database::Sqlite).await;
    let admin = server.as_admin().await;
    let first = admin.mint(key("acme", "billing")).await;
    let id = &first.key.key_id;
    let second = admin.rotate(id, 3_600).await.unwrap();
    let third = admin.rotate(id, 0).await.unwrap();
    for old in [&first.credential, &second] {
        let answer = admin.verify(old).await;
        assert_eq!(answer.denial_reason(), DenialReason::SecretExpired);
        assert!(answer.key.is_some() && answer.superseded_time.is_some());
    }
    assert!(admin.verify(&third).await.allowed);
}

#[tokio::test]
async fn a_fourth_live_secret_is_one_too_many() {
    let server = Server::start(Database::Sqlite).await;
    let admin = server.as_admin().await;
    let first = admin.mint(key("acme", "billing")).await;
    let id = &first.key.key_id;
    admin.rotate(id, 3_600).await.unwrap();
    let third = admin.rotate(id, 3_600).await.unwrap();
    let before = admin.get(id).await.unwrap();
    let fourth = admin.rotate(id, 3_600).await;
    refused(fourth, Code::FailedPrecondition, "TOO_MANY_SECRETS").says("expire one first");
    assert_eq!(admin.get(id).await.unwrap(), before, "nothing of it was done");

    admin.expire_secret(id, 2).await.unwrap();
    admin.rotate(id, 3_600).await.expect("a dead version gives up its place");
    let numbers: Vec<_> =
        admin.get(id).await.unwrap().secrets.iter().map(|version| version.number).collect();
    assert_eq!(numbers, [1, 3, 4], "a number is never used twice");
    let last = admin.rotate(id, 0).await.expect("with no overlap there is always room");
    assert!(admin.verify(&last).await.allowed && !admin.verify(&third).await.allowed);
}

#[tokio::test]
async fn an_overlap_never_lengthens_a_life() {
    let server = Server::start(Database::Sqlite).await;
    let admin = server.as_admin().await;
    let id = admin.mint(key("acme", "billing")).await.key.key_id;
    admin.rotate(&id, 60).await.unwrap();
    let ends = admin.get(&id).await.unwrap().secrets[0].expire_time;
    admin.rotate(&id, 3_600).await.unwrap();
    assert_eq!(admin.get(&id).await.unwrap().secrets[0].expire_time, ends);
}

#[tokio::test]
async fn an_overlap_must_be_said_and_make_sense() {
    let server = Server::start(Database::Sqlite).await;
    let admin = server.as_admin().await;
    let minted = admin.mint(key("acme", "billing")).await;
    let id = minted.key.key_id.clone();
    let with = |overlap| {
        let (mut admin, key_id) = (admin.admin(), id.clone());
        async move { admin.rotate_key(RotateKeyRequest { key_id, overlap, ..Default::default() }).await }
    };
    invalid(with(None).await, "overlap", "must be given, from 0s to 366 days");
    let day = 24 * 60 * 60;
    for (seconds, nanos) in [(-1, 0), (0, -1), (366 * day, 1), (i64::MAX, 0), (0, 1_000_000_000)] {
        invalid(with(Some(Duration { seconds, nanos })).await, "overlap", "must");
    }
    invalid(admin.rotate("", 0).await, "key_id", "must not be empty");
    invalid(admin.rotate_once(&id, 0, "a b").await, "request_id", "1 to 64 letters");
    not_found(
        admin.rotate("csk_live_0000000000000000000000", 0).await,
        "csk_live_0000000000000000000000",
    );
    assert!(admin.verify(&minted.credential).await.allowed, "nothing was rotated");
    admin.rotate(&id, 366 * day).await.expect("the longest overlap");
}

#[tokio::test]
async fn a_revoked_key_is_not_rotated() {
    let server = Server::start(Database::Sqlite).await;
    let admin = server.as_admin().await;
    let id = admin.mint(key("acme", "billing")).await.key.key_id;
    admin.revoke(&id).await.unwrap();
    is_revoked(admin.rotate(&id, 0).await);
}

#[tokio::test]
async fn nobody_rotates_their_way_into_a_stronger_key() {
    let server = Server::start(Database::Sqlite).await;
    let admin = server.as_admin().await;
    let weaker = admin.colleague(RESERVED_ACCOUNT, &["countersign.keys:write"]).await;
    let stronger = admin.mint(key_with_scopes(RESERVED_ACCOUNT, &ALL_RESERVED)).await;
    denied(weaker.rotate(&stronger.key.key_id, 0).await, "which you do not hold yourself");
    assert!(admin.verify(&stronger.credential).await.allowed, "its secret still works");

    let acme = admin.colleague("acme", &ALL_RESERVED).await;
    let foreign = admin.mint(key("globex", "billing")).await.key.key_id;
    for beyond in [foreign, stronger.key.key_id] {
        not_found(acme.rotate(&beyond, 0).await, &beyond);
    }
}

#[tokio::test]
async fn an_administrator_rotates_itself() {
    let server = Server::start(Database::Sqlite).await;
    let admin = server.as_admin().await;
    let new = admin.rotate(&server.admin().key_id, 0).await.expect("also the last one");
    admin.with(new).list("").await.expect("the new secret administers");
    refused(admin.list("").await, Code::Unauthenticated, "UNAUTHENTICATED");
}
