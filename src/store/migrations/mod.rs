//! The schema, one file per step. A step that was released is never changed.

mod columns;
mod m0001_first;
mod m0002_replicas;
mod m0003_records;
mod m0004_root_key;

use sea_orm_migration::prelude::*;

/// The newest `min_reader` that this release understands. A migration that an older release could not read beside
/// raises the number in the `store` table; such a release then refuses the database, also in the middle of its work.
pub(super) const READS_UP_TO: i32 = 2;

/// The `min_reader` of a store that all steps were applied to.
pub(super) const MIN_READER: i32 = m0002_replicas::MIN_READER;

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
