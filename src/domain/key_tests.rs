use proptest::prelude::*;

use super::*;
use crate::domain::draft::KeyDraft;
use crate::domain::draft::PatchDraft;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_micros(seconds * 1_000_000).expect("in range")
}

fn secret(byte: u8) -> NewSecret {
    NewSecret { digest: Digest::from_bytes([byte; 32]), hint: format!("{byte:04}") }
}

fn draft() -> KeyDraft {
    KeyDraft {
        account_id: "acme".to_owned(),
        application_id: "web".to_owned(),
        environment: Some(Environment::Live),
        display_name: "a key".to_owned(),
        scopes: vec!["b:read".to_owned(), "a:*".to_owned()],
        ..KeyDraft::default()
    }
}

fn key() -> Key {
    let key_id = KeyId::from_stored("a-key".to_owned()).expect("valid");
    Key::create(draft().check(at(0)).expect("valid"), key_id, secret(1), "tester", at(0))
}

fn live(key: &Key, now: Timestamp) -> Vec<u32> {
    key.secrets
        .iter()
        .filter(|version| version.is_live(now))
        .map(|version| version.number)
        .collect()
}

#[test]
fn rotation_with_overlap_keeps_the_old_version_for_that_long() {
    let mut key = key();
    key.rotate(secret(2), Duration::from_secs(60), at(10)).expect("rotates");
    assert_eq!(live(&key, at(69)), [1, 2]);
    assert_eq!(live(&key, at(70)), [2]);
    assert_eq!(key.verifiable().slots[0].superseded_time, Some(at(10)));
    assert_eq!(key.verifiable().slots[1].superseded_time, None);
}

#[test]
fn rotation_without_overlap_kills_all_older_versions_at_once() {
    let mut key = key();
    key.rotate(secret(2), Duration::from_secs(60), at(10)).expect("rotates");
    key.rotate(secret(3), Duration::ZERO, at(20)).expect("rotates");
    assert_eq!(live(&key, at(20)), [3]);
}

#[test]
fn rotation_never_lengthens_the_life_of_a_version() {
    let mut key = key();
    key.rotate(secret(2), Duration::from_secs(60), at(10)).expect("rotates");
    key.rotate(secret(3), Duration::from_secs(1_000), at(20)).expect("rotates");
    assert_eq!(live(&key, at(70)), [2, 3]);
}

#[test]
fn a_fourth_live_version_is_refused_and_a_dead_one_makes_place() {
    let mut key = key();
    for byte in 2..=3 {
        key.rotate(secret(byte), Duration::from_secs(100), at(0)).expect("rotates");
    }
    let refused = key.clone().rotate(secret(4), Duration::from_secs(100), at(0));
    assert_eq!(refused, Err(Error::TooManySecrets));
    key.expire_secret(2, at(1)).expect("expires");
    key.rotate(secret(4), Duration::from_secs(100), at(1)).expect("rotates");
    assert_eq!(live(&key, at(1)), [1, 3, 4]);
    // With no overlap the three live ones die now, so there is place again.
    key.rotate(secret(5), Duration::ZERO, at(2)).expect("rotates");
    assert_eq!(live(&key, at(2)), [5]);
}

#[test]
fn a_revoked_key_stays_revoked_with_its_first_reason() {
    let mut key = key();
    key.revoke(RevokeReason::Compromised);
    key.revoke(RevokeReason::Unused);
    assert_eq!(key.lifecycle, Lifecycle::Revoked(RevokeReason::Compromised));
    assert_eq!(key.enable(), Err(Error::KeyRevoked));
    assert_eq!(key.disable(), Err(Error::KeyRevoked));
    assert_eq!(key.rotate(secret(9), Duration::ZERO, at(1)), Err(Error::KeyRevoked));
    assert_eq!(key.update(KeyPatch::default()), Err(Error::KeyRevoked));
    assert_eq!(key.expire_secret(1, at(1)), Err(Error::KeyRevoked));
    assert_eq!(key.expire_secret(7, at(1)), Err(Error::SecretNotFound { number: 7 }));
}

#[test]
fn the_state_shown_is_the_gravest() {
    let mut key = key();
    key.expire_time = Some(at(5));
    assert_eq!((key.state(at(4)), key.state(at(5))), (State::Active, State::Expired));
    key.disable().expect("disables");
    assert_eq!(key.state(at(5)), State::Disabled);
    key.revoke(RevokeReason::Other);
    assert_eq!(key.state(at(5)), State::Revoked);
}

#[test]
fn changes_name_what_differs_and_never_a_digest() {
    let before = key();
    let mut after = before.clone();
    let patch = PatchDraft { description: Some("new".to_owned()), ..PatchDraft::default() };
    after.update(patch.check(at(1)).expect("valid")).expect("updates");
    after.revision = 9;
    let names: Vec<_> = changes(Some(&before), Some(&after)).into_iter().map(|c| c.field).collect();
    assert_eq!(names, ["description"]);
    let created = changes(None, Some(&before));
    assert!(created.iter().any(|c| c.field == "scopes" && c.after == r#"["a:*","b:read"]"#));
    assert!(!format!("{created:?}").contains("digest"));
    assert_eq!(changes(Some(&before), Some(&before)), []);
}

#[test]
fn a_serialised_key_leaves_its_digests_behind() {
    let text = serde_json::to_string(&key()).expect("serialises");
    let back: Key = serde_json::from_str(&text).expect("reads back");
    assert!(!text.contains("digest"));
    assert_eq!(back.secrets[0].digest.as_bytes(), &[0; 32]);
    assert_eq!(changes(Some(&key()), Some(&back)), []);
}

#[test]
fn every_violation_is_reported_at_once() {
    let bad = KeyDraft {
        account_id: "-bad".to_owned(),
        display_name: "with\u{7}bell".to_owned(),
        description: "x".repeat(2_049),
        scopes: vec!["ok".to_owned(), "NOT OK".to_owned()],
        allowed_cidrs: vec!["10.0.0.1/8".to_owned()],
        labels: [("Bad Name".to_owned(), String::new())].into(),
        expire_time: Some(at(1)),
        ..KeyDraft::default()
    };
    let Err(Error::InvalidRequest(violations)) = bad.check(at(1)) else { panic!("accepted") };
    let mut fields: Vec<_> = violations.iter().map(|v| v.field.as_str()).collect();
    fields.sort_unstable();
    assert_eq!(
        fields,
        [
            "key.account_id",
            "key.allowed_cidrs[0]",
            "key.application_id",
            "key.description",
            "key.display_name",
            "key.environment",
            "key.expire_time",
            "key.labels",
            "key.scopes[1]",
        ]
    );
}

proptest! {
    /// Whatever happens to a key, it keeps at most three versions, numbers only rise, and the newest
    /// is kept.
    #[test]
    fn versions_stay_in_order(steps in prop::collection::vec((0_u8..3, 0_u64..50, 1_u32..9), 0..40)) {
        let (mut key, mut now) = (key(), at(0));
        for (step, seconds, number) in steps {
            now = now.checked_add(Duration::from_secs(seconds)).expect("in range");
            let _ = match step {
                0 => key.rotate(secret(7), Duration::from_secs(seconds), now),
                1 => key.expire_secret(number, now),
                _ => key.rotate(secret(8), Duration::ZERO, now),
            };
            let numbers: Vec<_> = key.secrets.iter().map(|version| version.number).collect();
            prop_assert!(numbers.len() <= 3 && numbers.is_sorted());
            prop_assert_eq!(numbers.last(), Some(&key.last_secret_number));
        }
    }
}
