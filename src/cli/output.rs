//! Writes for people and scripts. Nothing here panics when the reader of a pipe is gone.

use std::io::{self, Write as _};

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

/// What went wrong, in one line.
pub(super) fn error(what: &str) {
    to_stderr(&format!("countersign: {}\n", on_one_line(what)));
}

/// What may be wrong, in one line.
pub(super) fn warn(what: &str) {
    to_stderr(&format!("countersign: warning: {}\n", on_one_line(what)));
}

/// A text on standard error. When that is gone, there is nobody left to tell.
pub(super) fn to_stderr(text: &str) {
    let _ = io::stderr().lock().write_all(text.as_bytes());
}

/// A text from elsewhere as one line without control characters, which could steer the terminal.
pub(super) fn on_one_line(text: &str) -> String {
    text.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect()
}
