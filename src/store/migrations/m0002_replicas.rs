//! Replicas know of each other, and a store whose log forked goes on in a new epoch.
//!
//! A release that knows nothing of this would serve without a row, so nobody would wait for it: it must not read a
//! store that was migrated so far.

use sea_orm_migration::prelude::*;

use super::columns::{Columns, table};
use super::raise_min_reader;
use crate::store::entity::{epoch, replica};

/// The least release that can read the store from here on.
const MIN_READER: i32 = 2;

pub(super) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m0002_replicas"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let columns = Columns(manager.get_database_backend());
        manager.create_table(replicas(&columns)).await?;
        manager.create_table(epochs(&columns)).await?;
        raise_min_reader(manager.get_connection(), MIN_READER).await
    }
}

fn replicas(c: &Columns) -> TableCreateStatement {
    use replica::Column as Replica;

    table(
        replica::Entity,
        vec![
            c.text(Replica::Id).primary_key().take(),
            c.number(Replica::LeaseMs),
            c.number(Replica::Applied),
            c.number(Replica::Beat),
            c.number(Replica::BeatTime),
            c.number(Replica::StartTime),
            c.text(Replica::Version),
            c.small(Replica::ReadsUpTo),
            c.text(Replica::RootKeyVersions),
        ],
    )
}

fn epochs(c: &Columns) -> TableCreateStatement {
    use epoch::Column as Epoch;

    table(
        epoch::Entity,
        vec![c.small(Epoch::Epoch).primary_key().take(), c.number(Epoch::FirstRevision)],
    )
}
