//! The one table from the domain's errors to gRPC statuses, and the one place that makes them.

use std::collections::HashMap;
use std::time::Duration;

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, FieldViolation, StatusExt as _};

use super::proto::key_verifier_server::SERVICE_NAME as KEY_VERIFIER;
use crate::domain::{Error, Violation};

/// The `domain` of every `google.rpc.ErrorInfo` that this service sends.
pub const ERROR_DOMAIN: &str = "countersign";

/// The longest request that is read, in bytes; a longer one is `REQUEST_TOO_LARGE`. The largest key that may be made
/// takes half of it. Two bytes can be a message that takes a hundred in memory, so this is what bounds a request there.
pub const MAX_REQUEST_BYTES: usize = 256 * 1024;
/// The same for `KeyVerifier`, which reads its requests where they lie. A batch of 1,000 verifications with long scope
/// lists fits. tonic's own default is the same.
pub const MAX_VERIFICATION_BYTES: usize = 4 * 1024 * 1024;

/// How long a request to the method of that path may be, in bytes.
pub fn most_bytes(path: &str) -> usize {
    let service = path.split('/').nth(1);
    if service == Some(KEY_VERIFIER) { MAX_VERIFICATION_BYTES } else { MAX_REQUEST_BYTES }
}

/// The code that a gateway's question would have failed with, if gateways were told errors. Among the extensions of the
/// response, whose own status is always OK, for whoever counts calls by their outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unanswered(pub Code);

/// Each error by [`Error::reason`], with the code that callers get.
pub const CODES: [(&str, Code); 23] = [
    ("INVALID_REQUEST", Code::InvalidArgument),
    ("REQUEST_TOO_LARGE", Code::ResourceExhausted),
    ("REPLY_TOO_LARGE", Code::ResourceExhausted),
    ("KEY_NOT_FOUND", Code::NotFound),
    ("SECRET_NOT_FOUND", Code::NotFound),
    ("REQUEST_ID_REUSED", Code::AlreadyExists),
    ("REPLY_FORGOTTEN", Code::AlreadyExists),
    ("ETAG_MISMATCH", Code::Aborted),
    ("CURSOR_OUT_OF_RANGE", Code::OutOfRange),
    ("POSITION_LOST", Code::FailedPrecondition),
    ("KEY_REVOKED", Code::FailedPrecondition),
    ("KEY_NOT_REVOKED", Code::FailedPrecondition),
    ("TOO_MANY_SECRETS", Code::FailedPrecondition),
    ("LAST_ADMINISTRATOR", Code::FailedPrecondition),
    ("UNAUTHENTICATED", Code::Unauthenticated),
    ("PERMISSION_DENIED", Code::PermissionDenied),
    ("OVERLOADED", Code::ResourceExhausted),
    ("SLOW_WATCHER", Code::ResourceExhausted),
    ("STORE_FULL", Code::ResourceExhausted),
    ("DEADLINE_EXCEEDED", Code::DeadlineExceeded),
    ("UNAVAILABLE", Code::Unavailable),
    ("REPLICA_BEHIND", Code::Unavailable),
    ("INTERNAL", Code::Internal),
];

/// A status travels in headers, and Java clients take 8 KiB of them by default: with the details in
/// base64 and the message in both places, these two limits keep the whole below 7 KiB.
const MAX_MESSAGE_BYTES: usize = 512;
const MAX_VIOLATION_BYTES: usize = 3_072;

/// When to try again after UNAVAILABLE: about as long as a failover of the database takes to begin.
const UNAVAILABLE_RETRY: Duration = Duration::from_secs(1);

impl From<Error> for Status {
    /// The status of an error. What an [`Error::Internal`] holds goes to the log here and no further.
    fn from(error: Error) -> Self {
        if let Error::Internal(detail) = &error {
            tracing::error!(detail, "internal error");
        }
        let message = cut(&error.to_string(), MAX_MESSAGE_BYTES);
        Self::with_error_details(code(&error), message, details(&error))
    }
}

/// What is said of a message that is no protobuf, or of another type.
pub fn unreadable() -> Error {
    Error::invalid("request", "must be one message of this method's type")
}

/// The code of an error, from [`CODES`].
pub fn code(error: &Error) -> Code {
    let row = CODES.iter().find(|(reason, _)| *reason == error.reason());
    row.map_or(Code::Internal, |(_, code)| *code)
}

fn details(error: &Error) -> ErrorDetails {
    let metadata = match error {
        Error::KeyNotFound { key_id } | Error::ReplyForgotten { key_id } => {
            Some(("key_id", key_id.clone()))
        }
        Error::SecretNotFound { number } => Some(("number", number.to_string())),
        Error::SlowWatcher { cursor } => Some(("cursor", cursor.clone())),
        _ => None,
    };
    let metadata = metadata.map(|(name, value)| (name.to_owned(), cut(&value, MAX_MESSAGE_BYTES)));
    let metadata: HashMap<String, String> = metadata.into_iter().collect();
    let mut details = ErrorDetails::with_error_info(error.reason(), ERROR_DOMAIN, metadata);
    match error {
        Error::InvalidRequest(violations) => _ = details.set_bad_request(shown(violations)),
        Error::Overloaded { retry_after, .. } => _ = details.set_retry_info(Some(*retry_after)),
        Error::Unavailable(_) | Error::ReplicaBehind => {
            _ = details.set_retry_info(Some(UNAVAILABLE_RETRY));
        }
        _ => {}
    }
    details
}

/// As many violations as fit, and the number of the others.
fn shown(violations: &[Violation]) -> Vec<FieldViolation> {
    let (mut shown, mut bytes) = (Vec::new(), 0);
    for (index, Violation { field, description }) in violations.iter().enumerate() {
        let violation = FieldViolation::new(cut(field, 256), cut(description, MAX_MESSAGE_BYTES));
        bytes += violation.field.len() + violation.description.len() + 16;
        if bytes > MAX_VIOLATION_BYTES {
            let rest = violations.len() - index;
            let and_more = format!("and {rest} more violations, from this field on");
            shown.push(FieldViolation::new(violation.field, and_more));
            break;
        }
        shown.push(violation);
    }
    shown
}

/// The text, or its beginning with an ellipsis, in at most that many bytes.
fn cut(text: &str, most: usize) -> String {
    const ELLIPSIS: &str = "...";
    if text.len() <= most {
        return text.to_owned();
    }
    let end = text.floor_char_boundary(most.saturating_sub(ELLIPSIS.len()));
    let beginning = text.get(..end).unwrap_or_default();
    format!("{beginning}{ELLIPSIS}")
}

#[cfg(test)]
#[path = "status_tests.rs"]
mod tests;
