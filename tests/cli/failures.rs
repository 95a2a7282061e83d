//! What goes wrong is said in one line, with exit code 2.

use super::{Terminal, one_line_of_failure};
use crate::harness::{Credential, Database, Server, tools};

#[tokio::test]
async fn an_unreachable_server_is_named() {
    let server = Server::start(Database::Sqlite).await;
    let admin = Terminal::of_admin(&server);
    for words in [["keys", "list"], ["audit", "list"]] {
        let [group, list] = words;
        let said = admin.fails([group, list, "--endpoint", "http://127.0.0.1:1"]);
        assert!(said.starts_with("UNAVAILABLE: no server answers at http://127.0.0.1:1"), "{said}");
    }
    for (endpoint, why) in [
        ("https://127.0.0.1:1", "https is not supported yet"),
        ("127.0.0.1:50051", "must be a URL such as http://127.0.0.1:50051"),
        ("http://user:sekret@127.0.0.1:1", "must have no user and no password"),
        ("http://", "must be a URL such as http://127.0.0.1:50051"),
    ] {
        let said = admin.fails(["keys", "list", "--endpoint", endpoint]);
        assert!(said.contains(why), "{endpoint:?}: {said}");
    }
}

fn none_at(server: &Server) -> Terminal {
    Terminal::without_credential(server)
}

#[tokio::test]
async fn a_credential_that_does_not_serve_is_said_to_be_one() {
    let server = Server::start(Database::Sqlite).await;
    let admin = Terminal::of_admin(&server);
    let customer = admin.creates();
    let wrong = Credential { secret: customer.secret.clone(), ..server.admin() };

    let none = none_at(&server).fails(["keys", "list"]);
    let wanted = "no credential: looked for countersign-data/admin.env; use --credential-file, or \
                  COUNTERSIGN_KEY_ID and COUNTERSIGN_SECRET";
    assert_eq!(none, wanted);
    let nobody = Terminal { endpoint: "http://127.0.0.1:1".to_owned(), ..none_at(&server) };
    for words in [&["replicas"][..], &["audit", "list"], &["audit", "tail"], &["keys", "get", "x"]]
    {
        let said = one_line_of_failure(&nobody.command(words.iter().copied()).run());
        assert_eq!(said, wanted, "before any call: {words:?}");
    }
    let refused = admin.with(wrong).fails(["keys", "list"]);
    assert_eq!(refused, "UNAUTHENTICATED: the credential was refused");
    let stranger = admin.with(customer.clone()).fails(["keys", "list"]);
    assert_eq!(stranger, "PERMISSION_DENIED: needs the scope countersign.keys:read");
    let half = Terminal::without_credential(&server);
    let half = half.command(["keys", "list"]).env("COUNTERSIGN_KEY_ID", &customer.key_id).run();
    let half = super::one_line_of_failure(&half);
    assert!(half.starts_with("the variable COUNTERSIGN_SECRET is not set"), "{half}");
}

#[tokio::test]
async fn one_bad_field_is_said_once() {
    let server = Server::start(Database::Sqlite).await;
    let said = Terminal::of_admin(&server).fails(["keys", "list", "--order-by", "beauty"]);
    assert!(said.starts_with("INVALID_ARGUMENT: invalid request: order_by: "), "{said}");
}

#[tokio::test]
async fn several_bad_fields_are_each_on_a_line() {
    let server = Server::start(Database::Sqlite).await;
    let create = [
        "keys",
        "create",
        "--account",
        "a b",
        "--application",
        "x",
        "--name",
        "n",
        "--scope",
        "NO",
    ];
    let output = Terminal::of_admin(&server).command(create).run();
    assert_eq!(output.status.code(), Some(2));
    let lines: Vec<&str> = output.stderr.lines().collect();
    assert!(lines[0].starts_with("countersign: INVALID_ARGUMENT: "), "{lines:?}");
    assert!(
        lines[1].starts_with("  key.account_id: ") && lines[2].starts_with("  key.scopes[0]: ")
    );
    assert_eq!(lines.len(), 3, "{lines:?}");
}

/// What a command says that comes to no call.
#[track_caller]
fn said_by_somebody(words: &[&str]) -> String {
    let program = tools::countersign().args(words.iter().copied());
    let program = program.env("COUNTERSIGN_KEY_ID", "csk").env("COUNTERSIGN_SECRET", "x");
    one_line_of_failure(&program.run())
}

#[test]
fn wrong_usage_is_one_line() {
    let said = |words: &[&str]| {
        super::one_line_of_failure(&tools::countersign().args(words.iter().copied()).run())
    };
    assert!(said(&["nosuch"]).contains("'nosuch'"));
    assert!(said(&["serve", "--lissten", "x"]).contains("'--lissten'"));
    assert!(said(&["keys", "get"]).contains("<KEY_ID>"));
    assert!(said(&["keys", "rotate", "id"]).contains("--overlap"));
    assert!(said(&["keys", "rotate", "id", "--overlap", "soon"]).contains("such as 90s, 24h, 30d"));
    assert!(said(&["keys", "revoke", "id", "--reason", "bored"]).contains("owner-left"));
    assert!(said_by_somebody(&["keys", "update", "id"]).contains("nothing to change"));
    assert!(said(&["keys", "list", "--page-size", "0"]).contains("--page-size"));
    let create = ["keys", "create", "--account", "a", "--application", "b", "--name", "n"];
    let twice = [&create[..], &["--label", "a=1", "--label", "a=2"]].concat();
    assert_eq!(said_by_somebody(&twice), "--label a is given twice");
}

#[test]
fn help_is_no_failure() {
    let help = tools::countersign().args(["--help"]).run().succeeded();
    assert!(help.stdout.contains("Exit codes: 0 done"), "{}", help.stdout);
    for words in [["keys", "--help"], ["serve", "--help"], ["audit", "--help"]] {
        assert_eq!(tools::countersign().args(words).run().succeeded().stderr, "");
    }
    let version = tools::countersign().args(["--version"]).run().succeeded().stdout;
    assert_eq!(version, format!("countersign {}\n", env!("CARGO_PKG_VERSION")));
}
