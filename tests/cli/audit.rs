//! `countersign audit …`

use std::time::Duration;

use sea_orm::ConnectionTrait as _;
use serde_json::{Value, json};

use super::{Terminal, without_defaults};
use crate::harness::{Credential, Database, Server, run};
use crate::journey::person::Person;
use crate::on_both_databases;

const PATIENCE: Duration = Duration::from_secs(60);

fn words(line: &str) -> Vec<&str> {
    line.split_whitespace().collect()
}

on_both_databases! {
    async fn the_log_is_listed_as_a_table_and_as_grpcurl_has_it(db: Database) {
        let server = Server::start(db).await;
        let (terminal, person) = (Terminal::of_admin(&server), Person::admin_of(&server));
        let id = terminal.creates().key_id;
        terminal.says(["keys", "disable", &id, "--comment", "an incident"]);

        let listed = terminal.says(["audit", "list", "--page-size", "2"]);
        let rows: Vec<Vec<&str>> = listed.lines().map(words).collect();
        assert_eq!(rows[0].join(" "), "REVISION TIME TYPE KEY ID ACCOUNT ACTOR CHANGED");
        assert_eq!(rows.len(), 4, "one line an event");
        assert_eq!((rows[1][0], rows[1][2], rows[1][5]), ("1", "KEY_CREATED", "bootstrap"));
        let (who, last) = (server.admin().key_id, &rows[3]);
        assert_eq!((last[0], last[2], last[3], last[4], last[5], last[6]),
                   ("3", "KEY_DISABLED", id.as_str(), "acme", who.as_str(), "state"));

        let in_json = terminal.says_lines_of_json(["audit", "list", "--page-size", "2"]);
        let in_json: Vec<Value> = in_json.iter().map(without_defaults).collect();
        let by_grpcurl: Vec<Value> = person.reads_the_log().iter().map(without_defaults).collect();
        assert_eq!(in_json, by_grpcurl);
        let disabled = ["audit", "list", "--filter", "type = TYPE_KEY_DISABLED"];
        assert_eq!(terminal.says_lines_of_json(disabled)[0]["comment"], "an incident");
        let limited = terminal.says_lines_of_json(["audit", "list", "--limit", "2"]);
        assert_eq!(limited.len(), 2);
    }

    async fn a_tail_prints_events_as_they_happen(db: Database) {
        let server = Server::start(db).await;
        let (terminal, person) = (Terminal::of_admin(&server), Person::admin_of(&server));
        let (_, log) = run::log_file(&run::unique_name());
        let tail = terminal.command(["audit", "tail", "--after-revision", "0"]).start(log);
        let first = tail.next_line(PATIENCE).expect("the first event");
        assert_eq!((words(&first)[0], words(&first)[2]), ("1", "KEY_CREATED"));
        let id = terminal.creates().key_id;
        let live = tail.next_line(PATIENCE).expect("the second event");
        assert_eq!((words(&live)[0], words(&live)[3]), ("2", id.as_str()));

        // From a cursor, with a filter, in JSON.
        let cursor = person.reads_the_log()[0]["cursor"].as_str().expect("a cursor").to_owned();
        let (_, log) = run::log_file(&run::unique_name());
        let only = "type = TYPE_KEY_REVOKED";
        let words = ["audit", "tail", "--cursor", &cursor, "--filter", only, "--json"];
        let tail = terminal.command(words).start(log);
        terminal.says(["keys", "revoke", &id, "--reason", "abuse"]);
        let event: Value = serde_json::from_str(&tail.next_line(PATIENCE).expect("the event"))
            .expect("a line is JSON");
        assert_eq!((&event["revision"], &event["revokeReason"]),
                   (&json!("3"), &json!("REVOKE_REASON_ABUSE")));
    }
}

on_both_databases! {
    async fn the_log_is_checked_without_a_server(db: Database) {
        let mut server = Server::start(db).await;
        let id = Terminal::of_admin(&server).creates().key_id;
        let store = server.store().clone();
        let well = store.command(["audit", "check"]).run().succeeded().stdout;
        let lines: Vec<Vec<&str>> = well.lines().map(words).collect();
        assert_eq!(lines.len(), 3, "{well}");
        assert_eq!((lines[0][..].to_vec(), lines[2][..].to_vec()), (vec!["events", "2"], vec!["faults", "0"]));
        assert_eq!((lines[1][0], lines[1][1], lines[1][2].len()), ("root", "hash", 64));
        server.sigterm();

        let around = match &store.url {
            Some(url) => url.clone(),
            None => format!("sqlite://{}", store.data_dir.join("countersign.db").display()),
        };
        let around = sea_orm::Database::connect(around).await.expect("connects");
        let change = format!("UPDATE keys SET description = 'x', revision = 1 WHERE key_id = '{id}'");
        around.execute_unprepared(&change).await.expect("changes a row");
        around.close().await.expect("closes");
        let found = store.command(["audit", "check"]).run();
        assert_eq!((found.status.code(), found.stderr.as_str()), (Some(1), ""), "{}", found.stdout);
        assert!(found.stdout.contains("faults     1\n") && found.stdout.contains(&id), "{}", found.stdout);

        // A server that is started on it says so by itself.
        let server = Server::on_store(store).start().await;
        crate::harness::eventually("the alarm", PATIENCE, async || {
            server.log().lines().any(|line| {
                line.contains("ALARM: the log or a key was changed from outside") && line.contains(&id)
            })
        })
        .await;
    }
}

#[tokio::test]
async fn a_tail_ends_at_once_when_repeating_would_not_help() {
    let server = Server::start(Database::Sqlite).await;
    let admin = Terminal::of_admin(&server);
    let ahead = admin.fails(["audit", "tail", "--after-revision", "99"]);
    assert!(ahead.starts_with("OUT_OF_RANGE: "), "{ahead}");
    let filter = admin.command(["audit", "tail", "--filter", "colour = red"]).run().failed();
    assert!(filter.stderr.starts_with("countersign: INVALID_ARGUMENT: "), "{}", filter.stderr);
    let wrong = Credential { secret: admin.creates().secret, ..server.admin() };
    let nobody = admin.with(wrong).fails(["audit", "tail"]);
    assert!(nobody.starts_with("UNAUTHENTICATED: "), "{nobody}");
}
