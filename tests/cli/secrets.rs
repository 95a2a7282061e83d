//! No secret is an argument, which everybody on the machine can read.

use super::Terminal;
use crate::harness::{Credential, Database, Server, canary, run, tools};

/// All flags and arguments of all commands, as `command --flag`.
fn arguments(command: &clap::Command, of: &str, found: &mut Vec<(String, clap::Arg)>) {
    let of = format!("{of} {}", command.get_name());
    for arg in command.get_arguments() {
        found.push((format!("{of} {}", arg.get_id()), arg.clone()));
    }
    command.get_subcommands().for_each(|command| arguments(command, &of, found));
}

#[test]
fn no_flag_takes_a_secret() {
    let mut found = Vec::new();
    arguments(&countersign::cli::command(), "", &mut found);
    assert!(found.len() > 50, "the command line is gone");
    for (name, arg) in found {
        let takes_a_value = arg.get_action().takes_values();
        let names_a_secret =
            ["secret", "token", "password"].iter().any(|word| name.ends_with(word));
        assert!(!(takes_a_value && names_a_secret), "{name} takes a secret as an argument");
    }
}

#[tokio::test]
async fn ps_shows_no_secret_of_a_running_command() {
    let server = Server::start(Database::Sqlite).await;
    let admin = Terminal::of_admin(&server);
    let (_, log) = run::log_file(&run::unique_name());
    let tail = admin.command(["audit", "tail", "--after-revision", "0"]).start(log);
    tail.next_line(std::time::Duration::from_secs(60)).expect("it runs");
    for pid in [tail.pid(), server.pid()] {
        let arguments = std::fs::read(format!("/proc/{pid}/cmdline")).expect("it runs");
        let arguments = String::from_utf8_lossy(&arguments);
        assert!(arguments.contains("countersign"), "these are not its arguments");
        assert!(!arguments.contains("css_"), "`ps` shows a secret");
    }
}

#[tokio::test]
async fn a_secret_in_the_wrong_place_is_not_repeated() {
    let server = Server::start(Database::Sqlite).await;
    let admin = Terminal::of_admin(&server);
    let Credential { key_id, secret } = admin.creates();
    for words in [
        vec!["verify", "--key-id", &key_id, "--secret", &secret],
        vec!["keys", "list", "--as", &secret, "--filter", "state = ACTIVE"],
        vec!["keys", "list", "--credential-file", "absent"],
    ] {
        let output = admin.command(words).env("COUNTERSIGN_SECRET", &secret).run().failed();
        assert!(!output.stderr.contains(&secret), "the error repeats the secret");
    }
}

#[test]
fn what_stands_where_no_secret_belongs_is_not_repeated_by_the_parser() {
    let minted = tools::countersign().args(["keys", "mint", "--json"]).run().succeeded().json();
    let Credential { key_id, secret } = Credential::from_json(&minted);
    canary::record_secret(&secret);
    let token = format!("{key_id}.{secret}");
    let (with_user, of_database) = ("http://user:sekret@h", "postgres://user:sekret@h/d");
    for words in [
        vec!["verify", "--key-id", &key_id, &secret],
        vec!["verify", "--key-id", &key_id, &format!("--{secret}")],
        vec!["verify", &token],
        vec![&secret],
        vec!["keys", "list", "--page-size", &secret],
        vec!["keys", "create", "--label", &secret],
        vec!["keys", "list", "--endpoint", with_user],
        vec!["health", "--endpoint", with_user],
        vec!["keys", "list", with_user],
        vec!["serve", of_database],
        vec!["serve", "--listen", of_database],
        vec!["serve", "postgres://h/d?password=sekret"],
    ] {
        let output = tools::countersign().args(words.iter().copied()).run().failed();
        let digits = &secret["css_live_".len()..];
        assert!(!output.stderr.contains(digits), "the error repeats the secret");
        assert!(!output.stderr.contains("sekret"), "{}", output.stderr);
    }
}

#[tokio::test]
async fn the_credential_is_found_where_serve_left_it() {
    let server = Server::start(Database::Sqlite).await;
    let folder = run::new_data_dir(&run::unique_name());
    let data = folder.join("countersign-data");
    std::fs::create_dir(&data).expect("the folder takes folders");
    let Credential { key_id, secret } = server.admin();
    let text = format!("COUNTERSIGN_KEY_ID={key_id}\nCOUNTERSIGN_SECRET={secret}\n");
    run::write_private(&data.join("admin.env"), &text);
    let list = || {
        let list = ["keys", "list", "--endpoint", &server.endpoint()].map(str::to_owned);
        tools::countersign().args(list)
    };

    list().in_dir(&folder).run().succeeded();
    let by_name = list().arg("--credential-file").arg(data.join("admin.env"));
    by_name.in_dir(&server.store().data_dir).run().succeeded();
    list().in_dir(folder.join("countersign-data")).run().failed();
}
