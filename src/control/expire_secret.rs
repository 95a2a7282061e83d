use super::change::Note;
use super::{Changed, Control, Made};
use crate::domain::Error;
use crate::domain::audit::EventType;
use crate::domain::permission::{Principal, Verb};

/// A request to kill one secret version.
#[derive(Debug, Clone)]
pub struct ExpireSecret {
    /// The key.
    pub key_id: String,
    /// The version's number, from 1.
    pub number: i32,
    /// Whether it may leave nobody who can administer.
    pub force: bool,
}

impl Control {
    /// Kills one secret version at once.
    ///
    /// # Errors
    ///
    /// Besides those of every change: no such version, a revoked key, the last live secret of the last
    /// administrator.
    pub async fn expire_secret(
        &self,
        principal: &Principal,
        request: ExpireSecret,
    ) -> Result<Made<Changed>, Error> {
        principal.require(Verb::ExpireSecret)?;
        let ExpireSecret { key_id, number, force } = request;
        let number = u32::try_from(number).ok().filter(|number| *number > 0);
        let number = number.ok_or_else(|| Error::invalid("number", "must be 1 or more"))?;
        let note = Note { force, ..Note::of(EventType::KeySecretExpired) };
        self.change(principal, Verb::ExpireSecret, &key_id, note, |_, key, state| {
            key.expire_secret(number, state.now)
        })
        .await
    }
}
