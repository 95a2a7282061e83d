//! Runs every command of the README in order, in a scratch folder, and compares what it shows.
//!
//! What differs each time is redacted on both sides: ids, secrets, times, etags, tokens. A line `…`
//! stands for any lines. A block ` ```sh terminal ` goes on running; ` ```sh exits=1 ` ends so.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{Block, blocks};
use crate::harness::{Credential, Program, Running, canary, run, tools};

const PATIENCE: Duration = Duration::from_secs(60);
/// What the README says, and the server that is really there.
const ADDRESS: &str = "127.0.0.1:50051";
const HTTP_ADDRESS: &str = "127.0.0.1:8080";

/// A reader who follows the README.
struct Reader {
    folder: PathBuf,
    address: String,
    http: String,
    /// Programs in other terminals.
    terminals: Vec<Running>,
    /// The id and the secret that were shown last.
    shown: Option<Credential>,
}

#[test]
fn every_command_of_the_readme_shows_what_it_says() {
    let mut reader = Reader {
        folder: run::new_data_dir(&run::unique_name()),
        address: String::new(),
        http: String::new(),
        terminals: Vec::new(),
        shown: None,
    };
    let script = super::block("check_event.py");
    std::fs::write(reader.folder.join("check_event.py"), script).expect("the folder takes files");

    let commands: Vec<Block> =
        blocks().into_iter().filter(|block| block.language == "sh").collect();
    assert!(commands.len() > 10, "the tour is gone");
    for block in &commands {
        let shown = match block.note.as_str() {
            "terminal" if block.text == "cargo run --release -- serve" => {
                reader.starts_the_server()
            }
            "terminal" => reader.starts(block),
            _ => reader.runs(block),
        };
        if let Some(expected) = &block.output {
            assert_shows(&block.text, expected, &shown);
        }
    }
    assert!(reader.terminals.iter_mut().all(|terminal| !terminal.has_ended()), "a terminal ended");
}

impl Reader {
    /// `serve`, as it was built for the tests and on free ports.
    fn starts_the_server(&mut self) -> String {
        let (_, log) = run::log_file(&run::unique_name());
        let serve = ["serve", "--listen", "127.0.0.1:0", "--http-listen", "127.0.0.1:0"];
        let server = tools::countersign().in_dir(&self.folder).args(serve).start(log);
        let lines = lines_of(&server, |lines| lines.last().is_some_and(|line| line == "ready"));
        let address = |name: &str| {
            let line = lines.iter().find_map(|line| line.trim().strip_prefix(name));
            line.expect("the server names its addresses").trim().to_owned()
        };
        (self.address, self.http) = (address("gRPC"), address("HTTP"));
        let data = self.folder.join("countersign-data");
        canary::record_root_key_file(&data.join("root-key"));
        canary::record_secret(&Credential::from_admin_env(&data.join("admin.env")).secret);
        self.terminals.push(server);
        self.as_documented(&lines.join("\n"))
    }

    /// A command in a terminal of its own; as many lines of it as the README shows.
    fn starts(&mut self, block: &Block) -> String {
        let (_, log) = run::log_file(&run::unique_name());
        let shown = block.output.as_ref().map_or(0, |output| output.lines().count());
        let terminal = self.shell(&format!("exec {}", block.text)).start(log);
        let lines = lines_of(&terminal, |lines| lines.len() == shown);
        self.terminals.push(terminal);
        self.as_documented(&lines.join("\n"))
    }

    /// Commands that end; what they show together.
    fn runs(&mut self, block: &Block) -> String {
        let output = self.shell(&format!("exec 2>&1\n{}", self.filled_in(&block.text))).run();
        self.notes(&output.stdout);
        let wanted = match block.note.strip_prefix("exits=") {
            Some(code) => code.parse().expect("an exit code is a number"),
            None => 0,
        };
        let shown = self.as_documented(&output.stdout);
        let redacted: Vec<String> = shown.lines().map(redacted).collect();
        assert_eq!(output.status.code(), Some(wanted), "{}\n{}", block.text, redacted.join("\n"));
        shown
    }

    /// The command with the reader's own id and secret in it.
    fn filled_in(&self, text: &str) -> String {
        let text = text.replace(ADDRESS, &self.address);
        match &self.shown {
            None => text,
            Some(Credential { key_id, secret }) => {
                text.replace("csk_live_…", key_id).replace("css_live_…", secret)
            }
        }
    }

    /// Where a secret is shown, the first key id beside it is its own.
    fn notes(&mut self, shown: &str) {
        let first = |prefix: &str| words(shown).find(|word| word.starts_with(prefix));
        if let (Some(key_id), Some(secret)) = (first("csk_live_"), first("css_live_")) {
            canary::record_secret(secret);
            self.shown = Some(Credential { key_id: key_id.to_owned(), secret: secret.to_owned() });
        }
    }

    fn as_documented(&self, shown: &str) -> String {
        shown.replace(&self.address, ADDRESS).replace(&self.http, HTTP_ADDRESS)
    }

    fn shell(&self, script: &str) -> Program {
        let ours =
            Path::new(env!("CARGO_BIN_EXE_countersign")).parent().expect("it is in a folder");
        let path = std::env::var("PATH").unwrap_or_default();
        let path = format!("{}:{}/bin:{path}", ours.display(), run::tools_dir().display());
        Program::new("/bin/sh")
            .with_a_clean_environment()
            .env("PATH", path)
            .env("COUNTERSIGN_ENDPOINT", format!("http://{}", self.address))
            .in_dir(&self.folder)
            .args(["-c", script])
    }
}

fn lines_of(program: &Running, are_enough: impl Fn(&[String]) -> bool) -> Vec<String> {
    let mut lines = Vec::new();
    while !are_enough(&lines) {
        lines.push(program.next_line(PATIENCE).expect("it goes on"));
    }
    lines
}

/// Demands the expected lines, in order; between the parts that `…` separates, anything.
fn assert_shows(command: &str, expected: &str, shown: &str) {
    let shown: Vec<String> = shown.trim_end().lines().map(redacted).collect();
    let expected: Vec<String> = expected.trim_end().lines().map(redacted).collect();
    let mut rest = shown.as_slice();
    let parts: Vec<&[String]> = expected.split(|line| line == "…").collect();
    let last = parts.len() - 1;
    for (index, part) in parts.into_iter().enumerate() {
        let may_begin =
            |at: usize| (index > 0 || at == 0) && (index < last || at + part.len() == rest.len());
        let found = (0..=rest.len()).find(|at| {
            may_begin(*at) && rest.get(*at..at + part.len()).is_some_and(|lines| lines == part)
        });
        let Some(at) = found else {
            panic!(
                "the README shows for\n{command}\n\n{}\n\nbut it is\n\n{}",
                expected.join("\n"),
                shown.join("\n")
            );
        };
        rest = &rest[at + part.len()..];
    }
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|letter: char| !(letter.is_alphanumeric() || "_-:.…".contains(letter)))
}

/// A line without what differs each time, and without alignment.
fn redacted(line: &str) -> String {
    let mut line = line.to_owned();
    for prefix in ["csk_live_", "css_live_"] {
        let all = words(&line).filter(|word| word.starts_with(prefix)).map(str::to_owned);
        for word in all.collect::<Vec<_>>() {
            line = line.replace(&word, &format!("{prefix}…"));
        }
    }
    for word in words(&line.clone()).filter(|word| is_time(word)) {
        line = line.replace(word, "TIME");
    }
    for (before, after) in [
        ("\"consistencyToken\": \"", "\""),
        ("\"staleness\": \"", "\""),
        ("etag ", ""),
        ("ends in ", ","),
    ] {
        if let Some((kept, value)) = line.split_once(before) {
            let rest =
                value.find(after).filter(|_| !after.is_empty()).map_or("", |at| &value[at..]);
            line = format!("{kept}{before}…{rest}");
        }
    }
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn is_time(word: &str) -> bool {
    word.len() >= 20 && word.ends_with('Z') && word.as_bytes()[4] == b'-' && word.contains('T')
}

#[test]
fn a_readme_that_shows_something_else_is_caught() {
    let shown = "key id  csk_live_5TVkPZAyJPqlmmoJpjLLHs\nstate   ACTIVE\netag    abc";
    assert_shows("x", "key id csk_live_…\nstate ACTIVE\netag …", shown);
    assert_shows("x", "…\nstate ACTIVE\n…", shown);
    for wrong in
        ["state ACTIVE\n…", "…\nstate ACTIVE", "…\nstate REVOKED\n…", "key id csk_live_…\netag …"]
    {
        let caught = std::panic::catch_unwind(|| assert_shows("x", wrong, shown));
        assert!(caught.is_err(), "{wrong:?} passed");
    }
}

#[test]
fn the_line_that_the_server_prints_is_the_one_of_the_readme() {
    let folder = run::new_data_dir(&run::unique_name());
    let (address, http, shown) = (String::new(), String::new(), None);
    let mut reader = Reader { folder, address, http, terminals: Vec::new(), shown };
    let printed = reader.starts_the_server();
    let line =
        printed.lines().find(|line| line.contains("grpcurl")).expect("it prints a line").trim();
    assert!(blocks().iter().any(|block| block.text == line), "not in the README:\n{line}");
}
