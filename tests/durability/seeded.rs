//! Random decisions that can be made again: the seed is printed, and a failing test shows it.

use std::time::{SystemTime, UNIX_EPOCH};

/// SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014).
pub struct Random(u64);

impl Random {
    /// Seeded by `CSTEST_SEED` if it is set, otherwise by the time.
    pub fn seeded() -> Self {
        let given = std::env::var("CSTEST_SEED").ok().and_then(|seed| seed.parse().ok());
        let seed = given.unwrap_or_else(|| {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
            u64::try_from(now.as_micros()).expect("before the year 586912")
        });
        println!("decisions of CSTEST_SEED={seed}");
        Self(seed)
    }

    /// The decisions of that seed.
    pub fn from_seed(seed: u64) -> Self {
        Self(seed)
    }

    /// Another one, for a task of its own.
    pub fn fork(&mut self) -> Self {
        Self(self.next())
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    pub fn one_of<'t, T>(&mut self, things: &'t [T]) -> Option<&'t T> {
        let bound = u64::try_from(things.len()).expect("few things");
        let index = if bound == 0 { return None } else { self.below(bound) };
        things.get(usize::try_from(index).expect("few things"))
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}
