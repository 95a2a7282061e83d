use super::change::Note;
use super::{Changed, Control, Made};
use crate::domain::Error;
use crate::domain::audit::EventType;
use crate::domain::draft::check_comment;
use crate::domain::permission::{Principal, Verb};

/// A request to switch a key off.
#[derive(Debug, Clone)]
pub struct DisableKey {
    /// The key.
    pub key_id: String,
    /// Why, for the log.
    pub comment: String,
    /// Whether it may leave nobody who can administer.
    pub force: bool,
}

impl Control {
    /// Switches a key off, reversibly.
    ///
    /// # Errors
    ///
    /// Besides those of every change: a revoked key, the last administrator.
    pub async fn disable_key(
        &self,
        principal: &Principal,
        request: DisableKey,
    ) -> Result<Made<Changed>, Error> {
        principal.require(Verb::DisableKey)?;
        let DisableKey { key_id, comment, force } = request;
        check_comment(&comment, &self.brands)?;
        let note = Note { comment, force, ..Note::of(EventType::KeyDisabled) };
        self.change(principal, Verb::DisableKey, &key_id, note, |_, key, _| key.disable()).await
    }
}
