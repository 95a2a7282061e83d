//! Accepting that the log has lost events: it goes on in a new epoch.
//!
//! ```text
//!  epoch 1   … 89 ─ 90 ─ 91 ─ 92        replicas have seen 91 and 92; after a failover they are not there
//!  epoch 1   … 89 ─ 90 ─ 91'            what was written since
//!  epoch 2                   └─ 92'     the acceptance: an event like any other, and the epoch's first
//! ```
//!
//! Replicas that see the new epoch take the log as it is. Positions of the old epoch are good up to the fork, which
//! whoever accepts has to name (here: lost from 91): the numbers alone don't show it.

use sea_orm::{ActiveValue::Set, ColumnTrait as _, EntityTrait as _, QueryFilter as _};

use super::Store;
use super::entity::{epoch, store};
use super::error::Fault;
use super::events;
use super::retry::Retry;
use super::row::{signed, signed_small};
use super::write::{Done, WriteTransaction};
use crate::domain::Error;
use crate::domain::audit::{Actor, AuditEvent, CANONICAL_VERSION, EventType, FieldChange};
use crate::domain::ids::AccountId;
use crate::domain::token::LogPosition;

impl Store {
    /// Begins a new epoch of the log, with an event that says who did it, in one transaction under the writer's lock.
    /// `None` if the log is not in the epoch `seen` any more: somebody else was faster, and nothing was changed.
    ///
    /// `lost_from` is the first revision of which people were told and that is not there, or something else is in its
    /// place. The database can't know it; whoever had seen it does. Without it nothing below the end of the log counts
    /// as lost.
    ///
    /// # Errors
    ///
    /// Those of [`Self::change_key`]; [`Error::InvalidRequest`] if the log can't have lost that revision first.
    pub async fn accept(
        &self,
        seen: u32,
        lost_from: Option<u64>,
        actor: &Actor,
    ) -> Result<Option<LogPosition>, Error> {
        // An unknown outcome is told: a repetition would find the new epoch and take it for somebody else's.
        let mut retry = Retry::new(self, false);
        loop {
            match self.try_accept(seen, lost_from, actor).await {
                Ok(accepted) => {
                    if let Some(position) = accepted {
                        self.announce(position.revision);
                    }
                    return Ok(accepted);
                }
                Err(fault) => retry.after(fault).await?,
            }
        }
    }

    async fn try_accept(
        &self,
        seen: u32,
        lost_from: Option<u64>,
        actor: &Actor,
    ) -> Result<Option<LogPosition>, Fault> {
        let transaction = self.begin().await?;
        let work = self.accept_within(&transaction, seen, lost_from, actor).await;
        transaction.finish(work).await
    }

    async fn accept_within(
        &self,
        transaction: &WriteTransaction,
        seen: u32,
        lost_from: Option<u64>,
        actor: &Actor,
    ) -> Result<Done<Option<LogPosition>>, Fault> {
        let tip = events::tip(&transaction.step("tip")).await?;
        if tip.epoch != seen {
            return Ok(Done::Nothing(None));
        }
        let (epoch, revision) = (tip.epoch + 1, tip.revision + 1);
        if lost_from.is_some_and(|lost| !(1..=revision).contains(&lost)) {
            return Err(
                Error::invalid("lost_from", "is not in the log, nor the next after it").into()
            );
        }
        let mut changes = vec![FieldChange {
            after: epoch.to_string(),
            before: tip.epoch.to_string(),
            field: "epoch".to_owned(),
        }];
        if let Some(lost) = lost_from {
            let (after, field) = (lost.to_string(), "lost_from".to_owned());
            changes.push(FieldChange { after, before: String::new(), field });
        }
        let lost_from = lost_from.unwrap_or(revision);
        let event = AuditEvent {
            account_id: AccountId::RESERVED.to_owned(),
            actor: actor.clone(),
            application_id: String::new(),
            changes,
            comment: String::new(),
            key_id: String::new(),
            key_seal: String::new(),
            request_id: String::new(),
            revision,
            revoke_reason: String::new(),
            time: events::now(&tip),
            trace_id: String::new(),
            kind: EventType::StoreEpochAccepted,
            v: CANONICAL_VERSION,
        };
        events::append(transaction, &[event]).await?;
        let row = epoch::ActiveModel {
            epoch: Set(signed_small(epoch)?),
            first_revision: Set(signed(lost_from)?),
        };
        let insert = epoch::Entity::insert(row);
        insert.exec_without_returning(&transaction.step("epoch")).await?;
        let raised = store::Entity::update_many()
            .set(store::ActiveModel { epoch: Set(signed_small(epoch)?), ..Default::default() })
            .filter(store::Column::Epoch.eq(signed_small(tip.epoch)?))
            .exec(&transaction.step("epoch of the store"))
            .await?;
        if raised.rows_affected != 1 {
            return Err(Fault::internal("the store has lost its own row"));
        }
        Ok(Done::Wrote(Some(LogPosition { store: self.store_id(), epoch, revision })))
    }
}
