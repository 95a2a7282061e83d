//! The one rule for trying a transaction again.

use std::time::Duration;

use tokio::time::Instant;

use super::Store;
use super::error::Fault;
use crate::domain::Error;
use crate::domain::random;

/// How often a transaction is tried again.
const MOST: u32 = 5;
/// The pause before the first repetition; each further one may be twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(2);

pub(super) struct Retry<'s> {
    store: &'s Store,
    started: Instant,
    tried: u32,
    /// Whether doing it twice would be noticed.
    recognised: bool,
}

impl<'s> Retry<'s> {
    pub(super) fn new(store: &'s Store, recognised: bool) -> Self {
        Self { store, started: Instant::now(), tried: 0, recognised }
    }

    /// Returns, after a pause, if the transaction is to be tried again; otherwise gives the error.
    ///
    /// Waiting for locks and repeating together take no longer than the lock's own timeout, and one more wait for it.
    pub(super) async fn after(&mut self, fault: Fault) -> Result<(), Error> {
        let worth_it = match fault {
            Fault::OutcomeUnknown => self.recognised,
            _ => fault.is_conflict(),
        };
        let in_time = self.started.elapsed() < self.store.patience();
        if !worth_it || self.tried >= MOST || !in_time {
            return Err(fault.into());
        }
        let longest = FIRST_PAUSE * 2_u32.pow(self.tried);
        self.tried += 1;
        tokio::time::sleep(longest.mul_f64(self.jitter())).await;
        Ok(())
    }

    /// From a half to one, so that two writers in each other's way don't stay so.
    fn jitter(&self) -> f64 {
        let [byte] = random::draw(self.store.random()).unwrap_or([u8::MAX]);
        0.5 + f64::from(byte) / 510.0
    }
}
