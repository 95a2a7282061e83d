//! Bringing a database to this release's schema.

use std::collections::HashSet;
use std::fs::OpenOptions;
use std::io::ErrorKind;
use std::path::Path;

use sea_orm::{ActiveValue::Set, EntityName as _, EntityTrait as _, QuerySelect as _};
use sea_orm_migration::{
    IntoSchemaManagerConnection, MigratorTrait as _, SchemaManager, seaql_migrations,
};

use super::Settings;
use super::entity::store;
use super::error::Fault;
use super::events;
use super::migrations::{self, MIN_READER, Migrator, READS_UP_TO};
use super::open_error::OpenError;
use super::pools::Pools;
use super::probe::probe;
use super::url::{DatabaseUrl, Place};
use super::write::{Done, WriteTransaction};
use crate::domain::random::{self, OsRandom};

/// Where SeaORM's migrator keeps what it applied.
const MIGRATIONS_TABLE: &str = "seaql_migrations";

/// What [`migrate`] did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Migrated {
    /// Names of the migrations that were applied, oldest first.
    pub applied: Vec<String>,
    /// Whether the database held no store before.
    pub made: bool,
}

/// The schema of a database, as far as this release can tell.
pub(super) enum Schema {
    /// All migrations of this release are there.
    Current(store::Model),
    /// Some are missing.
    Pending(Vec<String>),
    /// A newer release changed what this one would have to read.
    TooNew {
        /// The least release that can read it.
        min_reader: i32,
    },
}

/// Applies what is missing, all of it in one transaction under the writer's lock, so that of several processes one
/// does it and the others find it done. A missing SQLite file is made, readable by its owner only.
///
/// # Errors
///
/// [`OpenError`], also if a newer release made the database unreadable for this one. Nothing is changed then.
pub async fn migrate(settings: &Settings) -> Result<Migrated, OpenError> {
    if let Place::Sqlite(path) = &settings.url.0 {
        create_file(&settings.url, path)?;
    }
    probe(settings).await?;
    let pools = Pools::new(settings);
    let migrated = migrate_through(settings, &pools).await;
    // Closing can only fail after the work is done or has failed; that is what counts.
    let _ = pools.close().await;
    migrated
}

async fn migrate_through(settings: &Settings, pools: &Pools) -> Result<Migrated, OpenError> {
    let of_fault = |fault| OpenError::of_fault(&settings.url, fault);
    let transaction = WriteTransaction::begin(pools, None).await.map_err(of_fault)?;
    let work = match schema(transaction.connection()).await {
        Ok(Schema::Current(_)) => Ok(Done::Nothing(Ok(Migrated::default()))),
        Ok(Schema::TooNew { min_reader }) => Ok(Done::Nothing(Err(OpenError::too_new(min_reader)))),
        Ok(Schema::Pending(names)) => {
            apply(&transaction, names).await.map(|done| Done::Wrote(Ok(done)))
        }
        Err(fault) => Err(fault),
    };
    transaction.finish(work).await.map_err(of_fault)?
}

async fn apply(transaction: &WriteTransaction, pending: Vec<String>) -> Result<Migrated, Fault> {
    let connection = transaction.connection();
    Migrator::up(connection, None).await?;
    let made = store::Entity::find().one(connection).await?.is_none();
    if made {
        let store_id: [u8; 16] = random::draw(&OsRandom)?;
        let created = events::present(connection).await?;
        let row = store::ActiveModel {
            id: Set(1),
            store_id: Set(store_id.to_vec()),
            epoch: Set(1),
            min_reader: Set(MIN_READER),
            created: Set(created.micros()),
            root_key_in_use: Set(0),
        };
        store::Entity::insert(row).exec_without_returning(connection).await?;
    }
    Ok(Migrated { applied: pending, made })
}

/// Looks at a database's schema without changing it.
pub(super) async fn schema<'c>(
    connection: impl IntoSchemaManagerConnection<'c>,
) -> Result<Schema, Fault> {
    let manager = SchemaManager::new(connection);
    let connection = manager.get_connection();
    let applied: HashSet<String> = if manager.has_table(MIGRATIONS_TABLE).await? {
        let applied = seaql_migrations::Entity::find().all(connection).await?;
        applied.into_iter().map(|migration| migration.version).collect()
    } else {
        HashSet::new()
    };
    let mut pending = migrations::names();
    pending.retain(|name| !applied.contains(name));
    if !manager.has_table(store::Entity.table_name()).await? {
        return Ok(Schema::Pending(pending));
    }
    // Nothing but this column is there in every schema.
    let min_reader = store::Entity::find().select_only().column(store::Column::MinReader);
    let min_reader = min_reader.into_tuple::<i32>().one(connection).await?;
    if let Some(min_reader) = min_reader.filter(|min_reader| *min_reader > READS_UP_TO) {
        return Ok(Schema::TooNew { min_reader });
    }
    if !pending.is_empty() {
        return Ok(Schema::Pending(pending));
    }
    let store = store::Entity::find().one(connection).await?;
    Ok(store.map_or(Schema::Pending(pending), Schema::Current))
}

fn create_file(url: &DatabaseUrl, path: &Path) -> Result<(), OpenError> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    match options.open(path) {
        Ok(_) => Ok(()),
        Err(error) => match error.kind() {
            ErrorKind::AlreadyExists => Ok(()),
            ErrorKind::NotFound | ErrorKind::NotADirectory => {
                Err(OpenError::NoDirectory(url.clone()))
            }
            ErrorKind::StorageFull => Err(OpenError::Full(url.clone())),
            ErrorKind::ReadOnlyFilesystem => Err(OpenError::ReadOnly(url.clone())),
            _ => Err(OpenError::CannotOpen(url.clone())),
        },
    }
}
