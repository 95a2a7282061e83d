//! `KeyAdmin.UpdateKey`

use std::time::Duration;

use countersign::rpc::proto::key::State;
use countersign::rpc::proto::{Key, UpdateKeyRequest};
use tonic::Code;

use super::refusal::{denied, invalid, is_revoked, last_administrator, not_found, refused};
use super::verbs::{ALL_RESERVED, RESERVED_ACCOUNT, in_millis, key_with_scopes, mask};
use crate::harness::{Database, Server, eventually, key};
use crate::on_both_databases;

const SOON: Duration = Duration::from_secs(30);

fn named(key: &Key, display_name: &str) -> Key {
    Key { display_name: display_name.to_owned(), ..key.clone() }
}

on_both_databases! {
    async fn only_the_named_fields_change(db: Database) {
        let server = Server::start(db).await;
        let admin = server.as_admin().await;
        let before = admin.mint(Key {
            description: "kept".to_owned(),
            scopes: vec!["a:read".to_owned()],
            labels: [("team".to_owned(), "x".to_owned())].into(),
            allowed_cidrs: vec!["10.0.0.0/8".to_owned()],
            ..key("acme", "billing")
        }).await.key;
        let asked = Key {
            key_id: before.key_id.clone(),
            display_name: "new".to_owned(),
            description: "not named, so not looked at \u{0}".to_owned(),
            scopes: vec!["z:write".to_owned(), "b:read".to_owned()],
            account_id: "globex".to_owned(),
            ..Key::default()
        };
        let after = admin.update(asked, &["display_name", "scopes", "labels", "scopes"]).await.unwrap();
        assert!(after.update_time.unwrap().seconds >= before.update_time.unwrap().seconds);
        assert_ne!(after.etag, before.etag);
        let expected = Key {
            display_name: "new".to_owned(),
            scopes: vec!["b:read".to_owned(), "z:write".to_owned()],
            labels: [].into(),
            etag: after.etag.clone(),
            update_time: after.update_time,
            ..before
        };
        assert_eq!(after, expected, "a named field that is empty is cleared");
        assert_eq!(admin.get(&after.key_id).await.unwrap(), after);

        let events = admin.events(&format!("key_id = {} AND type = KEY_UPDATED", after.key_id)).await.unwrap();
        let [event] = &events[..] else { panic!("one event") };
        let changed: Vec<_> = event.changes.iter().map(|one| (&*one.field, &*one.before, &*one.after)).collect();
        assert_eq!(changed, [
            ("display_name", "a key of billing", "new"),
            ("labels", "{\"team\":\"x\"}", ""),
            ("scopes", "[\"a:read\"]", "[\"b:read\",\"z:write\"]"),
        ]);
    }

    async fn an_etag_is_held_against_the_key(db: Database) {
        let server = Server::start(db).await;
        let admin = server.as_admin().await;
        let first = admin.mint(key("acme", "billing")).await.key;
        let second = admin.update(named(&first, "second"), &["display_name"]).await.unwrap();
        let stale = admin.update(named(&first, "third"), &["display_name"]).await;
        refused(stale, Code::Aborted, "ETAG_MISMATCH").says("read it again");
        let no_etag = Key { etag: String::new(), ..named(&first, "third") };
        let third = admin.update(no_etag, &["display_name"]).await.unwrap();
        assert_ne!(third.etag, second.etag);
        let fourth = admin.update(named(&third, "fourth"), &["display_name"]).await.unwrap();
        assert_eq!(fourth.display_name, "fourth");
        admin.disable(&first.key_id).await.unwrap();
        let stale = admin.update(named(&fourth, "fifth"), &["display_name"]).await;
        refused(stale, Code::Aborted, "ETAG_MISMATCH");
    }
}

#[tokio::test]
async fn an_update_to_what_is_there_makes_no_event() {
    let server = Server::start(Database::Sqlite).await;
    let admin = server.as_admin().await;
    let before = admin.mint(key("acme", "billing")).await.key;
    let same = Key { allowed_cidrs: vec![], ..before.clone() };
    let after =
        admin.update(same, &["display_name", "allowed_cidrs", "expire_time"]).await.unwrap();
    assert_eq!(after, before);
    assert_eq!(admin.history_of(&before.key_id).await, ["CREATED"]);
}

#[tokio::test]
async fn a_mask_names_what_can_be_changed() {
    let server = Server::start(Database::Sqlite).await;
    let admin = server.as_admin().await;
    let key = admin.mint(key("acme", "billing")).await.key;
    for (path, words) in [
        ("*", "\"*\" is not supported"),
        ("key.display_name", "is no field that can be changed"),
        ("displayName", "is no field that can be changed"),
        ("labels.team", "is no field that can be changed"),
        ("", "is no field that can be changed"),
        ("account_id", "is immutable"),
        ("environment", "is immutable"),
        ("state", "is output only"),
        ("etag", "is output only"),
        ("secrets", "is output only"),
    ] {
        invalid(
            admin.update(named(&key, "new"), &["display_name", path]).await,
            "update_mask",
            words,
        );
    }
    invalid(
        admin.update(named(&key, "new"), &[]).await,
        "update_mask",
        "must name at least one of",
    );
    let no_mask = UpdateKeyRequest { key: Some(named(&key, "new")), ..Default::default() };
    invalid(admin.admin().update_key(no_mask).await, "update_mask", "must name at least one of");
    let no_key = UpdateKeyRequest { update_mask: mask(&["labels"]), ..Default::default() };
    invalid(admin.admin().update_key(no_key).await, "key", "must be given");
    let no_id = Key { display_name: "new".to_owned(), ..Key::default() };
    invalid(admin.update(no_id, &["display_name"]).await, "key.key_id", "must not be empty");
    assert_eq!(admin.get(&key.key_id).await.unwrap(), key, "nothing was changed by any of it");
}

#[tokio::test]
async fn new_values_keep_the_rules_of_new_keys() {
    let server = Server::start(Database::Sqlite).await;
    let admin = server.as_admin().await;
    let key = admin.mint(key("acme", "billing")).await.key;
    let wrong = Key {
        display_name: "a\nb".to_owned(),
        description: "x".repeat(2_049),
        scopes: vec!["ok".to_owned(), "Not ok".to_owned()],
        allowed_cidrs: vec!["10.0.0.1/8".to_owned()],
        labels: [("T".to_owned(), String::new())].into(),
        expire_time: Some(in_millis(-1_000)),
        ..key.clone()
    };
    let all = ["display_name", "description", "scopes", "allowed_cidrs", "labels", "expire_time"];
    let refusal =
        invalid(admin.update(wrong.clone(), &all).await, "key.expire_time", "in the future");
    let mut fields = refusal.fields();
    fields.sort_unstable();
    assert_eq!(
        fields,
        [
            "key.allowed_cidrs[0]",
            "key.description",
            "key.display_name",
            "key.expire_time",
            "key.labels",
            "key.scopes[1]",
        ]
    );
    let refusal =
        invalid(admin.update(wrong, &["labels", "*"]).await, "update_mask", "not supported");
    assert!(refusal.fields().contains(&"key.labels"), "mask and values are answered at once");
    assert_eq!(admin.get(&key.key_id).await.unwrap(), key);
}

#[tokio::test]
async fn a_later_expiry_brings_an_expired_key_back() {
    let server = Server::start(Database::Sqlite).await;
    let admin = server.as_admin().await;
    let minted = admin.mint(key("acme", "billing")).await;
    let id = &minted.key.key_id;
    let soon = Key { expire_time: Some(in_millis(1_000)), ..minted.key.clone() };
    admin.update(soon, &["expire_time"]).await.unwrap();
    eventually("the key expires", SOON, async || !admin.verify(&minted.credential).await.allowed)
        .await;
    assert_eq!(admin.get(id).await.unwrap().state(), State::Expired);
    let without = Key { etag: String::new(), expire_time: None, ..minted.key.clone() };
    let back = admin.update(without, &["expire_time"]).await.unwrap();
    assert_eq!((back.state(), back.expire_time), (State::Active, None));
    assert!(admin.verify(&minted.credential).await.allowed, "as soon as the reply is here");
}

#[tokio::test]
async fn a_revoked_or_absent_key_is_not_updated() {
    let server = Server::start(Database::Sqlite).await;
    let admin = server.as_admin().await;
    let key = admin.mint(key("acme", "billing")).await.key;
    let revoked = admin.revoke(&key.key_id).await.unwrap();
    is_revoked(admin.update(named(&revoked, "new"), &["display_name"]).await);
    admin.delete(&key.key_id).await.unwrap();
    not_found(admin.update(named(&revoked, "new"), &["display_name"]).await, &key.key_id);
}

#[tokio::test]
async fn a_weaker_admin_neither_edits_nor_makes_a_stronger_key() {
    let server = Server::start(Database::Sqlite).await;
    let admin = server.as_admin().await;
    let weaker = admin.colleague(RESERVED_ACCOUNT, &["countersign.keys:write"]).await;
    let plain = weaker.mint(key("acme", "billing")).await.key;
    let stronger = admin.mint(key_with_scopes("acme", &["countersign.audit:read"])).await.key;

    let scopes = vec!["countersign.keys:write".to_owned(), "countersign.keys:revoke".to_owned()];
    let gain = Key { scopes, ..plain.clone() };
    denied(weaker.update(gain, &["scopes"]).await, "reserved scope countersign.keys:revoke");
    let take = Key { scopes: vec![], ..stronger.clone() };
    denied(weaker.update(take, &["scopes"]).await, "reserved scope countersign.audit:read");
    denied(
        weaker.update(named(&stronger, "mine"), &["display_name"]).await,
        "countersign.audit:read",
    );
    let all_ips = Key { allowed_cidrs: vec![], ..stronger.clone() };
    denied(weaker.update(all_ips, &["allowed_cidrs"]).await, "countersign.audit:read");
    let same_strength = Key { scopes: vec!["countersign.keys:write".to_owned()], ..plain };
    weaker.update(same_strength, &["scopes"]).await.unwrap();

    let acme = admin.colleague("acme", &["countersign.keys:write"]).await;
    let foreign = admin.mint(key("globex", "billing")).await.key;
    for beyond in [foreign.key_id, server.admin().key_id] {
        let update =
            Key { key_id: beyond.clone(), display_name: "mine".to_owned(), ..Key::default() };
        not_found(acme.update(update, &["display_name"]).await, &beyond);
    }
}

#[tokio::test]
async fn the_last_administrator_stays_one_unless_forced() {
    let server = Server::start(Database::Sqlite).await;
    let admin = server.as_admin().await;
    let own = Key { etag: String::new(), ..admin.get(&server.admin().key_id).await.unwrap() };
    let expiring = Key { expire_time: Some(in_millis(3_600_000)), ..own.clone() };
    last_administrator(admin.update(expiring.clone(), &["expire_time"]).await);
    let powerless = Key { scopes: vec!["countersign.keys:read".to_owned()], ..own.clone() };
    last_administrator(admin.update(powerless.clone(), &["scopes"]).await);

    admin.update(named(&own, "boss"), &["display_name"]).await.expect("the rest may change");
    let short_lived = Key {
        expire_time: Some(in_millis(3_600_000)),
        ..key_with_scopes(RESERVED_ACCOUNT, &ALL_RESERVED)
    };
    admin.mint(short_lived).await;
    last_administrator(admin.update(expiring.clone(), &["expire_time"]).await);
    let deputy = admin.mint(key_with_scopes(RESERVED_ACCOUNT, &ALL_RESERVED)).await;
    admin.update(expiring, &["expire_time"]).await.expect("somebody else lasts");
    admin.revoke(&deputy.key.key_id).await.expect_err("now the deputy is the last");
    admin.update_by_force(powerless, &["scopes"]).await.expect("forced");
    denied(admin.try_mint(key("acme", "billing")).await, "needs the scope countersign.keys:write");
}
