//! `KeyAdmin.ListAuditEvents`

use countersign::rpc::proto::actor::Who;
use countersign::rpc::proto::{AuditEvent, Key, ListAuditEventsRequest, ListAuditEventsResponse};
use tonic::{Request, Status};

use super::refusal::{denied, invalid};
use super::verbs::ALL_RESERVED;
use crate::harness::{Caller, Database, Server, key};
use crate::on_both_databases;

async fn page(
    caller: &Caller,
    filter: &str,
    page_size: i32,
    page_token: &str,
) -> Result<ListAuditEventsResponse, Status> {
    let [filter, page_token] = [filter, page_token].map(str::to_owned);
    let request = ListAuditEventsRequest { filter, page_size, page_token };
    caller.admin().list_audit_events(request).await.map(tonic::Response::into_inner)
}

fn revisions(events: &[AuditEvent]) -> Vec<i64> {
    events.iter().map(|event| event.revision).collect()
}

on_both_databases! {
    async fn the_log_is_read_page_by_page(db: Database) {
        let server = Server::start(db).await;
        let admin = server.as_admin().await;
        for _ in 0..6 {
            admin.mint(key("acme", "billing")).await;
        }
        let (mut seen, mut token) = (Vec::new(), String::new());
        loop {
            let reply = page(&admin, "", 3, &token).await.unwrap();
            assert!((1..=3).contains(&reply.events.len()));
            seen.extend(reply.events);
            token = reply.next_page_token;
            if token.is_empty() {
                break;
            }
        }
        assert_eq!(revisions(&seen), [1, 2, 3, 4, 5, 6, 7], "from 1, without gaps, oldest first");
        let seconds = |event: &AuditEvent| event.time.map(|time| (time.seconds, time.nanos));
        assert!(seen.windows(2).all(|two| seconds(&two[0]) <= seconds(&two[1])));
        assert_eq!(seen[0].actor.as_ref().unwrap().who, Some(Who::Identity("bootstrap".to_owned())));
        assert!(seen.iter().all(|event| event.leaf_hash.len() == 32 && !event.key_seal.is_empty()));
    }

    async fn a_filter_chooses_the_events(db: Database) {
        let server = Server::start(db).await;
        let admin = server.as_admin().await;
        let other = admin.colleague("countersign", &ALL_RESERVED).await; // 2
        let first = admin.mint(key("acme", "billing")).await.key.key_id; // 3
        let second = admin.create(key("globex", "billing"), "job-1").await.unwrap(); // 4
        other.disable(&first).await.unwrap(); // 5
        other.revoke(&first).await.unwrap(); // 6
        admin.delete(&first).await.unwrap(); // 7
        let second = second.key.unwrap().key_id;
        let by_admin = format!("actor = {}", server.admin().key_id);
        let of_first = format!("key_id = {first} AND revision > 3");
        let of_both = format!("key_id = {first} OR key_id = {second}");
        let filters: [(&str, &[i64]); 12] = [
            ("", &[1, 2, 3, 4, 5, 6, 7]),
            (&by_admin, &[2, 3, 4, 7]),
            (&of_first, &[5, 6, 7]),
            (&of_both, &[3, 4, 5, 6, 7]),
            ("actor = bootstrap", &[1]),
            ("account_id = acme", &[3, 5, 6, 7]),
            ("application_id = billing AND type = TYPE_KEY_CREATED", &[3, 4]),
            ("type = KEY_REVOKED OR type = KEY_DELETED", &[6, 7]),
            ("request_id = \"job-1\"", &[4]),
            ("revision >= 2 AND revision < 4", &[2, 3]),
            ("revision > 99999999999999999999", &[]),
            ("time < 2020-01-01T00:00:00Z", &[]),
        ];
        for (filter, expected) in filters {
            match admin.events(filter).await {
                Ok(events) => assert_eq!(revisions(&events), expected, "{filter}"),
                Err(status) => assert!(filter.contains("9999") && status.message().contains("column 12"), "{status}"),
            }
        }
        let all = page(&admin, "time > 2020-01-01T00:00:00Z AND revision != 3", 2, "").await.unwrap();
        assert_eq!(revisions(&all.events), [1, 2]);
        let rest = page(&admin, "time > 2020-01-01T00:00:00Z AND revision != 3", 9, &all.next_page_token).await;
        assert_eq!(revisions(&rest.unwrap().events), [4, 5, 6, 7]);
    }
}

#[tokio::test]
async fn an_event_says_who_did_it_and_from_where() {
    let server = Server::start(Database::Sqlite).await;
    let admin = server.as_admin().await;
    let key = admin.mint(key("acme", "billing")).await.key;
    let renamed = Key { display_name: "new".to_owned(), ..key.clone() };
    let mut request = Request::new(countersign::rpc::proto::UpdateKeyRequest {
        key: Some(renamed),
        update_mask: super::verbs::mask(&["display_name"]),
        ..Default::default()
    });
    let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    request.metadata_mut().insert("traceparent", parent.parse().unwrap());
    admin.admin().update_key(request).await.unwrap();

    let events = admin.events("type = KEY_UPDATED").await.unwrap();
    let [event] = &events[..] else { panic!("one event: {events:?}") };
    let actor = event.actor.as_ref().unwrap();
    assert_eq!(actor.who, Some(Who::KeyId(server.admin().key_id)));
    assert_eq!(actor.address, "127.0.0.1");
    assert!(actor.user_agent.contains("tonic"), "{}", actor.user_agent);
    assert_eq!(event.trace_id, "4bf92f3577b34da6a3ce929d0e0e4736");
}

#[tokio::test]
async fn bad_input_is_named() {
    let server = Server::start(Database::Sqlite).await;
    let admin = server.as_admin().await;
    admin.mint(key("acme", "billing")).await;
    for (filter, words) in [
        ("revision = one", "column 12: revision must be a whole number"),
        ("revision = -1", "column 12: revision must be a whole number"),
        ("state = ACTIVE", "column 1: unknown field \"state\""),
        ("type = KEY_EATEN", "column 8: unknown type"),
        ("type:KEY_CREATED", "column 5: operator : does not fit"),
        ("revision = 1 revision = 2", "column 14: expected AND or OR"),
    ] {
        invalid(admin.events(filter).await, "filter", words);
    }
    invalid(page(&admin, "", -1, "").await, "page_size", "must not be negative");
    let token = page(&admin, "", 1, "").await.unwrap().next_page_token;
    let acme = admin.colleague("acme", &["countersign.audit:read"]).await;
    let reversed: String = token.chars().rev().collect();
    for (caller, filter, token) in
        [(&admin, "account_id = acme", &token), (&acme, "", &token), (&admin, "", &reversed)]
    {
        invalid(page(caller, filter, 1, token).await, "page_token", "of a reply to the same query");
    }
}

#[tokio::test]
async fn an_accounts_auditor_reads_of_that_account_alone() {
    let server = Server::start(Database::Sqlite).await;
    let admin = server.as_admin().await;
    admin.mint(key("globex", "billing")).await;
    let acme = admin.colleague("acme", &["countersign.audit:read"]).await;
    for filter in ["", "account_id = globex OR account_id = acme", "revision > 0"] {
        let seen = acme.events(filter).await.unwrap();
        assert_eq!(seen.len(), 1, "the creation of its own key: {filter}");
        assert_eq!(seen[0].account_id, "acme");
    }
    assert!(acme.events("account_id = globex").await.unwrap().is_empty());
    let reader = admin.colleague("acme", &["countersign.keys:read", "*"]).await;
    denied(reader.events("").await, "needs the scope countersign.audit:read");
}

#[tokio::test]
async fn a_page_is_no_longer_than_what_clients_read() {
    let server = Server::start(Database::Sqlite).await;
    let admin = server.as_admin().await;
    let mut long = admin.mint(key("acme", "billing")).await.key;
    for letter in ["🏷", "🔑"].iter().cycle().take(60) {
        long.labels = (0..64).map(|number| (format!("l{number}"), letter.repeat(256))).collect();
        long = admin.update(long, &["labels"]).await.unwrap();
    }
    let first = page(&admin, "", 1_000, "").await.unwrap();
    assert!(!first.next_page_token.is_empty(), "60 of these are more than 4 MiB");
    let count = first.events.len();
    let second = page(&admin, "", 1_000, &first.next_page_token).await.unwrap();
    assert_eq!(second.events[0].revision, revisions(&first.events)[count - 1] + 1);
}

#[tokio::test]
async fn no_event_holds_a_secret() {
    let server = Server::start(Database::Sqlite).await;
    let admin = server.as_admin().await;
    let minted = admin.mint(key("acme", "billing")).await;
    let rotated = admin.rotate(&minted.key.key_id, 60).await.unwrap();
    let text = format!("{:?}", admin.events("").await.unwrap());
    for secret in [minted.credential.secret, rotated.secret, server.admin().secret] {
        assert!(!text.contains(&secret));
    }
}
