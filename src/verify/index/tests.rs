//! The index against a plain map, and its parts by themselves.

use std::collections::HashMap;
use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::domain::Timestamp;
use crate::domain::cidr::CidrSet;
use crate::domain::ids::{AccountId, ApplicationId, Environment};
use crate::domain::keyring::Digest;
use crate::domain::scope::GrantedScopes;
use crate::domain::verdict::{IndexChange, SecretSlot, Standing, VerifiableKey};

/// All that a key is, so that two can be compared.
pub(super) fn everything_of(key: &VerifiableKey) -> String {
    let digests: Vec<_> = key.slots.iter().map(|slot| slot.digest.as_bytes()).collect();
    format!("{key:?} {digests:?}")
}

fn time() -> impl Strategy<Value = Option<Timestamp>> {
    let any = Timestamp::MIN.micros()..=Timestamp::MAX.micros();
    let ends = prop_oneof![
        Just(Timestamp::MIN.micros()),
        Just(-1_i64),
        Just(0),
        Just(Timestamp::MAX.micros())
    ];
    prop::option::of(
        prop_oneof![any, ends].prop_map(|micros| Timestamp::from_micros(micros).expect("in range")),
    )
}

fn slot() -> impl Strategy<Value = SecretSlot> {
    let plain = prop::bool::weighted(0.5);
    (any::<u32>(), any::<[u8; 32]>(), time(), time(), plain).prop_map(
        |(number, digest, expire_time, superseded_time, plain)| SecretSlot {
            number,
            digest: Digest::from_bytes(digest),
            expire_time: expire_time.filter(|_| !plain),
            superseded_time: superseded_time.filter(|_| !plain),
        },
    )
}

/// A key of one of few ids, native and from elsewhere, with a revision that may be older than the one before.
fn key() -> impl Strategy<Value = VerifiableKey> {
    let id = prop_oneof![
        (0..40_u32).prop_map(|number| format!("csk_live_{number:022}")),
        (0..10_u32).prop_map(|number| format!("k{number}")),
        (0..5_u32).prop_map(|number| format!("{number:0128}")),
    ];
    let scopes = prop::collection::vec("[a-c](:[a-c]){0,2}", 0..4);
    let cidrs = prop::collection::vec(0..3_u8, 0..3);
    let owner = (0..3_u8, 0..2_u8);
    let standing =
        prop_oneof![Just(Standing::Active), Just(Standing::Disabled), Just(Standing::Revoked)];
    let slots = prop::collection::vec(slot(), 0..=3);
    let rest = (any::<bool>(), standing, time(), 0..6_u64, slots);
    (id, owner, scopes, cidrs, rest).prop_map(
        |(id, (account, application), scopes, cidrs, rest)| {
            let (is_test, standing, expire_time, revision, slots) = rest;
            let cidrs: Vec<String> = cidrs.iter().map(|net| format!("10.{net}.0.0/16")).collect();
            let scopes = GrantedScopes::parse(scopes.iter().map(String::as_str));
            let cidrs = CidrSet::parse(cidrs.iter().map(String::as_str));
            VerifiableKey {
                key_id: KeyId::from_stored(id).expect("valid"),
                account_id: AccountId::parse(&format!("a{account}")).expect("valid"),
                application_id: ApplicationId::parse(&format!("p{application}")).expect("valid"),
                environment: if is_test { Environment::Test } else { Environment::Live },
                standing,
                scopes: scopes.expect("valid"),
                allowed_cidrs: cidrs.expect("valid"),
                expire_time,
                revision,
                slots: slots.into_iter().collect(),
            }
        },
    )
}

pub(super) fn change() -> impl Strategy<Value = IndexChange> {
    prop_oneof![
        30 => key().prop_map(|key| IndexChange::Put(Arc::new(key))),
        10 => key().prop_map(|key| IndexChange::Remove(key.key_id)),
        1 => Just(IndexChange::Clear),
        1 => (0..50_000_u64).prop_map(IndexChange::Expect),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn it_answers_as_a_plain_map_does(changes in prop::collection::vec(change(), 0..300)) {
        let index = Index::new();
        let mut model: HashMap<String, Arc<VerifiableKey>> = HashMap::new();
        let mut ids = std::collections::BTreeSet::new();
        for change in changes {
            match &change {
                IndexChange::Put(key) => {
                    let id = key.key_id.to_string();
                    ids.insert(id.clone());
                    if model.get(&id).is_none_or(|at_hand| at_hand.revision <= key.revision) {
                        model.insert(id, Arc::clone(key));
                    }
                }
                IndexChange::Remove(key_id) => _ = model.remove(key_id.as_str()),
                IndexChange::Clear => model.clear(),
                IndexChange::Expect(_) => {}
            }
            index.apply(change);
            prop_assert_eq!(index.len(), model.len());
        }
        index.prefetch(ids.iter().map(String::as_str));
        for id in &ids {
            let expected = model.get(id).map(|key| everything_of(key));
            prop_assert_eq!(index.get(id).as_ref().map(everything_of), expected, "{}", id);
        }
        // Nothing is kept for keys that are gone.
        let owners = model.values().map(|key| (&key.account_id, &key.application_id));
        let parts = owners.collect::<std::collections::HashSet<_>>().len()
            + model.values().map(|key| &key.scopes).collect::<std::collections::HashSet<_>>().len()
            + model.values().map(|key| &key.allowed_cidrs).collect::<std::collections::HashSet<_>>().len();
        prop_assert_eq!(index.parts.shared(), parts);
        let writer = index.writer.lock().expect("no panic");
        prop_assert_eq!(writer.unused as usize, model.len() + writer.free.len());
    }

    /// Few tags in one shard, so that runs are long, wrap around, and hold equal tags.
    #[test]
    fn a_table_finds_what_is_in_it(steps in prop::collection::vec((0..24_u32, any::<bool>()), 0..200)) {
        let table = Table::new();
        let mut model: HashMap<u32, u32> = HashMap::new();
        let of = |number: u32| {
            // The tags 0, 1, and the last two before the end of every table.
            let tag = [0, 1, u32::MAX, u32::MAX - 1][number as usize % 4];
            Fingerprint { high: u64::from(number), low: u64::from(tag) << 32 }
        };
        for (step, (number, put)) in steps.into_iter().enumerate() {
            let step = u32::try_from(step).expect("few");
            let record = model.get(&number).copied();
            let place = table.find(of(number), |found| Some(found) == record);
            prop_assert_eq!(place.map(|(_, found)| found), record);
            match (place, put) {
                (Some((place, _)), true) => { table.replace(place, step); model.insert(number, step); }
                (None, true) => { table.insert(of(number), step).expect("room"); model.insert(number, step); }
                (Some((place, _)), false) => { table.remove(place); model.remove(&number); }
                (None, false) => {}
            }
        }
        for number in 0..24 {
            let mut search = table.search(of(number));
            let same_tag = std::iter::from_fn(|| search.next()).map(|found| found.record());
            let mut found: Vec<u32> = same_tag.collect();
            let alike = model.iter().filter(|(other, _)| *other % 4 == number % 4);
            let mut expected: Vec<u32> = alike.map(|(_, record)| *record).collect();
            found.sort_unstable();
            expected.sort_unstable();
            prop_assert_eq!(found, expected);
        }
        let mut left = table.clear();
        left.sort_unstable();
        let mut expected: Vec<u32> = model.into_values().collect();
        expected.sort_unstable();
        prop_assert_eq!(left, expected);
    }
}

#[test]
fn every_record_has_a_place_of_its_own() {
    let records = Records::new();
    let numbers = [0, 1, 1_023, 1_024, 2_047, 2_048, 65_535, 65_536, 65_537, 131_071, 131_072];
    let content = |number: u32| Content {
        fingerprint: Fingerprint { high: 1, low: 2 },
        revision: u64::from(number),
        expire_time: None,
        owner: 0,
        scopes: 0,
        cidrs: 0,
        slots: 0,
        environment: Environment::Live,
        standing: Standing::Active,
        slot: None,
    };
    for number in numbers {
        assert!(records.write(number, u64::from(number) + 1, &content(number)), "{number}");
    }
    for number in numbers {
        let copied = records.read(number).expect("written");
        assert!(copied.is_whole() && copied.content().revision == u64::from(number), "{number}");
    }
    assert!(!records.write(u32::MAX, 1, &content(0)), "there is no place for four billion");
}

#[test]
fn a_copy_is_not_believed_once_its_record_was_taken_back_or_written_again() {
    let records = Records::new();
    let content = |revision| Content {
        fingerprint: Fingerprint { high: 1, low: 2 },
        revision,
        expire_time: None,
        owner: 1,
        scopes: 2,
        cidrs: 3,
        slots: 0,
        environment: Environment::Test,
        standing: Standing::Disabled,
        slot: None,
    };
    assert!(records.read(0).is_none(), "nothing was written yet");
    assert!(records.write(0, 1, &content(1)));
    let first = records.read(0).expect("written");
    assert!(first.is_whole());
    records.take_back(0);
    assert!(!first.is_whole() && !records.read(0).expect("a place").is_whole());
    assert!(records.write(0, 2, &content(2)));
    assert!(!first.is_whole() && first.content().revision == 1);
    let second = records.read(0).expect("written");
    assert!(second.is_whole() && second.content().revision == 2);
}

#[test]
fn a_table_of_the_expected_size_does_not_grow() {
    let table = Table::new();
    table.reserve(50_000);
    let (fingerprints, empty) =
        (Fingerprints::new(), table.search(Fingerprint { high: 0, low: 0 }));
    for number in 0..50_000 {
        table.insert(fingerprints.of(&number.to_string()), number).expect("room");
    }
    assert!(empty.still_whole(), "the table was grown");
    table.reserve(1_000_000);
    assert!(empty.still_whole(), "a table that is in use was replaced");
    for number in 0..50_000 {
        let found = table.find(fingerprints.of(&number.to_string()), |record| record == number);
        assert!(found.is_some(), "{number}");
    }
}

#[test]
fn a_search_notices_that_entries_moved_or_the_table_grew() {
    let table = Table::new();
    let of = |low: u64| Fingerprint { high: low, low: 7 << 32 };
    for number in 0..3 {
        table.insert(of(number), u32::try_from(number).expect("small")).expect("room");
    }
    let (mut search, moved) = (table.search(of(1)), table.search(of(2)));
    let found = search.next().expect("an entry with its tag");
    assert!(search.still_leads(&found) && moved.still_whole());
    let (place, _) = table.find(of(0), |record| record == 0).expect("there");
    table.remove(place);
    assert!(!search.still_leads(&found), "the entry moved away");
    assert!(!moved.still_whole(), "what was passed before may be there now");
    let before = table.search(of(9));
    for number in 10..30 {
        table.insert(of(number), u32::try_from(number).expect("small")).expect("room");
    }
    assert!(!before.still_whole(), "it searches a table that is no longer in use");
}
