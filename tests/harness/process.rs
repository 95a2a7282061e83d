//! Foreign programs and our own binary as child processes that never outlive their test.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

const POLL: Duration = Duration::from_millis(5);
const PATIENCE: Duration = Duration::from_secs(60);

/// A program and what to give it.
pub struct Program {
    name: String,
    command: Command,
    stdin: Vec<u8>,
    limit: Duration,
}

/// Whom a program runs as.
#[derive(Debug, Clone, Copy)]
pub struct User {
    pub uid: u32,
    pub gid: u32,
}

impl User {
    /// For programs that refuse to run as root: somebody else if we are root, otherwise nobody but ourselves.
    pub fn unprivileged() -> Option<Self> {
        let of_this_process = std::fs::metadata("/proc/self").expect("/proc is there").uid();
        if of_this_process != 0 {
            return None;
        }
        let users = std::fs::read_to_string("/etc/passwd").expect("/etc/passwd can be read");
        let of_name = |name: &str| {
            let mut fields = users.lines().map(|line| line.split(':').collect::<Vec<_>>());
            let fields = fields.find(|fields| fields[0] == name && fields.len() > 3)?;
            Some(Self { uid: fields[2].parse().ok()?, gid: fields[3].parse().ok()? })
        };
        let user = of_name("postgres").or_else(|| of_name("nobody"));
        Some(user.expect("there is a user postgres or nobody"))
    }
}

/// How a program ended and what it printed.
#[derive(Debug)]
pub struct Output {
    name: String,
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
}

impl Program {
    pub fn new(path: impl AsRef<Path>) -> Self {
        let path = path.as_ref();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Self { name, command: Command::new(path), stdin: Vec::new(), limit: PATIENCE }
    }

    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.command.arg(arg);
        self
    }

    pub fn args<A: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.command.args(args);
        self
    }

    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// Only PATH, HOME and TMPDIR of our own environment, so that nothing of the machine decides a
    /// test.
    pub fn with_a_clean_environment(mut self) -> Self {
        self.command.env_clear();
        for name in ["PATH", "HOME", "TMPDIR"] {
            if let Some(value) = std::env::var_os(name) {
                self.command.env(name, value);
            }
        }
        self
    }

    pub fn in_dir(mut self, dir: impl AsRef<Path>) -> Self {
        self.command.current_dir(dir);
        self
    }

    /// As somebody else; `None` changes nothing. Groups of ours are not passed on.
    pub fn owned_by(mut self, user: Option<User>) -> Self {
        if let Some(User { uid, gid }) = user {
            self.command.uid(uid).gid(gid);
        }
        self
    }

    pub fn stdin(mut self, text: impl Into<Vec<u8>>) -> Self {
        self.stdin = text.into();
        self
    }

    pub fn within(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// Runs it to its end; panics when that takes too long.
    pub fn run(mut self) -> Output {
        self.command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = Owned(self.spawn());
        let mut stdin = child.0.stdin.take().expect("stdin is piped");
        let input = std::mem::take(&mut self.stdin);
        // A program may end without reading its input: that is its own affair.
        let writer = thread::spawn(move || drop(stdin.write_all(&input)));
        let stdout = collect(child.0.stdout.take().expect("stdout is piped"));
        let stderr = collect(child.0.stderr.take().expect("stderr is piped"));
        let status = child
            .wait(self.limit)
            .unwrap_or_else(|| panic!("{} ran longer than {:?}", self.name, self.limit));
        writer.join().expect("the writer does not panic");
        let text = |reader: JoinHandle<Vec<u8>>| {
            String::from_utf8_lossy(&reader.join().expect("no panic")).into_owned()
        };
        Output { name: self.name, status, stdout: text(stdout), stderr: text(stderr) }
    }

    /// Starts it and gives its standard output line by line; its standard error goes into `log`.
    pub fn start(mut self, log: File) -> Running {
        self.command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log);
        let mut child = Owned(self.spawn());
        let stdout = child.0.stdout.take().expect("stdout is piped");
        let (sender, lines) = channel();
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        Running { name: self.name, child, lines }
    }

    fn spawn(&mut self) -> Child {
        self.command.spawn().unwrap_or_else(|error| panic!("{} does not start: {error}", self.name))
    }
}

fn collect(mut source: impl Read + Send + 'static) -> JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        // What came before an error is worth having.
        let _ = source.read_to_end(&mut bytes);
        bytes
    })
}

impl Output {
    /// Demands that it ended well.
    #[track_caller]
    pub fn succeeded(self) -> Self {
        assert!(
            self.status.success(),
            "{} failed ({}):\n{}{}",
            self.name,
            self.status,
            self.stdout,
            self.stderr
        );
        self
    }

    /// Demands that it ended with a complaint.
    #[track_caller]
    pub fn failed(self) -> Self {
        assert!(
            !self.status.success(),
            "{} should have failed, but said:\n{}{}",
            self.name,
            self.stdout,
            self.stderr
        );
        self
    }

    /// The standard output as JSON.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| {
            panic!("{} did not print JSON ({error}):\n{}", self.name, self.stdout)
        })
    }
}

/// A program that runs beside the test; dropping it ends it.
pub struct Running {
    name: String,
    child: Owned,
    lines: Receiver<String>,
}

impl Running {
    pub fn pid(&self) -> u32 {
        self.child.0.id()
    }

    /// The next line of its standard output; `None` when there will be no more.
    pub fn next_line(&self, limit: Duration) -> Option<String> {
        match self.lines.recv_timeout(limit) {
            Ok(line) => Some(line),
            Err(RecvTimeoutError::Disconnected) => None,
            Err(RecvTimeoutError::Timeout) => {
                panic!("{} printed no line within {limit:?}", self.name)
            }
        }
    }

    /// The lines that it has printed since somebody last looked.
    pub fn lines_so_far(&self) -> impl Iterator<Item = String> {
        self.lines.try_iter()
    }

    pub fn has_ended(&mut self) -> bool {
        self.child.wait(Duration::ZERO).is_some()
    }

    /// Whether it ends within so long.
    pub fn ends_within(&mut self, limit: Duration) -> bool {
        self.child.wait(limit).is_some()
    }

    /// Waits for its end; panics when it does not come.
    pub fn wait(&mut self, limit: Duration) -> ExitStatus {
        self.child
            .wait(limit)
            .unwrap_or_else(|| panic!("{} did not end within {limit:?}", self.name))
    }

    /// Sends a signal, e.g. `TERM`, `STOP`, `CONT`.
    pub fn signal(&self, signal: &str) {
        let sent = Command::new("sh")
            .args(["-c", r#"kill -s "$0" "$1""#, signal, &self.pid().to_string()])
            .status();
        assert!(sent.is_ok_and(|status| status.success()), "{} took no SIG{signal}", self.name);
    }

    pub fn kill9(&mut self) {
        self.child.kill9();
    }
}

/// A child that is killed and reaped when it goes out of scope.
struct Owned(Child);

impl Owned {
    fn wait(&mut self, limit: Duration) -> Option<ExitStatus> {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(status) = self.0.try_wait().expect("our own child can be waited for") {
                return Some(status);
            }
            if Instant::now() >= deadline {
                return None;
            }
            thread::sleep(POLL);
        }
    }

    fn kill9(&mut self) {
        // An error means that it has ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        self.kill9();
    }
}
