//! Commands that need neither server nor store: `keys mint`, `root-key generate`, `check-config`.

use std::collections::HashSet;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use super::one_line_of_failure;
use crate::harness::{Credential, Program, canary, run, tools};

fn folder() -> PathBuf {
    run::new_data_dir(&run::unique_name())
}

fn countersign<'a>(folder: &Path, words: impl IntoIterator<Item = &'a str>) -> Program {
    tools::countersign().in_dir(folder).args(words)
}

fn opened_to_others(path: &Path) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o644)).expect("it is ours");
}

#[test]
fn a_store_that_is_not_there_is_said_to_be_missing_and_not_made() {
    let folder = folder();
    for words in [&["audit", "check"][..], &["store", "accept"]] {
        let words = words.iter().copied().chain(["--data-dir", "nope"]);
        let said = one_line_of_failure(&countersign(&folder, words).run());
        assert!(said.starts_with("there is no store at nope/countersign.db; "), "{said}");
        assert!(said.contains("--data-dir") && !said.contains("generate"), "{said}");
    }
    assert!(!folder.join("nope").exists());
}

#[test]
fn migrating_says_where_it_made_a_new_store() {
    let folder = folder();
    let migrate = || countersign(&folder, ["migrate", "--data-dir", "d"]).run().succeeded().stdout;
    let url = "sqlite:d/countersign.db";
    assert_eq!(migrate(), format!("made a new store in {url}; {url} is up to date\n"));
    assert_eq!(migrate(), format!("{url} is up to date\n"));
}

#[test]
fn every_minted_pair_is_another_one() {
    let folder = folder();
    let mut ids = HashSet::new();
    for _ in 0..5 {
        let minted = countersign(&folder, ["keys", "mint", "--json"]).run().succeeded().json();
        let pair = Credential::from_json(&minted);
        canary::record_secret(&pair.secret);
        assert!(pair.key_id.starts_with("csk_live_") && pair.secret.starts_with("css_live_"));
        ids.insert(pair.key_id);
    }
    assert_eq!(ids.len(), 5);
}

#[test]
fn a_minted_pair_can_be_a_file_of_variables_of_another_brand() {
    let folder = folder();
    let words = ["keys", "mint", "--brand", "acme", "--environment", "test"];
    let minted = countersign(&folder, words).run().succeeded().stdout;
    let path = folder.join("pair.credential");
    run::write_private(&path, &minted);
    let pair = Credential::from_admin_env(&path);
    canary::record_secret(&pair.secret);
    assert_eq!(minted.lines().count(), 2);
    assert!(pair.key_id.starts_with("acmek_test_") && pair.secret.starts_with("acmes_test_"));
}

#[test]
fn a_root_key_goes_to_standard_output_or_into_a_closed_file() {
    let folder = folder();
    let printed = countersign(&folder, ["root-key", "generate"]).run().succeeded().stdout;
    let (version, base64) = printed.trim_end().split_once(':').expect("version:base64");
    canary::record_root_key(base64);
    assert_eq!((version, base64.len()), ("1", 44));

    let out = ["root-key", "generate", "--out", "root-key"];
    let said = countersign(&folder, out).run().succeeded().stdout;
    canary::record_root_key_file(&folder.join("root-key"));
    assert_eq!(said, "root key version 1 is in root-key\n");
    let mode = |path: &Path| std::fs::metadata(path).expect("it is there").permissions().mode();
    assert_eq!(mode(&folder.join("root-key")) & 0o777, 0o600);
    let again = one_line_of_failure(&countersign(&folder, out).run());
    assert!(again.contains("exists already"), "{again}");
}

#[test]
fn a_root_key_file_grows_by_versions_and_keeps_the_old_ones() {
    let folder = folder();
    countersign(&folder, ["root-key", "generate", "--out", "root-key"]).run().succeeded();
    let read = || std::fs::read_to_string(folder.join("root-key")).expect("it is there");
    let before = read();
    let append = ["root-key", "generate", "--append", "root-key"];
    countersign(&folder, append).run().succeeded();
    canary::record_root_key_file(&folder.join("root-key"));
    let after = read();
    assert!(after.starts_with(&before), "the first version was touched");
    let versions: Vec<&str> = after.lines().filter_map(|line| line.split(':').next()).collect();
    assert_eq!(versions, ["1", "2"]);
}

#[test]
fn check_config_shows_flags_over_variables_over_the_file() {
    let folder = folder();
    let file = "listen = \"127.0.0.1:1\"\nlog = \"warn\"\nmax-connections = 7\n";
    std::fs::write(folder.join("settings.toml"), file).expect("the folder takes files");
    let words = ["check-config", "--config", "settings.toml", "--listen", "127.0.0.1:3"];
    let shown = countersign(&folder, words)
        .env("COUNTERSIGN_LISTEN", "127.0.0.1:2")
        .env("COUNTERSIGN_LOG", "error")
        .run()
        .succeeded()
        .stdout;
    for line in ["listen = 127.0.0.1:3", "log = error", "max-connections = 7", "brands = cs"] {
        assert!(shown.lines().any(|shown| shown == line), "no {line:?} in\n{shown}");
    }
}

#[test]
fn check_config_shows_no_password() {
    let url = "postgres://someone:hunter2@db.example/countersign";
    let folder = folder();
    countersign(&folder, ["root-key", "generate", "--out", "root-key"]).run().succeeded();
    canary::record_root_key_file(&folder.join("root-key"));
    let words = ["check-config", "--root-key-file", "root-key", "--database-url", url];
    let shown = countersign(&folder, words).run().succeeded().stdout;
    assert!(shown.contains("db.example") && !shown.contains("hunter2"), "{shown}");
}

#[test]
fn check_config_says_in_one_line_what_is_wrong() {
    let folder = folder();
    countersign(&folder, ["root-key", "generate", "--out", "root-key-open"]).run().succeeded();
    canary::record_root_key_file(&folder.join("root-key-open"));
    opened_to_others(&folder.join("root-key-open"));
    run::write_private(&folder.join("empty"), "");
    run::write_private(&folder.join("malformed"), "1:not-base64\n");
    std::fs::write(folder.join("unknown.toml"), "lissten = \"x\"\n").expect("it can be written");
    for (words, said) in [
        (["--root-key-file", "absent"], "root key file absent does not exist; make one with"),
        (["--root-key-file", "root-key-open"], "can be used by others (mode 0644)"),
        (["--root-key-file", "empty"], "root key file empty:"),
        (["--root-key-file", "malformed"], "root key file malformed:"),
        (["--config", "unknown.toml"], "line 1: lissten: is no setting"),
        (["--config", "absent.toml"], "settings file absent.toml:"),
        (["--listen", "nowhere"], "invalid value 'nowhere' for '--listen <ADDRESS>'"),
        (["--database-url", "mysql://x"], "must begin with sqlite: or postgres://"),
        (["--brands", "Capital"], "brand \"Capital\" must be"),
    ] {
        let failed = countersign(&folder, ["check-config"]).args(words).run();
        let line = one_line_of_failure(&failed);
        assert!(line.contains(said), "{words:?} says {line}");
    }
}

#[test]
fn an_unknown_variable_is_warned_of_and_passed_over() {
    let program = countersign(&folder(), ["check-config"]).env("COUNTERSIGN_LISSTEN", "x");
    let output = program.run().succeeded();
    assert_eq!(
        output.stderr,
        "countersign: warning: no such setting, passed over: COUNTERSIGN_LISSTEN\n"
    );
}
