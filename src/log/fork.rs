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
        let lost = self.lost_events().await;
        tracing::error!(
            revision = followed.revision,
            epoch = followed.epoch,
            lost,
            "ALARM: the database has lost events that this replica has seen; nothing is verified here until the \
             old database is back, or an operator accepts the loss with `countersign store accept --lost-from` and the \
             first of these revisions"
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

    /// The newest events that are known here and that the database does not have, for people.
    async fn lost_events(&self) -> String {
        let newest = self.shared.ring().newest(NAMED);
        let mut lost = Vec::new();
        for logged in newest {
            let event = &logged.event;
            match self.feed.leaf(event.revision).await {
                Ok(leaf) if leaf == Some(logged.leaf_hash) => break,
                Ok(_) => lost.push(format!(
                    "{} {} {}",
                    event.revision,
                    event.kind.as_str(),
                    event.key_id
                )),
                Err(_) => break,
            }
        }
        if lost.is_empty() {
            // After a restart only the mark is known.
            return "the events up to the revision, as far as they are not there".to_owned();
        }
        lost.reverse();
        lost.join(", ")
    }
}
