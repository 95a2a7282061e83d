//! The newest events, in memory, bounded by number and by bytes.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::domain::audit::LoggedEvent;

/// The newest events, without gaps. Shared by all watchers, so each event is held once.
#[derive(Debug)]
pub struct Ring {
    events: VecDeque<Arc<LoggedEvent>>,
    bytes: usize,
    /// The revision of the newest event ever put in.
    last: u64,
    max_events: usize,
    max_bytes: usize,
}

impl Ring {
    /// An empty ring that continues after a revision.
    pub fn new(last: u64, max_events: usize, max_bytes: usize) -> Self {
        Self { events: VecDeque::new(), bytes: 0, last, max_events, max_bytes }
    }

    /// Puts events in, in order, and drops the oldest that no longer fit.
    pub fn extend(&mut self, events: Vec<LoggedEvent>) {
        for logged in events {
            self.last = logged.event.revision;
            self.bytes += weight(&logged);
            self.events.push_back(Arc::new(logged));
            while self.events.len() > self.max_events || self.bytes > self.max_bytes {
                let Some(oldest) = self.events.pop_front() else { break };
                self.bytes -= weight(&oldest);
            }
        }
    }

    /// The newest events, newest first, `limit` at most.
    pub fn newest(&self, limit: usize) -> Vec<Arc<LoggedEvent>> {
        self.events.iter().rev().take(limit).cloned().collect()
    }

    /// Up to `limit` events after a revision, and no more than so many bytes of them, but one in any
    /// case; `None` if the next one is no longer in here.
    pub fn after(
        &self,
        revision: u64,
        limit: usize,
        max_bytes: usize,
    ) -> Option<Vec<Arc<LoggedEvent>>> {
        if revision >= self.last {
            return Some(Vec::new());
        }
        let oldest = self.events.front()?.event.revision;
        let skip = usize::try_from((revision + 1).checked_sub(oldest)?).ok()?;
        let (mut taken, mut bytes) = (Vec::new(), 0);
        for logged in self.events.iter().skip(skip).take(limit) {
            bytes += weight(logged);
            if bytes > max_bytes && !taken.is_empty() {
                break;
            }
            taken.push(Arc::clone(logged));
        }
        Some(taken)
    }
}

/// About how many bytes an event takes in memory.
pub fn weight(logged: &LoggedEvent) -> usize {
    let event = &logged.event;
    let changes = event.changes.iter();
    let changes: usize =
        changes.map(|c| size_of_val(c) + c.field.len() + c.before.len() + c.after.len()).sum();
    size_of::<LoggedEvent>()
        + changes
        + [&event.account_id, &event.application_id, &event.key_id, &event.key_seal]
            .map(String::len)
            .iter()
            .sum::<usize>()
        + [&event.comment, &event.request_id, &event.trace_id, &event.actor.user_agent]
            .map(String::len)
            .iter()
            .sum::<usize>()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::testing::event;

    fn revisions(ring: &Ring, after: u64, limit: usize) -> Option<Vec<u64>> {
        let events = ring.after(after, limit, usize::MAX)?;
        Some(events.iter().map(|logged| logged.event.revision).collect())
    }

    #[test]
    fn keeps_the_newest_and_says_when_the_next_is_gone() {
        let mut ring = Ring::new(10, 3, usize::MAX);
        assert_eq!(revisions(&ring, 10, 9), Some(vec![]));
        assert_eq!(revisions(&ring, 9, 9), None);
        ring.extend((11..=15).map(event).collect());
        assert_eq!(revisions(&ring, 15, 9), Some(vec![]));
        assert_eq!(revisions(&ring, 12, 9), Some(vec![13, 14, 15]));
        assert_eq!(revisions(&ring, 12, 2), Some(vec![13, 14]));
        assert_eq!(revisions(&ring, 14, 9), Some(vec![15]));
        assert_eq!(revisions(&ring, 11, 9), None);
    }

    #[test]
    fn is_bounded_by_bytes_too() {
        let mut ring = Ring::new(0, 1_000, 3 * weight(&event(100)));
        ring.extend((1..=100).map(event).collect());
        assert_eq!(revisions(&ring, 97, 9), Some(vec![98, 99, 100]));
        assert_eq!(revisions(&ring, 96, 9), None);
    }

    #[test]
    fn gives_no_more_bytes_than_asked_for_but_always_an_event() {
        let mut ring = Ring::new(0, 1_000, usize::MAX);
        ring.extend((101..=200).map(event).collect());
        let given = |bytes| ring.after(100, 9, bytes).map(|events| events.len());
        let one = weight(&event(100));
        assert_eq!([given(0), given(one), given(3 * one)], [Some(1), Some(1), Some(3)]);
    }
}
