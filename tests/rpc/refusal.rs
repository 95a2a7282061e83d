//! What a call was refused with, as machines read it: the code, the `google.rpc` details.

use std::time::Duration;

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

/// A refusal of the expected kind; its details can still be asked for.
#[derive(Debug)]
pub struct Refusal {
    pub message: String,
    details: ErrorDetails,
}

/// Demands that a call was refused with this code and this `ErrorInfo.reason`.
#[track_caller]
pub fn refused<T>(outcome: Result<T, Status>, code: Code, reason: &str) -> Refusal {
    let Err(status) = outcome else { panic!("should have been refused with {reason}") };
    let details = status.get_error_details();
    let info = details.error_info();
    let info = info.unwrap_or_else(|| panic!("a status without ErrorInfo: {status:?}"));
    assert_eq!((status.code(), info.reason.as_str()), (code, reason), "{}", status.message());
    assert_eq!(info.domain, "countersign");
    Refusal { message: status.message().to_owned(), details }
}

/// Demands that a call was refused as malformed, and that `field` is among the fields that are named,
/// with these words.
#[track_caller]
pub fn invalid<T>(outcome: Result<T, Status>, field: &str, words: &str) -> Refusal {
    refused(outcome, Code::InvalidArgument, "INVALID_REQUEST").names(field, words)
}

/// Demands that the credential was not accepted.
#[track_caller]
pub fn unauthenticated<T>(outcome: Result<T, Status>, words: &str) {
    refused(outcome, Code::Unauthenticated, "UNAUTHENTICATED").says(words);
}

/// Demands that the caller may not do this.
#[track_caller]
pub fn denied<T>(outcome: Result<T, Status>, words: &str) {
    refused(outcome, Code::PermissionDenied, "PERMISSION_DENIED").says(words);
}

/// Demands that there is no such key, as far as the caller can see.
#[track_caller]
pub fn not_found<T>(outcome: Result<T, Status>, key_id: &str) {
    let refusal = refused(outcome, Code::NotFound, "KEY_NOT_FOUND").says(key_id);
    assert_eq!(refusal.metadata("key_id"), key_id);
}

/// Demands that the change was refused since nobody could administer after it.
#[track_caller]
pub fn last_administrator<T>(outcome: Result<T, Status>) {
    refused(outcome, Code::FailedPrecondition, "LAST_ADMINISTRATOR").says("set force");
}

/// Demands that the change was refused since the key is revoked.
#[track_caller]
pub fn is_revoked<T>(outcome: Result<T, Status>) {
    refused(outcome, Code::FailedPrecondition, "KEY_REVOKED").says("final");
}

impl Refusal {
    #[track_caller]
    pub fn says(self, words: &str) -> Self {
        assert!(self.message.contains(words), "{:?} does not say {words:?}", self.message);
        self
    }

    /// Each violation, as its field and what is said about it.
    pub fn violations(&self) -> Vec<(&str, &str)> {
        let violations = self.details.bad_request().map(|bad| bad.field_violations.as_slice());
        let violations = violations.unwrap_or_default().iter();
        violations.map(|one| (one.field.as_str(), one.description.as_str())).collect()
    }

    /// The fields that are named, in order.
    pub fn fields(&self) -> Vec<&str> {
        self.violations().into_iter().map(|(field, _)| field).collect()
    }

    #[track_caller]
    pub fn names(self, field: &str, words: &str) -> Self {
        let violations = self.violations();
        let named = violations.iter().any(|(named, said)| *named == field && said.contains(words));
        assert!(named, "no violation of {field} says {words:?}: {violations:?}");
        self
    }

    #[track_caller]
    pub fn metadata(&self, name: &str) -> &str {
        let value = self.details.error_info().and_then(|info| info.metadata.get(name));
        value.unwrap_or_else(|| panic!("no {name} in the ErrorInfo of {:?}", self.message))
    }

    /// When the server says that trying again makes sense.
    pub fn retry_delay(&self) -> Option<Duration> {
        self.details.retry_info()?.retry_delay
    }
}
