//! A log that is not the one that was followed: a failover lost commits, or a backup was restored.
//!
//! ```text
//!  followed   … 88 ─ 89 ─ 90 ─ 91 ─ 92            this replica has seen 91 and 92, and told people so
//!  database   … 88 ─ 89 ─ 90 ─ 91'─ 92'─ 93'      other events now stand in their place
//! ```
//!
//! The numbers catch up; the hashes don't. Nothing is answered until an operator has seen what was lost and accepted
//! it (`countersign store accept`), which begins a new epoch.

use std::sync::atomic::Ordering;

use super::feed::Feed;
use super::follower::Follower;
use super::state::Followed;

/// The most lost events that are looked for and named in the alarm.
const NAMED: usize = 100;

impl<F: Feed> Follower<F> {
    /// The log that was followed is lost. Says so once.
    pub(super) async fn lose(&self, followed: Followed) {
        // A replica that is started anew must find it too.
        self.keep_mark(true);
        let (first_time, term) = {
            let mut state = self.state();
            self.shared.forked.store(true, Ordering::Release);
            (!std::mem::replace(&mut state.forked, true), state.term)
        };
        if !first_time {
            return;
        }
        self.void(term);
        let Lost { first, events } = self.lost_events(followed.revision).await;
        tracing::error!(
            revision = followed.revision,
            epoch = followed.epoch,
            lost = events,
            "ALARM: the database has lost events that this replica has seen; nothing is verified here until the \
             old database is back, or an operator accepts the loss with `countersign store accept --lost-from {first}` \
             (or with the lowest such number that the replicas' alarms name)"
        );
    }

    /// The log is the one that was followed.
    pub(super) fn found_again(&self) {
        let was_lost = {
            let mut state = self.state();
            self.shared.forked.store(false, Ordering::Release);
            std::mem::replace(&mut state.forked, false)
        };
        if was_lost {
            tracing::warn!("the log is again the one that this replica had followed");
            self.shared.row_is_gone.notify_one();
        }
    }

    /// What is lost of a log that was followed to that revision.
    async fn lost_events(&self, followed: u64) -> Lost {
        let newest = self.shared.ring().newest(NAMED);
        let mut first = followed;
        let mut lost = Vec::new();
        for logged in newest {
            let event = &logged.event;
            match self.feed.leaf(event.revision).await {
                Ok(leaf) if leaf == Some(logged.leaf_hash) => break,
                Ok(_) => {
                    first = first.min(event.revision);
                    lost.push(format!(
                        "{} {} {}",
                        event.revision,
                        event.kind.as_str(),
                        event.key_id
                    ));
                }
                Err(_) => break,
            }
        }
        // Of what was there before this replica started it has no events; but what is beyond the log's end is not there.
        if let Ok(end) = self.feed.end().await {
            first = first.min(end.revision + 1);
        }
        lost.reverse();
        let events = match (lost.is_empty(), first < followed) {
            (false, _) => lost.join(", "),
            (true, true) => format!("{first} to {followed}"),
            (true, false) => followed.to_string(),
        };
        Lost { first, events }
    }
}

/// What a log does not have any more.
struct Lost {
    /// The first revision, as far as this replica knows: another may know of an earlier one.
    first: u64,
    /// The newest events that are known here, for people; after a restart only the mark is known.
    events: String,
}

#[cfg(test)]
mod tests {
    use super::super::testing::{MemoryFeed, event};
    use super::super::tests::follow_feed;

    #[tokio::test]
    async fn the_first_that_was_lost_is_named_also_if_it_was_there_before_the_start() {
        let feed = MemoryFeed::default();
        feed.append(4);
        let (following, follower) = follow_feed(feed).await;
        following.feed.append(1);
        follower.poll().await.expect("polls");
        assert_eq!(following.log.applied(), 5);
        // The database goes on from 3, and only of 5 is the event known here.
        following.feed.replace((1..=3).map(event).collect(), Vec::new());
        let lost = follower.lost_events(5).await;
        assert_eq!(lost.first, 4);
        assert!(lost.events.starts_with("5 "), "{}", lost.events);
    }

    #[tokio::test]
    async fn what_was_written_in_the_place_of_what_was_lost_does_not_hide_it() {
        let (following, follower) = follow_feed(MemoryFeed::default()).await;
        following.feed.append(5);
        follower.poll().await.expect("polls");
        let others = (4..=9).map(|revision| {
            super::super::testing::event_of(
                revision,
                "other",
                crate::domain::audit::EventType::KeyCreated,
            )
        });
        following.feed.replace((1..=3).map(event).chain(others).collect(), Vec::new());
        assert_eq!(follower.lost_events(5).await.first, 4);
    }

    #[tokio::test]
    async fn after_a_restart_the_mark_and_the_end_of_the_log_say_it() {
        let feed = MemoryFeed::default();
        feed.append(3);
        let (_, follower) = follow_feed(feed).await;
        let lost = follower.lost_events(5).await;
        assert_eq!((lost.first, lost.events.as_str()), (4, "4 to 5"));
        let lost = follower.lost_events(3).await;
        assert_eq!((lost.first, lost.events.as_str()), (3, "3"), "another event is in its place");
    }
}
