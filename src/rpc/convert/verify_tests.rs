use super::*;

fn fields(request: &wire::VerifyRequest<'_>) -> Vec<String> {
    match Asked::try_from(request) {
        Ok(_) => Vec::new(),
        Err(Error::InvalidRequest(violations)) => {
            violations.into_iter().map(|violation| violation.field).collect()
        }
        Err(other) => panic!("{other:?} is no InvalidRequest"),
    }
}

#[test]
fn an_empty_request_asks_for_live_and_nothing_else() {
    let asked = Asked::try_from(&wire::VerifyRequest::default()).expect("valid");
    let question = asked.question();
    assert_eq!(question.environment, Environment::Live);
    assert!(question.required_scopes.is_empty() && question.client_ip.is_none());
    assert!(question.account_id.is_none() && question.application_id.is_none());
}

#[test]
fn every_violation_is_named_at_once() {
    let request = wire::VerifyRequest {
        required_scopes: ["a:read", "A", "b:*"].as_slice().into(),
        client_ip: "[::1]:80",
        account_id: "-",
        application_id: " ",
        environment: 3,
        ..wire::VerifyRequest::default()
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
    let request = |count| wire::VerifyRequest {
        required_scopes: vec!["a"; count].into(),
        ..wire::VerifyRequest::default()
    };
    assert!(fields(&request(100)).is_empty());
    assert_eq!(fields(&request(101)), ["required_scopes"]);
    let counted = wire::VerifyRequest { further_scopes: 101, ..request(0) };
    assert_eq!(fields(&counted), ["required_scopes"]);
}

#[test]
fn reasons_have_the_names_of_the_contract() {
    use crate::domain::verdict::DenialReason;
    for reason in DenialReason::ALL {
        let of_contract = crate::rpc::proto::DenialReason::try_from(reason as i32);
        let name = of_contract.expect("a reason of the contract").as_str_name();
        assert_eq!(name, format!("DENIAL_REASON_{}", reason.name().to_uppercase()));
    }
    let unspecified = 1;
    let of_contract =
        (0..100).filter(|number| crate::rpc::proto::DenialReason::try_from(*number).is_ok());
    assert_eq!(of_contract.count(), DenialReason::ALL.len() + unspecified);
}
