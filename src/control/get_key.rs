use super::{Control, KeyView, within_reach};
use crate::domain::Error;
use crate::domain::permission::{Principal, Verb};

impl Control {
    /// Reads a key.
    ///
    /// # Errors
    ///
    /// [`Error::KeyNotFound`] also for a key beyond the principal's reach.
    pub async fn get_key(&self, principal: &Principal, key_id: &str) -> Result<KeyView, Error> {
        principal.require(Verb::GetKey)?;
        self.require_key_id("key_id", key_id)?;
        let key = self.store.get_key(key_id).await?;
        let key = within_reach(principal, key_id, key.as_ref())?.clone();
        Ok(KeyView::of(key, self.now()))
    }
}
