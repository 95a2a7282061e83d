//! Reading and writing the rows of keys, within a transaction or without.

use sea_orm::sea_query::{Expr, SelectStatement};
use sea_orm::{
    ActiveValue::Set, ColumnTrait, ConnectionTrait, DbBackend, DbErr, EntityTrait, FromQueryResult,
    Order, QueryFilter, QueryOrder, QuerySelect, QueryTrait, Select,
};

use super::entity::{key, key_label, key_record, key_scope, key_secret, tombstone};
use super::error::Fault;
use super::row::{self, Read, StoredKey};
use super::write::WriteTransaction;
use crate::domain::ids::AccountId;
use crate::domain::key::Key;
use crate::domain::seal::SealKeys;

/// The most rows that one INSERT carries: 18 columns of a key times this stay below SQLite's 32,766 parameters.
const ROWS_PER_INSERT: usize = 500;

/// A key's row, with all its secrets in one column, so that a wide row is read once however many secrets it has.
#[derive(FromQueryResult)]
struct KeyWithSecrets {
    #[sea_orm(nested)]
    key: key::Model,
    secrets: String,
}

/// Reads the keys that a query of key ids selects, each with its secrets, in one statement: with two, a change in
/// between would look like a broken seal.
pub(super) async fn read(
    connection: &impl ConnectionTrait,
    key_ids: SelectStatement,
    order: &[(key::Column, Order)],
    seals: &SealKeys,
) -> Result<Vec<Read>, DbErr> {
    let secrets = Expr::cust(secrets_of_key(connection.get_database_backend()));
    let mut query = key::Entity::find()
        .filter(key::Column::KeyId.in_subquery(key_ids))
        .expr_as(secrets, "secrets");
    for (column, direction) in order {
        query = query.order_by(*column, direction.clone());
    }
    let rows = query.into_model::<KeyWithSecrets>().all(connection).await?;
    let opened = rows.into_iter().map(|KeyWithSecrets { key, secrets }| {
        StoredKey { secrets: row::secrets_of_json(&key.key_id, &secrets), key }.open(seals)
    });
    Ok(opened.collect())
}

/// The secrets of a key as JSON: `[[number, digest in hex, create_time, expire_time, hint], …]`.
fn secrets_of_key(backend: DbBackend) -> &'static str {
    match backend {
        DbBackend::Sqlite => {
            "(SELECT json_group_array(json_array(s.number, hex(s.digest), s.create_time, s.expire_time, s.hint)) \
             FROM key_secrets s WHERE s.key_id = keys.key_id)"
        }
        _ => {
            "(SELECT coalesce(json_agg(json_build_array(s.number, encode(s.digest, 'hex'), s.create_time, \
             s.expire_time, s.hint)), '[]')::text FROM key_secrets s WHERE s.key_id = keys.key_id)"
        }
    }
}

/// Selects key ids, to be narrowed.
pub(super) fn ids() -> Select<key::Entity> {
    key::Entity::find().select_only().column(key::Column::KeyId)
}

/// Reads one key.
pub(super) async fn read_one(
    connection: &impl ConnectionTrait,
    key_id: &str,
    seals: &SealKeys,
) -> Result<Option<Read>, DbErr> {
    if !can_be_text(key_id) {
        return Ok(None);
    }
    let one = ids().filter(key::Column::KeyId.eq(key_id));
    let mut found = read(connection, one.into_query(), &[], seals).await?;
    Ok(found.pop())
}

/// Whether both databases can hold the text; PostgreSQL knows no NUL.
pub(super) fn can_be_text(text: &str) -> bool {
    !text.contains('\0')
}

/// The account that a deleted key belonged to; `None` if no such key was deleted.
pub(super) async fn account_of_deleted(
    connection: &impl ConnectionTrait,
    key_id: &str,
) -> Result<Option<AccountId>, Fault> {
    if !can_be_text(key_id) {
        return Ok(None);
    }
    let Some(tombstone) = tombstone::Entity::find_by_id(key_id).one(connection).await? else {
        return Ok(None);
    };
    let account = AccountId::parse(&tombstone.account_id);
    account.map(Some).map_err(|_| Fault::internal("a tombstone names no account"))
}

/// Writes new keys with their seals.
pub(super) async fn insert(
    transaction: &WriteTransaction,
    keys: &[(&Key, &[u8])],
) -> Result<(), Fault> {
    for keys in keys.chunks(ROWS_PER_INSERT) {
        let rows = keys
            .iter()
            .map(|(key, seal)| row::key_row(key, seal))
            .collect::<Result<Vec<_>, _>>()?;
        key::Entity::insert_many(rows).exec_without_returning(&transaction.step("key")).await?;
        let records = keys.iter().map(|(key, seal)| row::record_row(key, seal));
        let insert = key_record::Entity::insert_many(records);
        insert.exec_without_returning(&transaction.step("record")).await?;
    }
    insert_secrets(transaction, keys.iter().map(|(key, _)| *key)).await?;
    insert_scopes(transaction, keys.iter().map(|(key, _)| *key)).await?;
    insert_labels(transaction, keys.iter().map(|(key, _)| *key)).await
}

/// Writes what a change made different in a key.
pub(super) async fn update(
    transaction: &WriteTransaction,
    before: &Key,
    key: &Key,
    seal: &[u8],
) -> Result<(), Fault> {
    let of_key = key.key_id.as_str();
    let written = key::Entity::update_many()
        .set(row::key_row(key, seal)?)
        .filter(key::Column::KeyId.eq(of_key))
        .exec(&transaction.step("key"))
        .await?;
    if written.rows_affected != 1 {
        return Err(Fault::internal("the key's row vanished under the writer's lock"));
    }
    let record = key_record::Entity::update_many()
        .set(row::record_row(key, seal))
        .filter(key_record::Column::KeyId.eq(of_key))
        .exec(&transaction.step("record"))
        .await?;
    if record.rows_affected != 1 {
        // Somebody removed it; the key is changed all the same, above all if it is revoked.
        let insert = key_record::Entity::insert(row::record_row(key, seal));
        insert.exec_without_returning(&transaction.step("lost record")).await?;
    }
    if row::secret_rows(before)? != row::secret_rows(key)? {
        let old = key_secret::Entity::delete_many().filter(key_secret::Column::KeyId.eq(of_key));
        old.exec(&transaction.step("old secrets")).await?;
        insert_secrets(transaction, [key]).await?;
    }
    if before.scopes != key.scopes {
        let old = key_scope::Entity::delete_many().filter(key_scope::Column::KeyId.eq(of_key));
        old.exec(&transaction.step("old scopes")).await?;
        insert_scopes(transaction, [key]).await?;
    }
    if before.labels != key.labels {
        let old = key_label::Entity::delete_many().filter(key_label::Column::KeyId.eq(of_key));
        old.exec(&transaction.step("old labels")).await?;
        insert_labels(transaction, [key]).await?;
    }
    Ok(())
}

/// Removes a key, with its side rows, and leaves a tombstone.
pub(super) async fn delete(
    transaction: &WriteTransaction,
    key: &Key,
    revision: u64,
    now: crate::domain::Timestamp,
) -> Result<(), Fault> {
    let gone = key::Entity::delete_by_id(key.key_id.as_str());
    let gone = gone.exec(&transaction.step("key")).await?;
    if gone.rows_affected != 1 {
        return Err(Fault::internal("the key's row vanished under the writer's lock"));
    }
    let tombstone = tombstone::ActiveModel {
        account_id: Set(key.account_id.to_string()),
        key_id: Set(key.key_id.to_string()),
        revision: Set(row::signed(revision)?),
        time: Set(now.micros()),
    };
    let insert = tombstone::Entity::insert(tombstone);
    insert.exec_without_returning(&transaction.step("tombstone")).await?;
    Ok(())
}

async fn insert_secrets(
    transaction: &WriteTransaction,
    keys: impl IntoIterator<Item = &Key>,
) -> Result<(), Fault> {
    let rows = keys.into_iter().map(row::secret_rows).collect::<Result<Vec<_>, _>>()?.concat();
    for rows in rows.chunks(ROWS_PER_INSERT) {
        let insert = key_secret::Entity::insert_many(rows.iter().cloned());
        insert.exec_without_returning(&transaction.step("secrets")).await?;
    }
    Ok(())
}

async fn insert_scopes(
    transaction: &WriteTransaction,
    keys: impl IntoIterator<Item = &Key>,
) -> Result<(), Fault> {
    let rows: Vec<_> = keys.into_iter().flat_map(row::scope_rows).collect();
    for rows in rows.chunks(ROWS_PER_INSERT) {
        let insert = key_scope::Entity::insert_many(rows.iter().cloned());
        insert.exec_without_returning(&transaction.step("scopes")).await?;
    }
    Ok(())
}

async fn insert_labels(
    transaction: &WriteTransaction,
    keys: impl IntoIterator<Item = &Key>,
) -> Result<(), Fault> {
    let rows: Vec<_> = keys.into_iter().flat_map(row::label_rows).collect();
    for rows in rows.chunks(ROWS_PER_INSERT) {
        let insert = key_label::Entity::insert_many(rows.iter().cloned());
        insert.exec_without_returning(&transaction.step("labels")).await?;
    }
    Ok(())
}
