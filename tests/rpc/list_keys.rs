//! `KeyAdmin.ListKeys`

use countersign::rpc::proto::key::State;
use countersign::rpc::proto::{
    Environment, Key, ListAuditEventsRequest, ListKeysRequest, ListKeysResponse,
};
use tonic::Status;

use super::refusal::{denied, invalid};
use super::verbs::in_millis;
use crate::harness::{Caller, Database, Server, key};
use crate::on_both_databases;

fn page(filter: &str, order_by: &str, page_size: i32, page_token: &str) -> ListKeysRequest {
    let [filter, order_by, page_token] = [filter, order_by, page_token].map(str::to_owned);
    ListKeysRequest { filter, order_by, page_size, page_token }
}

async fn ask(caller: &Caller, request: ListKeysRequest) -> Result<ListKeysResponse, Status> {
    caller.admin().list_keys(request).await.map(tonic::Response::into_inner)
}

fn names(keys: &[Key]) -> Vec<&str> {
    keys.iter().map(|key| key.display_name.as_str()).collect()
}

/// The names on each page.
async fn pages(caller: &Caller, filter: &str, order_by: &str, size: i32) -> Vec<Vec<String>> {
    let (mut pages, mut token) = (Vec::new(), String::new());
    loop {
        let reply = ask(caller, page(filter, order_by, size, &token)).await.unwrap();
        pages.push(reply.keys.into_iter().map(|key| key.display_name).collect());
        token = reply.next_page_token;
        if token.is_empty() {
            return pages;
        }
    }
}

/// Makes keys of `acme`, each named like its place.
async fn make(admin: &Caller, names: &[&str]) -> Vec<Key> {
    let mut made = Vec::new();
    for name in names {
        let key = Key { display_name: (*name).to_owned(), ..key("acme", "billing") };
        made.push(admin.mint(key).await.key);
    }
    made
}

on_both_databases! {
    async fn pages_hold_every_key_once_in_the_order_asked_for(db: Database) {
        let server = Server::start(db).await;
        let admin = server.as_admin().await;
        let made = make(&admin, &["a", "b", "c", "d", "e"]).await;
        let acme = "account_id = acme";
        assert_eq!(pages(&admin, acme, "", 2).await, [vec!["a", "b"], vec!["c", "d"], vec!["e"]]);
        assert_eq!(pages(&admin, acme, "create_time desc", 3).await, [vec!["e", "d", "c"], vec!["b", "a"]]);
        assert_eq!(pages(&admin, acme, "", 5).await, [["a", "b", "c", "d", "e"]]);

        admin.update(Key { description: "new".to_owned(), ..made[1].clone() }, &["description"]).await.unwrap();
        let by_update = pages(&admin, acme, "update_time", 1).await.concat();
        assert_eq!(by_update, ["a", "c", "d", "e", "b"]);

        let mut by_id = made.clone();
        by_id.sort_by(|one, other| one.key_id.cmp(&other.key_id));
        assert_eq!(pages(&admin, acme, "key_id", 2).await.concat(), names(&by_id));
        by_id.reverse();
        assert_eq!(pages(&admin, acme, "key_id desc", 2).await.concat(), names(&by_id));
    }

    async fn a_filter_chooses_the_keys(db: Database) {
        let server = Server::start(db).await;
        let admin = server.as_admin().await;
        let labels = |team: &str| [("team".to_owned(), team.to_owned()), ("a/b.c".to_owned(), String::new())].into();
        let first = admin.mint(Key {
            display_name: "first".to_owned(),
            labels: labels("ü \"x\" \\ %"),
            scopes: vec!["orders:read".to_owned(), "orders:*".to_owned()],
            expire_time: Some(in_millis(86_400_000)),
            ..key("acme", "billing")
        }).await.key;
        let second = admin.mint(Key {
            display_name: "second".to_owned(),
            environment: Environment::Test.into(),
            ..key("globex", "billing")
        }).await.key;
        let third = admin.mint(Key { display_name: "third".to_owned(), ..key("acme", "shipping") }).await.key;
        admin.disable(&second.key_id).await.unwrap();
        admin.revoke(&third.key_id).await.unwrap();
        let soon = Key { display_name: "fourth".to_owned(), expire_time: Some(in_millis(1_500)), ..key("acme", "soon") };
        let fourth = admin.mint(soon).await.key;
        crate::harness::eventually("the fourth expires", std::time::Duration::from_secs(30), async || {
            admin.get(&fourth.key_id).await.unwrap().state() == State::Expired
        })
        .await;

        let own = format!("key_id = {}", first.key_id);
        let filters: [(&str, &[&str]); 24] = [
            ("account_id = acme", &["first", "third", "fourth"]),
            ("account_id != acme AND account_id != countersign", &["second"]),
            ("application_id = \"billing\"", &["first", "second"]),
            ("environment = TEST", &["second"]),
            ("environment = ENVIRONMENT_TEST", &["second"]),
            ("state = ACTIVE AND account_id = acme", &["first"]),
            ("state = DISABLED", &["second"]),
            ("state = STATE_REVOKED", &["third"]),
            ("state = EXPIRED", &["fourth"]),
            ("state != ACTIVE", &["second", "third", "fourth"]),
            ("display_name = first", &["first"]),
            ("display_name = FIRST", &[]),
            ("scopes:\"orders:*\"", &["first"]),
            ("scopes:orders:read", &["first"]),
            ("scopes:\"orders:write\"", &[]),
            ("labels.team = \"ü \\\"x\\\" \\\\ %\"", &["first"]),
            ("labels.\"a/b.c\" = \"\"", &["first"]),
            ("labels:team", &["first"]),
            ("labels.team != none AND application_id = shipping", &["third"]),
            ("expire_time < 2100-01-01T00:00:00Z AND account_id = acme", &["first", "fourth"]),
            ("create_time > 2020-01-01T00:00:00+02:00 AND application_id = shipping", &["third"]),
            ("update_time < 2020-01-01T00:00:00Z", &[]),
            ("account_id = globex OR application_id = shipping AND state = REVOKED", &["third"]),
            ("account_id = globex OR (application_id = shipping AND state = REVOKED)", &["second", "third"]),
        ];
        for (filter, expected) in filters {
            assert_eq!(names(&admin.list(filter).await.unwrap()), expected, "{filter}");
        }
        assert_eq!(names(&admin.list(&own).await.unwrap()), ["first"]);
    }
}

#[tokio::test]
async fn a_filter_that_does_not_parse_is_answered_with_the_column() {
    let server = Server::start(Database::Sqlite).await;
    let admin = server.as_admin().await;
    let deep = format!("{}account_id = a{}", "(".repeat(21), ")".repeat(21));
    let long = format!("account_id = \"{}\"", "a".repeat(4_096));
    let many = vec!["account_id = a"; 101].join(" AND ");
    for (filter, words) in [
        ("account_id", "column 11: expected an operator"),
        ("account_id = ", "column 14: expected a value, found the end"),
        ("account_id = a b", "column 16: expected AND or OR"),
        ("acount_id = a", "column 1: unknown field \"acount_id\""),
        ("account_id > a", "column 12: operator > does not fit"),
        ("ü = a", "column 1: unknown field"),
        ("display_name = \"ü\" AND x = 1", "column 24: unknown field"),
        ("state = SLEEPING", "column 9: unknown state"),
        ("create_time > yesterday", "column 15: create_time"),
        ("account_id = 'a'", "double quotes"),
        ("account_id = \"a", "column 14: string without closing quote"),
        ("(account_id = a", "column 16: expected ')'"),
        ("account_id = a)", "column 15: ')' without '('"),
        ("NOT account_id = a", "column 1: negation is not supported"),
        ("labels = a", "column 8: operator = does not fit"),
        ("secret = a", "column 1: unknown field"),
        (&deep, "deeper than 20"),
        (&long, "longer than 4096 bytes"),
        (&many, "more than 100 comparisons"),
    ] {
        invalid(admin.list(filter).await, "filter", words);
    }
}

#[tokio::test]
async fn a_page_token_belongs_to_its_query_and_its_caller() {
    let server = Server::start(Database::Sqlite).await;
    let admin = server.as_admin().await;
    make(&admin, &["a", "b", "c", "d"]).await;
    let acme = admin.colleague("acme", &["countersign.keys:read"]).await;
    let token = ask(&admin, page("account_id = acme", "", 1, "")).await.unwrap().next_page_token;
    let wrong = "next_page_token of a reply to the same query";

    let again =
        ask(&admin, page("account_id  =  \"acme\"", "create_time", 3, &token)).await.unwrap();
    assert_eq!(
        names(&again.keys),
        ["b", "c", "d"],
        "another page size, and the same filter in other words"
    );
    for (caller, filter, order) in [
        (&admin, "", ""),
        (&admin, "account_id = globex", ""),
        (&admin, "account_id = acme", "create_time desc"),
        (&admin, "account_id = acme", "key_id"),
        (&acme, "account_id = acme", ""),
    ] {
        invalid(ask(caller, page(filter, order, 1, &token)).await, "page_token", wrong);
    }
    for at in 0..token.len() {
        let mut tampered = token.clone().into_bytes();
        tampered[at] = if tampered[at] == b'A' { b'B' } else { b'A' };
        let tampered = String::from_utf8(tampered).unwrap();
        invalid(
            ask(&admin, page("account_id = acme", "", 1, &tampered)).await,
            "page_token",
            wrong,
        );
    }
    for made_up in ["x", "AAAA", &"A".repeat(10_000), "ü", &format!("{token}A")] {
        invalid(ask(&admin, page("account_id = acme", "", 1, made_up)).await, "page_token", wrong);
    }
    let of_the_log = ListAuditEventsRequest { page_token: token, ..Default::default() };
    let events = admin.admin().list_audit_events(of_the_log).await;
    invalid(events, "page_token", wrong);
}

#[tokio::test]
async fn a_page_that_was_begun_goes_on_where_it_was() {
    let server = Server::start(Database::Sqlite).await;
    let admin = server.as_admin().await;
    let made = make(&admin, &["a", "b", "c"]).await;
    let begun = ask(&admin, page("account_id = acme", "", 2, "")).await.unwrap();
    admin.revoke(&made[1].key_id).await.unwrap();
    admin.delete(&made[1].key_id).await.unwrap();
    make(&admin, &["d"]).await;
    let rest = ask(&admin, page("account_id = acme", "", 9, &begun.next_page_token)).await.unwrap();
    assert_eq!(names(&rest.keys), ["c", "d"], "also when the last key of the page is gone");
}

#[tokio::test]
async fn a_page_is_no_longer_than_what_clients_read() {
    let server = Server::start(Database::Sqlite).await;
    let admin = server.as_admin().await;
    let labels = (0..64).map(|number| (format!("label-{number}"), "🏷".repeat(256))).collect();
    let long = Key { labels, description: "🔑".repeat(2_048), ..key("acme", "billing") };
    for _ in 0..60 {
        admin.mint(long.clone()).await;
    }
    let pages = pages(&admin, "account_id = acme", "", 1_000).await;
    assert!(pages.len() > 1, "60 of these are more than 4 MiB");
    assert_eq!(pages.concat().len(), 60);
}

#[tokio::test]
async fn sizes_and_orders_have_their_limits() {
    let server = Server::start(Database::Sqlite).await;
    let admin = server.as_admin().await;
    make(&admin, &["a"; 51]).await;
    assert_eq!(ask(&admin, page("account_id = acme", "", 0, "")).await.unwrap().keys.len(), 50);
    assert_eq!(ask(&admin, page("", "", i32::MAX, "")).await.unwrap().keys.len(), 52);
    for size in [-1, i32::MIN] {
        invalid(ask(&admin, page("", "", size, "")).await, "page_size", "must not be negative");
    }
    for order in ["name", "create_time down", "create_time desc x", "create_time,key_id"] {
        invalid(ask(&admin, page("", order, 0, "")).await, "order_by", "must be create_time");
    }
}

#[tokio::test]
async fn an_accounts_admin_lists_that_account_alone() {
    let server = Server::start(Database::Sqlite).await;
    let admin = server.as_admin().await;
    make(&admin, &["a"]).await;
    admin.mint(key("globex", "billing")).await;
    let acme = admin.colleague("acme", &["countersign.keys:read"]).await;
    for filter in ["", "account_id = globex OR account_id = acme", "account_id != nobody"] {
        let seen = acme.list(filter).await.unwrap();
        assert_eq!(seen.len(), 2, "its own key and the other of acme: {filter}");
        assert!(seen.iter().all(|key| key.account_id == "acme"), "{filter}");
    }
    assert!(acme.list("account_id = globex").await.unwrap().is_empty());
    assert!(acme.list("account_id = countersign").await.unwrap().is_empty());
    let customer = admin.colleague("acme", &["*"]).await;
    denied(customer.list("").await, "needs the scope countersign.keys:read");
}
