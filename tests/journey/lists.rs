//! Keys and events, page by page and with filters.

use serde_json::{Value, json};

use super::billing;
use super::person::Person;
use crate::harness::Server;
use crate::on_both_databases;

fn ids(keys: &[Value]) -> Vec<&str> {
    keys.iter().filter_map(|key| key["keyId"].as_str()).collect()
}

/// A key of that account with that label.
fn key(account: &str, team: &str) -> Value {
    let mut key = billing();
    key["accountId"] = json!(account);
    key["labels"] = json!({ "team": team });
    key
}

on_both_databases! {
    async fn pages_hold_every_key_once(db: Database) {
        let server = Server::start(db).await;
        let admin = Person::admin_of(&server);
        let created: Vec<String> =
            (0..5).map(|_| admin.creates(&key("acme", "blue")).key_id).collect();

        let request = json!({"filter": "account_id = \"acme\"", "pageSize": 2});
        let pages = admin.pages("KeyAdmin/ListKeys", "keys", &request);
        assert_eq!(pages.iter().map(Vec::len).collect::<Vec<_>>(), [2, 2, 1]);
        assert_eq!(ids(&pages.concat()), created, "oldest first");

        let newest_first = json!({"filter": "account_id = \"acme\"", "orderBy": "create_time desc"});
        let pages = admin.pages("KeyAdmin/ListKeys", "keys", &newest_first);
        let reversed: Vec<String> = created.into_iter().rev().collect();
        assert_eq!(ids(&pages.concat()), reversed);
    }

    async fn filters_find_what_they_name(db: Database) {
        let server = Server::start(db).await;
        let admin = Person::admin_of(&server);
        let blue = admin.creates(&key("acme", "blue")).key_id;
        let green = admin.creates(&key("acme", "green")).key_id;
        let foreign = admin.creates(&key("globex", "blue")).key_id;
        admin.call("KeyAdmin/DisableKey", &json!({"keyId": green}));

        let found = |filter: &str| {
            let pages = admin.pages("KeyAdmin/ListKeys", "keys", &json!({ "filter": filter }));
            ids(&pages.concat()).into_iter().map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(found("account_id = \"acme\""), [blue.as_str(), &green]);
        assert_eq!(found("labels.team = \"blue\""), [blue.as_str(), &foreign]);
        assert_eq!(found("state = DISABLED"), [green.as_str()]);
        assert_eq!(found("account_id = \"acme\" AND state = ACTIVE"), [blue.as_str()]);
        assert_eq!(found("scopes:\"invoices:*\" AND (account_id = \"globex\" OR state = DISABLED)"),
                   [green.as_str(), &foreign]);
        assert!(found("create_time < 2020-01-01T00:00:00Z").is_empty());
    }

    async fn a_filter_that_does_not_parse_names_the_column(db: Database) {
        let server = Server::start(db).await;
        let admin = Person::admin_of(&server);
        let request = json!({"filter": "account_id = \"acme\" AND colour = red"});
        let complaint = admin.is_refused("KeyAdmin/ListKeys", &request);
        assert!(complaint.contains("Code: InvalidArgument"), "{complaint}");
        assert!(complaint.contains("column 25"), "{complaint}");
    }

    async fn the_log_says_who_did_what_from_where(db: Database) {
        let server = Server::start(db).await;
        let admin = Person::admin_of(&server);
        let key = admin.creates(&billing());
        let revoke = json!({"keyId": key.key_id, "reason": "REVOKE_REASON_UNUSED", "comment": "tidying"});
        admin.call("KeyAdmin/RevokeKey", &revoke);

        let log = admin.reads_the_log();
        let revisions: Vec<String> = (1..=3).map(|revision: u32| revision.to_string()).collect();
        let numbered = log.iter().filter_map(|event| event["revision"].as_str());
        assert_eq!(numbered.collect::<Vec<_>>(), revisions, "numbered from 1 without gaps");
        let last = &log[2];
        assert_eq!(last["type"], "TYPE_KEY_REVOKED");
        assert_eq!(last["actor"]["keyId"], server.admin().key_id);
        assert_eq!(last["actor"]["address"], "127.0.0.1");
        assert!(last["actor"]["userAgent"].as_str().expect("said").starts_with("grpcurl/"), "{last}");
        assert_eq!((&last["revokeReason"], &last["comment"]),
                   (&json!("REVOKE_REASON_UNUSED"), &json!("tidying")));
        let change = json!({"field": "state", "before": "STATE_ACTIVE", "after": "STATE_REVOKED"});
        assert!(last["changes"].as_array().expect("changes").contains(&change), "{last}");
        assert_eq!(log[0]["actor"], json!({"identity": "bootstrap"}));

        let only = json!({"filter": "type = TYPE_KEY_REVOKED AND account_id = \"acme\""});
        let found = admin.call("KeyAdmin/ListAuditEvents", &only);
        assert_eq!(found["events"].as_array().map(Vec::as_slice), Some(&log[2..]));
    }
}
