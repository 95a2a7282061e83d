//! Filling a store with many keys, for measurements. The same rules as for one key, one transaction for all.

use super::Store;
use super::activation::{no_root_key, root_key_in_use};
use super::change::EventDraft;
use super::error::Fault;
use super::events;
use super::key_rows;
use super::retry::Retry;
use super::write::{Done, WriteTransaction};
use crate::domain::Error;
use crate::domain::key::Key;

impl Store {
    /// Writes new keys, each with its event, seal and tree hashes, in one transaction; gives the last revision.
    /// Each key's revision and times are set here.
    #[doc(hidden)]
    pub async fn insert_many(&self, keys: Vec<(Key, EventDraft)>) -> Result<u64, Error> {
        let mut retry = Retry::new(self, false);
        loop {
            match self.try_insert_many(&keys).await {
                Ok(revision) => {
                    self.announce(revision);
                    return Ok(revision);
                }
                Err(fault) => retry.after(fault).await?,
            }
        }
    }

    async fn try_insert_many(&self, keys: &[(Key, EventDraft)]) -> Result<u64, Fault> {
        let transaction = self.begin().await?;
        let work = self.insert_within(&transaction, keys).await;
        transaction.finish(work).await
    }

    async fn insert_within(
        &self,
        transaction: &WriteTransaction,
        keys: &[(Key, EventDraft)],
    ) -> Result<Done<u64>, Fault> {
        let tip = events::tip(&transaction.step("tip")).await?;
        let now = events::now(&tip);
        let (mut sealed, mut log) =
            (Vec::with_capacity(keys.len()), Vec::with_capacity(keys.len()));
        let root_key = root_key_in_use(transaction, &self.root_key_versions()).await?;
        for (revision, (key, draft)) in (tip.revision + 1..).zip(keys) {
            let key = Key { revision, update_time: now, create_time: now, ..key.clone() };
            let seal = self.seals().seal(root_key, &key.verifiable()).ok_or_else(no_root_key)?;
            log.push(events::complete(draft.clone(), &key, &seal, revision, now));
            sealed.push((key, seal));
        }
        let rows: Vec<(&Key, &[u8])> =
            sealed.iter().map(|(key, seal)| (key, seal.as_slice())).collect();
        key_rows::insert(transaction, &rows).await?;
        events::append(transaction, &log).await?;
        Ok(Done::Wrote(tip.revision + keys.len() as u64))
    }
}
