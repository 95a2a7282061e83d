//! The test run that we are part of: what tests/run.py prepared, and names that no other test uses.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::{env, process, thread};

/// The folder that is searched for secrets and removed when the run is over.
pub fn dir() -> PathBuf {
    variable("CSTEST_RUN_DIR").into()
}

/// The URL of the throwaway cluster's first database, as its superuser.
pub fn postgres_url() -> String {
    variable("CSTEST_POSTGRES_URL")
}

/// Where initdb, postgres and pg_basebackup are.
pub fn postgres_programs() -> PathBuf {
    variable("CSTEST_POSTGRES_PROGRAMS").into()
}

/// The program pgbouncer.
pub fn pgbouncer() -> PathBuf {
    variable("CSTEST_PGBOUNCER").into()
}

/// The library that shows a program another time.
pub fn faketime() -> PathBuf {
    variable("CSTEST_FAKETIME").into()
}

/// The program curl.
pub fn curl() -> PathBuf {
    variable("CSTEST_CURL").into()
}

/// The program nginx.
pub fn nginx() -> PathBuf {
    variable("CSTEST_NGINX").into()
}

/// The program Prometheus.
pub fn prometheus() -> PathBuf {
    variable("CSTEST_PROMETHEUS").into()
}

/// The program promtool.
pub fn promtool() -> PathBuf {
    variable("CSTEST_PROMTOOL").into()
}

/// Where grpcurl, buf and Python with grpcio are.
pub fn tools_dir() -> PathBuf {
    variable("CSTEST_TOOLS").into()
}

fn variable(name: &str) -> String {
    env::var(name).unwrap_or_else(|_| {
        panic!(
            "{name} is not set, so there is no PostgreSQL and no grpcurl to test with: \
             run `make test` (or `python3 tests/run.py -- <filter>`) instead of `cargo test`"
        )
    })
}

/// A name that says which test it belongs to and that nobody else in this run has.
pub fn unique_name() -> String {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let thread = thread::current();
    let test = thread.name().unwrap_or("unnamed").replace("::", "-").replace(' ', "-");
    format!("{test}-{}-{number}", process::id())
}

/// A new folder for a server's files, closed to others.
pub fn new_data_dir(name: &str) -> PathBuf {
    let path = dir().join("data").join(name);
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&path)
        .expect("the run folder takes folders");
    path
}

/// The log of that name, opened to be added to.
pub fn log_file(name: &str) -> (PathBuf, File) {
    let path = dir().join("logs").join(format!("{name}.log"));
    let file = OpenOptions::new().create(true).append(true).open(&path);
    (path, file.expect("the run folder takes logs"))
}

/// Writes a file that holds a secret, readable by its owner only.
pub fn write_private(path: &Path, text: &str) {
    let mut file = OpenOptions::new()
        .create(true)
        .truncate(true)
        .write(true)
        .mode(0o600)
        .open(path)
        .expect("the run folder takes files");
    file.write_all(text.as_bytes()).expect("the run folder takes files");
}

/// The last lines of a file, for the text of a failure.
pub fn tail(path: &Path, lines: usize) -> String {
    let text = fs::read(path).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}
