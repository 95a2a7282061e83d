//! How a command fails: what is said on standard error, and the exit code.

use std::fmt::Display;
use std::io;
use std::process::ExitCode;

use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use super::output;
use crate::config::SettingsError;

const DENIED: u8 = 1;
const FAILED: u8 = 2;

/// Why a command did not end well.
#[derive(Debug)]
pub(super) enum Failure {
    /// `verify` answered, and the answer was no. It is on standard output.
    Denied,
    /// In one line that says what to do.
    Said(String),
    /// clap's own text: help and version on standard output, wrong usage in one line.
    Usage(String),
    /// Asked-for help, which is no failure.
    Help(String),
    /// The server's answer.
    Status(Box<Status>),
    /// Whoever read our output stopped reading; there is nobody to tell.
    Unread,
}

impl Failure {
    /// Anything that says in one line what is wrong.
    pub(super) fn said(what: impl Display) -> Self {
        Self::Said(what.to_string())
    }

    pub(super) fn from_clap(error: &clap::Error) -> Self {
        use clap::error::ErrorKind::{
            DisplayHelp, DisplayHelpOnMissingArgumentOrSubcommand, DisplayVersion,
        };
        let text = error.render().to_string();
        match error.kind() {
            DisplayHelp | DisplayVersion => Self::Help(text),
            DisplayHelpOnMissingArgumentOrSubcommand => Self::Usage(text),
            _ => Self::Said(in_one_line(&text)),
        }
    }

    /// Says it, and gives the exit code.
    pub(super) fn report(self) -> ExitCode {
        match self {
            Self::Help(text) => {
                // Whether anybody reads it is up to them.
                let _ = output::text(&text);
                return ExitCode::SUCCESS;
            }
            Self::Denied => return ExitCode::from(DENIED),
            Self::Unread => {}
            Self::Usage(text) => output::to_stderr(&text),
            Self::Said(what) => output::error(&what),
            Self::Status(status) => report_status(&status),
        }
        ExitCode::from(FAILED)
    }
}

/// clap's message without the usage that follows it, in one line.
fn in_one_line(text: &str) -> String {
    let message = text.split("\n\nUsage:").next().unwrap_or(text);
    let message = message.split("\n\nFor more information").next().unwrap_or(message);
    let message = message.strip_prefix("error: ").unwrap_or(message);
    let lines: Vec<&str> = message.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    format!("{} (see --help)", lines.join("; ").replace(":; ", ": "))
}

/// One line of code and message, and one for each bad field.
fn report_status(status: &Status) {
    output::error(&format!("{}: {}", code_name(status.code()), status.message()));
    let violations = status.get_details_bad_request().map(|bad| bad.field_violations);
    for violation in violations.unwrap_or_default() {
        output::to_stderr(&format!("  {}: {}\n", violation.field, violation.description));
    }
}

/// The code's name on the wire.
pub(super) fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}

impl From<SettingsError> for Failure {
    fn from(error: SettingsError) -> Self {
        Self::said(error)
    }
}

impl From<Status> for Failure {
    fn from(status: Status) -> Self {
        Self::Status(Box::new(status))
    }
}

/// Only writing to standard output gives a bare I/O error; other files say their name.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::Unread,
            _ => Self::Said(format!("can't write the answer: {error}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_usage_is_one_line() {
        let error =
            super::super::command().try_get_matches_from(["countersign", "serve", "--lisen", "x"]);
        let Failure::Said(line) = Failure::from_clap(&error.expect_err("no such flag")) else {
            panic!("not one line");
        };
        assert!(line.starts_with("unexpected argument '--lisen' found; "), "{line}");
        assert!(!line.contains('\n') && line.contains("--listen"), "{line}");
    }
}
