//! The command line, as people and scripts use it, against a real server.

mod audit;
mod bootstrap;
mod failures;
mod health;
mod keys;
mod offline;
mod secrets;
mod store;
mod verify;
mod waiting;

use std::path::PathBuf;

use serde_json::{Map, Value};

use crate::harness::{Credential, Output, Program, Server, canary, run, tools};

/// Somebody with the command line, in an empty folder, with the first admin's credential in variables.
pub(crate) struct Terminal {
    folder: PathBuf,
    endpoint: String,
    credential: Option<Credential>,
}

impl Terminal {
    fn of_admin(server: &Server) -> Self {
        let folder = run::new_data_dir(&run::unique_name());
        Self { folder, endpoint: server.endpoint(), credential: Some(server.admin()) }
    }

    fn without_credential(server: &Server) -> Self {
        Self { credential: None, ..Self::of_admin(server) }
    }

    fn with(&self, credential: Credential) -> Self {
        let (folder, endpoint) = (self.folder.clone(), self.endpoint.clone());
        Self { folder, endpoint, credential: Some(credential) }
    }

    /// `countersign <words>`.
    fn command<'a>(&self, words: impl IntoIterator<Item = &'a str>) -> Program {
        let program = tools::countersign()
            .in_dir(&self.folder)
            .args(words)
            .env("COUNTERSIGN_ENDPOINT", &self.endpoint);
        match &self.credential {
            None => program,
            Some(credential) => program
                .env("COUNTERSIGN_KEY_ID", &credential.key_id)
                .env("COUNTERSIGN_SECRET", &credential.secret),
        }
    }

    /// Its standard output; nothing was said on standard error.
    #[track_caller]
    fn says<const N: usize>(&self, words: [&str; N]) -> String {
        let output = self.command(words).run().succeeded();
        assert_eq!(output.stderr, "", "of {words:?}");
        output.stdout
    }

    /// The one JSON object that it prints.
    #[track_caller]
    fn says_json<const N: usize>(&self, words: [&str; N]) -> Value {
        let output = self.command(words).arg("--json").run().succeeded();
        assert_eq!(output.stdout.lines().count(), 1, "one object on one line");
        output.json()
    }

    /// The objects that it prints, one a line.
    #[track_caller]
    fn says_lines_of_json<const N: usize>(&self, words: [&str; N]) -> Vec<Value> {
        let printed = self.command(words).arg("--json").run().succeeded().stdout;
        printed.lines().map(|line| serde_json::from_str(line).expect("a line is JSON")).collect()
    }

    /// The one line of what went wrong. The exit code is 2, and standard output is empty.
    #[track_caller]
    fn fails<const N: usize>(&self, words: [&str; N]) -> String {
        one_line_of_failure(&self.command(words).run())
    }

    /// A key of acme's billing with one scope, and its secret.
    fn creates(&self) -> Credential {
        let key = ["keys", "create", "--account", "acme", "--application", "billing"];
        let reply = self.command(key.into_iter().chain(["--name", "nightly", "--scope", "a:read"]));
        secret_of(&reply.arg("--json").run().succeeded().json())
    }
}

#[track_caller]
fn one_line_of_failure(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(2), "{}", output.stderr);
    assert_eq!(output.stdout, "", "an error is no answer");
    let line = output.stderr.strip_suffix('\n').expect("a whole line");
    assert!(!line.contains('\n'), "more than one line:\n{line}");
    line.strip_prefix("countersign: ").expect("it says who speaks").to_owned()
}

/// The credential in a reply of `keys create --json` or `keys rotate --json`, noted as a canary.
fn secret_of(reply: &Value) -> Credential {
    let text = |value: &Value| value.as_str().expect("key id and secret").to_owned();
    let credential =
        Credential { key_id: text(&reply["key"]["keyId"]), secret: text(&reply["secret"]) };
    canary::record_secret(&credential.secret);
    credential
}

/// A message's JSON without the fields that say nothing: grpcurl leaves them out, `--json` does not.
fn without_defaults(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let fields = fields.iter().map(|(name, value)| (name.clone(), without_defaults(value)));
            Value::Object(fields.filter(|(_, value)| says_something(value)).collect::<Map<_, _>>())
        }
        Value::Array(items) => Value::Array(items.iter().map(without_defaults).collect()),
        other => other.clone(),
    }
}

fn says_something(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(said) => *said,
        Value::Number(number) => number.as_i64() != Some(0),
        Value::String(text) => !text.is_empty() && text != "0" && !text.ends_with("_UNSPECIFIED"),
        Value::Array(items) => !items.is_empty(),
        Value::Object(fields) => !fields.is_empty(),
    }
}

#[test]
fn no_command_is_without_a_test() {
    fn leaves(command: &clap::Command, found: &mut Vec<String>) {
        if command.has_subcommands() {
            command.get_subcommands().for_each(|command| leaves(command, found));
        } else {
            found.push(command.get_name().to_owned());
        }
    }
    let mut commands = Vec::new();
    leaves(&countersign::cli::command(), &mut commands);
    assert!(commands.len() > 15, "{commands:?}");
    let tests = ["audit", "bootstrap", "health", "keys", "offline", "store", "verify", "waiting"]
        .map(|name| {
            let path = tools::in_repository("tests/cli").join(format!("{name}.rs"));
            std::fs::read_to_string(path).expect("it is beside this file")
        });
    // `serve` is started by every test of this binary.
    commands.retain(|command| {
        command != "serve" && !tests.concat().contains(&format!("\"{command}\""))
    });
    assert!(commands.is_empty(), "no test runs {commands:?}");
}
