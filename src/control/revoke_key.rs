use super::change::Note;
use super::{Changed, Control, Made};
use crate::domain::Error;
use crate::domain::audit::{EventType, RevokeReason};
use crate::domain::draft::check_comment;
use crate::domain::permission::{Principal, Verb};

/// A request to kill a key for ever.
#[derive(Debug, Clone)]
pub struct RevokeKey {
    /// The key.
    pub key_id: String,
    /// Why; required.
    pub reason: Option<RevokeReason>,
    /// More about why, for the log.
    pub comment: String,
    /// Whether it may leave nobody who can administer.
    pub force: bool,
}

impl Control {
    /// Kills a key for ever. When this returns, this replica never allows the key again.
    ///
    /// # Errors
    ///
    /// Besides those of every change: no reason, the last administrator.
    pub async fn revoke_key(
        &self,
        principal: &Principal,
        request: RevokeKey,
    ) -> Result<Made<Changed>, Error> {
        principal.require(Verb::RevokeKey)?;
        let RevokeKey { key_id, reason, comment, force } = request;
        check_comment(&comment, &self.brands)?;
        let reason = reason.ok_or_else(|| Error::invalid("reason", "must say why"))?;
        let note =
            Note { comment, force, revoke_reason: Some(reason), ..Note::of(EventType::KeyRevoked) };
        self.change(principal, Verb::RevokeKey, &key_id, note, |_, key, _| {
            key.revoke(reason);
            Ok(())
        })
        .await
    }
}
