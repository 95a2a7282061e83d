use super::change::Note;
use super::{Changed, Control, Made};
use crate::domain::Error;
use crate::domain::audit::EventType;
use crate::domain::draft::{MUST_BE_IN_THE_FUTURE, PatchDraft};
use crate::domain::permission::{Principal, Verb};

/// A request to change fields of a key.
#[derive(Debug, Clone)]
pub struct UpdateKey {
    /// The key.
    pub key_id: String,
    /// The etag that the key must have; empty: any.
    pub etag: String,
    /// The fields to change.
    pub patch: PatchDraft,
    /// Whether it may leave nobody who can administer.
    pub force: bool,
}

impl Control {
    /// Changes fields of a key.
    ///
    /// # Errors
    ///
    /// Besides those of every change: a stale etag, a revoked key, a reserved scope that the key holds
    /// before or after and the principal does not, the last administrator.
    pub async fn update_key(
        &self,
        principal: &Principal,
        request: UpdateKey,
    ) -> Result<Made<Changed>, Error> {
        principal.require(Verb::UpdateKey)?;
        let UpdateKey { key_id, etag, patch, force } = request;
        self.require_key_id("key.key_id", &key_id)?;
        patch.refuse_secrets(&self.brands)?;
        let patch = patch.check(self.now())?;
        let note = Note { force, ..Note::of(EventType::KeyUpdated) };
        self.change(principal, Verb::UpdateKey, &key_id, note, |principal, key, state| {
            // This machine's clock has let it pass; the clock of the database decides.
            if patch.expire_time.flatten().is_some_and(|end| end <= state.now) {
                return Err(Error::invalid("key.expire_time", MUST_BE_IN_THE_FUTURE));
            }
            if !etag.is_empty() && etag != key.etag() {
                return Err(Error::EtagMismatch);
            }
            principal.require_all_reserved_of(&key.scopes)?;
            key.update(patch.clone())?;
            principal.require_all_reserved_of(&key.scopes)
        })
        .await
    }
}
