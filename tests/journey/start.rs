//! The first minute: `serve` in an empty folder, and the line that it prints.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use serde_json::json;

use super::person::{secret_of, shell};
use crate::harness::{Credential, Running, canary, run, tools};

const START_LIMIT: Duration = Duration::from_secs(60);

/// `countersign serve` as a newcomer starts it, and all that it prints until it is ready.
fn serve_in(folder: &Path) -> (Running, Vec<String>) {
    let (_, log) = run::log_file(&run::unique_name());
    let server = tools::countersign()
        .in_dir(folder)
        .args(["serve", "--listen", "127.0.0.1:0", "--http-listen", "127.0.0.1:0"])
        .start(log);
    let mut printed = Vec::new();
    while printed.last().is_none_or(|line| line != "ready") {
        printed.push(server.next_line(START_LIMIT).expect("it starts"));
    }
    let data = folder.join("countersign-data");
    canary::record_root_key_file(&data.join("root-key"));
    canary::record_secret(&Credential::from_admin_env(&data.join("admin.env")).secret);
    (server, printed)
}

#[test]
fn the_line_that_serve_prints_can_be_pasted() {
    let folder = run::new_data_dir(&run::unique_name());
    let (_server, printed) = serve_in(&folder);
    let line = printed.iter().find(|line| line.contains("grpcurl")).expect("it prints a line");

    let reply = shell(&folder, line.trim()).run().succeeded().json();
    secret_of(&reply);
    assert_eq!(reply["key"]["accountId"], "acme");
    assert_eq!(reply["key"]["state"], "STATE_ACTIVE");
    // It leaves nothing behind in the shell that it was pasted into.
    let left = shell(&folder, &format!("{} >/dev/null; set", line.trim())).run().succeeded();
    assert!(!left.stdout.contains("COUNTERSIGN_SECRET"), "a variable is left behind");
}

#[test]
fn what_serve_makes_is_closed_to_others() {
    let folder = run::new_data_dir(&run::unique_name());
    let (_server, printed) = serve_in(&folder);
    assert!(
        printed.iter().any(|line| line.trim() == "credential  countersign-data/admin.env"),
        "{printed:?}"
    );
    let mode = |name: &str| {
        let path = folder.join("countersign-data").join(name);
        std::fs::metadata(path).expect("it is there").permissions().mode() & 0o777
    };
    assert_eq!(
        json!([mode("."), mode("admin.env"), mode("root-key")]),
        json!([0o700, 0o600, 0o600])
    );
}

#[test]
fn a_second_start_keeps_what_the_first_made() {
    let folder = run::new_data_dir(&run::unique_name());
    let read =
        |name: &str| std::fs::read(folder.join("countersign-data").join(name)).expect("there");
    let (mut first, _) = serve_in(&folder);
    let before = (read("admin.env"), read("root-key"));
    first.kill9();
    let (_second, printed) = serve_in(&folder);
    assert!((read("admin.env"), read("root-key")) == before, "a secret was made anew");
    let line = printed.iter().find(|line| line.contains("grpcurl")).expect("it prints a line");
    secret_of(&shell(&folder, line.trim()).run().succeeded().json());
}

#[test]
fn an_empty_file_is_not_taken_for_a_credential() {
    let folder = run::new_data_dir(&run::unique_name());
    let data = folder.join("countersign-data");
    std::fs::create_dir(&data).expect("the folder takes folders");
    let file = data.join("admin.env");
    std::fs::write(&file, "").expect("the folder takes files");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).expect("it is ours");
    let (_server, printed) = serve_in(&folder);
    let line = printed.iter().find(|line| line.contains("grpcurl")).expect("it prints a line");
    secret_of(&shell(&folder, line.trim()).run().succeeded().json());
}
