use super::*;

/// One of each. A new variant does not compile here until it is in the list.
fn one_of_each() -> Vec<Error> {
    let listed = |error: &Error| match error {
        Error::InvalidRequest(_)
        | Error::RequestTooLarge { .. }
        | Error::ReplyTooLarge
        | Error::KeyNotFound { .. }
        | Error::RequestIdReused
        | Error::ReplyForgotten { .. }
        | Error::EtagMismatch
        | Error::CursorOutOfRange(_)
        | Error::PositionLost
        | Error::KeyRevoked
        | Error::KeyNotRevoked
        | Error::TooManySecrets
        | Error::SecretNotFound { .. }
        | Error::LastAdministrator
        | Error::Unauthenticated(_)
        | Error::PermissionDenied(_)
        | Error::Overloaded { .. }
        | Error::SlowWatcher { .. }
        | Error::StoreFull
        | Error::DeadlineExceeded
        | Error::Unavailable(_)
        | Error::ReplicaBehind
        | Error::Internal(_) => {}
    };
    let all = vec![
        Error::invalid("key.scopes[0]", "scope must not be empty"),
        Error::RequestTooLarge { limit: 4_194_304 },
        Error::ReplyTooLarge,
        Error::KeyNotFound { key_id: "csk_live_1".to_owned() },
        Error::RequestIdReused,
        Error::ReplyForgotten { key_id: "csk_live_1".to_owned() },
        Error::EtagMismatch,
        Error::CursorOutOfRange("it is ahead of the log"),
        Error::PositionLost,
        Error::KeyRevoked,
        Error::KeyNotRevoked,
        Error::TooManySecrets,
        Error::SecretNotFound { number: 7 },
        Error::LastAdministrator,
        Error::Unauthenticated("the credential was refused"),
        Error::PermissionDenied("needs the scope countersign.keys:read".to_owned()),
        Error::Overloaded { what: "too many requests", retry_after: Duration::from_secs(2) },
        Error::SlowWatcher { cursor: "opaque".to_owned() },
        Error::StoreFull,
        Error::DeadlineExceeded,
        Error::Unavailable("still starting"),
        Error::ReplicaBehind,
        Error::Internal("a detail that nobody may see".to_owned()),
    ];
    all.iter().for_each(listed);
    all
}

#[test]
fn every_error_has_a_code_of_its_own_in_the_table() {
    let mut reasons: Vec<_> = one_of_each().iter().map(Error::reason).collect();
    let mut listed: Vec<_> = CODES.iter().map(|(reason, _)| *reason).collect();
    reasons.sort_unstable();
    listed.sort_unstable();
    assert_eq!(reasons, listed);
}

#[test]
fn every_status_says_its_reason_to_machines() {
    for error in one_of_each() {
        let (reason, code) = (error.reason(), code(&error));
        let status = Status::from(error);
        assert_eq!(status.code(), code);
        let details = status.get_error_details();
        let info = details.error_info().expect("an ErrorInfo");
        assert_eq!((info.reason.as_str(), info.domain.as_str()), (reason, "countersign"));
    }
}

#[test]
fn an_internal_error_tells_nobody_why() {
    let status = Status::from(Error::Internal("the detail".to_owned()));
    assert_eq!(status.message(), "internal error");
    assert!(!String::from_utf8_lossy(status.details()).contains("the detail"));
}

#[test]
fn violations_retry_delays_and_metadata_arrive() {
    let two = vec![Violation::new("a", "must be b"), Violation::new("c[1]", "must be d")];
    let details = Status::from(Error::InvalidRequest(two)).get_error_details();
    let violations = &details.bad_request().expect("a BadRequest").field_violations;
    let fields: Vec<_> = violations.iter().map(|violation| violation.field.as_str()).collect();
    assert_eq!(fields, ["a", "c[1]"]);

    let delay = Duration::from_secs(2);
    let overloaded = Error::Overloaded { what: "x", retry_after: delay };
    let details = Status::from(overloaded).get_error_details();
    assert_eq!(details.retry_info().expect("a RetryInfo").retry_delay, Some(delay));

    let slow = Error::SlowWatcher { cursor: "opaque".to_owned() };
    let details = Status::from(slow).get_error_details();
    let info = details.error_info().expect("an ErrorInfo");
    assert_eq!(info.metadata.get("cursor").map(String::as_str), Some("opaque"));
}

#[test]
fn the_largest_status_fits_into_the_headers_of_a_java_client() {
    let long = "ü".repeat(5_000);
    let many =
        (0..1_001).map(|n| Violation::new(format!("key.scopes[{n}]"), long.clone())).collect();
    let short = (0..1_001).map(|n| Violation::new(format!("key.scopes[{n}]"), "must not be empty"));
    let errors = [
        Error::InvalidRequest(many),
        Error::InvalidRequest(short.collect()),
        Error::KeyNotFound { key_id: long.clone() },
        Error::PermissionDenied(long),
    ];
    for error in errors {
        let response = Status::from(error).into_http::<()>();
        let bytes: usize =
            response.headers().iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
        assert!(bytes < 8_192, "{bytes} bytes of headers");
    }
}

#[test]
fn what_does_not_fit_is_counted() {
    let many = (0..1_001).map(|n| Violation::new(format!("f[{n}]"), "must not be empty")).collect();
    let details = Status::from(Error::InvalidRequest(many)).get_error_details();
    let violations = &details.bad_request().expect("a BadRequest").field_violations;
    let last = violations.last().expect("some");
    assert_eq!(last.field, format!("f[{}]", violations.len() - 1));
    let rest = 1_001 - (violations.len() - 1);
    assert_eq!(last.description, format!("and {rest} more violations, from this field on"));
}
