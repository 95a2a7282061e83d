//! One writer, many readers, and a schedule that all of them know: what the n-th change does follows from
//! n. So a reader can tell for every answer whether it was ever true, and whether it was still true when
//! the look-up began.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::tests::everything_of;
use super::*;
use crate::domain::Timestamp;
use crate::domain::ids::{AccountId, ApplicationId, Environment};
use crate::domain::keyring::Digest;
use crate::domain::scope::GrantedScopes;
use crate::domain::verdict::{IndexChange, SecretSlot, Standing, VerifiableKey};

/// Keys that change all the time: few, so that each does so often.
const BUSY: u64 = 7;
const CHANGES: u64 = 60_000;
const READERS: u64 = 3;

/// Some numbers that look random, the same in every run (splitmix64).
fn mixed(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ mixed >> 31
}

/// Whether the n-th change removes its key.
fn removes(n: u64) -> bool {
    mixed(n).is_multiple_of(5)
}

fn busy_id(key: u64) -> String {
    format!("csk_live_{key:022}")
}

fn id_that_stays(n: u64) -> String {
    format!("stays-{n}")
}

fn id_that_goes(n: u64) -> String {
    format!("goes-{n}")
}

/// A key every part of which tells its revision.
pub(super) fn key(key_id: &str, revision: u64) -> VerifiableKey {
    let random = mixed(revision);
    let mut digest = [0; 32];
    for (at, byte) in digest.iter_mut().enumerate() {
        *byte = mixed(revision + at as u64).to_be_bytes()[0];
    }
    let time = |shift: u32| {
        let micros = i64::from((random >> shift) as u16);
        Timestamp::from_micros(micros).filter(|_| random >> shift & 0b1000 == 0)
    };
    let slots = (1..=random % 3 + 1).map(|number| SecretSlot {
        number: number as u32,
        digest: Digest::from_bytes(digest),
        expire_time: time(3),
        superseded_time: time(5),
    });
    VerifiableKey {
        key_id: KeyId::found(key_id),
        account_id: AccountId::parse(&format!("a{}", random % 50)).expect("valid"),
        application_id: ApplicationId::parse(&format!("p{}", random % 3)).expect("valid"),
        environment: if random & 1 == 0 { Environment::Live } else { Environment::Test },
        standing: [Standing::Active, Standing::Disabled, Standing::Revoked][(random % 3) as usize],
        // Of its own, so that parts come and go.
        scopes: GrantedScopes::parse([format!("s{revision}").as_str()]).expect("valid"),
        allowed_cidrs: Default::default(),
        expire_time: time(7),
        revision,
        slots: slots.collect(),
    }
}

/// The n-th change: of one busy key, and to make tables grow and runs move, of a key that stays and of two that come
/// and go.
fn write(index: &Index, n: u64) {
    let put = |key_id: &str| index.apply(IndexChange::Put(Arc::new(key(key_id, n))));
    let remove = |key_id: &str| index.apply(IndexChange::Remove(KeyId::found(key_id)));
    let busy = busy_id(n % BUSY);
    if removes(n) {
        remove(&busy)
    } else {
        put(&busy)
    }
    put(&id_that_goes(n));
    put(&id_that_stays(n));
    if n > 500 {
        remove(&id_that_goes(n - 500));
    }
}

/// The newest change of a busy key up to a revision; zero if there is none.
fn newest(busy: u64, revision: u64) -> u64 {
    let back = (revision % BUSY + BUSY - busy) % BUSY;
    revision.saturating_sub(back)
}

/// What is wrong with an answer about a busy key, given between two revisions.
fn fault(busy: u64, answer: Option<&VerifiableKey>, before: u64, after: u64) -> Option<String> {
    let oldest = newest(busy, before);
    match answer {
        Some(found) => {
            let n = found.revision;
            let written = everything_of(&key(&busy_id(busy), n));
            let told = everything_of(found);
            if n < oldest || n > after || n % BUSY != busy || removes(n) {
                Some(format!("revision {n} of key {busy} between {before} and {after}"))
            } else if told != written {
                Some(format!("{told} was never written, but {written}"))
            } else {
                None
            }
        }
        None => {
            let mut since = (oldest..=after).filter(|n| n % BUSY == busy);
            let was_absent = oldest == 0 || since.any(removes);
            (!was_absent).then(|| format!("key {busy} was not absent from {before} to {after}"))
        }
    }
}

#[test]
fn every_answer_was_true_at_some_moment_of_the_look_up() {
    let (index, written) = (Index::new(), AtomicU64::new(0));
    let read = |reader: u64| {
        let mut looks = 0_u64;
        loop {
            let before = written.load(Ordering::Acquire);
            let busy = looks % BUSY;
            let answer = index.get(&busy_id(busy));
            // The change after the last that was finished may be under way.
            let after = written.load(Ordering::Acquire) + 1;
            if let Some(fault) = fault(busy, answer.as_ref(), before, after) {
                return Some(fault);
            }
            if before > 0 {
                let old = mixed(looks + reader) % before + 1;
                if index.get(&id_that_stays(old)).is_none_or(|found| found.revision != old) {
                    return Some(format!(
                        "the key that stays since {old} is not there at {before}"
                    ));
                }
            }
            if before == CHANGES {
                return None;
            }
            looks += 1;
        }
    };
    std::thread::scope(|scope| {
        let readers: Vec<_> =
            (0..READERS).map(|reader| scope.spawn(move || read(reader))).collect();
        for n in 1..=CHANGES {
            write(&index, n);
            written.store(n, Ordering::Release);
        }
        for reader in readers {
            assert_eq!(reader.join().expect("no panic"), None);
        }
    });
    assert!(index.len() as u64 > CHANGES);
}
