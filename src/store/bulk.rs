//! Filling a store with many keys, for measurements. The same rules as for one key, one transaction for all.

use sea_orm::{
    ActiveModelTrait, ActiveValue, ConnectionTrait as _, DbBackend, EntityName as _, EntityTrait,
    IdenStatic as _, Iterable as _, Statement, Value,
};

use super::Store;
use super::activation::no_root_key;
use super::change::EventDraft;
use super::entity::{audit_event, key, key_label, key_record, key_scope, key_secret, tree_hash};
use super::error::Fault;
use super::events;
use super::retry::Retry;
use super::row;
use super::write::{Done, WriteTransaction};
use crate::domain::Error;
use crate::domain::key::Key;

/// Rows of one INSERT. So many that a statement costs little next to its rows, and always the same number, so that
/// the database parses it once.
const ROWS_PER_INSERT: usize = 50;

/// The secondary indexes of a store that is being filled, to be made again at its end.
#[doc(hidden)]
#[derive(Debug)]
#[must_use = "the store lacks its indexes until it is filled"]
pub struct Filling(Vec<String>);

impl Store {
    /// Writes new keys, each with its event, seal and tree hashes, in one transaction; gives the last revision.
    /// Each key's revision and times are set here.
    #[doc(hidden)]
    pub async fn insert_many(&self, keys: Vec<(Key, EventDraft)>) -> Result<u64, Error> {
        let mut retry = Retry::new(self, false);
        loop {
            match self.try_insert_many(&keys).await {
                Ok(revision) => {
                    self.announce(revision);
                    return Ok(revision);
                }
                Err(fault) => retry.after(fault).await?,
            }
        }
    }

    /// Takes a store out of service to be filled: no secondary indexes, which are made faster from full tables,
    /// and nothing waits for the disk. A crash before [`Self::filled`] leaves nothing usable behind.
    ///
    /// # Errors
    ///
    /// What the database says.
    #[doc(hidden)]
    pub async fn fill(&self) -> Result<Filling, Error> {
        self.begin_filling().await.map_err(Error::from)
    }

    /// Ends what [`Self::fill`] began.
    ///
    /// # Errors
    ///
    /// What the database says.
    #[doc(hidden)]
    pub async fn filled(&self, filling: Filling) -> Result<(), Error> {
        self.end_filling(filling).await.map_err(Error::from)
    }

    async fn begin_filling(&self) -> Result<Filling, Fault> {
        let writer = &self.inner.pools.writer;
        let (settings, indexes) = match self.inner.pools.backend {
            DbBackend::Sqlite => (
                "PRAGMA synchronous = OFF; PRAGMA cache_size = -1000000",
                "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL",
            ),
            _ => (
                "SELECT 1",
                "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = current_schema() AND indexname NOT IN \
                 (SELECT conname FROM pg_constraint)",
            ),
        };
        writer.execute_unprepared(settings).await?;
        let found = Statement::from_string(self.inner.pools.backend, indexes);
        let mut definitions = Vec::new();
        for row in writer.query_all_raw(found).await? {
            let (name, definition): (String, String) = (row.try_get_by(0)?, row.try_get_by(1)?);
            writer.execute_unprepared(&format!("DROP INDEX \"{name}\"")).await?;
            definitions.push(definition);
        }
        Ok(Filling(definitions))
    }

    async fn end_filling(&self, filling: Filling) -> Result<(), Fault> {
        let writer = &self.inner.pools.writer;
        for definition in filling.0 {
            writer.execute_unprepared(&definition).await?;
        }
        let settings = match self.inner.pools.backend {
            DbBackend::Sqlite => {
                "PRAGMA optimize; PRAGMA synchronous = FULL; PRAGMA wal_checkpoint(TRUNCATE)"
            }
            _ => "ANALYZE",
        };
        writer.execute_unprepared(settings).await?;
        Ok(())
    }

    async fn try_insert_many(&self, keys: &[(Key, EventDraft)]) -> Result<u64, Fault> {
        let transaction = self.begin().await?;
        let work = self.insert_within(&transaction, keys).await;
        transaction.finish(work).await
    }

    async fn insert_within(
        &self,
        transaction: &WriteTransaction,
        keys: &[(Key, EventDraft)],
    ) -> Result<Done<u64>, Fault> {
        let tip = events::tip(&transaction.step("tip")).await?;
        let now = events::now(&tip);
        let (mut rows, mut log) = (Rows::default(), Vec::with_capacity(keys.len()));
        let root_key = self.root_key_in_use(transaction).await?;
        for (revision, (key, draft)) in (tip.revision + 1..).zip(keys) {
            let key = Key { revision, update_time: now, create_time: now, ..key.clone() };
            let seal = self.seals().seal(root_key, &key.verifiable()).ok_or_else(no_root_key)?;
            log.push(events::complete(draft.clone(), &key, &seal, revision, now));
            rows.add(&key, &seal)?;
        }
        let (events, hashes) = events::rows_of(transaction, &log).await?;
        insert::<key::ActiveModel>(transaction, "key", rows.keys).await?;
        insert::<key_record::ActiveModel>(transaction, "record", rows.records).await?;
        insert::<key_secret::ActiveModel>(transaction, "secrets", rows.secrets).await?;
        insert::<key_scope::ActiveModel>(transaction, "scopes", rows.scopes).await?;
        insert::<key_label::ActiveModel>(transaction, "labels", rows.labels).await?;
        insert::<audit_event::ActiveModel>(transaction, "event", events).await?;
        insert::<tree_hash::ActiveModel>(transaction, "tree hashes", hashes).await?;
        Ok(Done::Wrote(tip.revision + keys.len() as u64))
    }
}

/// All rows of many keys, by table.
#[derive(Default)]
struct Rows {
    keys: Vec<key::ActiveModel>,
    records: Vec<key_record::ActiveModel>,
    secrets: Vec<key_secret::ActiveModel>,
    scopes: Vec<key_scope::ActiveModel>,
    labels: Vec<key_label::ActiveModel>,
}

impl Rows {
    fn add(&mut self, key: &Key, seal: &[u8]) -> Result<(), Fault> {
        self.keys.push(row::key_row(key, seal)?);
        self.records.push(row::record_row(key, seal));
        self.secrets.extend(row::secret_rows(key)?);
        self.scopes.extend(row::scope_rows(key));
        self.labels.extend(row::label_rows(key));
        Ok(())
    }
}

/// Inserts rows whose columns are all set. SeaORM's `insert_many` writes and has parsed a new statement each time,
/// which takes ten times as long.
async fn insert<A: ActiveModelTrait>(
    transaction: &WriteTransaction,
    step: &'static str,
    mut rows: Vec<A>,
) -> Result<(), Fault> {
    let connection = transaction.step(step);
    let backend = connection.get_database_backend();
    let Some(first) = rows.first() else { return Ok(()) };
    // What the first leaves to the database, all do.
    let columns: Vec<_> = <A::Entity as EntityTrait>::Column::iter()
        .filter(|column| !matches!(first.get(*column), ActiveValue::NotSet))
        .collect();
    for rows in rows.chunks_mut(ROWS_PER_INSERT) {
        let names: Vec<_> =
            columns.iter().map(|column| format!("\"{}\"", column.as_str())).collect();
        let table = A::Entity::default();
        let mut sql =
            format!("INSERT INTO \"{}\" ({}) VALUES ", table.table_name(), names.join(", "));
        let mut values = Vec::with_capacity(rows.len() * columns.len());
        for row in rows {
            sql.push_str(if values.is_empty() { "(" } else { ", (" });
            for (index, column) in columns.iter().enumerate() {
                values.push(value_of(row.take(*column), *column)?);
                let comma = if index == 0 { "" } else { ", " };
                match backend {
                    DbBackend::Sqlite => sql.push_str(&format!("{comma}?")),
                    _ => sql.push_str(&format!("{comma}${}", values.len())),
                }
            }
            sql.push(')');
        }
        connection.execute_raw(Statement::from_sql_and_values(backend, sql, values)).await?;
    }
    Ok(())
}

fn value_of(value: ActiveValue<Value>, column: impl sea_orm::ColumnTrait) -> Result<Value, Fault> {
    match value {
        ActiveValue::Set(value) | ActiveValue::Unchanged(value) => Ok(value),
        ActiveValue::NotSet => {
            let column = column.as_column_ref().1.to_string();
            Err(Fault::internal(format!("a row to be filled in has no {column}")))
        }
    }
}
