//! Routes and settings that are wrong: the server says so, and does not start.

use std::fs;

use crate::harness::{Database, Server, run, tools};

async fn refused(file: &str, args: &[&str]) -> String {
    let path = run::new_data_dir(&run::unique_name()).join("settings.toml");
    fs::write(&path, file).expect("the run folder takes files");
    let builder = Server::on(Database::Sqlite).await;
    let path = path.to_str().expect("a path in UTF-8");
    let program = builder.with_args(["--config", path]).with_args(args.iter().copied()).program();
    program.run().failed().stderr
}

#[tokio::test]
async fn routes_that_overlap_are_named_with_both_lines() {
    let file = "log = \"info\"\n\n\
                [[gateway.routes]]\nmethods = [\"GET\", \"HEAD\"]\npath = \"/v1/{id}\"\nscopes = []\n\n\
                [[gateway.routes]]\nmethods = [\"GET\"]\npath = \"/v1/transactions\"\nscopes = [\"a:read\"]\n";
    let says = refused(file, &[]).await;
    let wanted =
        "the routes of line 3 (GET,HEAD /v1/{id}) and of line 8 (GET /v1/transactions) overlap";
    assert!(says.contains(wanted), "{says}");
}

#[tokio::test]
async fn what_is_wrong_with_a_route_is_said_with_its_line() {
    let route = |more: &str| format!("# routes\n[[gateway.routes]]\npath = \"/a\"\n{more}\n");
    for (file, wanted) in [
        (route("scopes = [\"a:*\"]"), "line 2: scopes: 'a:*': a required scope must hold no '*'"),
        (
            route("scopes = []\naccount = \"{account}\""),
            "line 2: account: the path has no {account}",
        ),
        (route("scopes = []\nscope = \"a\""), "line 5: scope: is no setting"),
        (route("scopes = []\nmethods = []"), "methods: must name some; leave it out for all"),
        (route(""), "missing field `scopes`"),
    ] {
        let says = refused(&file, &[]).await;
        assert!(says.contains(wanted), "{says}");
    }
}

#[tokio::test]
async fn a_header_that_cannot_hold_a_credential_is_refused() {
    let says = refused("", &["--gateway-key-header", "x-countersign-key-id"]).await;
    assert!(
        says.contains("gateway-key-header must be the name of a header that is free"),
        "{says}"
    );
    let says = refused("", &["--gateway-secret-header", "authorization"]).await;
    assert!(says.contains("are both authorization"), "{says}");
    let says = refused("", &["--gateway-max-connections", "0"]).await;
    assert!(says.contains("gateway-max-connections must be at least 1"), "{says}");
}

#[test]
fn check_config_prints_each_route() {
    let folder = run::new_data_dir(&run::unique_name());
    let file = "[[gateway.routes]]\nmethods = [\"GET\", \"HEAD\"]\npath = \"/v1/{id}/a\"\n\
                scopes = [\"a:read\", \"b\"]\naccount = \"{id}\"\nenvironment = \"test\"\n\n\
                [[gateway.routes]]\npath = \"/health\"\nscopes = []\napplication = \"probe\"\n";
    fs::write(folder.join("settings.toml"), file).expect("the run folder takes files");
    let checked = tools::countersign().args(["check-config", "--config", "settings.toml"]);
    let said = checked.in_dir(folder).run().succeeded().stdout;
    for line in [
        "gateway.routes = 2 entries",
        "gateway.route = line 1: GET,HEAD /v1/{id}/a, scopes [a:read, b], account {id}, environment test",
        "gateway.route = line 8: any method /health, scopes [], application probe, environment live",
    ] {
        assert!(said.lines().any(|own| own == line), "{line} is not in\n{said}");
    }
}

#[test]
fn check_config_reads_the_examples() {
    for (example, listen) in [("envoy", "off"), ("nginx", "127.0.0.1:8081")] {
        let file = tools::in_repository(&format!("examples/{example}/countersign.toml"));
        let checked = tools::countersign().args(["check-config", "--config"]).arg(file);
        let said = checked.in_dir(run::new_data_dir(&run::unique_name())).run().succeeded().stdout;
        for line in ["gateway.routes = 3 entries", &format!("gateway-listen = {listen}")] {
            assert!(said.lines().any(|own| own == line), "{example}: {line} is not in\n{said}");
        }
    }
}
