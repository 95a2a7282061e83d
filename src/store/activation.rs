//! Which root key what is written now is sealed with: see [`crate::domain::activation`]. And who may read that.

use std::sync::atomic::Ordering;

use sea_orm::ActiveValue::Set;
use sea_orm::{
    ColumnTrait as _, EntityTrait as _, QueryFilter as _, QueryResult, QuerySelect as _,
};

use super::Store;
use super::entity::{replica, store};
use super::error::Fault;
use super::migrations::READS_UP_TO;
use super::replicas::parse_versions;
use super::row::{signed_small, small};
use super::write::WriteTransaction;
use crate::domain::activation::agreed_root_key;

/// The version of the root key to write with, and notes that it is in use, if that is not known: `noted` is the newest
/// that is.
pub(super) async fn root_key_in_use(
    transaction: &WriteTransaction,
    own: &[u32],
    noted: u32,
) -> Result<u32, Fault> {
    let version = agreed(transaction, own).await?;
    if version > noted {
        let number = signed_small(version)?;
        let note = store::Entity::update_many()
            .set(store::ActiveModel { root_key_in_use: Set(number), ..Default::default() })
            .filter(store::Column::RootKeyInUse.lt(number));
        note.exec(&transaction.step("root key in use")).await?;
    }
    Ok(version)
}

/// Of those that this process holds, in ascending order. The rows are read in the transaction that writes; where there
/// are none, it is the newest.
async fn agreed(transaction: &WriteTransaction, own: &[u32]) -> Result<u32, Fault> {
    let (oldest, newest) = match own {
        [] => return Err(no_root_key()),
        // Nothing to choose, as nearly always.
        [only] => return Ok(*only),
        [oldest, .., newest] => (*oldest, *newest),
    };
    let rows: Vec<String> = replica::Entity::find()
        .select_only()
        .column(replica::Column::RootKeyVersions)
        .into_tuple()
        .all(&transaction.step("root keys of replicas"))
        .await?;
    if rows.is_empty() {
        return Ok(newest);
    }
    let replicas: Vec<Vec<u32>> = rows.iter().map(|row| parse_versions(row)).collect();
    Ok(agreed_root_key(own, replicas.iter().map(Vec::as_slice)).unwrap_or_else(|| {
        tracing::warn!(
            version = oldest,
            "no version of the root key is held by all replicas; the oldest that is held here is used"
        );
        oldest
    }))
}

pub(super) fn no_root_key() -> Fault {
    Fault::internal("there is no such root key")
}

/// The columns of the store's row that [`Store::refused`] reads.
pub(super) const USED: &str = "store.min_reader, store.root_key_in_use";

impl Store {
    /// The version of the root key to write with.
    pub(super) async fn root_key_in_use(
        &self,
        transaction: &WriteTransaction,
    ) -> Result<u32, Fault> {
        let noted = self.inner.root_key_in_use.load(Ordering::Relaxed);
        root_key_in_use(transaction, &self.root_key_versions(), noted).await
    }

    /// Why this process must not read what is written by now, if so: a later release has changed the form of it, or it
    /// is sealed with a root key that is not at hand. A process that runs may come to that while it stands still, or is
    /// cut off, and nobody waits for it any more.
    pub(super) fn refused(&self, row: &QueryResult) -> Result<Option<&'static str>, Fault> {
        let min_reader: i32 = row.try_get("", "min_reader")?;
        let in_use = small(row.try_get("", "root_key_in_use")?)?;
        self.inner.root_key_in_use.fetch_max(in_use, Ordering::Relaxed);
        Ok(if min_reader > READS_UP_TO {
            Some("the database was migrated by a newer release; install that one")
        } else if in_use > 0 && !self.root_key_versions().contains(&in_use) {
            Some(
                "rows are sealed with a root key version that this server lacks; give it the newest root key file",
            )
        } else {
            None
        })
    }
}
