use super::*;

const STORE: StoreId = StoreId([7; 16]);

#[test]
fn reads_a_file_and_uses_its_last_line() {
    let first = RootKey::new(1, [1; 32]).to_line();
    let second = RootKey::new(5, [2; 32]).to_line();
    let text = format!("# made by hand\n{}\n\n{}\n", *first, *second);
    let keyring = RootKeyring::parse(&text).expect("a good file");
    assert_eq!(keyring.newest().version(), 5);
    assert_eq!(keyring.iter().map(RootKey::version).collect::<Vec<_>>(), [1, 5]);
    assert!(keyring.get(2).is_none());
}

#[test]
fn refuses_a_bad_file_and_names_the_line() {
    let good = RootKey::new(3, [1; 32]).to_line();
    let parse = |text: &str| RootKeyring::parse(text).expect_err("a bad file");
    assert_eq!(parse(""), InvalidKeyring::Empty);
    assert_eq!(parse("# nothing\n"), InvalidKeyring::Empty);
    assert_eq!(parse("1:c2hvcnQ="), InvalidKeyring::Line(1));
    assert_eq!(parse(&format!("{}\nnonsense", *good)), InvalidKeyring::Line(2));
    assert_eq!(parse(&format!("{}\n{}", *good, *good)), InvalidKeyring::Order(2));
    assert_eq!(parse(&good.replace("3:", "0:")), InvalidKeyring::Line(1));
    let zeros = RootKey::new(4, [0; 32]).to_line();
    assert_eq!(parse(&format!("{}\n{}", *good, *zeros)), InvalidKeyring::Zeros(2));
}

#[test]
fn a_digest_is_hmac_sha256_over_length_prefixed_parts() {
    // Recomputed with an independent implementation:
    // hmac.new(bytes(range(32)), msg, "sha256") over the length-prefixed parts, in Python.
    let key: [u8; 32] = std::array::from_fn(|i| i as u8);
    let digest = DataKey::new(key).digest("csk_live_x", "css_live_y");
    let hex: String = digest.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(hex, include_str!("testdata/digest_v1.hex").trim());
}

#[test]
fn no_two_splits_of_a_credential_share_a_digest() {
    let key = DataKey::new([9; 32]);
    let same = key.digest("ab", "c").ct_eq(&key.digest("a", "bc"));
    assert!(!bool::from(same));
}

#[test]
fn a_wrapped_data_key_opens_only_under_its_root_key_and_store() {
    let root = RootKey::new(1, [1; 32]);
    let wrapped = DataKey::new([3; 32]).wrap(&root, STORE, [4; NONCE_LEN]).expect("wraps");
    let opened = DataKey::unwrap(&root, STORE, &wrapped).expect("opens");
    assert_eq!(*opened.bytes, [3; 32]);
    assert!(DataKey::unwrap(&RootKey::new(1, [2; 32]), STORE, &wrapped).is_err());
    assert!(DataKey::unwrap(&RootKey::new(2, [1; 32]), STORE, &wrapped).is_err());
    assert!(DataKey::unwrap(&root, StoreId([8; 16]), &wrapped).is_err());
    assert!(DataKey::unwrap(&root, STORE, &wrapped[..10]).is_err());
}

#[test]
fn a_sealed_reply_opens_only_for_its_request() {
    let key = DataKey::new([3; 32]);
    let sealed = key.seal_reply(b"slot", [0; NONCE_LEN], b"reply").expect("seals");
    assert_eq!(key.open_reply(b"slot", &sealed).expect("opens").as_slice(), b"reply");
    assert!(key.open_reply(b"other", &sealed).is_err());
}

// What is secret can't be compared with `==` (which takes longer the more of it is right), printed,
// or written somewhere by a derive. A type that could would not compile here.
static_assertions::assert_not_impl_any!(RootKey: PartialEq, Clone, std::fmt::Display, serde::Serialize);
static_assertions::assert_not_impl_any!(DataKey: PartialEq, Clone, std::fmt::Display, serde::Serialize);
static_assertions::assert_not_impl_any!(Digest: PartialEq, std::fmt::Display, serde::Serialize);
static_assertions::assert_not_impl_any!(
    crate::domain::credential::Secret: PartialEq, Clone, std::fmt::Display, serde::Serialize
);
static_assertions::assert_not_impl_any!(
    crate::domain::credential::PresentedSecret<'static>: PartialEq, std::fmt::Display, serde::Serialize
);

#[test]
fn debug_shows_no_key() {
    let (root, data) = (RootKey::new(1, [77; 32]), DataKey::new([77; 32]));
    assert_eq!(format!("{root:?} {data:?}"), "RootKey(version 1, redacted) DataKey(redacted)");
}
