//! A narrow copy of what verifications need of each key, in the bytes that its seal covers: see [`key_record`].
//!
//! A start reads these, so whoever changes a key must write both. A release that knows nothing of them would revoke a
//! key in its row and leave the record as it was, with a seal that fits: it must not use the store from here on.

use sea_orm::{
    ActiveValue::{NotSet, Set},
    ColumnTrait as _, ConnectionTrait, DbBackend, EntityTrait as _, QueryFilter as _,
    QueryOrder as _, QuerySelect as _,
};
use sea_orm_migration::prelude::*;

use super::columns::{Columns, table};
use super::raise_min_reader;
use crate::domain::canonical;
use crate::store::entity::{key, key_record, key_secret};
use crate::store::row::StoredKey;

/// Keys that are copied at once; one may have a hundred kilobytes.
const PAGE: u64 = 500;

/// The least release that can use the store from here on.
const MIN_READER: i32 = 3;

pub(super) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m0003_records"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.create_table(records(&Columns(manager.get_database_backend()))).await?;
        copy(manager.get_connection()).await?;
        raise_min_reader(manager.get_connection(), MIN_READER).await
    }
}

fn records(c: &Columns) -> TableCreateStatement {
    use key_record::Column as Record;

    // A column of its own, so that no vacuuming gives the rows other numbers. On SQLite it numbers itself.
    let mut id = c.number_key(Record::Id);
    if c.0 == DbBackend::Postgres {
        id.auto_increment();
    }
    let mut records = table(
        key_record::Entity,
        vec![
            id,
            c.text(Record::KeyId).unique_key().take(),
            c.bytes(Record::Record),
            c.bytes(Record::Seal),
        ],
    );
    let mut of_key = ForeignKey::create();
    of_key.from(key_record::Entity, Record::KeyId).to(key::Entity, key::Column::KeyId);
    records.foreign_key(of_key.on_delete(ForeignKeyAction::Cascade)).take()
}

async fn copy(connection: &impl ConnectionTrait) -> Result<(), DbErr> {
    let mut last = String::new();
    loop {
        let keys = key::Entity::find()
            .filter(key::Column::KeyId.gt(last.as_str()))
            .order_by_asc(key::Column::KeyId)
            .limit(PAGE)
            .all(connection)
            .await?;
        let Some(end) = keys.last() else { return Ok(()) };
        let mut secrets = key_secret::Entity::find()
            .filter(key_secret::Column::KeyId.gt(last.as_str()))
            .filter(key_secret::Column::KeyId.lte(end.key_id.as_str()))
            .order_by_asc(key_secret::Column::KeyId)
            .order_by_asc(key_secret::Column::Number)
            .all(connection)
            .await?
            .into_iter()
            .peekable();
        last.clone_from(&end.key_id);
        let mut records = Vec::with_capacity(keys.len());
        for key in keys {
            let mut own = Vec::new();
            while let Some(secret) = secrets.next_if(|secret| secret.key_id <= key.key_id) {
                if secret.key_id == key.key_id {
                    own.push(secret);
                }
            }
            let (key_id, seal) = (key.key_id.clone(), key.seal.clone());
            // Rows that make no key get no record: whoever loads finds it missing, and says what is wrong with them.
            if let Some(key) = (StoredKey { key, secrets: Some(own) }).parse() {
                records.push(key_record::ActiveModel {
                    id: NotSet,
                    key_id: Set(key_id),
                    record: Set(canonical::encode(&key.verifiable())),
                    seal: Set(seal),
                });
            }
        }
        if !records.is_empty() {
            key_record::Entity::insert_many(records).exec_without_returning(connection).await?;
        }
    }
}
