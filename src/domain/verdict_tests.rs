use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::domain::keyring::DataKey;

const SECRETS: [&str; 3] = ["first", "second", "third"];

fn at(micros: i64) -> Timestamp {
    Timestamp::from_micros(micros).expect("in range")
}

fn digest(secret: &str) -> Digest {
    DataKey::new([5; 32]).digest("a-key", secret)
}

/// An active live key of acme/web with the scope `a:read` and `secrets` secret versions.
fn key(secrets: usize) -> VerifiableKey {
    VerifiableKey {
        key_id: KeyId::from_stored("a-key".to_owned()).expect("valid"),
        account_id: AccountId::parse("acme").expect("valid"),
        application_id: ApplicationId::parse("web").expect("valid"),
        environment: Environment::Live,
        standing: Standing::Active,
        scopes: GrantedScopes::parse(["a:read"]).expect("valid"),
        allowed_cidrs: CidrSet::parse([]).expect("valid"),
        expire_time: None,
        revision: 1,
        slots: (1_u32..)
            .zip(SECRETS)
            .take(secrets)
            .map(|(number, secret)| SecretSlot {
                number,
                digest: digest(secret),
                expire_time: None,
                superseded_time: None,
            })
            .collect(),
    }
}

fn plain() -> Question<'static> {
    Question {
        required_scopes: &[],
        client_ip: None,
        account_id: None,
        application_id: None,
        environment: Environment::Live,
    }
}

#[test]
fn every_kept_version_proves_and_nothing_else_does() {
    for kept in 0..=3 {
        let key = key(kept);
        for (index, secret) in SECRETS.iter().enumerate() {
            let proof = prove(Some(&key), &digest(secret));
            assert_eq!(
                proof.map(|proof| proof.slot().number as usize),
                (index < kept).then_some(index + 1)
            );
        }
        assert!(prove(Some(&key), &digest("wrong")).is_none());
    }
}

#[test]
fn an_absent_key_or_slot_is_never_proven_not_even_by_its_placeholder() {
    assert!(prove(None, &digest("first")).is_none());
    assert!(prove(None, &Digest::absent()).is_none());
    assert!(prove(Some(&key(1)), &Digest::absent()).is_none());
}

/// The ways in which a verification can fail after the proof, each as a change of the key.
fn spoil(key: &mut VerifiableKey, fault: DenialReason) {
    match fault {
        DenialReason::Revoked => key.standing = Standing::Revoked,
        DenialReason::Disabled => key.standing = Standing::Disabled,
        DenialReason::Expired => key.expire_time = Some(at(50)),
        DenialReason::SecretExpired => key.slots[0].expire_time = Some(at(50)),
        DenialReason::EnvironmentMismatch => key.environment = Environment::Test,
        DenialReason::AccountMismatch => key.account_id = AccountId::parse("other").expect("valid"),
        DenialReason::ApplicationMismatch => {
            key.application_id = ApplicationId::parse("other").expect("valid");
        }
        DenialReason::IpNotAllowed => {
            key.allowed_cidrs = CidrSet::parse(["10.0.0.0/8"]).expect("valid")
        }
        DenialReason::ScopeMissing => key.scopes = GrantedScopes::parse(["b:read"]).expect("valid"),
        DenialReason::Missing | DenialReason::Malformed | DenialReason::InvalidCredential => {}
    }
}

const AFTER_THE_PROOF: [DenialReason; 9] = [
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

proptest! {
    /// With any set of faults at once, the verdict names the first in the documented order, and the
    /// explanation names exactly those that are there. Revoked hides disabled: they are one field.
    #[test]
    fn the_first_failing_check_is_named(faults in prop::collection::vec(0_usize..9, 0..6)) {
        let faults: BTreeSet<usize> = faults.into_iter().collect();
        let mut spoiled = key(1);
        // From the last to the first, so that revoked wins over disabled.
        for fault in faults.iter().rev() {
            spoil(&mut spoiled, AFTER_THE_PROOF[*fault]);
        }
        let required = [RequiredScope::parse("a:read").expect("valid")];
        let (account, application) = (key(1).account_id, key(1).application_id);
        let asked = Question {
            required_scopes: &required,
            client_ip: Some("192.0.2.1".parse().expect("valid")),
            account_id: Some(&account),
            application_id: Some(&application),
            environment: Environment::Live,
        };
        let proof = prove(Some(&spoiled), &digest("first")).expect("proven");
        let first = faults.iter().next().map(|fault| AFTER_THE_PROOF[*fault]);
        prop_assert_eq!(judge(&proof, &asked, at(50)).err(), first);
        let mut expected: Vec<_> = faults.iter().map(|fault| AFTER_THE_PROOF[*fault]).collect();
        if expected.first() == Some(&DenialReason::Revoked) {
            expected.retain(|fault| *fault != DenialReason::Disabled);
        }
        let explained = explain(&proof, &asked, at(50));
        let failed: Vec<_> = explained.filter(|(_, passed)| !passed).map(|(check, _)| check).collect();
        prop_assert_eq!(failed, expected);
    }
}

#[test]
fn expiry_begins_at_its_very_microsecond() {
    let mut key = key(1);
    key.expire_time = Some(at(100));
    let proof = prove(Some(&key), &digest("first")).expect("proven");
    assert_eq!(judge(&proof, &plain(), at(99)), Ok(()));
    assert_eq!(judge(&proof, &plain(), at(100)), Err(DenialReason::Expired));
}

#[test]
fn a_key_bound_to_networks_is_denied_without_a_client_address() {
    let mut key = key(1);
    key.allowed_cidrs = CidrSet::parse(["10.0.0.0/8"]).expect("valid");
    let proof = prove(Some(&key), &digest("first")).expect("proven");
    assert_eq!(judge(&proof, &plain(), at(0)), Err(DenialReason::IpNotAllowed));
    let from_inside =
        Question { client_ip: Some("::ffff:10.1.2.3".parse().expect("valid")), ..plain() };
    assert_eq!(judge(&proof, &from_inside, at(0)), Ok(()));
}

#[test]
fn a_test_key_never_passes_by_omission() {
    let mut key = key(1);
    key.environment = Environment::Test;
    let proof = prove(Some(&key), &digest("first")).expect("proven");
    assert_eq!(judge(&proof, &plain(), at(0)), Err(DenialReason::EnvironmentMismatch));
}
