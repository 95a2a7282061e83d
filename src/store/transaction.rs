//! The one shape of every change:
//!
//! ```text
//! begin ─ lock ─ tip of the log, clock ─ what is there before ─ decide ─ key ─ event, tree hashes ─ reply ─ commit
//! ```
//!
//! If anything on the line fails, all of it is rolled back: a change whose event cannot be written did not happen.

use tokio::time::Instant;

use super::activation::no_root_key;
use super::change::{Before, Changed, Decision, EventDraft, ReplySlot, Target};
use super::error::Fault;
use super::events;
use super::retry::Retry;
use super::write::{Done, WriteTransaction};
use super::{Store, administrators, key_rows, replies};
use crate::domain::Error;
use crate::domain::ids::KeyId;
use crate::domain::key::{Administration, Key};
use crate::domain::replica::{LogEnd, Place};
use crate::domain::tree::TreeHash;

impl Store {
    /// Changes one key, in one transaction under the writer's lock.
    ///
    /// `decide` is told what is there and says what shall be; it may be asked again if another writer was in the way.
    /// With a reply slot, a change whose COMMIT got no answer is repeated by itself, since it would be recognised.
    ///
    /// # Errors
    ///
    /// What `decide` refuses; [`Error::Overloaded`] if the lock was not to be had, [`Error::StoreFull`],
    /// [`Error::Unavailable`] if the database can't be reached or written, or if the outcome is unknown.
    pub async fn change_key<T, F>(
        &self,
        target: Target<'_>,
        slot: Option<&ReplySlot>,
        decide: F,
    ) -> Result<Changed<T>, Error>
    where
        T: Send,
        F: Fn(&Before) -> Result<Decision<T>, Error> + Send + Sync,
    {
        self.change_key_for(None, target, slot, decide).await
    }

    /// [`Self::change_key`] on behalf of a caller, whose key is read under the same lock: it may have been revoked
    /// since the caller was let in.
    pub async fn change_key_for<T, F>(
        &self,
        caller: Option<&KeyId>,
        target: Target<'_>,
        slot: Option<&ReplySlot>,
        decide: F,
    ) -> Result<Changed<T>, Error>
    where
        T: Send,
        F: Fn(&Before) -> Result<Decision<T>, Error> + Send + Sync,
    {
        let mut retry = Retry::new(self, slot.is_some());
        loop {
            match self.try_change(target, slot, caller, &decide).await {
                Ok(changed) => {
                    if changed.changed {
                        self.announce(changed.position.revision);
                    }
                    return Ok(changed);
                }
                Err(fault) => retry.after(fault).await?,
            }
        }
    }

    async fn try_change<T, F>(
        &self,
        target: Target<'_>,
        slot: Option<&ReplySlot>,
        caller: Option<&KeyId>,
        decide: &F,
    ) -> Result<Changed<T>, Fault>
    where
        T: Send,
        F: Fn(&Before) -> Result<Decision<T>, Error> + Send + Sync,
    {
        let began = Instant::now();
        let transaction = self.begin().await?;
        let work = self.change_within(&transaction, target, slot, caller, decide).await;
        let changed = transaction.finish(work).await?;
        if changed.changed {
            self.note_appended(began.elapsed());
        }
        Ok(changed)
    }

    async fn change_within<T, F>(
        &self,
        transaction: &WriteTransaction,
        target: Target<'_>,
        slot: Option<&ReplySlot>,
        caller: Option<&KeyId>,
        decide: &F,
    ) -> Result<Done<Changed<T>>, Fault>
    where
        F: Fn(&Before) -> Result<Decision<T>, Error> + Send + Sync,
    {
        let tip = events::tip(&transaction.step("tip")).await?;
        let before = self.before(transaction, target, slot, caller, &tip).await?;
        let (revision, now) = (before.revision, before.now);
        let (reply, leaf) = match decide(&before)? {
            Decision::Unchanged(reply) => {
                let position = self.position(&tip, tip.revision);
                let place = Place { revision: tip.revision, leaf: tip.leaf };
                return Ok(Done::Nothing(Changed { reply, position, place, changed: false }));
            }
            Decision::Put { key, event, remember, reply } => {
                check_put(&before, target, &key)?;
                let seal = self.seal(transaction, &key).await?;
                match &before.key {
                    None => key_rows::insert(transaction, &[(&key, &seal)]).await?,
                    Some(old) => key_rows::update(transaction, old, &key, &seal).await?,
                }
                let leaf = self.log(transaction, event, &key, &seal, &before).await?;
                if let Some(sealed) = remember {
                    let slot =
                        slot.ok_or_else(|| Fault::internal("a reply to remember has no slot"))?;
                    replies::remember(transaction, slot, key.key_id.as_str(), sealed, now).await?;
                }
                (reply, leaf)
            }
            Decision::Delete { event, reply } => {
                let gone = before.key.as_ref();
                let gone = gone.ok_or_else(|| Fault::internal("a key to delete is not there"))?;
                key_rows::delete(transaction, gone, revision, now).await?;
                (reply, self.log(transaction, event, gone, &[], &before).await?)
            }
        };
        let position = self.position(&tip, revision);
        let place = Place { revision, leaf };
        Ok(Done::Wrote(Changed { reply, position, place, changed: true }))
    }

    async fn before(
        &self,
        transaction: &WriteTransaction,
        target: Target<'_>,
        slot: Option<&ReplySlot>,
        caller: Option<&KeyId>,
        tip: &LogEnd,
    ) -> Result<Before, Fault> {
        let by_nobody = caller.is_none();
        let (key_id, now) = (target.key_id(), events::now(tip));
        let remembered = match slot {
            Some(slot) => replies::remembered(transaction, slot, now).await?,
            None => None,
        };
        let key = key_rows::read_one(&transaction.step("target"), key_id, self.seals())
            .await?
            .transpose()?;
        let deleted = match key {
            Some(_) => None,
            None => key_rows::account_of_deleted(&transaction.step("tombstone"), key_id).await?,
        };
        let caller = match caller {
            Some(caller) => {
                key_rows::read_one(&transaction.step("caller"), caller.as_str(), self.seals())
                    .await?
                    .transpose()?
            }
            None => None,
        };
        let of_administrators = key.as_ref().is_some_and(|key| key.account_id.is_reserved());
        let others = if of_administrators || by_nobody {
            let step = transaction.step("administrators");
            administrators::best(&step, self.seals(), Some(key_id), now).await?
        } else {
            Administration::None
        };
        let revision = tip.revision + 1;
        Ok(Before { key, deleted, now, revision, others, caller, remembered })
    }

    /// The seal of a key's row, with the root key that is in use by all.
    async fn seal(&self, transaction: &WriteTransaction, key: &Key) -> Result<Vec<u8>, Fault> {
        let version = self.root_key_in_use(transaction).await?;
        self.seals().seal(version, &key.verifiable()).ok_or_else(no_root_key)
    }

    /// Appends the event of a change, and gives its leaf hash.
    async fn log(
        &self,
        transaction: &WriteTransaction,
        event: EventDraft,
        key: &Key,
        seal: &[u8],
        before: &Before,
    ) -> Result<Option<TreeHash>, Fault> {
        let event = events::complete(event, key, seal, before.revision, before.now);
        events::append(transaction, &[event]).await
    }
}

/// What no decision may do, whoever wrote it.
fn check_put(before: &Before, target: Target<'_>, key: &Key) -> Result<(), Fault> {
    if key.key_id.as_str() != target.key_id() {
        return Err(Fault::internal("a change of one key would write another"));
    }
    if before.deleted.is_some() {
        return Err(Fault::internal("the id of a deleted key would come back"));
    }
    if key.revision != before.revision || key.update_time != before.now {
        return Err(Fault::internal("a changed key is not stamped with its revision"));
    }
    Ok(())
}
