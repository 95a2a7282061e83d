//! A migrated, open store of one test, the changes that tests make to it, and a way around it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use countersign::domain::Error;
use countersign::domain::audit::{Actor, EventType};
use countersign::domain::draft::KeyDraft;
use countersign::domain::ids::{Environment, KeyId};
use countersign::domain::key::{Key, NewSecret, changes};
use countersign::domain::keyring::{Digest, RootKey, RootKeyring};
use countersign::domain::permission::Permission;
use countersign::domain::random::{OsRandom, draw};
use countersign::domain::time::Timestamp;
use countersign::store::{
    Before, Changed, DatabaseUrl, Decision, EventDraft, ReplySlot, Settings, Store, Target, migrate,
};
use sea_orm::{ConnectionTrait, DatabaseConnection, DbBackend, Statement};
use tokio::sync::OnceCell;

use crate::harness::{Database, canary, postgres, run};

pub struct Bench {
    pub store: Store,
    pub settings: Settings,
    root_key: String,
    around: OnceCell<DatabaseConnection>,
}

/// Where a fresh database of that kind would be; on PostgreSQL it is there, but empty.
pub async fn unprepared(database: Database) -> Settings {
    let url = match database {
        Database::Sqlite => {
            let dir = run::new_data_dir(&run::unique_name());
            DatabaseUrl::sqlite_file(&dir.join("store.db"))
        }
        Database::Postgres => {
            DatabaseUrl::parse(&postgres::new_database().await).expect("the harness makes URLs")
        }
    };
    Settings::new(url)
}

/// A new root key, as a line of a root key file, noted as a canary.
pub fn new_root_key(version: u32) -> String {
    let line = RootKey::new(version, draw(&OsRandom).expect("random bytes")).to_line();
    let (_, base64) = line.split_once(':').expect("version:base64");
    canary::record_root_key(base64);
    line.to_string()
}

pub fn keyring(lines: &str) -> RootKeyring {
    RootKeyring::parse(lines).expect("root keys")
}

impl Bench {
    pub async fn new(database: Database) -> Self {
        let settings = unprepared(database).await;
        migrate(&settings).await.expect("an empty database can be migrated");
        let root_key = new_root_key(1);
        let store = open(&settings, &root_key).await;
        Self { store, settings, root_key, around: OnceCell::new() }
    }

    /// The same database, opened once more: another process, as far as the database can tell.
    pub async fn open_again(&self) -> Store {
        open(&self.settings, &self.root_key).await
    }

    /// The root key's line.
    pub fn root_key(&self) -> &str {
        &self.root_key
    }

    pub fn is_sqlite(&self) -> bool {
        self.settings.url.is_sqlite()
    }

    /// A connection around the store, for changes that it would never make.
    async fn around(&self) -> &DatabaseConnection {
        self.around.get_or_init(|| self.raw()).await
    }

    /// A connection around the store of the test's own, for sessions that hold something.
    pub async fn raw(&self) -> DatabaseConnection {
        raw(&self.settings).await
    }

    pub async fn sql(&self, sql: &str) {
        let done = self.around().await.execute_unprepared(sql).await;
        done.unwrap_or_else(|error| panic!("{sql}: {error}"));
    }

    /// Everything in the database, as text, to see whether anything changed.
    pub async fn dump(&self) -> String {
        self.dump_of(&TABLES).await
    }

    /// The same of these tables.
    pub async fn dump_of(&self, tables: &[&str]) -> String {
        let connection = self.around().await;
        let mut text = String::new();
        for table in tables {
            text.push_str(table);
            text.push('\n');
            for row in rows(connection, table).await {
                text.push_str(&row);
                text.push('\n');
            }
        }
        text
    }

    /// The first column of what a query finds.
    pub async fn texts(&self, select: &str) -> Vec<String> {
        texts(self.around().await, select).await
    }

    pub async fn key(&self, id: &str) -> Option<Key> {
        self.store.get_key(id).await.expect("reads")
    }

    pub async fn assert_log_is_right(&self) {
        let report = self.store.check_log().await.expect("can be checked");
        assert_eq!(report.faults, Vec::<String>::new());
    }
}

async fn open(settings: &Settings, root_key: &str) -> Store {
    let opened = Store::open(settings, keyring(root_key), Arc::new(OsRandom)).await;
    opened.unwrap_or_else(|error| panic!("{error}"))
}

pub async fn raw(settings: &Settings) -> DatabaseConnection {
    sea_orm::Database::connect(real_url(settings)).await.expect("connects")
}

/// The URL with its password, which the store itself never shows: the harness has it.
pub fn real_url(settings: &Settings) -> String {
    let shown = settings.url.to_string();
    if settings.url.is_sqlite() {
        return shown.replacen("sqlite:", "sqlite://", 1);
    }
    let (_, database) = shown.rsplit_once('/').expect("names a database");
    let cluster = run::postgres_url();
    let (server, _) = cluster.rsplit_once('/').expect("names a database");
    format!("{server}/{database}")
}

const TABLES: [&str; 13] = [
    "store",
    "epochs",
    "replicas",
    "data_keys",
    "keys",
    "key_secrets",
    "key_scopes",
    "key_labels",
    "key_records",
    "tombstones",
    "audit_events",
    "tree_hashes",
    "replies",
];

async fn rows(connection: &DatabaseConnection, table: &str) -> Vec<String> {
    let backend = connection.get_database_backend();
    let select = match backend {
        DbBackend::Sqlite => {
            let columns = format!("SELECT name FROM pragma_table_info('{table}')");
            let columns = texts(connection, &columns).await;
            let quoted: Vec<String> =
                columns.iter().map(|name| format!("quote(\"{name}\")")).collect();
            format!("SELECT {} AS row FROM \"{table}\" ORDER BY 1", quoted.join(" || '|' || "))
        }
        _ => format!("SELECT t::text AS row FROM \"{table}\" t ORDER BY 1"),
    };
    texts(connection, &select).await
}

async fn texts(connection: &DatabaseConnection, select: &str) -> Vec<String> {
    let statement = Statement::from_string(connection.get_database_backend(), select);
    let rows = connection.query_all_raw(statement).await;
    let rows = rows.unwrap_or_else(|error| panic!("{select}: {error}"));
    rows.iter().map(|row| row.try_get_by_index(0).expect("text")).collect()
}

pub fn key_id(text: &str) -> KeyId {
    KeyId::from_stored(text.to_owned()).expect("a key id")
}

/// A new digest, of no secret.
pub fn secret() -> NewSecret {
    let digest = Digest::from_bytes(draw(&OsRandom).expect("random bytes"));
    NewSecret { digest, hint: "hint".to_owned() }
}

pub fn acme() -> KeyDraft {
    KeyDraft {
        account_id: "acme".to_owned(),
        application_id: "billing".to_owned(),
        environment: Some(Environment::Live),
        display_name: "Billing".to_owned(),
        scopes: vec!["transactions:read".to_owned(), "transactions:write".to_owned()],
        allowed_cidrs: vec!["10.0.0.0/8".to_owned()],
        labels: [("team".to_owned(), "payments".to_owned())].into(),
        ..KeyDraft::default()
    }
}

/// A key that administers the service.
pub fn administrator() -> KeyDraft {
    KeyDraft {
        account_id: "countersign".to_owned(),
        scopes: Permission::ALL.map(|one| one.scope().to_owned()).to_vec(),
        allowed_cidrs: vec![],
        ..acme()
    }
}

pub fn new_key(id: &str, draft: KeyDraft, now: Timestamp) -> Key {
    let spec = draft.check(Timestamp::default()).expect("a good draft");
    Key::create(spec, key_id(id), secret(), "test", now)
}

pub fn event(kind: EventType, before: Option<&Key>, after: Option<&Key>) -> EventDraft {
    EventDraft {
        kind,
        actor: Actor::local("test"),
        changes: changes(before, after),
        revoke_reason: None,
        comment: String::new(),
        request_id: String::new(),
        trace_id: String::new(),
    }
}

/// Creates a key of acme.
pub async fn create(store: &Store, id: &str) -> Result<Changed<Key>, Error> {
    create_from(store, id, acme(), None).await
}

/// Creates a key, and remembers the reply `sealed reply of <id>` where a slot is given.
pub async fn create_from(
    store: &Store,
    id: &str,
    draft: KeyDraft,
    slot: Option<&ReplySlot>,
) -> Result<Changed<Key>, Error> {
    let new = key_id(id);
    store
        .change_key(Target::New(&new), slot, |before| {
            if let Some(key) = &before.key {
                return Ok(Decision::Unchanged(key.clone()));
            }
            if before.deleted.is_some() {
                return Err(Error::KeyNotFound { key_id: id.to_owned() });
            }
            let mut key = new_key(id, draft.clone(), before.now);
            before.stamp(&mut key);
            let event = event(EventType::KeyCreated, None, Some(&key));
            let remember = slot.map(|_| format!("sealed reply of {id}").into_bytes());
            Ok(Decision::Put { key: key.clone(), event, remember, reply: key })
        })
        .await
}

/// Changes a key in any way.
pub async fn change(
    store: &Store,
    id: &str,
    kind: EventType,
    how: impl Fn(&mut Key, &Before) -> Result<(), Error> + Send + Sync,
) -> Result<Changed<Key>, Error> {
    store
        .change_key(Target::Existing(id), None, |before| {
            let old = existing(before, id)?;
            let mut key = old.clone();
            how(&mut key, before)?;
            before.stamp(&mut key);
            let event = event(kind, Some(old), Some(&key));
            Ok(Decision::Put { key: key.clone(), event, remember: None, reply: key })
        })
        .await
}

pub async fn rename(store: &Store, id: &str, name: &str) -> Result<Changed<Key>, Error> {
    change(store, id, EventType::KeyUpdated, |key, _| {
        key.display_name = name.to_owned();
        Ok(())
    })
    .await
}

pub async fn delete(store: &Store, id: &str) -> Result<Changed<()>, Error> {
    store
        .change_key(Target::Existing(id), None, |before| {
            if before.deleted.is_some() {
                return Ok(Decision::Unchanged(()));
            }
            let event = event(EventType::KeyDeleted, Some(existing(before, id)?), None);
            Ok(Decision::Delete { event, reply: () })
        })
        .await
}

pub fn existing<'b>(before: &'b Before, id: &str) -> Result<&'b Key, Error> {
    before.key.as_ref().ok_or_else(|| Error::KeyNotFound { key_id: id.to_owned() })
}

/// A reply slot that nobody else has.
pub fn slot() -> ReplySlot {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let mut slot = [0; 32];
    slot[..8].copy_from_slice(&NEXT.fetch_add(1, Ordering::Relaxed).to_be_bytes());
    ReplySlot { slot, request_hash: [7; 32] }
}
