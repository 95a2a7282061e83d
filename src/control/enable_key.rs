use super::change::Note;
use super::{Changed, Control, Made};
use crate::domain::Error;
use crate::domain::audit::EventType;
use crate::domain::draft::check_comment;
use crate::domain::permission::{Principal, Verb};

/// A request to switch a disabled key on again.
#[derive(Debug, Clone)]
pub struct EnableKey {
    /// The key.
    pub key_id: String,
    /// Why, for the log.
    pub comment: String,
}

impl Control {
    /// Switches a disabled key on again.
    ///
    /// # Errors
    ///
    /// Besides those of every change: a revoked key, a reserved scope that the key holds and the
    /// principal does not.
    pub async fn enable_key(
        &self,
        principal: &Principal,
        request: EnableKey,
    ) -> Result<Made<Changed>, Error> {
        principal.require(Verb::EnableKey)?;
        let EnableKey { key_id, comment } = request;
        check_comment(&comment, &self.brands)?;
        let note = Note { comment, ..Note::of(EventType::KeyEnabled) };
        self.change(principal, Verb::EnableKey, &key_id, note, |principal, key, _| {
            principal.require_all_reserved_of(&key.scopes)?;
            key.enable()
        })
        .await
    }
}
