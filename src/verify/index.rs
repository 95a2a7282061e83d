//! All keys in memory, as verifications need them.

use std::fmt;
use std::sync::Arc;

use crate::domain::verdict::{IndexChange, VerifiableKey};

/// Every key of the store, by id. Complete: an id that is not in here does not exist.
///
/// Read by all verifying threads without waiting, written by the follower alone.
#[derive(Default)]
pub struct Index {
    keys: papaya::HashMap<Box<str>, Arc<VerifiableKey>>,
}

impl fmt::Debug for Index {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Index({} keys)", self.len())
    }
}

impl Index {
    /// An index without keys.
    pub fn new() -> Self {
        Self::default()
    }

    /// The key of an id.
    pub fn get(&self, key_id: &str) -> Option<Arc<VerifiableKey>> {
        self.keys.pin().get(key_id).cloned()
    }

    /// How many keys there are.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Makes a change visible to every later [`Self::get`]. A key's revision never goes back: what is
    /// older than the record at hand is passed over.
    pub fn apply(&self, change: IndexChange) {
        let keys = self.keys.pin();
        match change {
            IndexChange::Clear => keys.clear(),
            IndexChange::Remove(key_id) => {
                keys.remove(key_id.as_str());
            }
            IndexChange::Put(key) => {
                let newer = keys
                    .get(key.key_id.as_str())
                    .is_some_and(|at_hand| at_hand.revision > key.revision);
                if !newer {
                    keys.insert(key.key_id.as_str().into(), key);
                }
            }
        }
    }
}
