//! `countersign keys …`

use std::sync::Arc;

use serde_json::{Value, json};

use super::{Terminal, secret_of, without_defaults};
use crate::harness::{Database, Proxy, Server, Store, canary, postgres};
use crate::journey::person::Person;
use crate::on_both_databases;

const HEADER: &str = "KEY ID ACCOUNT APPLICATION ENVIRONMENT STATE EXPIRES NAME";

/// Each line with single spaces.
fn lines(text: &str) -> Vec<String> {
    text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
}

/// What stands behind a name in the details of a key.
#[track_caller]
fn value(details: &str, name: &str) -> String {
    let line = lines(details).into_iter().find(|line| line.starts_with(name));
    line.unwrap_or_else(|| panic!("no {name} in\n{details}"))[name.len()..].trim().to_owned()
}

on_both_databases! {
    async fn a_key_lives_from_create_to_delete(db: Database) {
        let server = Server::start(db).await;
        let admin = Terminal::of_admin(&server);
        let id = admin.creates().key_id;
        let id = id.as_str();
        assert_eq!(value(&admin.says(["keys", "get", id]), "scopes"), "a:read");

        let updated = admin.says(["keys", "update", id, "--name", "daily", "--scope", "a:read,b:write",
                                  "--label", "team=blue", "--expire", "2100-01-01T00:00:00Z"]);
        assert_eq!(value(&updated, "name"), "daily");
        assert_eq!(value(&updated, "scopes"), "a:read b:write");
        assert_eq!(value(&updated, "labels"), "team=blue");
        assert_eq!(value(&updated, "expires"), "2100-01-01T00:00:00Z");
        let cleared = admin.says(["keys", "update", id, "--clear", "expire,label"]);
        assert!(!cleared.contains("expires") && !cleared.contains("labels"), "{cleared}");

        let rotated = secret_of(&admin.says_json(["keys", "rotate", id, "--overlap", "1h"]));
        assert_eq!(rotated.key_id, id);
        let expired = admin.says_json(["keys", "expire-secret", id, "1"]);
        let versions = expired["key"]["secrets"].as_array().expect("versions");
        assert!(versions[0]["expireTime"].is_string() && versions[1]["expireTime"].is_null());

        assert_eq!(value(&admin.says(["keys", "disable", id]), "state"), "DISABLED");
        assert_eq!(value(&admin.says(["keys", "enable", id]), "state"), "ACTIVE");
        let revoked = admin.says(["keys", "revoke", id, "--reason", "owner-left"]);
        assert_eq!(value(&revoked, "state"), "REVOKED");
        assert_eq!(value(&revoked, "revoked because"), "OWNER_LEFT");
        assert!(admin.says(["keys", "delete", id]).starts_with(&format!("{id} is deleted\n")));
        assert_eq!(admin.fails(["keys", "get", id]), format!("NOT_FOUND: no key {id}"));
    }

    async fn json_says_what_grpcurl_says(db: Database) {
        let server = Server::start(db).await;
        let (terminal, person) = (Terminal::of_admin(&server), Person::admin_of(&server));
        let id = terminal.creates().key_id;
        terminal.says(["keys", "update", &id, "--label", "team=blue", "--expire", "+30d",
                       "--cidr", "203.0.113.0/24", "--description", "two\nlines"]);

        let by_grpcurl = person.call("KeyAdmin/GetKey", &json!({ "keyId": id }));
        let key = terminal.says_json(["keys", "get", &id]);
        assert_eq!(without_defaults(&key), without_defaults(&by_grpcurl["key"]));
        assert_eq!(key["revokeReason"], "REVOKE_REASON_UNSPECIFIED", "defaults are said too");

        let listed = terminal.says_lines_of_json(["keys", "list", "--page-size", "1"]);
        let by_grpcurl = person.pages("KeyAdmin/ListKeys", "keys", &json!({})).concat();
        let listed: Vec<Value> = listed.iter().map(without_defaults).collect();
        assert_eq!(listed, by_grpcurl.iter().map(without_defaults).collect::<Vec<_>>());

        for reply in [
            terminal.says_json(["keys", "update", &id, "--name", "x"]),
            terminal.says_json(["keys", "disable", &id]),
            terminal.says_json(["keys", "enable", &id]),
            terminal.says_json(["keys", "revoke", &id, "--reason", "unused"]),
        ] {
            assert_eq!(reply["key"]["keyId"], id.as_str());
            assert!(reply["consistencyToken"].is_string(), "{reply}");
        }
        let deleted = terminal.says_json(["keys", "delete", &id]);
        let fields: Vec<&String> = deleted.as_object().expect("an object").keys().collect();
        assert_eq!(fields, ["consistencyToken", "effectiveEverywhereBy", "replicas"]);
    }
}

#[tokio::test]
async fn lists_are_tables_of_one_line_a_key() {
    let server = Server::start(Database::Sqlite).await;
    let admin = Terminal::of_admin(&server);
    let ids: Vec<String> = (0..3).map(|_| admin.creates().key_id).collect();
    let acme = "account_id = \"acme\"";

    let all = lines(&admin.says(["keys", "list", "--filter", acme, "--page-size", "2"]));
    assert_eq!(all[0], HEADER);
    let rows: Vec<String> =
        ids.iter().map(|id| format!("{id} acme billing LIVE ACTIVE nightly")).collect();
    assert_eq!(all[1..], rows);
    let limited = lines(&admin.says(["keys", "list", "--filter", acme, "--limit", "1"]));
    assert_eq!(limited[1..], rows[..1]);
    let newest =
        ["keys", "list", "--filter", acme, "--order-by", "create_time desc", "--limit", "1"];
    assert_eq!(lines(&admin.says(newest))[1..], rows[2..]);
    // An empty list has its header all the same.
    assert_eq!(lines(&admin.says(["keys", "list", "--filter", "account_id = \"none\""])), [HEADER]);
    assert!(
        admin.says_lines_of_json(["keys", "list", "--filter", "account_id = \"none\""]).is_empty()
    );
}

#[tokio::test]
async fn create_and_rotate_show_the_secret_once_and_say_so() {
    let server = Server::start(Database::Sqlite).await;
    let admin = Terminal::of_admin(&server);
    let created = admin.says([
        "keys",
        "create",
        "--account",
        "acme",
        "--application",
        "crm",
        "--name",
        "n",
        "--environment",
        "test",
        "--cidr",
        "10.0.0.0/8,2001:db8::/32",
    ]);
    let secret = value(&created, "secret");
    canary::record_secret(&secret);
    assert!(secret.starts_with("css_test_"), "of another environment");
    assert!(created.contains("The secret is shown this once: store it now."));
    assert_eq!(value(&created, "networks"), "10.0.0.0/8 2001:db8::/32");
    assert_eq!(value(&created, "environment"), "TEST");
    let id = value(&created, "key id");
    let rotated = admin.says(["keys", "rotate", &id, "--overlap", "0"]);
    let newer = value(&rotated, "secret");
    canary::record_secret(&newer);
    assert!(newer != secret && rotated.contains("store it now"));
    let read = admin.says(["keys", "get", &id]);
    assert!(!read.contains(&newer) && !read.contains(&secret), "a secret is shown again");
}

#[tokio::test]
async fn the_same_request_id_makes_one_key() {
    let server = Server::start(Database::Sqlite).await;
    let admin = Terminal::of_admin(&server);
    let create = [
        "keys",
        "create",
        "--account",
        "acme",
        "--application",
        "crm",
        "--name",
        "n",
        "--request-id",
        "deploy-17",
    ];
    let (first, again) = (secret_of(&admin.says_json(create)), secret_of(&admin.says_json(create)));
    assert_eq!(first.key_id, again.key_id);
    assert!(first.secret == again.secret, "a second secret was made");
    let other = [
        "keys",
        "create",
        "--account",
        "acme",
        "--application",
        "crm",
        "--name",
        "another",
        "--request-id",
        "deploy-17",
    ];
    assert!(admin.fails(other).starts_with("ALREADY_EXISTS: "));
}

#[tokio::test]
async fn a_stale_etag_refuses_the_update() {
    let server = Server::start(Database::Sqlite).await;
    let admin = Terminal::of_admin(&server);
    let id = admin.creates().key_id;
    let etag = admin.says_json(["keys", "get", &id])["etag"].as_str().expect("an etag").to_owned();
    admin.says(["keys", "update", &id, "--name", "first", "--etag", &etag]);
    let refused = admin.fails(["keys", "update", &id, "--name", "second", "--etag", &etag]);
    assert!(refused.starts_with("ABORTED: "), "{refused}");
    assert_eq!(value(&admin.says(["keys", "get", &id]), "name"), "first");
}

/// The server loses the database's word that the change was made, and says UNAVAILABLE.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_update_that_was_unavailable_is_repeated_unless_it_has_an_etag() {
    let mut store = Store::fresh(Database::Postgres).await;
    let url = store.url.take().expect("PostgreSQL has a URL");
    let proxy = Proxy::to(postgres::address_of(&url)).await;
    store.url = Some(postgres::through(&url, proxy.address()));
    let server = Server::on_store(Arc::new(store)).start().await;
    let admin = Terminal::of_admin(&server);
    let id = admin.creates().key_id;
    let name = || value(&admin.says(["keys", "get", &id]), "name");

    proxy.lose_commit_replies(1);
    admin.says(["keys", "update", &id, "--name", "weekly"]);
    assert_eq!((proxy.lost_replies(), name().as_str()), (1, "weekly"));

    let key = admin.says_json(["keys", "get", &id]);
    let etag = key["etag"].as_str().expect("an etag");
    proxy.lose_commit_replies(1);
    let said = admin.fails(["keys", "update", &id, "--name", "monthly", "--etag", etag]);
    assert_eq!((proxy.lost_replies(), name().as_str()), (2, "monthly"), "the change was made");
    assert!(said.starts_with("UNAVAILABLE: "), "ABORTED would say that it was not: {said}");
}
