//! The bytes that a key's seal covers, and the key that they say.
//!
//! Every part is preceded by its length in 8 bytes, big-endian; so are numbers, which are big-endian too. A time that
//! is not set is the least 64-bit number, which no time is.

use std::collections::HashMap;
use std::hash::Hash;

use arrayvec::ArrayVec;

use super::Timestamp;
use super::cidr::CidrSet;
use super::ids::{AccountId, ApplicationId, KeyId};
use super::keyring::Digest;
use super::scope::GrantedScopes;
use super::verdict::{SecretSlot, Standing, VerifiableKey};

/// The first part. Another layout would have another one.
const LAYOUT: &[u8] = b"countersign key v1";

/// What a time that is not set is written as.
const NO_TIME: i64 = i64::MIN;

/// How many distinct values of one kind a [`Decoder`] remembers.
const REMEMBERED: usize = 10_000;

/// Everything that decides a verification of the key.
pub fn encode(key: &VerifiableKey) -> Vec<u8> {
    let mut out = Vec::with_capacity(512);
    let mut put = |bytes: &[u8]| {
        out.extend((bytes.len() as u64).to_be_bytes());
        out.extend(bytes);
    };
    let micros = |time: Option<Timestamp>| time.map_or(NO_TIME, Timestamp::micros);
    put(LAYOUT);
    put(key.key_id.as_str().as_bytes());
    put(key.account_id.as_str().as_bytes());
    put(key.application_id.as_str().as_bytes());
    put(key.environment.as_str().as_bytes());
    put(&[key.standing as u8]);
    put(&micros(key.expire_time).to_be_bytes());
    put(&key.revision.to_be_bytes());
    put(&(key.scopes.len() as u64).to_be_bytes());
    for scope in key.scopes.iter() {
        put(scope.as_str().as_bytes());
    }
    put(&(key.allowed_cidrs.len() as u64).to_be_bytes());
    for cidr in key.allowed_cidrs.iter() {
        put(cidr.to_string().as_bytes());
    }
    put(&(key.slots.len() as u64).to_be_bytes());
    for slot in &key.slots {
        put(&slot.number.to_be_bytes());
        put(slot.digest.as_bytes());
        put(&micros(slot.expire_time).to_be_bytes());
        put(&micros(slot.superseded_time).to_be_bytes());
    }
    out
}

/// Reads what [`encode`] wrote. One for many keys: what they have in common is read once, and shared.
#[derive(Debug, Default)]
pub struct Decoder {
    accounts: Remembered<AccountId>,
    applications: Remembered<ApplicationId>,
    scopes: Remembered<GrantedScopes>,
    cidrs: Remembered<CidrSet>,
}

impl Decoder {
    /// The key; `None` if the bytes say none.
    pub fn decode(&mut self, bytes: &[u8]) -> Option<VerifiableKey> {
        let mut parts = Parts(bytes);
        if parts.next()? != LAYOUT {
            return None;
        }
        let key_id = KeyId::from_stored(parts.text()?.to_owned()).ok()?;
        let account_id = self
            .accounts
            .get(parts.next()?, |bytes| AccountId::parse(std::str::from_utf8(bytes).ok()?).ok())?;
        let application_id = self.applications.get(parts.next()?, |bytes| {
            ApplicationId::parse(std::str::from_utf8(bytes).ok()?).ok()
        })?;
        let environment = parts.text()?.parse().ok()?;
        let standing = match parts.next()? {
            [1] => Standing::Active,
            [2] => Standing::Disabled,
            [3] => Standing::Revoked,
            _ => return None,
        };
        let expire_time = parts.time()?;
        let revision = parts.number()?;
        let scopes = self
            .scopes
            .get(parts.list()?, |bytes| GrantedScopes::parse(Parts(bytes).texts()?).ok())?;
        let allowed_cidrs =
            self.cidrs.get(parts.list()?, |bytes| CidrSet::parse(Parts(bytes).texts()?).ok())?;
        let mut slots = ArrayVec::new();
        for _ in 0..parts.number()? {
            let number = u32::from_be_bytes(parts.next()?.try_into().ok()?);
            let digest = Digest::from_bytes(parts.next()?.try_into().ok()?);
            let (expire_time, superseded_time) = (parts.time()?, parts.time()?);
            slots.try_push(SecretSlot { number, digest, expire_time, superseded_time }).ok()?;
        }
        parts.0.is_empty().then_some(VerifiableKey {
            key_id,
            account_id,
            application_id,
            environment,
            standing,
            scopes,
            allowed_cidrs,
            expire_time,
            revision,
            slots,
        })
    }
}

/// What is left to be read.
struct Parts<'b>(&'b [u8]);

impl<'b> Parts<'b> {
    fn next(&mut self) -> Option<&'b [u8]> {
        let (len, rest) = self.0.split_first_chunk()?;
        let len = usize::try_from(u64::from_be_bytes(*len)).ok()?;
        let (part, rest) = rest.split_at_checked(len)?;
        self.0 = rest;
        Some(part)
    }

    fn text(&mut self) -> Option<&'b str> {
        std::str::from_utf8(self.next()?).ok()
    }

    fn number(&mut self) -> Option<u64> {
        Some(u64::from_be_bytes(self.next()?.try_into().ok()?))
    }

    fn time(&mut self) -> Option<Option<Timestamp>> {
        match i64::from_be_bytes(self.next()?.try_into().ok()?) {
            NO_TIME => Some(None),
            micros => Timestamp::from_micros(micros).map(Some),
        }
    }

    /// The bytes of a whole list: how many parts it has, and these.
    fn list(&mut self) -> Option<&'b [u8]> {
        let whole = self.0;
        for _ in 0..self.number()? {
            self.next()?;
        }
        whole.get(..whole.len() - self.0.len())
    }

    /// The texts of such a list.
    fn texts(&mut self) -> Option<Vec<&'b str>> {
        let count = self.number()?;
        (0..count).map(|_| self.text()).collect()
    }
}

/// Values by the bytes that say them.
#[derive(Debug)]
struct Remembered<T>(HashMap<Box<[u8]>, T>);

impl<T> Default for Remembered<T> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<T: Clone + Eq + Hash> Remembered<T> {
    fn get(&mut self, bytes: &[u8], read: impl FnOnce(&[u8]) -> Option<T>) -> Option<T> {
        if let Some(known) = self.0.get(bytes) {
            return Some(known.clone());
        }
        let value = read(bytes)?;
        // Nearly all keys have one of few values, or nearly every key has its own; then remembering is of no use.
        if self.0.len() < REMEMBERED {
            self.0.insert(bytes.into(), value.clone());
        }
        Some(value)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::ids::Environment;

    fn time() -> impl Strategy<Value = Option<Timestamp>> {
        let any = Timestamp::MIN.micros()..=Timestamp::MAX.micros();
        prop::option::of(any.prop_map(|micros| Timestamp::from_micros(micros).expect("in range")))
    }

    fn slot() -> impl Strategy<Value = SecretSlot> {
        (any::<u32>(), any::<[u8; 32]>(), time(), time()).prop_map(
            |(number, digest, expire_time, superseded_time)| SecretSlot {
                number,
                digest: Digest::from_bytes(digest),
                expire_time,
                superseded_time,
            },
        )
    }

    fn key() -> impl Strategy<Value = VerifiableKey> {
        let names = ("[A-Za-z0-9_.-]{1,128}", "[a-z0-9][a-z:.-]{0,63}", "[a-z]{1,9}");
        let scopes = prop::collection::vec("[a-z*](:[a-z]{1,9}){0,3}", 0..5);
        let cidrs = prop::collection::vec((any::<[u8; 2]>(), any::<u16>()), 0..4);
        let slots = prop::collection::vec(slot(), 0..=3);
        let rest = (any::<bool>(), 1..=3_u8, time(), any::<u64>(), slots);
        (names, scopes, cidrs, rest).prop_map(|(names, scopes, cidrs, rest)| {
            let (key_id, account, application) = names;
            let (is_live, standing, expire_time, revision, slots) = rest;
            let cidrs: Vec<String> = cidrs
                .into_iter()
                .flat_map(|([a, b], c)| [format!("{a}.{b}.0.0/16"), format!("2001:db8:{c:x}::/48")])
                .collect();
            VerifiableKey {
                key_id: KeyId::from_stored(key_id).expect("valid"),
                account_id: AccountId::parse(&account).expect("valid"),
                application_id: ApplicationId::parse(&application).expect("valid"),
                environment: if is_live { Environment::Live } else { Environment::Test },
                standing: match standing {
                    1 => Standing::Active,
                    2 => Standing::Disabled,
                    _ => Standing::Revoked,
                },
                scopes: GrantedScopes::parse(scopes.iter().map(String::as_str)).expect("valid"),
                allowed_cidrs: CidrSet::parse(cidrs.iter().map(String::as_str)).expect("valid"),
                expire_time,
                revision,
                slots: slots.into_iter().collect(),
            }
        })
    }

    /// All that a key is; digests don't print.
    fn everything_of(key: &VerifiableKey) -> String {
        let digests: Vec<_> = key.slots.iter().map(|slot| slot.digest.as_bytes()).collect();
        format!("{key:?} {digests:?}")
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(keys in prop::collection::vec(key(), 1..4)) {
            let mut decoder = Decoder::default();
            // Twice, so that what is remembered is used.
            for key in keys.iter().chain(&keys) {
                let bytes = encode(key);
                let read = decoder.decode(&bytes).expect("a key");
                prop_assert_eq!(everything_of(&read), everything_of(key));
                prop_assert_eq!(encode(&read), bytes);
            }
        }

        #[test]
        fn nothing_else_is_a_key(key in key(), cut in any::<prop::sample::Index>(), more in any::<u8>()) {
            let mut bytes = encode(&key);
            let cut = bytes.get(..cut.index(bytes.len())).expect("shorter");
            prop_assert!(Decoder::default().decode(cut).is_none());
            bytes.push(more);
            prop_assert!(Decoder::default().decode(&bytes).is_none());
        }

        #[test]
        fn no_bytes_make_it_panic(
            key in key(),
            at in any::<prop::sample::Index>(),
            to in any::<u8>(),
            noise in prop::collection::vec(any::<u8>(), 0..200),
        ) {
            let mut bytes = encode(&key);
            let at = at.index(bytes.len());
            bytes[at] = to;
            let _ = Decoder::default().decode(&bytes);
            let _ = Decoder::default().decode(&noise);
        }
    }
}
