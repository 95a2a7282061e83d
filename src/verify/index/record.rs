//! The records of keys: twelve numbers each, in chunks that never move.
//!
//! A record is written once and then only read, until it is taken back and may be written again, with
//! another stamp. A reader copies it and looks at the stamp before and after: the same stamp, and not zero,
//! means that the copy is whole. Nobody waits: a record that is being written is one that no entry leads to
//! any more, so the reader follows the entry again.
//!
//! ```text
//! writer                               reader
//! stamp = 0                            stamp  (Acquire)
//! fence(Release)                       words
//! words                                fence(Acquire)
//! stamp = the next one  (Release)      stamp again, the same?
//! ```

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering, fence};

use super::fingerprint::Fingerprint;
use super::pause::pause;
use crate::domain::Timestamp;
use crate::domain::ids::Environment;
use crate::domain::keyring::Digest;
use crate::domain::verdict::Standing;

/// Words of a record: its stamp and eleven more.
const WORDS: usize = 12;
const CONTENT: usize = WORDS - 1;

/// Records of the chunks that are all of one size.
const CHUNK: u32 = 1 << 16;
/// Records of the first chunk. The next ones double up to [`CHUNK`], so that few keys take little memory.
const FIRST: u32 = 1 << 10;
/// Chunks smaller than [`CHUNK`]: the first, and one for each doubling.
const SMALL_CHUNKS: u32 = 1 + (CHUNK / FIRST).ilog2();
/// Chunks in all, for a billion records.
const CHUNKS: usize = SMALL_CHUNKS as usize + (1 << 14) - 1;

/// The time that no key has, for one that has no expiry.
const NEVER: i64 = i64::MIN;

/// Two records fill three lines of the cache, so that each lies on two of them.
#[repr(align(64))]
#[derive(Default)]
struct Pair([[AtomicU64; WORDS]; 2]);

/// All records of an index.
pub(super) struct Records {
    chunks: Box<[OnceLock<Box<[Pair]>>]>,
}

/// What a record says.
#[derive(Debug, Clone, Copy)]
pub(super) struct Content {
    pub(super) fingerprint: Fingerprint,
    pub(super) revision: u64,
    pub(super) expire_time: Option<Timestamp>,
    /// Number of the part that holds account and application.
    pub(super) owner: u32,
    /// Number of the part that holds the scopes.
    pub(super) scopes: u32,
    /// Number of the part that holds the networks.
    pub(super) cidrs: u32,
    /// Number of the part that holds the secret slots, where they are not as plain as [`Self::slot`]; or zero.
    pub(super) slots: u32,
    pub(super) environment: Environment,
    pub(super) standing: Standing,
    /// The only secret slot, of this number and digest, without any times. The usual case.
    pub(super) slot: Option<(u32, Digest)>,
}

/// A record as it was read.
pub(super) struct Copied<'r> {
    stamp: u64,
    at: &'r AtomicU64,
    words: [u64; CONTENT],
}

impl Records {
    pub(super) fn new() -> Self {
        Self { chunks: (0..CHUNKS).map(|_| OnceLock::new()).collect() }
    }

    /// Reads a record. It must not be believed before [`Copied::is_whole`] says so.
    pub(super) fn read(&self, number: u32) -> Option<Copied<'_>> {
        let [at, content @ ..] = self.record(number)?;
        let stamp = at.load(Ordering::Acquire);
        let words = content.each_ref().map(|word| {
            pause();
            word.load(Ordering::Relaxed)
        });
        fence(Ordering::Acquire);
        Some(Copied { stamp, at, words })
    }

    /// Brings a record into the processor's cache.
    pub(super) fn touch(&self, number: u32) {
        if let Some([first, .., last]) = self.record(number) {
            let touched = first.load(Ordering::Relaxed) ^ last.load(Ordering::Relaxed);
            std::hint::black_box(touched);
        }
    }

    /// Writes a record that no entry leads to; false if there is no place for so many. For the writer.
    pub(super) fn write(&self, number: u32, stamp: u64, content: &Content) -> bool {
        let Some((chunk, _, len)) = place(number) else { return false };
        let Some(cell) = self.chunks.get(chunk) else { return false };
        cell.get_or_init(|| (0..len / 2).map(|_| Pair::default()).collect());
        self.take_back(number);
        pause();
        fence(Ordering::Release);
        let Some([at, words @ ..]) = self.record(number) else { return false };
        for (word, value) in words.iter().zip(content.to_words()) {
            word.store(value, Ordering::Relaxed);
        }
        pause();
        at.store(stamp, Ordering::Release);
        true
    }

    /// Makes a record invalid that no entry leads to any more. For the writer.
    pub(super) fn take_back(&self, number: u32) {
        if let Some([at, ..]) = self.record(number) {
            at.store(0, Ordering::Release);
        }
    }

    fn record(&self, number: u32) -> Option<&[AtomicU64; WORDS]> {
        let (chunk, at, _) = place(number)?;
        let Pair(pair) = self.chunks.get(chunk)?.get()?.get(at / 2)?;
        pair.get(at % 2)
    }
}

/// The chunk of a record, its place in there, and how many records the chunk has.
fn place(number: u32) -> Option<(usize, usize, usize)> {
    let (chunk, at, len) = if number >= CHUNK {
        (SMALL_CHUNKS + number / CHUNK - 1, number % CHUNK, CHUNK)
    } else if let Some(doubling) = (number / FIRST).checked_ilog2() {
        let len = FIRST << doubling;
        (doubling + 1, number - len, len)
    } else {
        (0, number, FIRST)
    };
    Some((usize::try_from(chunk).ok()?, usize::try_from(at).ok()?, usize::try_from(len).ok()?))
}

impl Copied<'_> {
    /// Whether the copy is of one writing. To be asked after everything else that it is held against was read.
    pub(super) fn is_whole(&self) -> bool {
        self.stamp != 0 && self.at.load(Ordering::Relaxed) == self.stamp
    }

    pub(super) fn content(&self) -> Content {
        Content::from_words(&self.words)
    }
}

const SLOT: u64 = 1;
const TEST: u64 = 1 << 1;
const STANDING_SHIFT: u32 = 2;
const STANDING_MASK: u64 = 0b11;

impl Content {
    fn to_words(self) -> [u64; CONTENT] {
        let (number, digest) = self.slot.unwrap_or((0, Digest::absent()));
        let [d0, d1, d2, d3] = digest.words();
        let mut flags = (self.standing as u64) << STANDING_SHIFT;
        if self.slot.is_some() {
            flags |= SLOT;
        }
        if self.environment == Environment::Test {
            flags |= TEST;
        }
        let expiry = self.expire_time.map_or(NEVER, Timestamp::micros);
        [
            self.fingerprint.high,
            self.fingerprint.low,
            self.revision,
            expiry.cast_unsigned(),
            two(self.owner, self.scopes),
            two(self.cidrs, self.slots),
            u64::from(number) << 32 | flags,
            d0,
            d1,
            d2,
            d3,
        ]
    }

    fn from_words(words: &[u64; CONTENT]) -> Self {
        let [high, low, revision, expiry, owner_scopes, cidrs_slots, flags, digest @ ..] = *words;
        let (owner, scopes) = halves(owner_scopes);
        let (cidrs, slots) = halves(cidrs_slots);
        let number = halves(flags).0;
        Self {
            fingerprint: Fingerprint { high, low },
            revision,
            expire_time: Timestamp::from_micros(expiry.cast_signed()),
            owner,
            scopes,
            cidrs,
            slots,
            environment: if flags & TEST == 0 { Environment::Live } else { Environment::Test },
            standing: match flags >> STANDING_SHIFT & STANDING_MASK {
                1 => Standing::Active,
                2 => Standing::Disabled,
                _ => Standing::Revoked,
            },
            slot: (flags & SLOT != 0).then(|| (number, digest_of(digest))),
        }
    }
}

fn two(high: u32, low: u32) -> u64 {
    u64::from(high) << 32 | u64::from(low)
}

fn halves(word: u64) -> (u32, u32) {
    ((word >> 32) as u32, (word & u64::from(u32::MAX)) as u32)
}

fn digest_of(words: [u64; 4]) -> Digest {
    let mut bytes = [0; 32];
    for (part, word) in bytes.as_chunks_mut().0.iter_mut().zip(words) {
        *part = word.to_ne_bytes();
    }
    Digest::from_bytes(bytes)
}
