//! The schema, one file per step. A step that was released is never changed.

mod columns;
mod m0001_first;
mod m0002_replicas;
mod m0003_records;
mod m0004_root_key;

use sea_orm::{ColumnTrait as _, ConnectionTrait, EntityTrait as _, QueryFilter as _};
use sea_orm_migration::prelude::*;

use super::entity::store;

/// The newest `min_reader` that this release understands. A migration raises the number in the `store` table if an older
/// release could not read what is written from then on, or would not write all that is read; such a release then refuses
/// the database, also in the middle of its work.
pub(super) const READS_UP_TO: i32 = 4;

/// The `min_reader` of a store that all steps were applied to.
pub(super) const MIN_READER: i32 = m0004_root_key::MIN_READER;

pub(super) struct Migrator;

#[async_trait::async_trait]
impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![
            Box::new(m0001_first::Migration),
            Box::new(m0002_replicas::Migration),
            Box::new(m0003_records::Migration),
            Box::new(m0004_root_key::Migration),
        ]
    }
}

/// Names of all migrations, oldest first.
pub(super) fn names() -> Vec<String> {
    Migrator::migrations().iter().map(|migration| migration.name().to_owned()).collect()
}

/// Releases that read no further than before this number must not use the store from here on.
async fn raise_min_reader(connection: &impl ConnectionTrait, to: i32) -> Result<(), DbErr> {
    let raise = store::Entity::update_many()
        .col_expr(store::Column::MinReader, Expr::value(to))
        .filter(store::Column::MinReader.lt(to));
    raise.exec(connection).await?;
    Ok(())
}
