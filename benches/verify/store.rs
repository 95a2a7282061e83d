//! Stores with many keys, filled once and kept under `target/bench-data`.
//!
//! The keys differ as a real store's do: three scopes of a few dozen sets, one network of a few hundred, 1,000
//! accounts. The log is true: one event a key, with its place in the tree.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use countersign::domain::audit::{Actor, EventType};
use countersign::domain::credential::{Brands, mint_key_id, mint_secret};
use countersign::domain::draft::KeyDraft;
use countersign::domain::ids::Environment;
use countersign::domain::key::{Key, NewSecret, changes};
use countersign::domain::keyring::{RootKey, RootKeyring};
use countersign::domain::random::{OsRandom, draw};
use countersign::domain::time::{Clock as _, SystemClock};
use countersign::store::{DatabaseUrl, EventDraft, Settings, Store, migrate};

/// Keys of one transaction.
const BATCH: usize = 20_000;
/// The most credentials that are kept for the load: enough that their records don't fit into a core's cache.
const SAMPLE: usize = 131_072;

/// One key that the load can present.
#[derive(Debug, Clone)]
pub(crate) struct Sample {
    pub(crate) key_id: String,
    pub(crate) secret: String,
    /// Its place in the store, from which its scopes and its network follow.
    pub(crate) number: usize,
}

/// A filled store.
pub(crate) struct Filled {
    /// Its folder, as `serve` takes it.
    pub(crate) dir: PathBuf,
    /// Keys of ordinary accounts.
    pub(crate) sample: Vec<Sample>,
    /// A service that may verify.
    pub(crate) caller: Sample,
    /// Who may do everything.
    pub(crate) admin: Sample,
}

/// The scope of a key that the load asks for.
pub(crate) fn scope_of(number: usize) -> String {
    format!("service-{}:action-{}", number % 40, number % 3)
}

/// An address in a key's network.
pub(crate) fn address_of(number: usize) -> String {
    format!("10.{}.{}.{}", number % 250, number % 199, 1 + number % 250)
}

/// A SQLite store of so many keys, from the cache or filled now.
pub(crate) fn sqlite(runtime: &tokio::runtime::Runtime, root: &Path, keys: usize) -> Filled {
    fs::create_dir_all(root).expect("a folder");
    let schema = runtime.block_on(schema(root));
    let dir = root.join(format!("{schema}-{keys}"));
    if !dir.join("credentials").exists() {
        let part = root.join(format!("{schema}-{keys}.part"));
        // What an earlier run left half done.
        let _ = fs::remove_dir_all(&part);
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir_all(&part).expect("a folder");
        let url = DatabaseUrl::sqlite_file(&part.join("countersign.db"));
        runtime.block_on(fill(&part, url, keys));
        fs::rename(&part, &dir).expect("renamed");
    }
    read(dir)
}

/// A store behind a URL, filled now; its root key and its credentials are kept in a folder.
pub(crate) fn at_url(
    runtime: &tokio::runtime::Runtime,
    dir: &Path,
    url: &str,
    keys: usize,
) -> Filled {
    let _ = fs::remove_dir_all(dir);
    fs::create_dir_all(dir).expect("a folder");
    let url = DatabaseUrl::parse(url).expect("a database URL");
    runtime.block_on(fill(dir, url, keys));
    read(dir.to_owned())
}

/// The name of the newest migration: a store of an older one is another store.
async fn schema(root: &Path) -> String {
    let scratch = tempfile::tempdir_in(root).expect("a temporary folder");
    let settings = Settings::new(DatabaseUrl::sqlite_file(&scratch.path().join("schema.db")));
    let migrated = migrate(&settings).await.expect("migrates");
    migrated.applied.last().expect("a new database needs migrations").clone()
}

async fn fill(dir: &Path, url: DatabaseUrl, keys: usize) {
    let began = Instant::now();
    let root_key = RootKey::new(1, draw(&OsRandom).expect("random bytes")).to_line();
    write_private(&dir.join("root-key"), &root_key);
    let settings = Settings::new(url);
    migrate(&settings).await.expect("migrates");
    let keyring = RootKeyring::parse(&root_key).expect("a root key");
    let store = Store::open(&settings, keyring, Arc::new(OsRandom)).await.expect("opens");
    let filling = store.fill().await.expect("takes the indexes away");

    let mut credentials = String::new();
    let special = [special_draft(&["countersign.verify:call"]), special_draft(&ADMINISTRATOR)];
    let [caller, admin] =
        special.map(|draft| made(&store, draft, 0, draw(&OsRandom).expect("random")));
    for made in [&caller, &admin] {
        credentials.push_str(&line(&made.1));
    }
    store.insert_many(vec![caller.0, admin.0]).await.expect("inserts");

    let every = keys.div_ceil(SAMPLE).max(1);
    for first in (0..keys).step_by(BATCH) {
        let making = store.clone();
        let batch = tokio::task::spawn_blocking(move || {
            let numbers = first..keys.min(first + BATCH);
            let each = numbers.map(|number| made(&making, draft(number), number, id(number, keys)));
            let mut made = each.collect::<Vec<_>>();
            made.sort_by(|(_, one), (_, other)| one.key_id.cmp(&other.key_id));
            made
        });
        let (rows, samples): (Vec<_>, Vec<_>) = batch.await.expect("no panic").into_iter().unzip();
        store.insert_many(rows).await.expect("inserts");
        for sample in samples.iter().filter(|sample| sample.number % every == 0) {
            credentials.push_str(&line(sample));
        }
        eprint!(
            "\rfilling: {} of {keys} keys, {:.0} s",
            first + BATCH,
            began.elapsed().as_secs_f64()
        );
    }
    eprintln!("\rfilled {keys} keys in {:.0} s", began.elapsed().as_secs_f64());
    store.filled(filling).await.expect("makes the indexes again");
    store.close().await;
    eprintln!("with indexes: {:.0} s", began.elapsed().as_secs_f64());
    write_private(&dir.join("credentials"), credentials.trim_end());
}

const ADMINISTRATOR: [&str; 5] = [
    "countersign.audit:read",
    "countersign.keys:read",
    "countersign.keys:revoke",
    "countersign.keys:write",
    "countersign.verify:call",
];

fn special_draft(scopes: &[&str]) -> KeyDraft {
    KeyDraft {
        account_id: "countersign".to_owned(),
        application_id: "bench".to_owned(),
        environment: Some(Environment::Live),
        display_name: "bench".to_owned(),
        scopes: scopes.iter().map(ToString::to_string).collect(),
        ..KeyDraft::default()
    }
}

fn draft(number: usize) -> KeyDraft {
    KeyDraft {
        account_id: format!("account-{}", number % 1_000),
        application_id: format!("application-{}", number % 7),
        environment: Some(Environment::Live),
        display_name: format!("key {number}"),
        scopes: (0..3).map(|scope| format!("service-{}:action-{scope}", number % 40)).collect(),
        allowed_cidrs: vec![format!("10.{}.0.0/16", number % 250)],
        ..KeyDraft::default()
    }
}

/// The number of a key's id: random, but rising with the key's place but for its neighbours. All ids together lie as
/// random ones do, and the tables, which are sorted by them, fill from one end.
fn id(number: usize, keys: usize) -> [u8; 16] {
    let mut id: [u8; 16] = draw(&OsRandom).expect("random");
    let batches = u32::try_from(keys.div_ceil(BATCH)).expect("not so many");
    let width = u32::MAX / batches;
    let random = u32::from_be_bytes([id[0], id[1], id[2], id[3]]);
    let first = u32::try_from(number / BATCH).expect("not so many") * width + random % width;
    id[..4].copy_from_slice(&first.to_be_bytes());
    id
}

fn made(
    store: &Store,
    draft: KeyDraft,
    number: usize,
    id: [u8; 16],
) -> ((Key, EventDraft), Sample) {
    let now = SystemClock::start().now();
    let brands = Brands::default();
    let key_id = mint_key_id(&brands, Environment::Live, id);
    let secret = mint_secret(&brands, Environment::Live, draw(&OsRandom).expect("random"));
    let digest = store.data_key().digest(key_id.as_str(), secret.expose());
    let new = NewSecret { digest, hint: secret.hint() };
    let spec = draft.check(now).expect("a valid key");
    let key = Key::create(spec, key_id, new, "bench", now);
    let sample =
        Sample { key_id: key.key_id.to_string(), secret: secret.expose().to_owned(), number };
    let event = EventDraft {
        kind: EventType::KeyCreated,
        actor: Actor::local("bench"),
        changes: changes(None, Some(&key)),
        revoke_reason: None,
        comment: String::new(),
        request_id: String::new(),
        trace_id: String::new(),
    };
    ((key, event), sample)
}

fn line(sample: &Sample) -> String {
    format!("{} {} {}\n", sample.key_id, sample.secret, sample.number)
}

fn read(dir: PathBuf) -> Filled {
    let text = fs::read_to_string(dir.join("credentials")).expect("the kept credentials");
    let mut sample = text.lines().map(|line| {
        let mut words = line.split(' ').map(str::to_owned);
        let mut word = || words.next().expect("three words");
        let (key_id, secret) = (word(), word());
        Sample { key_id, secret, number: word().parse().expect("a number") }
    });
    let (caller, admin) = (sample.next().expect("a caller"), sample.next().expect("an admin"));
    Filled { dir, sample: sample.collect(), caller, admin }
}

fn write_private(path: &Path, text: &str) {
    use std::os::unix::fs::OpenOptionsExt as _;

    let mut file = fs::OpenOptions::new();
    let mut file = file.write(true).create_new(true).mode(0o600).open(path).expect("a new file");
    writeln!(file, "{text}").expect("written");
}
