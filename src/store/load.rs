//! Reading every key, for the index.

use std::sync::Arc;

use super::{KeyState, Store};
use crate::domain::Error;
use crate::domain::ids::KeyId;
use crate::domain::verdict::IndexChange;

/// Keys read at once; a key may have a hundred kilobytes.
const PAGE: u32 = 500;

impl Store {
    /// Hands every key over, and says how many there were. A key that changes meanwhile may come as it was or as it
    /// is. One whose seal does not fit is not handed over, with an alarm.
    pub async fn load(&self, apply: &(dyn Fn(IndexChange) + Send + Sync)) -> Result<u64, Error> {
        let (mut loaded, mut last) = (0, None);
        loop {
            let page = self.scan_keys(last.as_deref(), PAGE).await?;
            let Some(end) = page.last() else { return Ok(loaded) };
            last = Some(end.key_id().to_owned());
            loaded += page.len() as u64;
            for state in page {
                match state {
                    KeyState::Sealed(key) => apply(IndexChange::Put(Arc::new(key))),
                    KeyState::Absent(key_id) => {
                        if let Ok(key_id) = KeyId::from_stored(key_id) {
                            apply(IndexChange::Remove(key_id));
                        }
                    }
                    KeyState::Broken { key_id, fault } => tracing::error!(
                        key_id, %fault, "ALARM: a key's row was changed from outside; it is not served"
                    ),
                }
            }
        }
    }
}
