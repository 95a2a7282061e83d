//! Key ids as numbers of one size, which nobody outside can foretell.

use std::hash::{BuildHasher as _, RandomState};

use siphasher::sip128::SipHasher13;

/// What stands for a key id in the index: its SipHash-1-3 of 128 bits under a key of this process.
///
/// Ids are taken as equal when their fingerprints are. Among ten million keys that two are alike has a
/// probability of 10^-25, and nobody who does not know the key can make it larger. Nobody would gain
/// anything by it: the digest of a secret covers the key id too, so a wrong record proves no secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fingerprint {
    pub(super) high: u64,
    pub(super) low: u64,
}

impl Fingerprint {
    /// The bits that choose a place in the tables: those that are kept in an entry.
    pub(super) fn tag(self) -> u32 {
        (self.low >> 32) as u32
    }

    /// The bits that choose a table, independent of the tag's.
    pub(super) fn shard(self) -> usize {
        usize::from(self.high.to_be_bytes()[0])
    }
}

/// Makes the fingerprints of one index.
pub(super) struct Fingerprints {
    hasher: SipHasher13,
    #[cfg(test)]
    pub(super) colliding: bool,
}

impl Fingerprints {
    /// Under a key of its own, from the standard library's protection against hash flooding.
    pub(super) fn new() -> Self {
        let random = RandomState::new();
        Self {
            hasher: SipHasher13::new_with_keys(random.hash_one(0_u8), random.hash_one(1_u8)),
            #[cfg(test)]
            colliding: false,
        }
    }

    pub(super) fn of(&self, key_id: &str) -> Fingerprint {
        let (high, low) = self.hasher.hash(key_id.as_bytes()).as_u64();
        // All in one table, with few tags, next to each other and at a table's end.
        #[cfg(test)]
        let (high, low) = match self.colliding {
            true => (high >> 8, low << 62 >> 30 | 0x7fff_fffe << 33),
            false => (high, low),
        };
        Fingerprint { high, low }
    }
}
