//! Applying what a poll has found: the index first, then the position, then everybody who waits for it.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::feed::Feed;
use super::follower::Follower;
use crate::domain::Error;
use crate::domain::audit::{EventType, LoggedEvent};
use crate::domain::ids::KeyId;
use crate::domain::verdict::IndexChange;
use crate::store::KeyState;

impl<F: Feed> Follower<F> {
    /// Applies events that follow what is applied.
    pub(super) async fn take(&self, events: &[LoggedEvent]) -> Result<(), Error> {
        let Some(last) = events.last() else { return Ok(()) };
        let named = named(self.state().followed.revision, events)?;
        let key_ids: Vec<String> = named.keys().cloned().collect();
        if !key_ids.is_empty() {
            let states = self.feed.key_states(&key_ids).await?;
            // A key's row may be newer than the event that names it; its own event follows then. It is never older,
            // unless these two readings came from two databases.
            let is_older = |state: &KeyState| match state {
                KeyState::Sealed(key) => {
                    named.get(key.key_id.as_str()).is_some_and(|named| key.revision < *named)
                }
                KeyState::Absent(_) | KeyState::Broken { .. } => false,
            };
            if states.iter().any(is_older) {
                return Err(Error::Unavailable("a key is older than its last event"));
            }
            states.into_iter().filter_map(index_change).for_each(&self.apply);
        }
        {
            let mut state = self.state();
            state.followed.revision = last.event.revision;
            state.followed.leaf = Some(last.leaf_hash);
        }
        self.shared.position.advance(last.event.revision, last.event.time);
        self.shared.ring().extend(events.to_vec());
        self.shared.applied.send_replace(last.event.revision);
        Ok(())
    }
}

/// The keys that events name, each with the revision that a row of it must have at least: that of the last event that
/// wrote or removed it. The row of a key that was deleted is older than that: its id never comes back.
///
/// # Errors
///
/// If an event is missing.
fn named(after: u64, events: &[LoggedEvent]) -> Result<BTreeMap<String, u64>, Error> {
    let mut named = BTreeMap::new();
    for (logged, expected) in events.iter().zip(after + 1..) {
        let event = &logged.event;
        if event.revision != expected {
            let found = event.revision;
            let gap = format!("the log has revision {found} where {expected} must be");
            return Err(Error::Internal(gap));
        }
        if event.key_id.is_empty() {
            continue;
        }
        let at_least = named.entry(event.key_id.clone()).or_default();
        if event.kind.changes_its_key() || event.kind == EventType::KeyDeleted {
            *at_least = expected;
        }
    }
    Ok(named)
}

/// What a key's state means for the index. A row whose seal does not fit is never served.
fn index_change(state: KeyState) -> Option<IndexChange> {
    match state {
        KeyState::Sealed(key) => Some(IndexChange::Put(Arc::new(key))),
        KeyState::Absent(key_id) => KeyId::from_stored(key_id).ok().map(IndexChange::Remove),
        KeyState::Broken { key_id, fault } => {
            tracing::error!(key_id, %fault, "ALARM: a key's row was changed from outside; it is not served");
            KeyId::from_stored(key_id).ok().map(IndexChange::Remove)
        }
    }
}
