//! A store that is not for this replica to read any more: a newer release has changed its form, or a root key is in use
//! that this one does not hold.
//!
//! ```text
//!  replica    stands still, for longer than anybody waits for it …… polls: refused ─ no lease, no row
//!  others          its row is swept ─ all hold the new root key: it comes into use
//! ```

use super::feed::Feed;
use super::follower::Follower;

impl<F: Feed> Follower<F> {
    /// It may misread what the others write, so it answers nothing; nor does it beat, so that its row is swept and holds
    /// nobody up. Says so once.
    pub(super) fn refuse(&self, term: u64, why: &'static str) {
        self.void(term);
        if !std::mem::replace(&mut self.state().refused, true) {
            tracing::error!(
                why,
                "ALARM: nothing is verified here, since this replica can't read all of the store"
            );
        }
    }

    /// It can read all that is there.
    pub(super) fn welcome_again(&self) {
        if std::mem::replace(&mut self.state().refused, false) {
            tracing::warn!("this replica may answer from this store again");
            self.shared.row_is_gone.notify_one();
        }
    }
}
