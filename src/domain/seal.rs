//! Seals: MACs under a key derived from the root key, over what decides a verification. A row whose
//! seal does not fit was written by somebody without the root key and is never served.

use std::fmt;

use hmac::{Hmac, Mac as _};
use sha2::Sha256;

use super::keyring::{RootKeyring, mac_keyed_with};
use super::verdict::VerifiableKey;

/// The layout of a seal: this byte, the root key's version (4 bytes, big-endian), the MAC (32 bytes).
const FORMAT: u8 = 1;
/// Bytes of a seal.
pub const SEAL_LEN: usize = 1 + 4 + 32;

/// Why a sealed row is not served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SealFault {
    /// The MAC does not fit the row: somebody changed the row without the root key.
    #[error("the seal does not fit the row")]
    Broken,
    /// The seal is of a format or root key version that this server does not know.
    #[error("the seal is of an unknown format or root key version")]
    UnknownVersion,
}

/// The seal keys of all root key versions in use.
pub struct SealKeys {
    keys: Vec<(u32, Hmac<Sha256>)>,
}

impl fmt::Debug for SealKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SealKeys(redacted)")
    }
}

impl SealKeys {
    /// Derives the seal keys from the root keys.
    pub fn derive(root: &RootKeyring) -> Self {
        let keys = root
            .iter()
            .map(|key| (key.version(), mac_keyed_with(&key.derive("countersign seal v1"))));
        Self { keys: keys.collect() }
    }

    /// The root key versions at hand, in ascending order.
    pub fn versions(&self) -> Vec<u32> {
        self.keys.iter().map(|(version, _)| *version).collect()
    }

    /// Seals a key with that root key version; `None` if it is not at hand.
    pub fn seal(&self, version: u32, key: &VerifiableKey) -> Option<Vec<u8>> {
        let (_, mac) = self.keys.iter().find(|(known, _)| *known == version)?;
        let mac = mac.clone().chain_update(canonical(key)).finalize().into_bytes();
        let mut seal = Vec::with_capacity(SEAL_LEN);
        seal.push(FORMAT);
        seal.extend(version.to_be_bytes());
        seal.extend(mac);
        Some(seal)
    }

    /// Checks a stored seal, in constant time.
    pub fn check(&self, key: &VerifiableKey, seal: &[u8]) -> Result<(), SealFault> {
        let seal: &[u8; SEAL_LEN] = seal.try_into().map_err(|_| SealFault::UnknownVersion)?;
        let [FORMAT, v0, v1, v2, v3, mac @ ..] = seal else {
            return Err(SealFault::UnknownVersion);
        };
        let version = u32::from_be_bytes([*v0, *v1, *v2, *v3]);
        let key_of_version = self.keys.iter().find(|(known, _)| *known == version);
        let (_, keyed) = key_of_version.ok_or(SealFault::UnknownVersion)?;
        let expected = keyed.clone().chain_update(canonical(key));
        expected.verify_slice(mac).map_err(|_| SealFault::Broken)
    }
}

/// Everything that decides a verification, each part preceded by its length.
fn canonical(key: &VerifiableKey) -> Vec<u8> {
    let mut out = Vec::with_capacity(512);
    let mut put = |bytes: &[u8]| {
        out.extend((bytes.len() as u64).to_be_bytes());
        out.extend(bytes);
    };
    let micros = |time: Option<super::Timestamp>| time.map_or(i64::MIN, super::Timestamp::micros);
    put(b"countersign key v1");
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
