//! The newest root key version in use, so that who lacks it notices, and need not find it out from rows that it can't
//! read.
//!
//! A release that does not note the version that it begins to seal with would let others take what it sealed for
//! forgeries: it must not use the store from here on.

use sea_orm::{ConnectionTrait as _, EntityTrait as _, QueryOrder as _};
use sea_orm_migration::prelude::*;

use super::raise_min_reader;
use crate::store::entity::{data_key, store};

/// The least release that can use the store from here on.
pub(super) const MIN_READER: i32 = 4;

pub(super) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m0004_root_key"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let mut column = ColumnDef::new(store::Column::RootKeyInUse);
        column.integer().not_null().default(0);
        manager.alter_table(Table::alter().table(store::Entity).add_column(column).take()).await?;
        let connection = manager.get_connection();
        let newest = data_key::Entity::find().order_by_desc(data_key::Column::RootKeyVersion);
        if let Some(newest) = newest.one(connection).await? {
            let note = Query::update()
                .table(store::Entity)
                .value(store::Column::RootKeyInUse, newest.root_key_version)
                .take();
            connection.execute(&note).await?;
        }
        raise_min_reader(connection, MIN_READER).await
    }
}
