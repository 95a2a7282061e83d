//! The closed set of ways in which a request can fail. `rpc::status` maps each to a gRPC code, once.

use std::time::Duration;

/// One thing wrong with one field of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Path of the field as it stands in the proto, e.g. `key.scopes[3]`.
    pub field: String,
    /// What is wrong and what would be right: lower case, no full stop, no secret.
    pub description: String,
}

impl Violation {
    /// A violation of `field`.
    pub fn new(field: impl Into<String>, description: impl Into<String>) -> Self {
        Self { field: field.into(), description: description.into() }
    }
}

/// Why a request failed. Each variant's gRPC code stands beside it; [`Error::reason`] is the
/// machine-readable name that callers see in `google.rpc.ErrorInfo`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The request is malformed: every violation found, not only the first. `INVALID_ARGUMENT`
    #[error("invalid request: {}", summary(.0))]
    InvalidRequest(Vec<Violation>),

    /// The request is longer than the server reads. `RESOURCE_EXHAUSTED`
    #[error("request is too large: at most {limit} bytes are read")]
    RequestTooLarge {
        /// The most bytes that a request can have.
        limit: usize,
    },

    /// The answers before this one in a batch are as much as clients read. `RESOURCE_EXHAUSTED`
    #[error("the batch's reply would be too large; ask for these again")]
    ReplyTooLarge,

    /// No such key, or one that the caller's account does not own. `NOT_FOUND`
    #[error("no key {key_id}")]
    KeyNotFound {
        /// The id as the caller gave it.
        key_id: String,
    },

    /// The `request_id` was used before by the same principal for another request. `ALREADY_EXISTS`
    #[error("request_id was already used for a request with other contents")]
    RequestIdReused,

    /// The `request_id` was used before for this very request, but its secret is no longer kept. `ALREADY_EXISTS`
    #[error(
        "request_id was already used: it made a secret of key {key_id}, which can no longer be shown"
    )]
    ReplyForgotten {
        /// The key that the first request created or rotated.
        key_id: String,
    },

    /// The key changed since the caller read it. `ABORTED`
    #[error("etag does not match: the key was changed meanwhile; read it again")]
    EtagMismatch,

    /// A cursor that this log cannot resume from. `OUT_OF_RANGE`
    #[error("cursor out of range: {0}")]
    CursorOutOfRange(&'static str),

    /// A consistency token names a change that was lost when the database was restored or failed over, which an
    /// operator has accepted. `FAILED_PRECONDITION`
    #[error("the change that the consistency token names was lost: the log went on without it")]
    PositionLost,

    /// A revoked key stays revoked. `FAILED_PRECONDITION`
    #[error("key is revoked, which is final")]
    KeyRevoked,

    /// Only a revoked key can be deleted. `FAILED_PRECONDITION`
    #[error("key is not revoked; revoke it before deleting it")]
    KeyNotRevoked,

    /// The key has three live secret versions already. `FAILED_PRECONDITION`
    #[error("key has three live secret versions; expire one first or rotate with a zero overlap")]
    TooManySecrets,

    /// The key has no secret version of that number. `NOT_FOUND`
    #[error("key has no secret version {number}")]
    SecretNotFound {
        /// The version number that the caller gave.
        number: u32,
    },

    /// The change would leave nobody who can administer the service. `FAILED_PRECONDITION`
    #[error("this is the last key that can administer; create another first, or set force")]
    LastAdministrator,

    /// No credential, or one that does not verify. `UNAUTHENTICATED`
    #[error("unauthenticated: {0}")]
    Unauthenticated(&'static str),

    /// The caller is known but may not do this. `PERMISSION_DENIED`
    #[error("permission denied: {0}")]
    PermissionDenied(String),

    /// Too much at once; try again after the delay. `RESOURCE_EXHAUSTED`
    #[error("overloaded: {what}")]
    Overloaded {
        /// What is used up.
        what: &'static str,
        /// When trying again makes sense.
        retry_after: Duration,
    },

    /// A watcher fell too far behind; it may resume from the cursor. `RESOURCE_EXHAUSTED`
    #[error(
        "watcher is too slow: it fell behind the events kept in memory; resume from the cursor"
    )]
    SlowWatcher {
        /// Cursor of the last message that was sent.
        cursor: String,
    },

    /// The database has no room. `RESOURCE_EXHAUSTED`
    #[error("the database is out of space")]
    StoreFull,

    /// The caller's deadline passed before the answer was ready. `DEADLINE_EXCEEDED`
    #[error("deadline exceeded")]
    DeadlineExceeded,

    /// The service cannot know or do this now; nobody may be let in on it. `UNAVAILABLE`
    #[error("unavailable: {0}")]
    Unavailable(&'static str),

    /// This replica has not come as far as a caller asks for. `UNAVAILABLE`
    #[error("this replica has not come as far as at_least; ask again, or another")]
    ReplicaBehind,

    /// A fault of ours. The detail goes to the log and never to the caller. `INTERNAL`
    #[error("internal error")]
    Internal(String),
}

impl Error {
    /// An [`Error::InvalidRequest`] of one violation.
    pub fn invalid(field: impl Into<String>, description: impl Into<String>) -> Self {
        Self::InvalidRequest(vec![Violation::new(field, description)])
    }

    /// The same for whoever runs this process and stands before it: also what a caller is never told.
    pub fn to_operators(&self) -> String {
        match self {
            Self::Internal(detail) => detail.clone(),
            other => other.to_string(),
        }
    }

    /// The name in `google.rpc.ErrorInfo.reason`: stable, for machines.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::InvalidRequest(_) => "INVALID_REQUEST",
            Self::RequestTooLarge { .. } => "REQUEST_TOO_LARGE",
            Self::ReplyTooLarge => "REPLY_TOO_LARGE",
            Self::KeyNotFound { .. } => "KEY_NOT_FOUND",
            Self::RequestIdReused => "REQUEST_ID_REUSED",
            Self::ReplyForgotten { .. } => "REPLY_FORGOTTEN",
            Self::EtagMismatch => "ETAG_MISMATCH",
            Self::CursorOutOfRange(_) => "CURSOR_OUT_OF_RANGE",
            Self::PositionLost => "POSITION_LOST",
            Self::KeyRevoked => "KEY_REVOKED",
            Self::KeyNotRevoked => "KEY_NOT_REVOKED",
            Self::TooManySecrets => "TOO_MANY_SECRETS",
            Self::SecretNotFound { .. } => "SECRET_NOT_FOUND",
            Self::LastAdministrator => "LAST_ADMINISTRATOR",
            Self::Unauthenticated(_) => "UNAUTHENTICATED",
            Self::PermissionDenied(_) => "PERMISSION_DENIED",
            Self::Overloaded { .. } => "OVERLOADED",
            Self::SlowWatcher { .. } => "SLOW_WATCHER",
            Self::StoreFull => "STORE_FULL",
            Self::DeadlineExceeded => "DEADLINE_EXCEEDED",
            Self::Unavailable(_) => "UNAVAILABLE",
            Self::ReplicaBehind => "REPLICA_BEHIND",
            Self::Internal(_) => "INTERNAL",
        }
    }
}

/// The first violation in words, and how many more there are.
fn summary(violations: &[Violation]) -> String {
    match violations {
        [] => "no reason given".to_owned(),
        [one] => format!("{}: {}", one.field, one.description),
        [first, rest @ ..] => {
            format!("{}: {} (and {} more)", first.field, first.description, rest.len())
        }
    }
}
