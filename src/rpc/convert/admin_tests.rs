use super::*;

fn fields<T>(read: Result<T, Error>) -> Vec<String> {
    match read {
        Ok(_) => Vec::new(),
        Err(Error::InvalidRequest(violations)) => {
            violations.into_iter().map(|violation| violation.field).collect()
        }
        Err(other) => panic!("{other:?} is no InvalidRequest"),
    }
}

fn create(key: proto::Key) -> Result<CreateKey, Error> {
    let request_id = "r".to_owned();
    proto::CreateKeyRequest { key: Some(key), request_id, ..Default::default() }.try_into()
}

#[test]
fn a_key_must_be_given() {
    assert_eq!(fields(CreateKey::try_from(proto::CreateKeyRequest::default())), ["key"]);
    assert_eq!(fields(UpdateKey::try_from(proto::UpdateKeyRequest::default())), ["key"]);
}

#[test]
fn violations_of_the_message_and_of_the_domain_come_together() {
    let key = proto::Key {
        account_id: "not an account".to_owned(),
        etag: "e".to_owned(),
        expire_time: Some(prost_types::Timestamp { seconds: i64::MAX, nanos: 0 }),
        environment: 99,
        ..proto::Key::default()
    };
    assert_eq!(
        fields(create(key)),
        [
            "key.etag",
            "key.expire_time",
            "key.account_id",
            "key.application_id",
            "key.environment",
            "key.display_name"
        ]
    );
}

#[test]
fn a_mask_and_its_values_are_judged_together() {
    let key = proto::Key { display_name: "\u{7}".to_owned(), ..proto::Key::default() };
    let paths = vec!["display_name".to_owned(), "state".to_owned()];
    let update_mask = Some(prost_types::FieldMask { paths });
    let request = proto::UpdateKeyRequest { key: Some(key), update_mask, ..Default::default() };
    assert_eq!(fields(UpdateKey::try_from(request)), ["update_mask", "key.display_name"]);
}

#[test]
fn an_overlap_is_absent_zero_or_positive() {
    let rotate =
        |overlap| RotateKey::try_from(proto::RotateKeyRequest { overlap, ..Default::default() });
    let seconds = |seconds| Some(prost_types::Duration { seconds, nanos: 0 });
    assert!(matches!(rotate(None), Ok(RotateKey { overlap: None, .. })));
    assert!(
        matches!(rotate(seconds(0)), Ok(RotateKey { overlap: Some(zero), .. }) if zero.is_zero())
    );
    assert_eq!(fields(rotate(seconds(-1))), ["overlap"]);
}

#[test]
fn a_reason_that_is_not_known_is_refused() {
    let revoke =
        |reason| RevokeKey::try_from(proto::RevokeKeyRequest { reason, ..Default::default() });
    assert_eq!(fields(revoke(99)), ["reason"]);
    assert!(matches!(revoke(0), Ok(RevokeKey { reason: None, .. })));
}
