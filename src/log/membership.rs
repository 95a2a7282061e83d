//! This replica among the others: its row, its beats, the rows of the dead, and who waits for the living.
//!
//! A beat writes the row: that this replica lives, and how far it has come. It is written every quarter of the lease,
//! so that two may get lost, and at once when the replica has come further, since somebody may be waiting for that.
//! By then every verifying thread answers from there: they all read the one index, which was changed before.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::feed::Feed;
use super::follower::Follower;
use super::timer::{sleep_until, timeout};
use crate::domain::Error;
use crate::domain::replica::{ReplicaRow, Roster};

/// After a beat that failed, the next is tried so much later.
const BEAT_AGAIN: Duration = Duration::from_millis(250);
/// Rows are read this often while somebody waits for others, who mostly answer at once …
const ROWS_OFTEN: Duration = Duration::from_millis(10);
/// … and this often once they were read often for a second.
const ROWS_SELDOM: Duration = Duration::from_millis(50);
/// How long the last word may take.
pub(super) const LEAVE_WITHIN: Duration = Duration::from_secs(1);

/// The most revisions whose leaves one look reads. Whoever waits for another gets its turn when others have theirs.
pub(super) const REVISIONS_PER_LOOK: usize = 512;

/// The rows as they were at one moment after `began`.
#[derive(Debug)]
pub(super) struct Look {
    /// The uptime at which the reading began.
    pub(super) began: Duration,
    pub(super) roster: Roster,
}

/// What a row said, and the uptime by which it was known to say so.
#[derive(Debug, Clone, Copy)]
struct Seen {
    beat: u64,
    applied: u64,
    since: Duration,
}

impl<F: Feed> Follower<F> {
    /// Commits this replica's row. It counts as a beat.
    pub(super) async fn register(&self) -> Result<(), Error> {
        if !self.feed.is_shared() {
            return Ok(());
        }
        let began = self.uptime();
        let (beat, term) = self.next_beat(began);
        let row = ReplicaRow { beat, applied: 0, ..self.row.clone() };
        self.feed.register(&row).await?;
        let mut state = self.state();
        if state.term == term {
            state.registered = true;
        }
        Ok(())
    }

    /// Beats for ever, and sweeps.
    pub(super) async fn beat_on(&self) {
        if !self.feed.is_shared() {
            std::future::pending::<()>().await;
        }
        let (clock, timer) = (self.shared.clock.as_ref(), self.shared.timer.as_ref());
        let quarter = self.settings().max_staleness / 4;
        let mut applied = self.shared.applied.subscribe();
        let mut seen = HashMap::new();
        let mut swept = self.uptime();
        loop {
            let began = self.uptime();
            applied.mark_unchanged();
            let again = match self.beat().await {
                Ok(()) => quarter,
                Err(error) => {
                    tracing::warn!(%error, "can't tell the others that this replica lives; trying again");
                    quarter.min(BEAT_AGAIN)
                }
            };
            if self.uptime() >= swept + quarter {
                swept = self.uptime();
                if let Err(error) = self.sweep(&mut seen).await {
                    tracing::debug!(%error, "can't look for rows of dead replicas");
                }
            }
            let again = began + again;
            tokio::select! {
                biased;
                () = sleep_until(timer, clock, again) => {}
                () = self.shared.row_is_gone.notified() => {}
                // The sender lives as long as we do.
                Ok(()) = applied.changed() => {}
            }
        }
    }

    /// Says that this replica lives and how far it has come; registers it first where its row is gone.
    async fn beat(&self) -> Result<(), Error> {
        let no_meaning = {
            let state = self.state();
            state.forked || state.refused
        };
        if no_meaning {
            // Nothing is answered, and how far we have come is of no meaning for this log.
            return Ok(());
        }
        if !self.state().registered {
            self.register().await?;
        }
        let began = self.uptime();
        let (beat, term) = self.next_beat(began);
        let (applied, leaf) = self.state().reported();
        // It prolongs the lease once a poll has found it.
        if !self.feed.beat(&self.row.id, beat, applied, leaf).await? {
            self.void(term);
            // A poll tells which.
            self.shared.wake.ask();
            return Err(Error::Unavailable("the row is gone, or the database has another log"));
        }
        Ok(())
    }

    /// A beat that was never used: one whose fate is unknown is not tried again under the same number, since a row
    /// is compared by value.
    fn next_beat(&self, began: Duration) -> (u64, u64) {
        let mut state = self.state();
        state.beat += 1;
        let beat = state.beat;
        state.lease.beats(beat, began);
        (beat, state.term)
    }

    /// Removes rows that have said the same for twice their lease. Their replicas answer no more: their last beat
    /// began before we saw it, and their lease ended one `lease_ms` after that.
    async fn sweep(&self, seen: &mut HashMap<String, Seen>) -> Result<(), Error> {
        let began = self.uptime();
        let rows = self.feed.replicas(&[]).await?.rows;
        // Since when we know: the end of the first reading. Until when: the beginning of this one.
        let since = self.uptime();
        let mut still = HashMap::new();
        for row in rows.iter().filter(|row| row.id != self.row.id) {
            let said = seen.get(&row.id);
            let said = said.filter(|said| (said.beat, said.applied) == (row.beat, row.applied));
            let said =
                said.copied().unwrap_or(Seen { beat: row.beat, applied: row.applied, since });
            let twice = Duration::from_millis(row.lease_ms) * 2;
            if began >= said.since + twice {
                if self.feed.sweep(&row.id, row.beat, row.applied).await? {
                    tracing::warn!(replica = row.id, "removed the row of a replica that is gone");
                }
            } else {
                still.insert(row.id.clone(), said);
            }
        }
        *seen = still;
        Ok(())
    }

    /// Reads the rows over and over while somebody waits for what they say: once for all who wait.
    pub(super) async fn read_rows_on(&self) {
        let timer = self.shared.timer.as_ref();
        let mut reads = 0_u32;
        loop {
            let awaited = self.shared.awaited();
            if awaited.is_empty() {
                reads = 0;
                self.shared.rows_wanted.notified().await;
                continue;
            }
            let began = self.uptime();
            match self.feed.replicas(&awaited).await {
                Ok(roster) => _ = self.shared.look.send_replace(Arc::new(Look { began, roster })),
                Err(error) => tracing::debug!(%error, "can't read what the other replicas say"),
            }
            reads = reads.saturating_add(1);
            let pause = if reads < 100 { ROWS_OFTEN } else { ROWS_SELDOM };
            tokio::select! {
                biased;
                () = timer.sleep(pause) => {}
                () = self.shared.rows_wanted.notified() => {}
            }
        }
    }

    /// The end: no more answers from here, and nobody needs to wait for us.
    pub(super) async fn leave(&self) {
        let term = self.state().term;
        self.void(term);
        self.keep_mark(true);
        let removed = self.feed.deregister(&self.row.id);
        match timeout(self.shared.timer.as_ref(), LEAVE_WITHIN, removed).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) | Err(_) => {
                tracing::warn!("this replica's row could not be removed; others will")
            }
        }
        self.shared.left.send_replace(true);
    }
}
