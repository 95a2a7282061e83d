//! Changing the index: one change at a time, each visible as a whole.

use std::collections::VecDeque;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use super::Index;
use super::fingerprint::Fingerprint;
use super::parts::{Part, Shared, Uses};
use super::pause::pause;
use super::record::Content;
use super::table::{self, Full};
use crate::domain::ids::KeyId;
use crate::domain::verdict::{IndexChange, SecretSlot, VerifiableKey};

/// What only the writer needs.
#[derive(Default)]
pub(super) struct Writer {
    uses: Uses,
    last_stamp: u64,
    /// Records that were never used begin here.
    pub(super) unused: u32,
    /// Records that were taken back, the oldest first.
    pub(super) free: VecDeque<u32>,
}

impl Index {
    /// Makes a change visible to every later [`Self::get`]. A key's revision never goes back: what is
    /// older than the record at hand is passed over.
    pub fn apply(&self, change: IndexChange) {
        // A panic elsewhere can't have left the writer's side half changed: nothing in here panics.
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        match change {
            IndexChange::Put(key) => self.put(&mut writer, &key),
            IndexChange::Remove(key_id) => self.remove(&mut writer, &key_id),
            IndexChange::Expect(keys) => self.table.reserve(keys),
            IndexChange::Clear => self.clear(&mut writer),
        }
    }

    fn put(&self, writer: &mut Writer, key: &VerifiableKey) {
        let fingerprint = self.fingerprints.of(key.key_id.as_str());
        let at_hand = self.find(fingerprint);
        if at_hand.is_some_and(|(.., content)| content.revision > key.revision) {
            return;
        }
        let content = self.content_of(writer, fingerprint, key);
        let record = writer.free.pop_front().unwrap_or(writer.unused);
        writer.last_stamp += 1;
        if !self.records.write(record, writer.last_stamp, &content) {
            // What is there may allow what the change forbids.
            if let Some((place, old_record, old)) = at_hand {
                self.take_out(writer, place, old_record, &old);
            }
            return self.refuse(writer, &content, key);
        }
        writer.unused = writer.unused.max(record + 1);
        pause();
        match at_hand {
            Some((place, old_record, old)) => {
                self.table.replace(place, record);
                pause();
                self.take_back(writer, old_record, &old);
            }
            None => match self.table.insert(fingerprint, record) {
                Ok(()) => _ = self.len.fetch_add(1, Ordering::Relaxed),
                Err(Full) => {
                    self.refuse(writer, &content, key);
                    self.records.take_back(record);
                    writer.free.push_back(record);
                }
            },
        }
    }

    fn remove(&self, writer: &mut Writer, key_id: &KeyId) {
        let fingerprint = self.fingerprints.of(key_id.as_str());
        if let Some((place, record, content)) = self.find(fingerprint) {
            self.take_out(writer, place, record, &content);
        }
    }

    fn take_out(&self, writer: &mut Writer, place: table::Place, record: u32, content: &Content) {
        self.table.remove(place);
        pause();
        self.take_back(writer, record, content);
        self.len.fetch_sub(1, Ordering::Relaxed);
    }

    fn clear(&self, writer: &mut Writer) {
        for record in self.table.clear() {
            if let Some(copied) = self.records.read(record) {
                self.take_back(writer, record, &copied.content());
            }
        }
        self.len.store(0, Ordering::Relaxed);
    }

    /// The entry, the record and the content of a fingerprint. For the writer.
    fn find(&self, fingerprint: Fingerprint) -> Option<(table::Place, u32, Content)> {
        let content = |record| self.records.read(record).map(|copied| copied.content());
        let is_its = |record| content(record).is_some_and(|it| it.fingerprint == fingerprint);
        let (place, record) = self.table.find(fingerprint, is_its)?;
        Some((place, record, content(record)?))
    }

    fn content_of(
        &self,
        writer: &mut Writer,
        fingerprint: Fingerprint,
        key: &VerifiableKey,
    ) -> Content {
        let Writer { uses, .. } = writer;
        let owner = Shared::Owner(key.account_id.clone(), key.application_id.clone());
        let slot = match key.slots.as_slice() {
            [SecretSlot { number, digest, expire_time: None, superseded_time: None }] => {
                Some((*number, *digest))
            }
            _ => None,
        };
        let slots = if slot.is_some() || key.slots.is_empty() {
            0
        } else {
            uses.add(&self.parts, Part::Slots(key.slots.as_slice().into()))
        };
        Content {
            fingerprint,
            revision: key.revision,
            expire_time: key.expire_time,
            owner: uses.share(&self.parts, owner),
            scopes: uses.share(&self.parts, Shared::Scopes(key.scopes.clone())),
            cidrs: uses.share(&self.parts, Shared::Cidrs(key.allowed_cidrs.clone())),
            slots,
            environment: key.environment,
            standing: key.standing,
            slot,
        }
    }

    /// Takes a record back that no entry leads to any more: first the record, then the parts that it named.
    fn take_back(&self, writer: &mut Writer, record: u32, content: &Content) {
        self.records.take_back(record);
        pause();
        writer.free.push_back(record);
        self.release_parts(writer, content);
    }

    fn release_parts(&self, writer: &mut Writer, content: &Content) {
        for number in [content.owner, content.scopes, content.cidrs, content.slots] {
            if number != 0 {
                writer.uses.release(&self.parts, number);
            }
        }
    }

    /// A key that there is no place for: a billion are too many. It is not served.
    fn refuse(&self, writer: &mut Writer, content: &Content, key: &VerifiableKey) {
        self.release_parts(writer, content);
        let key_id = key.key_id.as_str();
        tracing::error!(key_id, "ALARM: there is no place for more keys; this one is not served");
    }
}
