//! Where the record of a fingerprint is: open addressing, read without locks.
//!
//! One writer changes it; any number of readers look meanwhile and never wait. An entry is the tag of a
//! fingerprint in the upper 32 bits and one more than the number of its record in the lower; zero is an empty slot.
//! Entries stand at the first slot that was free from the one their tag names on.
//!
//! What a reader must be able to rely on is that a key that is present is found at every moment:
//!
//! - A changed key keeps its slot; one store moves the entry from the old record to the new.
//! - A table that grows is copied in full before the shard's state names the copy. The old one stays as it
//!   was, for those who are still reading it; all of them together are as large as the newest. Who says
//!   beforehand how many keys there will be has none of them.
//! - When a key is removed, those after it in its run move up, so that nothing is left to be searched
//!   through. An entry stands in its new slot before it leaves the old one. Who passed the new slot before
//!   and the old one after has seen neither, but sees the state changed, and looks again.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering, fence};

use super::fingerprint::Fingerprint;
use super::pause::pause;

/// Tables, so that one that grows holds up the writer only shortly. As many as [`Fingerprint::shard`] has values.
const SHARDS: usize = 256;
/// Slots of a shard's first table; each level has twice as many as the one before.
const FIRST_LEN: usize = 16;
/// Enough for four times the most records there can be.
const LEVELS: usize = 20;

/// What a moved entry adds to a shard's state, whose lowest byte is the level.
const MOVED: u64 = 1 << 8;

/// The tables of an index.
pub(super) struct Table {
    shards: Box<[Shard]>,
}

#[derive(Default)]
struct Shard {
    /// The level in use, in the lowest byte, and above it how many entries have moved.
    state: AtomicU64,
    /// How many keys it has. The writer's alone.
    len: AtomicU64,
    levels: [OnceLock<Box<[AtomicU64]>>; LEVELS],
}

/// There are more keys than the tables can ever hold.
#[derive(Debug)]
pub(super) struct Full;

/// The slot of an entry, for the writer, who alone can know that it stays there.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    shard: usize,
    at: usize,
}

impl Table {
    pub(super) fn new() -> Self {
        Self { shards: (0..SHARDS).map(|_| Shard::default()).collect() }
    }

    /// The search for a fingerprint.
    pub(super) fn search(&self, fingerprint: Fingerprint) -> Search<'_> {
        let shard = self.shard(fingerprint.shard());
        let state = shard.state.load(Ordering::Acquire);
        let slots = shard.slots(state);
        Search { shard, state, slots, tag: fingerprint.tag(), steps: 0 }
    }

    /// Brings the first slot of a search into the processor's cache.
    pub(super) fn touch(&self, fingerprint: Fingerprint) {
        let shard = self.shard(fingerprint.shard());
        let slots = shard.slots(shard.state.load(Ordering::Acquire));
        let slot = slots.get(home(fingerprint.tag(), slots.len()));
        std::hint::black_box(slot.map(|slot| slot.load(Ordering::Relaxed)));
    }

    /// Where the entry of a fingerprint stands, and its record, which `is_its_record` tells from others with the same
    /// tag. For the writer.
    pub(super) fn find(
        &self,
        fingerprint: Fingerprint,
        is_its_record: impl Fn(u32) -> bool,
    ) -> Option<(Place, u32)> {
        let mut search = self.search(fingerprint);
        while let Some(found) = search.next() {
            if is_its_record(found.record()) {
                return Some((Place { shard: fingerprint.shard(), at: found.at }, found.record()));
            }
        }
        None
    }

    /// Lets an entry lead to another record. For the writer.
    pub(super) fn replace(&self, place: Place, record: u32) {
        let shard = self.shard(place.shard);
        let slots = shard.slots(shard.state.load(Ordering::Relaxed));
        if let Some(slot) = slots.get(place.at) {
            let tag = slot.load(Ordering::Relaxed) >> 32;
            slot.store(tag << 32 | (u64::from(record) + 1), Ordering::Release);
        }
    }

    /// Makes an entry for a fingerprint that has none. For the writer.
    pub(super) fn insert(&self, fingerprint: Fingerprint, record: u32) -> Result<(), Full> {
        let shard = self.shard(fingerprint.shard());
        let len = shard.len.load(Ordering::Relaxed) + 1;
        let slots = shard.slots_for(len)?;
        let slot = first_empty(slots, fingerprint.tag()).ok_or(Full)?;
        let entry = u64::from(fingerprint.tag()) << 32 | (u64::from(record) + 1);
        slot.store(entry, Ordering::Release);
        shard.len.store(len, Ordering::Relaxed);
        Ok(())
    }

    /// Takes an entry out. For the writer.
    pub(super) fn remove(&self, place: Place) {
        let shard = self.shard(place.shard);
        let slots = shard.slots(shard.state.load(Ordering::Relaxed));
        let mask = slots.len().wrapping_sub(1);
        let mut hole = place.at;
        for step in 1..slots.len() {
            let at = (place.at + step) & mask;
            let entry = slots.get(at).map_or(0, |slot| slot.load(Ordering::Relaxed));
            if entry == 0 {
                break;
            }
            // Only an entry whose search passes the hole may stand there.
            let home = home(tag_of(entry), slots.len());
            if at.wrapping_sub(home) & mask >= at.wrapping_sub(hole) & mask {
                store(slots, hole, entry);
                pause();
                // In between: whoever sees the old slot without the entry, sees this too.
                shard.state.fetch_add(MOVED, Ordering::Release);
                pause();
                hole = at;
            }
        }
        store(slots, hole, 0);
        shard.len.fetch_sub(1, Ordering::Relaxed);
    }

    /// Makes the tables of the size that so many keys need, where there are none yet: growing would leave the smaller
    /// ones behind. For the writer.
    pub(super) fn reserve(&self, keys: u64) {
        let mean = keys / SHARDS as u64;
        // All but a few shards have less than four standard deviations more than the mean.
        let most = mean + 4 * mean.isqrt();
        let fits = |level: &usize| has_room(FIRST_LEN << level, most);
        let level = (0..LEVELS).find(fits).unwrap_or(LEVELS - 1);
        for shard in &self.shards {
            let is_new = shard.slots(shard.state.load(Ordering::Relaxed)).is_empty();
            if is_new && shard.make(level, &[]).is_ok() {
                shard.state.store(level as u64, Ordering::Release);
            }
        }
    }

    /// Takes all entries out; gives their records. For the writer.
    pub(super) fn clear(&self) -> Vec<u32> {
        let mut records = Vec::new();
        for shard in &self.shards {
            let slots = shard.slots(shard.state.load(Ordering::Relaxed));
            for slot in slots {
                let entry = slot.swap(0, Ordering::Release);
                if entry != 0 {
                    records.push(record_of(entry));
                }
            }
            shard.len.store(0, Ordering::Relaxed);
        }
        records
    }

    fn shard(&self, number: usize) -> &Shard {
        // A byte numbers the shards, of which there are 256.
        &self.shards[number % SHARDS]
    }
}

impl Shard {
    /// The table that a state names; none as long as it is empty.
    fn slots(&self, state: u64) -> &[AtomicU64] {
        self.levels.get(level_of(state)).and_then(OnceLock::get).map_or(&[], |slots| slots)
    }

    /// The table, grown if so many keys need it.
    fn slots_for(&self, len: u64) -> Result<&[AtomicU64], Full> {
        let state = self.state.load(Ordering::Relaxed);
        let slots = self.slots(state);
        if slots.is_empty() {
            return self.make(0, &[]);
        }
        if has_room(slots.len(), len) {
            return Ok(slots);
        }
        match self.make(level_of(state) + 1, slots) {
            Ok(grown) => {
                pause();
                self.state.store(state + MOVED + 1, Ordering::Release);
                Ok(grown)
            }
            // As full as it gets.
            Err(Full) => Ok(slots),
        }
    }

    /// Makes the table of a level, with these entries in it.
    fn make(&self, level: usize, entries: &[AtomicU64]) -> Result<&[AtomicU64], Full> {
        let cell = self.levels.get(level).ok_or(Full)?;
        let slots: Box<[AtomicU64]> = (0..FIRST_LEN << level).map(|_| AtomicU64::new(0)).collect();
        for entry in entries {
            let entry = entry.load(Ordering::Relaxed);
            if entry != 0 {
                let slot = first_empty(&slots, tag_of(entry)).ok_or(Full)?;
                slot.store(entry, Ordering::Relaxed);
            }
        }
        Ok(cell.get_or_init(|| slots))
    }
}

/// A reader's search: the entries that bear the tag, one after another.
pub(super) struct Search<'t> {
    shard: &'t Shard,
    state: u64,
    slots: &'t [AtomicU64],
    tag: u32,
    steps: usize,
}

/// An entry with the right tag.
#[derive(Debug, Clone, Copy)]
pub(super) struct Found<'t> {
    slot: &'t AtomicU64,
    entry: u64,
    at: usize,
}

impl Found<'_> {
    pub(super) fn record(&self) -> u32 {
        record_of(self.entry)
    }
}

impl<'t> Search<'t> {
    pub(super) fn next(&mut self) -> Option<Found<'t>> {
        let home = home(self.tag, self.slots.len());
        while self.steps < self.slots.len() {
            let at = (home + self.steps) & (self.slots.len() - 1);
            let slot = self.slots.get(at)?;
            let entry = slot.load(Ordering::Acquire);
            if entry == 0 {
                return None;
            }
            self.steps += 1;
            if tag_of(entry) == self.tag {
                return Some(Found { slot, entry, at });
            }
        }
        None
    }

    /// Whether the entry still led to its record after that was read. An Acquire fence, or an Acquire load of what was
    /// read, goes before.
    pub(super) fn still_leads(&self, found: &Found<'_>) -> bool {
        found.slot.load(Ordering::Acquire) == found.entry && self.still_whole()
    }

    /// Whether nothing moved since the search began, so that an entry that was not found is not there.
    pub(super) fn still_whole(&self) -> bool {
        fence(Ordering::Acquire);
        self.shard.state.load(Ordering::Acquire) == self.state
    }
}

/// At most three quarters of a table are in use: a search that finds nothing then looks at two lines of the cache.
fn has_room(slots: usize, keys: u64) -> bool {
    keys * 4 <= slots as u64 * 3
}

fn level_of(state: u64) -> usize {
    usize::from(state.to_le_bytes()[0])
}

fn tag_of(entry: u64) -> u32 {
    (entry >> 32) as u32
}

fn record_of(entry: u64) -> u32 {
    ((entry & u64::from(u32::MAX)) as u32).wrapping_sub(1)
}

/// The first slot of a search; lengths are powers of two.
fn home(tag: u32, len: usize) -> usize {
    tag as usize & len.wrapping_sub(1)
}

fn first_empty(slots: &[AtomicU64], tag: u32) -> Option<&AtomicU64> {
    let (after, before) = slots.split_at_checked(home(tag, slots.len()))?;
    let mut from_home = before.iter().chain(after);
    from_home.find(|slot| slot.load(Ordering::Relaxed) == 0)
}

fn store(slots: &[AtomicU64], at: usize, entry: u64) {
    if let Some(slot) = slots.get(at) {
        slot.store(entry, Ordering::Release);
    }
}
