//! What a client is told that is not let through: a status, a challenge (RFC 6750), and a problem (RFC 9457).
//!
//! It says what a Verify says to a service, and no more.

use std::time::Duration;

use http::StatusCode;
use serde_json::json;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::domain::Error;
use crate::domain::verdict::DenialReason;
use crate::rpc::proto;
use crate::rpc::status::{Unanswered, code};

/// The reasons that are no denials of a Verify, and what each means.
pub const REASONS: [(&str, StatusCode, &str); 3] = [
    (
        AMBIGUOUS,
        StatusCode::FORBIDDEN,
        "the method, the path or a header could be read in two ways, and so is not read at all",
    ),
    (UNKNOWN_ROUTE, StatusCode::FORBIDDEN, "no route is for this method and path"),
    (UNMEETABLE, StatusCode::FORBIDDEN, "no key can be what this route asks for"),
];

const AMBIGUOUS: &str = "AMBIGUOUS_REQUEST";
const UNKNOWN_ROUTE: &str = "UNKNOWN_ROUTE";
const UNMEETABLE: &str = "UNMEETABLE";

/// For an error that says nothing more of itself.
const UNAVAILABLE: &str = "UNAVAILABLE";

const CANNOT_BE_KNOWN: &str = "whether this request may pass can't be known now; try again";
const ASKED_UNREADABLY: &str =
    "the gateway asked in a way that can't be read; its operator should look";
const NOT_ALLOWED_TO_ASK: &str = "the gateway itself may not ask; its operator should look";

/// When to try again where this replica can't know.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// A request that may not go on, and what its client is told.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    /// For gRPC.
    pub(super) code: Code,
    /// For HTTP.
    pub(super) status: StatusCode,
    reason: String,
    detail: &'static str,
    missing_scopes: Vec<String>,
}

impl Refusal {
    pub(super) fn ambiguous() -> Self {
        Self::of_the_request(AMBIGUOUS)
    }

    pub(super) fn unknown_route() -> Self {
        Self::of_the_request(UNKNOWN_ROUTE)
    }

    pub(super) fn unmeetable() -> Self {
        Self::of_the_request(UNMEETABLE)
    }

    /// `None` is an answer that neither allows nor denies, which lets nobody through either.
    pub(super) fn denied(denial: Option<DenialReason>, missing_scopes: Vec<String>) -> Self {
        let Some(denial) = denial else {
            return Error::Internal("a verification allowed nobody".to_owned()).into();
        };
        let (status, detail) = told(denial);
        let name = proto::DenialReason::try_from(denial as i32).unwrap_or_default().as_str_name();
        Self {
            code: if status == StatusCode::UNAUTHORIZED {
                Code::Unauthenticated
            } else {
                Code::PermissionDenied
            },
            status,
            reason: name.trim_start_matches("DENIAL_REASON_").to_owned(),
            detail,
            missing_scopes,
        }
    }

    /// The question of a gateway was refused with this, so nothing is known of the request.
    pub(super) fn of_the_question(status: &Status) -> Self {
        let reason = status.get_details_error_info().map(|info| info.reason);
        Self {
            code: status.code(),
            status: StatusCode::SERVICE_UNAVAILABLE,
            reason: reason.unwrap_or_else(|| UNAVAILABLE.to_owned()),
            detail: match status.code() {
                Code::Unauthenticated | Code::PermissionDenied => NOT_ALLOWED_TO_ASK,
                Code::InvalidArgument => ASKED_UNREADABLY,
                _ => CANNOT_BE_KNOWN,
            },
            missing_scopes: Vec::new(),
        }
    }

    /// `None` where the request was decided on: to refuse one that may not pass is an answer, as it is for Verify.
    pub(super) fn unanswered(&self) -> Option<Unanswered> {
        (self.status == StatusCode::SERVICE_UNAVAILABLE).then_some(Unanswered(self.code))
    }

    /// Why, in the contract's words or those of [`REASONS`].
    pub(super) fn reason(&self) -> &str {
        &self.reason
    }

    fn of_the_request(reason: &'static str) -> Self {
        let told = REASONS.iter().find(|(own, ..)| *own == reason);
        let (status, detail) =
            told.map_or((StatusCode::FORBIDDEN, ""), |(_, status, detail)| (*status, *detail));
        Self {
            code: Code::PermissionDenied,
            status,
            reason: reason.to_owned(),
            detail,
            missing_scopes: Vec::new(),
        }
    }

    /// The headers that go with the body.
    pub(super) fn headers(&self) -> Vec<(&'static str, String)> {
        let mut headers = vec![
            ("content-type", "application/problem+json".to_owned()),
            // What holds now may not hold for the next request.
            ("cache-control", "no-store".to_owned()),
        ];
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            headers.push(("retry-after", RETRY_AFTER.as_secs().to_string()));
        } else {
            headers.push(("www-authenticate", self.challenge()));
        }
        headers
    }

    /// The problem, as JSON.
    pub(super) fn body(&self) -> String {
        let mut problem = json!({
            "type": "about:blank",
            "title": self.status.canonical_reason(),
            "status": self.status.as_u16(),
            "detail": self.detail,
            "reason": self.reason,
        });
        if !self.missing_scopes.is_empty() {
            problem["missing_scopes"] = json!(self.missing_scopes);
        }
        problem.to_string()
    }

    /// RFC 6750, section 3: no error code where no credential was presented, and none that does not fit.
    fn challenge(&self) -> String {
        let error = match self.reason.as_str() {
            AMBIGUOUS => ", error=\"invalid_request\"".to_owned(),
            _ if !self.missing_scopes.is_empty() => {
                // The grammar of scopes has no quotes.
                format!(
                    ", error=\"insufficient_scope\", scope=\"{}\"",
                    self.missing_scopes.join(" ")
                )
            }
            "MISSING" => String::new(),
            _ if self.status == StatusCode::UNAUTHORIZED => ", error=\"invalid_token\"".to_owned(),
            _ => String::new(),
        };
        format!("Bearer realm=\"countersign\"{error}")
    }
}

/// What can't be known lets nobody through, and is nobody's fault who asks.
impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        if let Error::Internal(detail) = &error {
            tracing::error!(detail, "internal error");
        }
        let detail = match error {
            Error::InvalidRequest(_) => ASKED_UNREADABLY,
            _ => CANNOT_BE_KNOWN,
        };
        Self {
            code: code(&error),
            status: StatusCode::SERVICE_UNAVAILABLE,
            reason: error.reason().to_owned(),
            detail,
            missing_scopes: Vec::new(),
        }
    }
}

/// The status of each denial, as the contract's comments say it, and a sentence for whoever debugs a client.
fn told(denial: DenialReason) -> (StatusCode, &'static str) {
    use DenialReason as Reason;
    use StatusCode as Status;
    match denial {
        Reason::Missing => (Status::UNAUTHORIZED, "no credential, or only half of one"),
        Reason::Malformed => (Status::UNAUTHORIZED, "the credential is malformed"),
        Reason::InvalidCredential => (Status::UNAUTHORIZED, "the credential is not known"),
        Reason::Revoked => (Status::UNAUTHORIZED, "the key is revoked"),
        Reason::Disabled => (Status::UNAUTHORIZED, "the key is disabled"),
        Reason::Expired => (Status::UNAUTHORIZED, "the key has expired"),
        Reason::SecretExpired => (Status::UNAUTHORIZED, "this secret has expired"),
        Reason::EnvironmentMismatch => (Status::FORBIDDEN, "the key is of another environment"),
        Reason::AccountMismatch => (Status::FORBIDDEN, "the key is of another account"),
        Reason::ApplicationMismatch => (Status::FORBIDDEN, "the key is of another application"),
        Reason::IpNotAllowed => (Status::FORBIDDEN, "the key may not be used from this address"),
        Reason::ScopeMissing => (Status::FORBIDDEN, "the key lacks a scope"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_denial_has_the_status_that_the_contract_says() {
        let contract = include_str!("../../../proto/countersign/v1/key_verifier.proto");
        let (_, body) = contract.split_once("enum DenialReason {").expect("the enum is there");
        let (mut comment, mut seen) = (String::new(), 0);
        for line in body.lines().map(str::trim).take_while(|line| *line != "}") {
            if let Some(more) = line.strip_prefix("//") {
                comment.push_str(more);
            } else if let Some(value) = line.strip_prefix("DENIAL_REASON_") {
                let said = std::mem::take(&mut comment);
                let (name, _) = value.split_once(" = ").expect("a value has a number");
                let Some((_, status)) = said.rsplit_once("HTTP ") else { continue };
                let of_it = (1..=12).map(all).find(|refusal| refusal.reason == name);
                let refusal = of_it.unwrap_or_else(|| panic!("{name} is told nowhere"));
                assert_eq!(status.trim_end_matches('.'), refusal.status.as_str(), "{name}");
                seen += 1;
            }
        }
        assert_eq!(seen, 12);
    }

    fn all(number: i32) -> Refusal {
        use DenialReason::*;
        let every = [
            Missing,
            Malformed,
            InvalidCredential,
            Revoked,
            Disabled,
            Expired,
            SecretExpired,
            EnvironmentMismatch,
            AccountMismatch,
            ApplicationMismatch,
            IpNotAllowed,
            ScopeMissing,
        ];
        let reason = every.into_iter().find(|reason| *reason as i32 == number);
        Refusal::denied(Some(reason.expect("a reason")), Vec::new())
    }

    fn challenge(refusal: &Refusal) -> String {
        let headers = refusal.headers();
        let found = headers.into_iter().find(|(name, _)| *name == "www-authenticate");
        found.expect("a challenge").1
    }

    #[test]
    fn a_challenge_says_what_rfc_6750_has_a_word_for() {
        let denied = |reason| Refusal::denied(Some(reason), Vec::new());
        assert_eq!(challenge(&denied(DenialReason::Missing)), "Bearer realm=\"countersign\"");
        assert_eq!(
            challenge(&denied(DenialReason::Revoked)),
            "Bearer realm=\"countersign\", error=\"invalid_token\""
        );
        assert_eq!(challenge(&denied(DenialReason::IpNotAllowed)), "Bearer realm=\"countersign\"");
        let scopes = vec!["a:read".to_owned(), "b".to_owned()];
        let refusal = Refusal::denied(Some(DenialReason::ScopeMissing), scopes);
        assert_eq!(
            challenge(&refusal),
            "Bearer realm=\"countersign\", error=\"insufficient_scope\", scope=\"a:read b\""
        );
        assert!(refusal.body().contains(r#""missing_scopes":["a:read","b"]"#));
        assert!(challenge(&Refusal::ambiguous()).ends_with("error=\"invalid_request\""));
    }

    #[test]
    fn what_cannot_be_known_is_503_and_tells_nothing_of_ours() {
        let refusal: Refusal = Error::Internal("hunter2".to_owned()).into();
        assert_eq!(refusal.status, StatusCode::SERVICE_UNAVAILABLE);
        assert!(refusal.headers().contains(&("retry-after", "1".to_owned())));
        assert!(!refusal.body().contains("hunter2"));
        assert_eq!(refusal.unanswered(), Some(Unanswered(Code::Internal)));
        assert_eq!(Refusal::denied(None, Vec::new()).status, StatusCode::SERVICE_UNAVAILABLE);
        let refusal: Refusal = Error::Unavailable("no lease").into();
        assert_eq!(refusal.unanswered(), Some(Unanswered(Code::Unavailable)));
        let refusal = Refusal::denied(Some(DenialReason::Revoked), Vec::new());
        assert_eq!(refusal.unanswered(), None, "that is an answer");
    }
}
