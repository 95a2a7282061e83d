//! Held against what prost reads in the same bytes.

use proptest::prelude::*;
use prost::Message as _;
use prost::encoding::{encode_key, encode_varint};

use super::*;
use crate::rpc::proto;
use crate::rpc::proto::verify_request::Presented as Told;

/// The same as prost's message.
fn owned(request: &VerifyRequest<'_>) -> proto::VerifyRequest {
    let presented = request.presented.map(|presented| match presented {
        Presented::Token(token) => Told::Token(token.to_owned()),
        Presented::Credential { key_id, secret } => Told::Credential(proto::Credential {
            key_id: key_id.to_owned(),
            secret: secret.to_owned(),
        }),
    });
    proto::VerifyRequest {
        presented,
        required_scopes: request.required_scopes.iter().map(ToString::to_string).collect(),
        client_ip: request.client_ip.to_owned(),
        account_id: request.account_id.to_owned(),
        application_id: request.application_id.to_owned(),
        environment: request.environment,
        explain: request.explain,
        at_least: request.at_least.to_owned(),
    }
}

/// What we make of bytes, and what prost makes of them.
fn both_read(bytes: &[u8]) -> [Option<proto::VerifyRequest>; 2] {
    let ours = VerifyRequest::read(bytes).ok().map(|request| owned(&request));
    [ours, proto::VerifyRequest::decode(bytes).ok()]
}

/// The same for a batch.
fn both_read_batch(bytes: &[u8]) -> [Option<proto::BatchVerifyRequest>; 2] {
    let requests = Batch::read(bytes).map(|read| read.map(|request| owned(&request)));
    let ours = requests.collect::<Result<_, _>>().ok();
    let ours = ours.map(|requests| proto::BatchVerifyRequest { requests });
    [ours, proto::BatchVerifyRequest::decode(bytes).ok()]
}

prop_compose! {
    fn any_request()(
        presented in prop::option::of(prop_oneof![
            (".{0,9}", ".{0,9}").prop_map(|(key_id, secret)| Told::Credential(proto::Credential { key_id, secret })),
            ".{0,9}".prop_map(Told::Token),
        ]),
        required_scopes in prop::collection::vec(".{0,9}", 0..7),
        texts in prop::array::uniform4(".{0,9}"),
        environment: i32,
        explain: bool,
    ) -> proto::VerifyRequest {
        let [client_ip, account_id, application_id, at_least] = texts;
        proto::VerifyRequest {
            presented, required_scopes, client_ip, account_id, application_id, environment, explain, at_least,
        }
    }
}

/// Bytes that look like fields: most of the tags that there are and one that is not, in all forms, nested.
fn fields() -> impl Strategy<Value = Vec<u8>> {
    let leaf = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..6),
        ".{0,6}".prop_map(String::into_bytes),
        Just(Vec::new()),
    ];
    leaf.prop_recursive(5, 40, 5, |inner| {
        prop::collection::vec((0_u32..12, 0_u8..8, any::<u64>(), inner), 0..5).prop_map(|fields| {
            let mut bytes = Vec::new();
            for (tag, form, number, content) in fields {
                field(&mut bytes, tag, form, number, &content);
            }
            bytes
        })
    })
}

/// One field, whose form may not be that of its tag, and which may be broken.
fn field(bytes: &mut Vec<u8>, tag: u32, form: u8, number: u64, content: &[u8]) {
    let delimited = |bytes: &mut Vec<u8>, length: usize| {
        encode_key(tag.max(1), WireType::LengthDelimited, bytes);
        encode_varint(length as u64, bytes);
        bytes.extend(content);
    };
    match form {
        0 => {
            encode_key(tag.max(1), WireType::Varint, bytes);
            encode_varint(number, bytes);
        }
        1 => {
            encode_key(tag.max(1), WireType::SixtyFourBit, bytes);
            bytes.extend(number.to_le_bytes());
        }
        2 => {
            encode_key(tag.max(1), WireType::StartGroup, bytes);
            bytes.extend(content);
            // Mostly the right end.
            encode_key(
                if number.is_multiple_of(8) { 12 } else { tag.max(1) },
                WireType::EndGroup,
                bytes,
            );
        }
        3 => {
            encode_key(tag.max(1), WireType::ThirtyTwoBit, bytes);
            bytes.extend(&number.to_le_bytes()[..4]);
        }
        // A length that is wrong, now and then.
        4 if number.is_multiple_of(4) => delimited(bytes, content.len() + 1),
        // A tag of zero, or of any size.
        5 if number.is_multiple_of(4) => encode_varint(number, bytes),
        _ => delimited(bytes, content.len()),
    }
}

/// Groups within groups, so many, as a field that nobody knows.
fn groups(count: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    for _ in 0..count {
        encode_key(15, WireType::StartGroup, &mut bytes);
    }
    for _ in 0..count {
        encode_key(15, WireType::EndGroup, &mut bytes);
    }
    bytes
}

fn within(tag: u32, content: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    field(&mut bytes, tag, 7, 0, content);
    bytes
}

#[test]
fn what_lies_too_deep_is_too_deep_for_both() {
    let (mut read, mut refused) = (0, 0);
    for count in 95..105 {
        let groups = groups(count);
        let credential = within(1, &groups);
        for bytes in [&groups, &credential] {
            let [ours, prosts] = both_read(bytes);
            assert_eq!(ours, prosts, "{count} groups");
            *if ours.is_some() { &mut read } else { &mut refused } += 1;
        }
        for bytes in [within(1, &groups), within(1, &credential)] {
            let [ours, prosts] = both_read_batch(&bytes);
            assert_eq!(ours, prosts, "{count} groups in a batch");
        }
    }
    assert!(read > 0 && refused > 0, "{read} were read, {refused} refused");
}

#[test]
fn a_credential_in_two_pieces_is_one() {
    let key_id = within(1, &within(1, b"id"));
    let secret = within(1, &within(2, b"secret"));
    let (token, broken) = (within(2, b"token"), within(2, b"\xff"));
    let both = [key_id.clone(), secret.clone()].concat();
    let whole = proto::Credential { key_id: "id".to_owned(), secret: "secret".to_owned() };
    let [ours, _] = both_read(&both);
    assert_eq!(ours.expect("a request").presented, Some(Told::Credential(whole)));
    let replaced = [both.clone(), token.clone()].concat();
    let replacing = [key_id.clone(), token, secret.clone()].concat();
    let not_text = [broken, both.clone()].concat();
    for bytes in [both, replaced, replacing, not_text] {
        let [ours, prosts] = both_read(&bytes);
        assert_eq!(ours, prosts);
    }
}

#[test]
fn of_a_million_scopes_few_are_kept_and_all_are_counted() {
    let message = [0x1a, 0].repeat(1_000_000);
    let request = VerifyRequest::read(&message).unwrap_or_default();
    assert_eq!(request.required_scopes.len(), KEPT_SCOPES);
    assert_eq!(request.required_scopes.len() + request.further_scopes, 1_000_000);
}

proptest! {
    #[test]
    fn a_request_is_read_as_prost_reads_it(request in any_request()) {
        let bytes = request.encode_to_vec();
        let [ours, prosts] = both_read(&bytes);
        prop_assert_eq!(&ours, &prosts);
        prop_assert_eq!(ours, Some(request));
    }

    #[test]
    fn a_batch_is_read_as_prost_reads_it(requests in prop::collection::vec(any_request(), 0..5)) {
        let batch = proto::BatchVerifyRequest { requests };
        let [ours, prosts] = both_read_batch(&batch.encode_to_vec());
        prop_assert_eq!(&ours, &prosts);
        prop_assert_eq!(ours, Some(batch));
    }

    #[test]
    fn any_bytes_are_read_or_refused_as_by_prost(bytes: Vec<u8>) {
        let [ours, prosts] = both_read(&bytes);
        prop_assert_eq!(ours, prosts);
        let [ours, prosts] = both_read_batch(&bytes);
        prop_assert_eq!(ours, prosts);
    }

    #[test]
    fn any_fields_are_read_or_refused_as_by_prost(bytes in fields()) {
        let [ours, prosts] = both_read(&bytes);
        prop_assert_eq!(ours, prosts);
        let [ours, prosts] = both_read_batch(&bytes);
        prop_assert_eq!(ours, prosts);
    }

    #[test]
    fn a_spoilt_request_is_read_or_refused_as_by_prost(
        request in any_request(),
        spoilt in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        for in_batch in [false, true] {
            let mut bytes = request.encode_to_vec();
            if in_batch {
                bytes = within(1, &bytes);
            }
            for (at, byte) in &spoilt {
                if !bytes.is_empty() {
                    let at = at.index(bytes.len());
                    bytes[at] = *byte;
                }
            }
            bytes.truncate(cut.map_or(bytes.len(), |cut| cut.index(bytes.len() + 1)));
            let [ours, prosts] = both_read(&bytes);
            prop_assert_eq!(ours, prosts);
            let [ours, prosts] = both_read_batch(&bytes);
            prop_assert_eq!(ours, prosts);
        }
    }
}
