//! The first schema: keys, the log, and what belongs to them.

use sea_orm_migration::prelude::*;

use super::columns::{Columns, table};
use crate::store::entity::{
    audit_event, data_key, key, key_label, key_scope, key_secret, reply, store, tombstone,
    tree_hash,
};

pub(super) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m0001_first"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let columns = Columns(manager.get_database_backend());
        for table in tables(&columns) {
            manager.create_table(table).await?;
        }
        for index in indexes() {
            manager.create_index(index).await?;
        }
        Ok(())
    }
}

fn tables(columns: &Columns) -> Vec<TableCreateStatement> {
    let mut all = identity_tables(columns);
    all.extend(key_tables(columns));
    all.extend(log_tables(columns));
    all
}

fn identity_tables(c: &Columns) -> Vec<TableCreateStatement> {
    use data_key::Column as DataKey;
    use store::Column as Store;

    let store = table(
        store::Entity,
        vec![
            c.small(Store::Id).primary_key().take(),
            c.bytes(Store::StoreId),
            c.small(Store::Epoch),
            c.small(Store::MinReader),
            c.number(Store::Created),
        ],
    );
    let data_keys = table(
        data_key::Entity,
        vec![c.small(DataKey::RootKeyVersion).primary_key().take(), c.bytes(DataKey::Wrapped)],
    );
    vec![store, data_keys]
}

fn key_tables(c: &Columns) -> Vec<TableCreateStatement> {
    use key::Column as Key;
    use key_label::Column as Label;
    use key_scope::Column as Scope;
    use key_secret::Column as Secret;
    use tombstone::Column as Tombstone;

    let keys = table(
        key::Entity,
        vec![
            c.text(Key::KeyId).primary_key().take(),
            c.text(Key::AccountId),
            c.text(Key::ApplicationId),
            c.text(Key::Environment),
            c.text(Key::DisplayName),
            c.text(Key::Description),
            c.text(Key::Scopes),
            c.text(Key::AllowedCidrs),
            c.text(Key::Labels),
            c.optional_number(Key::ExpireTime),
            ColumnDef::new(Key::Lifecycle).small_integer().not_null().take(),
            c.optional_text(Key::RevokeReason),
            c.number(Key::CreateTime),
            c.number(Key::UpdateTime),
            c.text(Key::Creator),
            c.number(Key::Revision),
            c.small(Key::LastSecretNumber),
            c.bytes(Key::Seal),
        ],
    );
    let mut secrets = table(
        key_secret::Entity,
        vec![
            c.text(Secret::KeyId),
            c.small(Secret::Number),
            c.bytes(Secret::Digest),
            c.number(Secret::CreateTime),
            c.optional_number(Secret::ExpireTime),
            c.text(Secret::Hint),
        ],
    );
    secrets.primary_key(Index::create().col(Secret::KeyId).col(Secret::Number));
    secrets.foreign_key(&mut belongs_to_key(key_secret::Entity, Secret::KeyId));
    let mut scopes = table(key_scope::Entity, vec![c.text(Scope::KeyId), c.text(Scope::Scope)]);
    scopes.primary_key(Index::create().col(Scope::KeyId).col(Scope::Scope));
    scopes.foreign_key(&mut belongs_to_key(key_scope::Entity, Scope::KeyId));
    let mut labels = table(
        key_label::Entity,
        vec![c.text(Label::KeyId), c.text(Label::Name), c.text(Label::Value)],
    );
    labels.primary_key(Index::create().col(Label::KeyId).col(Label::Name));
    labels.foreign_key(&mut belongs_to_key(key_label::Entity, Label::KeyId));
    let tombstones = table(
        tombstone::Entity,
        vec![
            c.text(Tombstone::KeyId).primary_key().take(),
            c.text(Tombstone::AccountId),
            c.number(Tombstone::Revision),
            c.number(Tombstone::Time),
        ],
    );
    vec![keys, secrets, scopes, labels, tombstones]
}

/// The side rows of a key go with it.
fn belongs_to_key(table: impl IntoTableRef, column: impl IntoIden) -> ForeignKeyCreateStatement {
    let mut foreign_key = ForeignKey::create();
    foreign_key.from(table, column).to(key::Entity, key::Column::KeyId);
    foreign_key.on_delete(ForeignKeyAction::Cascade).take()
}

fn log_tables(c: &Columns) -> Vec<TableCreateStatement> {
    use audit_event::Column as Event;
    use reply::Column as Reply;
    use tree_hash::Column as Hash;

    let events = table(
        audit_event::Entity,
        vec![
            c.number_key(Event::Revision),
            c.number(Event::Time),
            c.text(Event::Kind),
            c.text(Event::AccountId),
            c.text(Event::ApplicationId),
            c.text(Event::KeyId),
            c.text(Event::Actor),
            c.text(Event::RequestId),
            c.text(Event::Canonical),
            c.bytes(Event::LeafHash),
        ],
    );
    let hashes = table(tree_hash::Entity, vec![c.number_key(Hash::Position), c.bytes(Hash::Hash)]);
    let replies = table(
        reply::Entity,
        vec![
            c.bytes(Reply::Slot).primary_key().take(),
            c.bytes(Reply::RequestHash),
            c.text(Reply::KeyId),
            c.optional_bytes(Reply::Sealed),
            c.number(Reply::CreateTime),
        ],
    );
    vec![events, hashes, replies]
}

fn indexes() -> Vec<IndexCreateStatement> {
    use audit_event::Column as Event;
    use key::Column as Key;
    use key_label::Column as Label;
    use key_scope::Column as Scope;

    vec![
        // Lists in each order, of one account and of all.
        index("keys_by_create_time", key::Entity, [Key::CreateTime, Key::KeyId]),
        index("keys_by_update_time", key::Entity, [Key::UpdateTime, Key::KeyId]),
        index("keys_of_account", key::Entity, [Key::AccountId, Key::CreateTime, Key::KeyId]),
        index(
            "keys_of_account_by_update",
            key::Entity,
            [Key::AccountId, Key::UpdateTime, Key::KeyId],
        ),
        index("keys_of_account_by_id", key::Entity, [Key::AccountId, Key::KeyId]),
        index("key_scopes_by_scope", key_scope::Entity, [Scope::Scope, Scope::KeyId]),
        index("key_labels_by_value", key_label::Entity, [Label::Name, Label::Value, Label::KeyId]),
        // The history of one key, of one account, of one kind of change.
        index("audit_events_of_key", audit_event::Entity, [Event::KeyId, Event::Revision]),
        index("audit_events_of_account", audit_event::Entity, [Event::AccountId, Event::Revision]),
        index("audit_events_of_type", audit_event::Entity, [Event::Kind, Event::Revision]),
        // The sweep.
        index("replies_by_create_time", reply::Entity, [reply::Column::CreateTime]),
    ]
}

fn index<C: IntoIden, const N: usize>(
    name: &str,
    table: impl IntoTableRef,
    columns: [C; N],
) -> IndexCreateStatement {
    let mut index = Index::create();
    index.name(name).table(table);
    for column in columns {
        index.col(column.into_iden());
    }
    index.take()
}
