//! Holds the log against itself and every key against the log, over and over: an old row that was put
//! back has a seal that fits, so nothing else would notice it.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::MissedTickBehavior;

use crate::store::Store;

/// How often, the first time at the start. It reads everything, through one connection of its own.
const EVERY: Duration = Duration::from_secs(3_600);

/// What the checks have found so far.
#[derive(Debug, Default)]
pub struct Findings {
    good: AtomicU64,
    faulty: AtomicU64,
    failed: AtomicU64,
    /// Those of the last check that came to its end.
    faults: AtomicU64,
}

impl Findings {
    /// How many checks found nothing, found something, and came to nothing.
    pub fn checks(&self) -> [(&'static str, u64); 3] {
        [("good", &self.good), ("faulty", &self.faulty), ("failed", &self.failed)]
            .map(|(outcome, count)| (outcome, count.load(Ordering::Acquire)))
    }

    /// How many faults the last check found that came to its end; `None` before the first.
    pub fn faults(&self) -> Option<u64> {
        let [(_, good), (_, faulty), _] = self.checks();
        (good + faulty > 0).then(|| self.faults.load(Ordering::Acquire))
    }

    fn note(&self, faults: usize) {
        self.faults.store(faults as u64, Ordering::Release);
        let count = if faults == 0 { &self.good } else { &self.faulty };
        count.fetch_add(1, Ordering::Release);
    }
}

/// Runs for ever. A failure is logged, and tried again at the next turn.
pub async fn run(store: Store, findings: Arc<Findings>) -> Infallible {
    let mut turns = tokio::time::interval(EVERY);
    turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        turns.tick().await;
        let report = store.check_log().await;
        match &report {
            Ok(report) => findings.note(report.faults.len()),
            Err(_) => _ = findings.failed.fetch_add(1, Ordering::Release),
        }
        match report {
            Ok(report) if report.faults.is_empty() => {
                tracing::info!(
                    events = report.events,
                    "the log and the keys were checked: all is well"
                );
            }
            Ok(report) => {
                for fault in &report.faults {
                    tracing::error!(fault, "ALARM: the log or a key was changed from outside");
                }
            }
            Err(error) => tracing::warn!(%error, "can't check the log; trying again in an hour"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_check_says_how_many_faults_there_are() {
        let findings = Findings::default();
        assert_eq!(findings.faults(), None);
        findings.note(3);
        assert_eq!(findings.faults(), Some(3));
        findings.note(0);
        assert_eq!(findings.faults(), Some(0));
        assert_eq!(findings.checks(), [("good", 1), ("faulty", 1), ("failed", 0)]);
    }
}
