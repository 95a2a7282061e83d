//! Writes for people and scripts. Nothing here panics when the reader of a pipe is gone.

use std::io::{self, Write as _};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt as _;

use rustix::fs::{OFlags, fcntl_getfl, fstat};

use super::failure::Failure;
use super::redact::redacted;

/// A line on standard output, now.
pub(super) fn line(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    stdout.write_all(b"\n")?;
    stdout.flush()
}

/// A text on standard output that brings its own line ends.
pub(super) fn text(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    stdout.flush()
}

/// Refuses, before a secret is made that is shown once, where nobody can read it: standard output is closed.
pub(super) fn refuse_unread() -> Result<(), Failure> {
    if is_closed(&io::stdout()) {
        return Err(Failure::said(
            "standard output is closed, so nobody would see the secret; nothing was made",
        ));
    }
    Ok(())
}

/// Rust's runtime opens /dev/null in the place of a closed standard stream, for reading and writing, so that no other
/// file gets its number (`std/src/sys/pal/unix/mod.rs`). A shell opens it for writing alone.
fn is_closed(stream: &impl AsFd) -> bool {
    let (Ok(flags), Ok(stat)) = (fcntl_getfl(stream), fstat(stream)) else { return true };
    let null = std::fs::metadata("/dev/null").map(|null| null.rdev());
    flags.contains(OFlags::RDWR) && stat.st_rdev != 0 && null.is_ok_and(|null| null == stat.st_rdev)
}

/// What went wrong, in one line.
pub(super) fn error(what: &str) {
    to_stderr(&format!("countersign: {}\n", on_one_line(what)));
}

/// What may be wrong, in one line.
pub(super) fn warn(what: &str) {
    to_stderr(&format!("countersign: warning: {}\n", on_one_line(what)));
}

/// A text on standard error, without the secrets that it may quote. When that is gone, there is nobody left to tell.
pub(super) fn to_stderr(text: &str) {
    let _ = io::stderr().lock().write_all(redacted(text).as_bytes());
}

/// A text from elsewhere as one line without control characters, which could steer the terminal.
pub(super) fn on_one_line(text: &str) -> String {
    text.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect()
}
