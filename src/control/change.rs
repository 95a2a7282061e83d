//! The one shape in which a verb changes a key that is there.

use super::{Changed, Control, KeyView, Made, within_reach};
use crate::domain::Error;
use crate::domain::audit::{Actor, EventType, RevokeReason};
use crate::domain::key::{Key, changes};
use crate::domain::permission::{Principal, Verb};
use crate::store::{Before, Decision, EventDraft, Target};

/// What a change says about itself.
#[derive(Debug, Clone)]
pub(super) struct Note {
    /// What happens.
    pub kind: EventType,
    /// What the caller says about it.
    pub comment: String,
    /// For a revocation, why.
    pub revoke_reason: Option<RevokeReason>,
    /// The caller's `request_id`, or empty.
    pub request_id: String,
    /// Whether it may leave nobody who can administer.
    pub force: bool,
}

impl Note {
    /// A change without a comment.
    pub(super) fn of(kind: EventType) -> Self {
        Self {
            kind,
            comment: String::new(),
            revoke_reason: None,
            request_id: String::new(),
            force: false,
        }
    }

    /// The event of this change.
    pub(super) fn event(
        &self,
        principal: &Principal,
        before: Option<&Key>,
        after: Option<&Key>,
    ) -> EventDraft {
        EventDraft {
            kind: self.kind,
            actor: Actor::of(principal),
            changes: changes(before, after),
            revoke_reason: self.revoke_reason,
            comment: self.comment.clone(),
            request_id: self.request_id.clone(),
            trace_id: principal.origin().trace_id.clone(),
        }
    }
}

/// A key before and after an edit that changed it.
pub(super) struct Edited<'k> {
    pub before: &'k Key,
    pub after: Key,
}

/// Applies an edit to the key within the principal's reach. `None` if it changed nothing.
pub(super) fn edit<'b>(
    principal: &Principal,
    key_id: &str,
    state: &'b Before,
    force: bool,
    edit: impl FnOnce(&mut Key) -> Result<(), Error>,
) -> Result<Option<Edited<'b>>, Error> {
    let before = within_reach(principal, key_id, state.key.as_ref())?;
    let mut after = before.clone();
    edit(&mut after)?;
    if changes(Some(before), Some(&after)).is_empty() {
        return Ok(None);
    }
    let (could, can) = (before.administration(state.now), after.administration(state.now));
    if can < could && state.others < could && !force {
        return Err(Error::LastAdministrator);
    }
    state.stamp(&mut after);
    Ok(Some(Edited { before, after }))
}

/// The principal as its key is under the writer's lock: it may have been revoked, or lost a scope, while
/// the change waited for the lock, or before this replica heard of it.
pub(super) fn renewed(
    principal: &Principal,
    verb: Verb,
    state: &Before,
) -> Result<Principal, Error> {
    let key = state.caller.as_ref().map(Key::verifiable);
    principal.renewed(verb.permission(), key.as_ref(), state.now)
}

impl Control {
    /// Changes a key in one transaction. `transition` may run more than once, since the transaction may.
    pub(super) async fn change(
        &self,
        principal: &Principal,
        verb: Verb,
        key_id: &str,
        note: Note,
        transition: impl Fn(&Principal, &mut Key, &Before) -> Result<(), Error> + Send + Sync,
    ) -> Result<Made<Changed>, Error> {
        self.require_key_id("key_id", key_id)?;
        let decide = |state: &Before| {
            let principal = &renewed(principal, verb, state)?;
            let edited = edit(principal, key_id, state, note.force, |key| {
                transition(principal, key, state)
            })?;
            let Some(Edited { before, after }) = edited else {
                let key = within_reach(principal, key_id, state.key.as_ref())?;
                return Ok(Decision::Unchanged(KeyView::of(key.clone(), state.now)));
            };
            let event = note.event(principal, Some(before), Some(&after));
            let reply = KeyView::of(after.clone(), state.now);
            Ok(Decision::Put { key: after, event, remember: None, reply })
        };
        let (caller, target) = (Some(principal.key_id()), Target::Existing(key_id));
        let done = self.store.change_key_for(caller, target, None, decide).await?;
        let committed = self.committed(done.position, done.place);
        let consistency_token = committed.consistency_token();
        Ok(Made { reply: Changed { view: done.reply, consistency_token }, committed })
    }
}
