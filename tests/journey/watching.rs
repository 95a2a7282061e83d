//! A second terminal watches the log live.

use serde_json::{Value, json};

use super::billing;
use super::person::Person;
use crate::harness::Server;
use crate::on_both_databases;

/// What happened to whom.
fn told(event: &Value) -> (String, String) {
    let text = |field: &str| event[field].as_str().unwrap_or_default().to_owned();
    (text("type"), text("keyId"))
}

on_both_databases! {
    async fn a_second_terminal_sees_each_event_as_it_happens(db: Database) {
        let server = Server::start(db).await;
        let admin = Person::admin_of(&server);
        let second_terminal = admin.watches(&json!({}));
        second_terminal.is_live();

        let id = admin.creates(&billing()).key_id;
        assert_eq!(told(&second_terminal.next_event()), ("TYPE_KEY_CREATED".into(), id.clone()));
        admin.call("KeyAdmin/DisableKey", &json!({"keyId": id}));
        assert_eq!(told(&second_terminal.next_event()), ("TYPE_KEY_DISABLED".into(), id.clone()));
        // Repeating it changes nothing, so nothing is told: the next event is the next change.
        admin.call("KeyAdmin/DisableKey", &json!({"keyId": id}));
        admin.call("KeyAdmin/EnableKey", &json!({"keyId": id}));
        assert_eq!(told(&second_terminal.next_event()), ("TYPE_KEY_ENABLED".into(), id));
    }

    async fn a_watch_from_the_beginning_replays_the_log_and_goes_on(db: Database) {
        let server = Server::start(db).await;
        let admin = Person::admin_of(&server);
        for _ in 0..3 {
            admin.creates(&billing());
        }
        let watching = admin.watches(&json!({"afterRevision": 0}));
        let mut seen: Vec<Value> = (0..4).map(|_| watching.next_event()).collect();
        watching.is_live();
        admin.creates(&billing());
        seen.push(watching.next_event());
        assert_eq!(seen, admin.reads_the_log(), "each event once, in order, as the log has it");
    }

    async fn a_filtered_watch_tells_only_what_was_asked_for(db: Database) {
        let server = Server::start(db).await;
        let admin = Person::admin_of(&server);
        let watching = admin.watches(&json!({"filter": "account_id = \"globex\""}));
        watching.is_live();
        admin.creates(&billing());
        let mut of_globex = billing();
        of_globex["accountId"] = json!("globex");
        let wanted = admin.creates(&of_globex).key_id;
        assert_eq!(told(&watching.next_event()), ("TYPE_KEY_CREATED".into(), wanted));
    }

    async fn the_secret_of_a_watcher_is_no_argument(db: Database) {
        let server = Server::start(db).await;
        let watching = Person::admin_of(&server).watches(&json!({}));
        watching.is_live();
        let arguments = std::fs::read(format!("/proc/{}/cmdline", watching.pid())).expect("it runs");
        let arguments = String::from_utf8_lossy(&arguments);
        assert!(arguments.contains("x-secret-key"), "these are not grpcurl's arguments");
        assert!(!arguments.contains("css_"), "`ps` shows the secret");
    }
}
