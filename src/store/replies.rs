//! Remembered replies: what a repeated request gets instead of a second change.

use std::time::Duration;

use sea_orm::sea_query::OnConflict;
use sea_orm::{ActiveValue::Set, ColumnTrait, Condition, EntityTrait, QueryFilter, QuerySelect};

use super::change::{Remembered, ReplySlot};
use super::entity::reply::{ActiveModel, Column, Entity, Model};
use super::error::Fault;
use super::retry::Retry;
use super::write::{Done, WriteTransaction};
use super::{Store, events};
use crate::domain::{Error, Timestamp};

/// For how long a remembered secret can be given again.
const SECRET_KEPT: Duration = Duration::from_secs(10 * 60);
/// For how long it is remembered that a `request_id` was used.
const RECORD_KEPT: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// What a sweep forgot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Forgotten {
    /// Sealed replies that were erased.
    pub secrets: u64,
    /// Records that were dropped.
    pub records: u64,
}

/// The request that used the slot before. Age counts, not whether the sweep has run.
pub(super) async fn remembered(
    transaction: &WriteTransaction,
    slot: &ReplySlot,
    now: Timestamp,
) -> Result<Option<Remembered>, Fault> {
    let found =
        Entity::find_by_id(slot.slot.to_vec()).one(&transaction.step("remembered reply")).await?;
    Ok(found.and_then(|row| still_remembered(row, slot, now)))
}

fn still_remembered(row: Model, slot: &ReplySlot, now: Timestamp) -> Option<Remembered> {
    let age = now.saturating_since(Timestamp::from_micros(row.create_time)?);
    (age < RECORD_KEPT).then(|| Remembered {
        same_request: row.request_hash == slot.request_hash,
        key_id: row.key_id,
        sealed_reply: row.sealed.filter(|_| age < SECRET_KEPT),
    })
}

/// Remembers a reply. A record that was there is one whose seven days are over.
pub(super) async fn remember(
    transaction: &WriteTransaction,
    slot: &ReplySlot,
    key_id: &str,
    sealed: Vec<u8>,
    now: Timestamp,
) -> Result<(), Fault> {
    let row = ActiveModel {
        slot: Set(slot.slot.to_vec()),
        request_hash: Set(slot.request_hash.to_vec()),
        key_id: Set(key_id.to_owned()),
        sealed: Set(Some(sealed)),
        create_time: Set(now.micros()),
    };
    let columns = [Column::RequestHash, Column::KeyId, Column::Sealed, Column::CreateTime];
    let replace = OnConflict::column(Column::Slot).update_columns(columns).to_owned();
    let insert = Entity::insert(row).on_conflict(replace);
    insert.exec_without_returning(&transaction.step("remember")).await?;
    Ok(())
}

/// The time before which what is kept for so long was made.
fn before(now: Timestamp, kept: Duration) -> i64 {
    now.micros().saturating_sub(i64::try_from(kept.as_micros()).unwrap_or(i64::MAX))
}

/// What [`forget`] would forget.
fn overdue(now: Timestamp) -> Condition {
    let sealed = Condition::all()
        .add(Column::Sealed.is_not_null())
        .add(Column::CreateTime.lte(before(now, SECRET_KEPT)));
    Condition::any().add(sealed).add(Column::CreateTime.lte(before(now, RECORD_KEPT)))
}

/// Erases sealed replies whose ten minutes are over, and drops records whose seven days are.
pub(super) async fn forget(
    transaction: &WriteTransaction,
    now: Timestamp,
) -> Result<Forgotten, Fault> {
    let erase = Entity::update_many()
        .set(ActiveModel { sealed: Set(None), ..Default::default() })
        .filter(Column::Sealed.is_not_null())
        .filter(Column::CreateTime.lte(before(now, SECRET_KEPT)));
    let erased = erase.exec(&transaction.step("erase secrets")).await?;
    let drop = Entity::delete_many().filter(Column::CreateTime.lte(before(now, RECORD_KEPT)));
    let dropped = drop.exec(&transaction.step("drop records")).await?;
    Ok(Forgotten { secrets: erased.rows_affected, records: dropped.rows_affected })
}

impl Store {
    /// Erases sealed replies older than ten minutes and drops records older than seven days, by the database's clock,
    /// in one transaction.
    pub async fn forget_replies(&self) -> Result<Forgotten, Error> {
        let mut retry = Retry::new(self, true);
        loop {
            match self.try_forget_replies().await {
                Ok(forgotten) => return Ok(forgotten),
                Err(fault) => retry.after(fault).await?,
            }
        }
    }

    async fn try_forget_replies(&self) -> Result<Forgotten, Fault> {
        // Nearly always there is nothing, and the writer's lock is for those who write.
        let end = events::tip(self.reader()).await?;
        let overdue = Entity::find()
            .select_only()
            .column(Column::CreateTime)
            .filter(overdue(events::now(&end)))
            .limit(1)
            .into_tuple::<i64>();
        if overdue.one(self.reader()).await?.is_none() {
            return Ok(Forgotten::default());
        }
        let transaction = self.begin().await?;
        let work = async {
            let tip = events::tip(&transaction.step("tip")).await?;
            forget(&transaction, events::now(&tip)).await
        };
        let work = match work.await {
            Ok(Forgotten { secrets: 0, records: 0 }) => Ok(Done::Nothing(Forgotten::default())),
            Ok(forgotten) => Ok(Done::Wrote(forgotten)),
            Err(fault) => Err(fault),
        };
        transaction.finish(work).await
    }
}
