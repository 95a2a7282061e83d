//! All keys in memory, as verifications need them.
//!
//! ```text
//! key id ─► fingerprint ─► table: tag, record number ─► record: 96 bytes ─► parts: owner, scopes, networks
//! ```
//!
//! One writer; any number of readers, none of whom waits for a writer that was stopped in the middle of a change. So
//! look-ups are lock-free: one begins anew only if a change of just what it reads was *completed* meanwhile. How often
//! that happens in a row is bounded too ([`TRIES`]), by holding the writer off in the end. A change writes a *new* record, lets the entry of the table lead to it, and takes the
//! old record back only then. A reader copies what the entry leads to and believes the copy if, afterwards,
//! the record bears the same stamp and the entry still leads to it. Otherwise a change was completed in the
//! meantime, and it looks again.

mod fingerprint;
mod parts;
mod pause;
mod record;
mod table;
mod writer;

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use arrayvec::ArrayVec;

use self::fingerprint::{Fingerprint, Fingerprints};
use self::parts::{Parts, Shared};
use self::pause::pause;
use self::record::{Content, Records};
use self::table::Table;
use self::writer::Writer;
use crate::domain::ids::KeyId;
use crate::domain::verdict::{SecretSlot, VerifiableKey};

/// Every key of the store, by id. Complete: an id that is not in here does not exist.
///
/// Read by all verifying threads without locks (but see [`TRIES`]), written by the follower alone.
pub struct Index {
    fingerprints: Fingerprints,
    table: Table,
    records: Records,
    parts: Parts,
    len: AtomicUsize,
    writer: Mutex<Writer>,
}

/// After so many changes in the middle of one look-up, it holds the writer off. A look-up takes well under a
/// microsecond and a change more than that, most of them of other keys, so nobody is expected to get that far.
const TRIES: usize = 64;

/// A change was completed while we read.
struct Changed;

impl Default for Index {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Index {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Index({} keys)", self.len())
    }
}

impl Index {
    /// How many ids [`Self::prefetch`] takes: about as many reads as a processor's core keeps under way.
    pub const PREFETCHED: usize = 16;

    /// An index without keys.
    pub fn new() -> Self {
        Self {
            fingerprints: Fingerprints::new(),
            table: Table::new(),
            records: Records::new(),
            parts: Parts::new(),
            len: AtomicUsize::new(0),
            writer: Mutex::default(),
        }
    }

    /// How many keys there are.
    pub fn len(&self) -> usize {
        self.len.load(Ordering::Relaxed)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The key of an id.
    pub fn get(&self, key_id: &str) -> Option<VerifiableKey> {
        let fingerprint = self.fingerprints.of(key_id);
        for _ in 0..TRIES {
            if let Ok(answer) = self.try_get(fingerprint, key_id) {
                return answer;
            }
        }
        // Now nothing changes. That it still seems so can't be; a key that can't be read lets nobody in.
        let _held_off = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        self.try_get(fingerprint, key_id).unwrap_or(None)
    }

    /// Brings what the next look-ups will read into the processor's cache: of up to [`Self::PREFETCHED`] ids at a
    /// time, whose waits for the memory then overlap instead of following each other.
    pub fn prefetch<'k>(&self, key_ids: impl Iterator<Item = &'k str>) {
        let fingerprints: ArrayVec<Fingerprint, { Self::PREFETCHED }> =
            key_ids.take(Self::PREFETCHED).map(|key_id| self.fingerprints.of(key_id)).collect();
        for fingerprint in &fingerprints {
            self.table.touch(*fingerprint);
        }
        for fingerprint in &fingerprints {
            if let Some(found) = self.table.search(*fingerprint).next() {
                self.records.touch(found.record());
            }
        }
    }

    fn try_get(
        &self,
        fingerprint: Fingerprint,
        key_id: &str,
    ) -> Result<Option<VerifiableKey>, Changed> {
        let mut search = self.table.search(fingerprint);
        while let Some(found) = search.next() {
            pause();
            let copied = self.records.read(found.record()).ok_or(Changed)?;
            // In this order. Whoever took the record back had changed the entry before, and whoever let the entry
            // lead to the record again has stamped it anew.
            if !search.still_leads(&found) || !copied.is_whole() {
                return Err(Changed);
            }
            pause();
            let content = copied.content();
            if content.fingerprint == fingerprint {
                return self.assemble(&content, key_id).map(Some).ok_or(Changed);
            }
        }
        pause();
        if search.still_whole() { Ok(None) } else { Err(Changed) }
    }

    /// The key that a record and its parts make; `None` if a part is gone, since the record is by now.
    fn assemble(&self, content: &Content, key_id: &str) -> Option<VerifiableKey> {
        let parts = self.parts.pin();
        let Shared::Owner(account_id, application_id) = parts.shared(content.owner)? else {
            return None;
        };
        let Shared::Scopes(scopes) = parts.shared(content.scopes)? else { return None };
        let Shared::Cidrs(allowed_cidrs) = parts.shared(content.cidrs)? else { return None };
        let mut slots = ArrayVec::new();
        if let Some((number, digest)) = content.slot {
            let (expire_time, superseded_time) = (None, None);
            slots.push(SecretSlot { number, digest, expire_time, superseded_time });
        } else if content.slots != 0 {
            slots.extend(parts.slots(content.slots)?.iter().copied());
        }
        Some(VerifiableKey {
            key_id: KeyId::found(key_id),
            account_id: account_id.clone(),
            application_id: application_id.clone(),
            environment: content.environment,
            standing: content.standing,
            scopes: scopes.clone(),
            allowed_cidrs: allowed_cidrs.clone(),
            expire_time: content.expire_time,
            revision: content.revision,
            slots,
        })
    }
}

#[cfg(test)]
mod interleaved;
#[cfg(test)]
mod stress;
#[cfg(test)]
mod tests;
