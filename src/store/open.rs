//! Opening a store: is the database one of ours, can this release read it, and does the root key fit?

use std::sync::Arc;
use std::sync::atomic::AtomicU32;

use sea_orm::{ActiveValue::Set, DbBackend, EntityTrait, QueryOrder as _};

use super::activation::{no_root_key, root_key_in_use};
use super::entity::{data_key, store};
use super::error::Fault;
use super::events;
use super::migrate::{Schema, schema};
use super::open_error::OpenError;
use super::pools::Pools;
use super::probe::probe;
use super::write::{Done, WriteTransaction};
use super::{Inner, Settings, Store};
use crate::domain::durations::Durations;
use crate::domain::ids::StoreId;
use crate::domain::keyring::{DataKey, NONCE_LEN, RootKey, RootKeyring};
use crate::domain::random::{self, Random};
use crate::domain::seal::SealKeys;

impl Store {
    /// Opens a migrated database. The first opening makes the store's data key and wraps it under the newest root key.
    ///
    /// # Errors
    ///
    /// [`OpenError`]: one line that says what to do.
    pub async fn open(
        settings: &Settings,
        root: RootKeyring,
        random: Arc<dyn Random>,
    ) -> Result<Self, OpenError> {
        probe(settings).await?;
        let pools = Pools::new(settings);
        match open_through(settings, &pools, &root, &*random).await {
            Ok((row, data_key)) => {
                let store_id =
                    store_id(&row).map_err(|fault| OpenError::of_fault(&settings.url, fault))?;
                let seals = SealKeys::derive(&root);
                let data_key = Arc::new(data_key);
                let announces = settings.wake_ups && pools.backend == DbBackend::Postgres;
                let following = settings.following;
                let announcer = announces.then(Arc::default);
                let root_key_in_use = AtomicU32::new(0);
                let inner = Inner {
                    pools,
                    following,
                    announcer,
                    seals,
                    root_key_in_use,
                    data_key,
                    store_id,
                    random,
                    appended: Durations::default(),
                };
                Ok(Self { inner: Arc::new(inner), hook: None, of_follower: false })
            }
            Err(error) => {
                let _ = pools.close().await;
                Err(error)
            }
        }
    }
}

fn store_id(row: &store::Model) -> Result<StoreId, Fault> {
    let bytes = row.store_id.as_slice().try_into();
    bytes.map(StoreId).map_err(|_| Fault::internal("the store's id has not 16 bytes"))
}

async fn open_through(
    settings: &Settings,
    pools: &Pools,
    root: &RootKeyring,
    random: &dyn Random,
) -> Result<(store::Model, DataKey), OpenError> {
    let of_fault = |fault| OpenError::of_fault(&settings.url, fault);
    let snapshot = pools.reader.snapshot().await;
    let snapshot = snapshot.map_err(|error| of_fault(pools.explain(error)))?;
    let row = match schema(&snapshot).await.map_err(of_fault)? {
        Schema::Current(row) => row,
        Schema::Pending(_) => return Err(OpenError::Pending(settings.url.clone())),
        Schema::TooNew { min_reader } => return Err(OpenError::too_new(min_reader)),
    };
    let in_use = row.root_key_in_use;
    if in_use > 0 && !root.iter().any(|key| i64::from(key.version()) == i64::from(in_use)) {
        return Err(OpenError::NoRootKey { version: in_use });
    }
    let store = store_id(&row).map_err(of_fault)?;
    let wrapped = wrapped_data_keys(&snapshot).await.map_err(of_fault)?;
    // Nothing was written; a connection that cannot even end this is closed by the pool.
    let _ = snapshot.rollback().await;
    if !wrapped.is_empty() {
        return Ok((row, unwrap(&wrapped, root, store)?));
    }
    let transaction = WriteTransaction::begin(pools, None).await.map_err(of_fault)?;
    let work = make_data_key(&transaction, root, store, random).await;
    let data_key = transaction.finish(work).await.map_err(of_fault)??;
    Ok((row, data_key))
}

/// Under the writer's lock, so that of several processes one makes it and the others find it.
async fn make_data_key(
    transaction: &WriteTransaction,
    root: &RootKeyring,
    store: StoreId,
    random: &dyn Random,
) -> Result<Done<Result<DataKey, OpenError>>, Fault> {
    let wrapped = wrapped_data_keys(&transaction.step("data keys")).await?;
    if !wrapped.is_empty() {
        return Ok(Done::Nothing(unwrap(&wrapped, root, store)));
    }
    if events::any(&transaction.step("events")).await? {
        return Ok(Done::Nothing(Err(OpenError::NoDataKey)));
    }
    let data_key = DataKey::new(random::draw(random)?);
    let nonce: [u8; NONCE_LEN] = random::draw(random)?;
    let versions: Vec<u32> = root.iter().map(RootKey::version).collect();
    let version = root_key_in_use(transaction, &versions, 0).await?;
    let root_key = root.get(version).ok_or_else(no_root_key)?;
    let wrapped = data_key.wrap(root_key, store, nonce);
    let wrapped = wrapped.map_err(|_| Fault::internal("the data key can't be wrapped"))?;
    let version = i32::try_from(version);
    let version = version.map_err(|_| Fault::internal("the root key's version is too large"))?;
    let row = data_key::ActiveModel { root_key_version: Set(version), wrapped: Set(wrapped) };
    let insert = data_key::Entity::insert(row);
    insert.exec_without_returning(&transaction.step("data key")).await?;
    Ok(Done::Wrote(Ok(data_key)))
}

/// All wraps of the data key, newest root key first.
async fn wrapped_data_keys(
    connection: &impl sea_orm::ConnectionTrait,
) -> Result<Vec<data_key::Model>, Fault> {
    let newest_first = data_key::Entity::find().order_by_desc(data_key::Column::RootKeyVersion);
    Ok(newest_first.all(connection).await?)
}

/// Opens the newest wrap whose root key is at hand.
fn unwrap(
    wrapped: &[data_key::Model],
    root: &RootKeyring,
    store: StoreId,
) -> Result<DataKey, OpenError> {
    let with_key = wrapped.iter().find_map(|row| {
        let version = u32::try_from(row.root_key_version).ok()?;
        Some((row, root.get(version)?))
    });
    match with_key {
        Some((row, key)) => DataKey::unwrap(key, store, &row.wrapped)
            .map_err(|_| OpenError::WrongRootKey { version: key.version() }),
        None => {
            let version = wrapped.first().map_or(0, |row| row.root_key_version);
            Err(OpenError::NoRootKey { version })
        }
    }
}
