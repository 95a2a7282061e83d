//! How a command fails: what is said on standard error, and the exit code.

use std::fmt::Display;
use std::io;
use std::process::ExitCode;

use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use super::output;
use crate::config::SettingsError;

const NO: u8 = 1;
const FAILED: u8 = 2;

/// Why a command did not end well.
#[derive(Debug)]
pub(super) enum Failure {
    /// `verify` answered, and the answer was no. It is on standard output.
    Denied,
    /// `audit check` found faults. They are on standard output.
    Faults,
    /// A change is made, but does not hold everywhere as was asked for. All that is said already.
    NotEverywhere,
    /// `health` answered that the server does not serve. It is on standard output.
    Unhealthy,
    /// In one line that says what to do.
    Said(String),
    /// In one line why no answer came. What was asked for may have been done.
    Unanswered(String),
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

    /// The same with what to do about it, if it left unclear whether a change was made.
    pub(super) fn or_repeat(self, advice: impl Display) -> Self {
        match self {
            Self::Unanswered(what) => {
                Self::Said(format!("{what}; a change may have been made: {advice}"))
            }
            other => other,
        }
    }

    /// The same for a call that changes nothing.
    pub(super) fn of_a_question(self) -> Self {
        match self {
            Self::Unanswered(what) => Self::Said(what),
            other => other,
        }
    }

    /// The same for an answer that holds a secret which nobody can ask for again.
    pub(super) fn with_lost_secret(self, key_id: &str) -> Self {
        let lost = format!("the secret of {key_id} is lost; rotate or revoke the key");
        match self {
            Self::Unread => Self::Said(format!("nobody read the answer: {lost}")),
            Self::Said(what) => Self::Said(format!("{what}: {lost}")),
            other => other,
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
            Self::Denied | Self::Faults | Self::Unhealthy | Self::NotEverywhere => {
                return ExitCode::from(NO);
            }
            Self::Unread => {}
            Self::Usage(text) => output::to_stderr(&text),
            Self::Said(what) => output::error(&what),
            Self::Unanswered(what) => {
                output::error(&format!("{what}; a change may have been made"))
            }
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
    let (first, violations) = in_lines(status);
    output::error(&first);
    for violation in violations {
        output::to_stderr(&format!("  {violation}\n"));
    }
}

/// Code and message, and the bad fields that the message does not name. What the code says already is
/// not said again.
fn in_lines(status: &Status) -> (String, Vec<String>) {
    let (code, message) = (code_name(status.code()), status.message());
    let in_words = code.to_ascii_lowercase().replace('_', " ");
    let rest = message.strip_prefix(&in_words).and_then(|rest| rest.strip_prefix(": "));
    let violations = status.get_details_bad_request().map(|bad| bad.field_violations);
    let violations = violations.unwrap_or_default().into_iter();
    let mut violations: Vec<String> =
        violations.map(|one| format!("{}: {}", one.field, one.description)).collect();
    if violations.len() == 1 && violations.iter().all(|only| message.contains(only)) {
        violations.clear();
    }
    (format!("{code}: {}", rest.unwrap_or(message)), violations)
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
    use crate::domain::{Error, Violation};

    fn lines(error: Error) -> Vec<String> {
        let (first, violations) = in_lines(&error.into());
        [first].into_iter().chain(violations).collect()
    }

    #[test]
    fn everything_is_said_once() {
        assert_eq!(
            lines(Error::Unauthenticated("the credential was refused")),
            ["UNAUTHENTICATED: the credential was refused"]
        );
        assert_eq!(
            lines(Error::PermissionDenied("needs more".to_owned())),
            ["PERMISSION_DENIED: needs more"]
        );
        assert_eq!(lines(Error::Unavailable("still starting")), ["UNAVAILABLE: still starting"]);
        assert_eq!(lines(Error::StoreFull), ["RESOURCE_EXHAUSTED: the database is out of space"]);
        let mut violations = vec![Violation::new("a", "must be b")];
        assert_eq!(
            lines(Error::InvalidRequest(violations.clone())),
            ["INVALID_ARGUMENT: invalid request: a: must be b"]
        );
        violations.push(Violation::new("c", "must be d"));
        let [first, rest @ ..] = &lines(Error::InvalidRequest(violations))[..] else {
            panic!("nothing is said")
        };
        assert_eq!(first, "INVALID_ARGUMENT: invalid request: a: must be b (and 1 more)");
        assert_eq!(rest, ["a: must be b", "c: must be d"]);
        let long = Error::invalid("a", "x".repeat(600));
        assert_eq!(lines(long).len(), 2, "what was cut from the message is not lost");
    }

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
