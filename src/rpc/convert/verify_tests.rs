use super::*;

fn fields(request: &proto::VerifyRequest) -> Vec<String> {
    match Asked::try_from(request) {
        Ok(_) => Vec::new(),
        Err(Error::InvalidRequest(violations)) => {
            violations.into_iter().map(|violation| violation.field).collect()
        }
        Err(other) => panic!("{other:?} is no InvalidRequest"),
    }
}

fn texts(list: &[&str]) -> Vec<String> {
    list.iter().map(|text| (*text).to_owned()).collect()
}

#[test]
fn an_empty_request_asks_for_live_and_nothing_else() {
    let asked = Asked::try_from(&proto::VerifyRequest::default()).expect("valid");
    let question = asked.question();
    assert_eq!(question.environment, Environment::Live);
    assert!(question.required_scopes.is_empty() && question.client_ip.is_none());
    assert!(question.account_id.is_none() && question.application_id.is_none());
}

#[test]
fn every_violation_is_named_at_once() {
    let request = proto::VerifyRequest {
        required_scopes: texts(&["a:read", "A", "b:*"]),
        client_ip: "[::1]:80".to_owned(),
        account_id: "-".to_owned(),
        application_id: " ".to_owned(),
        environment: 3,
        ..proto::VerifyRequest::default()
    };
    assert_eq!(
        fields(&request),
        [
            "required_scopes[1]",
            "required_scopes[2]",
            "client_ip",
            "account_id",
            "application_id",
            "environment"
        ]
    );
}

#[test]
fn a_hundred_scopes_can_be_required_and_no_more() {
    let request = |count| proto::VerifyRequest {
        required_scopes: vec!["a".to_owned(); count],
        ..proto::VerifyRequest::default()
    };
    assert!(fields(&request(100)).is_empty());
    assert_eq!(fields(&request(101)), ["required_scopes"]);
}

#[test]
fn denial_reasons_have_the_numbers_of_the_proto() {
    use proto::DenialReason as Wire;
    let pairs = [
        (DenialReason::Missing, Wire::Missing),
        (DenialReason::Malformed, Wire::Malformed),
        (DenialReason::InvalidCredential, Wire::InvalidCredential),
        (DenialReason::Revoked, Wire::Revoked),
        (DenialReason::Disabled, Wire::Disabled),
        (DenialReason::Expired, Wire::Expired),
        (DenialReason::SecretExpired, Wire::SecretExpired),
        (DenialReason::EnvironmentMismatch, Wire::EnvironmentMismatch),
        (DenialReason::AccountMismatch, Wire::AccountMismatch),
        (DenialReason::ApplicationMismatch, Wire::ApplicationMismatch),
        (DenialReason::IpNotAllowed, Wire::IpNotAllowed),
        (DenialReason::ScopeMissing, Wire::ScopeMissing),
    ];
    for (reason, wire) in pairs {
        assert_eq!(number(reason), wire as i32);
    }
    // One more value of the proto would stand behind the last of the list.
    assert!(Wire::try_from(13).is_err());
}

#[test]
fn half_an_answer_allows_nobody() {
    let answer = Answer {
        denial: None,
        proven: None,
        missing_scopes: Vec::new(),
        checks: Vec::new(),
        consistency_token: String::new(),
        staleness: std::time::Duration::ZERO,
    };
    assert!(!proto::VerifyResponse::from(answer).allowed);
}
