use super::change::Note;
use super::{Changed, Control};
use crate::domain::Error;
use crate::domain::audit::EventType;
use crate::domain::draft::PatchDraft;
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
    ) -> Result<Changed, Error> {
        principal.require(Verb::UpdateKey)?;
        let UpdateKey { key_id, etag, patch, force } = request;
        if key_id.is_empty() {
            return Err(Error::invalid("key.key_id", "must not be empty"));
        }
        let patch = patch.check(self.now())?;
        let note = Note { force, ..Note::of(EventType::KeyUpdated) };
        self.change(principal, &key_id, note, |key, _| {
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
