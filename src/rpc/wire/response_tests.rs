//! Held against what prost writes of the plain conversion.

use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::domain::draft::KeyDraft;
use crate::domain::ids::{Environment, KeyId, StoreId};
use crate::domain::key::{Key, NewSecret};
use crate::domain::keyring::Digest;

/// The plain conversion, which writing must be equal to.
fn plain(answer: &Answer) -> proto::VerifyResponse {
    let proven = answer.proven.as_ref();
    proto::VerifyResponse {
        allowed: answer.denial.is_none() && proven.is_some(),
        denial_reason: answer.denial.map_or(0, |reason| reason as i32),
        key: proven.map(plain_key),
        missing_scopes: answer.missing_scopes.clone(),
        superseded_time: proven.and_then(|proven| proven.superseded_time).map(time_to_proto),
        consistency_token: answer.based_on.encode(PositionKind::ConsistencyToken),
        staleness: Some(duration_to_proto(answer.staleness)),
        checks: answer
            .checks
            .iter()
            .map(|(check, passed)| proto::CheckResult { check: *check as i32, passed: *passed })
            .collect(),
    }
}

fn plain_key(key: &Proven) -> proto::VerifiedKey {
    proto::VerifiedKey {
        key_id: key.key_id.to_string(),
        account_id: key.account_id.to_string(),
        application_id: key.application_id.to_string(),
        environment: proto::Environment::from(key.environment).into(),
        scopes: key.scopes.iter().map(ToString::to_string).collect(),
        expire_time: key.expire_time.map(time_to_proto),
        secret_number: secret_number(key.secret_number),
    }
}

const REASONS: [DenialReason; 12] = [
    DenialReason::Missing,
    DenialReason::Malformed,
    DenialReason::InvalidCredential,
    DenialReason::Revoked,
    DenialReason::Disabled,
    DenialReason::Expired,
    DenialReason::SecretExpired,
    DenialReason::EnvironmentMismatch,
    DenialReason::AccountMismatch,
    DenialReason::ApplicationMismatch,
    DenialReason::IpNotAllowed,
    DenialReason::ScopeMissing,
];

fn any_time() -> impl Strategy<Value = Option<Timestamp>> {
    let micros = prop_oneof![Just(0), Timestamp::MIN.micros()..=Timestamp::MAX.micros()];
    prop::option::of(micros.prop_map(|micros| Timestamp::from_micros(micros).expect("in range")))
}

prop_compose! {
    fn any_proven()(
        key_id in "[a-z0-9]{1,128}",
        account_id in "[a-z]{1,64}",
        scopes in prop::collection::vec("[a-z]{1,60}(:[a-z]{1,60}){0,3}", 0..12),
        is_live: bool,
        expire_time in any_time(),
        superseded_time in any_time(),
        secret_number: u32,
    ) -> Proven {
        let draft = KeyDraft {
            account_id,
            application_id: "web".to_owned(),
            environment: Some(if is_live { Environment::Live } else { Environment::Test }),
            display_name: "a key".to_owned(),
            scopes,
            ..KeyDraft::default()
        };
        let id = KeyId::from_stored(key_id).expect("valid");
        let secret = NewSecret { digest: Digest::absent(), hint: String::new() };
        let draft = draft.check(Timestamp::default()).expect("valid");
        let key = Key::create(draft, id, secret, "test", Timestamp::default()).verifiable();
        Proven {
            key_id: key.key_id,
            account_id: key.account_id,
            application_id: key.application_id,
            environment: key.environment,
            scopes: key.scopes,
            expire_time,
            secret_number,
            superseded_time,
        }
    }
}

prop_compose! {
    fn any_answer()(
        denial in prop::option::of(prop::sample::select(REASONS.to_vec())),
        proven in prop::option::of(any_proven()),
        missing_scopes in prop::collection::vec("[a-z:]{0,200}", 0..4),
        checks in prop::collection::vec((prop::sample::select(REASONS.to_vec()), any::<bool>()), 0..10),
        (store, epoch, revision) in any::<([u8; 16], u32, u64)>(),
        staleness in prop_oneof![Just(Duration::ZERO), any::<Duration>()],
    ) -> Answer {
        let based_on = LogPosition { store: StoreId(store), epoch, revision };
        Answer { denial, proven, missing_scopes, checks, based_on, staleness }
    }
}

proptest! {
    #[test]
    fn an_answer_is_written_as_prost_writes_it(answer in any_answer()) {
        let plain = plain(&answer);
        let response = VerifyResponse::from(answer);
        let mut bytes = Vec::new();
        response.encode(&mut bytes);
        prop_assert_eq!(proto::VerifyResponse::decode(bytes.as_slice()), Ok(plain.clone()));
        prop_assert_eq!(response.encoded_len(), bytes.len());
        prop_assert_eq!(bytes, plain.encode_to_vec());
    }

    #[test]
    fn a_batch_is_written_as_prost_writes_it(
        entries in prop::collection::vec(prop::result::maybe_err(any_answer(), ".{0,9}"), 0..4),
    ) {
        use proto::batch_verify_response::{Result as Entry, result::Result as Outcome};

        let (mut bytes, mut length, mut results) = (Vec::new(), 0, Vec::new());
        for entry in entries {
            let (ours, prosts) = match entry {
                Ok(answer) => {
                    let plain = Outcome::Response(plain(&answer));
                    (BatchResult::Response(answer.into()), plain)
                }
                Err(message) => {
                    let status = tonic_types::Status { code: 3, message, details: Vec::new() };
                    (BatchResult::Error(status.clone()), Outcome::Error(status))
                }
            };
            length += ours.len_in_reply();
            ours.append_to(&mut bytes);
            results.push(Entry { result: Some(prosts) });
        }
        let plain = proto::BatchVerifyResponse { results };
        prop_assert_eq!(proto::BatchVerifyResponse::decode(bytes.as_slice()), Ok(plain.clone()));
        prop_assert_eq!(length, bytes.len());
        prop_assert_eq!(bytes, plain.encode_to_vec());
    }
}

#[test]
fn denial_reasons_have_the_numbers_of_the_proto() {
    use proto::DenialReason as Wire;
    let names = [
        "MISSING",
        "MALFORMED",
        "INVALID_CREDENTIAL",
        "REVOKED",
        "DISABLED",
        "EXPIRED",
        "SECRET_EXPIRED",
        "ENVIRONMENT_MISMATCH",
        "ACCOUNT_MISMATCH",
        "APPLICATION_MISMATCH",
        "IP_NOT_ALLOWED",
        "SCOPE_MISSING",
    ];
    for (reason, name) in REASONS.into_iter().zip(names) {
        let wire = Wire::from_str_name(&format!("DENIAL_REASON_{name}")).expect("a reason");
        assert_eq!(reason as i32, wire as i32);
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
        based_on: LogPosition { store: StoreId([1; 16]), epoch: 1, revision: 1 },
        staleness: Duration::ZERO,
    };
    let mut bytes = Vec::new();
    VerifyResponse::from(answer).encode(&mut bytes);
    assert!(!proto::VerifyResponse::decode(bytes.as_slice()).expect("an answer").allowed);
}
