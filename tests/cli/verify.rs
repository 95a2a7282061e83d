//! `countersign verify`: the answer is on standard output, and in the exit code.

use super::{Terminal, one_line_of_failure};
use crate::harness::{Credential, Database, Server};
use crate::on_both_databases;

on_both_databases! {
    async fn yes_is_0_no_is_1_and_an_error_is_2(db: Database) {
        let server = Server::start(db).await;
        let admin = Terminal::of_admin(&server);
        let key = admin.creates();
        // Verify is open on loopback: a service needs no credential of its own to ask.
        let service = Terminal::without_credential(&server);
        let asks = |more: &[&'static str]| {
            let words = ["verify", "--key-id", &key.key_id].into_iter().chain(more.iter().copied());
            service.command(words).env("COUNTERSIGN_VERIFY_SECRET", &key.secret).run()
        };

        let yes = asks(&["--scope", "a:read", "--account", "acme", "--application", "billing"]);
        assert_eq!((yes.status.code(), yes.stdout.lines().next()), (Some(0), Some("allowed")));
        let no = asks(&["--scope", "a:write"]);
        assert_eq!((no.status.code(), no.stdout.lines().next()), (Some(1), Some("denied: SCOPE_MISSING")));
        assert!(no.stdout.contains("missing scopes  a:write"), "{}", no.stdout);
        assert_eq!(no.stderr, "", "a denial is no error");
        let wrong = asks(&["--environment", "test"]);
        assert_eq!(wrong.stdout.lines().next(), Some("denied: ENVIRONMENT_MISMATCH"));
        let error = asks(&["--client-ip", "nowhere"]);
        assert_eq!((error.status.code(), error.stdout.as_str()), (Some(2), ""));
        assert!(error.stderr.starts_with("countersign: INVALID_ARGUMENT: "), "{}", error.stderr);

        let explained = asks(&["--client-ip", "192.0.2.1", "--scope", "a:write", "--explain"]).stdout;
        assert!(explained.contains("passed  IP_NOT_ALLOWED\nFAILED  SCOPE_MISSING\n"), "{explained}");
    }
}

#[tokio::test]
async fn a_secret_comes_by_variable_or_by_standard_input() {
    let server = Server::start(Database::Sqlite).await;
    let admin = Terminal::of_admin(&server);
    let key = admin.creates();
    let id = key.key_id.as_str();

    let piped = admin.command(["verify", "--key-id", id, "--secret-stdin"]);
    piped.stdin(format!("{}\n", key.secret)).run().succeeded();
    let token = admin.command(["verify", "--token-stdin"]).stdin(key.token()).run().succeeded();
    assert!(token.stdout.starts_with("allowed\n"), "{}", token.stdout);
    let missing = one_line_of_failure(&admin.command(["verify", "--key-id", id]).run());
    assert!(missing.contains("set COUNTERSIGN_VERIFY_SECRET"), "{missing}");
    let empty = admin.command(["verify", "--key-id", id, "--secret-stdin"]).run();
    assert_eq!((empty.status.code(), empty.stdout.as_str()), (Some(1), "denied: MISSING\n"));
}

#[tokio::test]
async fn json_says_false_in_words() {
    let server = Server::start(Database::Sqlite).await;
    let admin = Terminal::of_admin(&server);
    let key = admin.creates();
    let other = Credential { secret: admin.creates().secret, ..key.clone() };
    let asks = |credential: &Credential| {
        let words = ["verify", "--key-id", &credential.key_id, "--json"];
        admin.command(words).env("COUNTERSIGN_VERIFY_SECRET", &credential.secret).run()
    };
    let (yes, no) = (asks(&key), asks(&other));
    assert_eq!((yes.status.code(), no.status.code()), (Some(0), Some(1)));
    assert_eq!(yes.json()["key"]["accountId"], "acme");
    assert_eq!(no.json()["allowed"], false);
    assert_eq!(no.json()["denialReason"], "DENIAL_REASON_INVALID_CREDENTIAL");
    assert!(no.json()["key"].is_null(), "something is said before the secret is proven");
}
