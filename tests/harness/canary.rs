//! Notes every secret and root key of the run, so that tests/run.py can search for them in
//! everything that the run leaves behind (promise P10).

use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;
use std::{fs, process, thread};

use super::run;

/// A key's secret that was minted, or an old one that was brought along.
pub fn record_secret(secret: &str) {
    record("secret", secret);
}

/// A root key: base64 of its 32 bytes.
pub fn record_root_key(base64: &str) {
    record("root-key", base64);
}

/// All root keys of a root key file (`version:base64` a line).
pub fn record_root_key_file(path: &Path) {
    let text = fs::read_to_string(path).unwrap_or_else(|error| {
        panic!("the root key file {} is not there: {error}", path.display())
    });
    for line in text.lines().filter(|line| !line.trim_start().starts_with('#')) {
        if let Some((_version, key)) = line.split_once(':') {
            record_root_key(key.trim());
        }
    }
}

fn record(kind: &str, canary: &str) {
    assert!(!canary.is_empty(), "an empty {kind} is no canary");
    // A file for each thread: whole lines without a lock.
    let name = format!("{}-{:?}.txt", process::id(), thread::current().id());
    OpenOptions::new()
        .create(true)
        .append(true)
        .open(run::dir().join("canaries").join(name))
        .and_then(|mut file| file.write_all(format!("{kind} {canary}\n").as_bytes()))
        .expect("the run folder takes canaries");
}
