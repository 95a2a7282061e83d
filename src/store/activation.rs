//! Which root key what is written now is sealed with: see [`crate::domain::activation`].

use sea_orm::{EntityTrait as _, QuerySelect as _};

use super::entity::replica;
use super::error::Fault;
use super::replicas::parse_versions;
use super::write::WriteTransaction;
use crate::domain::activation::agreed_root_key;

/// The version of the root key to write with, of those that this process holds, in ascending order. The rows are read
/// in the transaction that writes; where there are none, it is the newest.
pub(super) async fn root_key_in_use(
    transaction: &WriteTransaction,
    own: &[u32],
) -> Result<u32, Fault> {
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
