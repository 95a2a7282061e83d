use super::change::{Note, renewed};
use super::{Control, Made, within_reach};
use crate::domain::Error;
use crate::domain::audit::EventType;
use crate::domain::draft::check_comment;
use crate::domain::key::Lifecycle;
use crate::domain::permission::{Principal, Verb};
use crate::store::{Before, Decision, Target};

/// A request to remove a revoked key.
#[derive(Debug, Clone)]
pub struct DeleteKey {
    /// The key.
    pub key_id: String,
    /// Why, for the log.
    pub comment: String,
}

impl Control {
    /// Removes a revoked key; its history and a tombstone stay. The reply is the consistency token.
    ///
    /// # Errors
    ///
    /// Besides those of every change: the key is not revoked.
    pub async fn delete_key(
        &self,
        principal: &Principal,
        request: DeleteKey,
    ) -> Result<Made<String>, Error> {
        principal.require(Verb::DeleteKey)?;
        let DeleteKey { key_id, comment } = request;
        self.require_key_id("key_id", &key_id)?;
        check_comment(&comment, &self.brands)?;
        let note = Note { comment, ..Note::of(EventType::KeyDeleted) };
        let decide = |state: &Before| {
            let principal = &renewed(principal, Verb::DeleteKey, state)?;
            let gone_before = state.deleted.as_ref();
            if gone_before.is_some_and(|account| principal.reach().covers(account)) {
                return Ok(Decision::Unchanged(()));
            }
            let key = within_reach(principal, &key_id, state.key.as_ref())?;
            if !matches!(key.lifecycle, Lifecycle::Revoked(_)) {
                return Err(Error::KeyNotRevoked);
            }
            Ok(Decision::Delete { event: note.event(principal, Some(key), None), reply: () })
        };
        let done = self
            .store
            .change_key_for(Some(principal.key_id()), Target::Existing(&key_id), None, decide)
            .await?;
        let committed = self.committed(done.position, done.place);
        Ok(Made { reply: committed.consistency_token(), committed })
    }
}
