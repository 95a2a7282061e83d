//! How much memory and start-up time many keys take: `make capacity`, or
//! `cargo bench --bench capacity -- --keys 1000000`.
//!
//! Fills a SQLite store with keys that differ as a real store's do (three scopes of a few dozen sets, one
//! network of a few hundred, 1,000 accounts), starts the server on it as a user would, and reads its
//! memory from the kernel once it is ready. Then it verifies a sample of the credentials over gRPC: each
//! must be proven, and none with another's secret. All traffic stays on loopback.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    clippy::disallowed_macros,
    missing_docs,
    reason = "a measuring program: it reads the real clock, prints, and stops at the first surprise"
)]

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use countersign::domain::audit::{Actor, EventType, RevokeReason};
use countersign::domain::credential::{Brands, mint_key_id, mint_secret};
use countersign::domain::draft::KeyDraft;
use countersign::domain::ids::Environment;
use countersign::domain::key::{Key, NewSecret, changes};
use countersign::domain::keyring::{RootKey, RootKeyring};
use countersign::domain::random::{OsRandom, draw};
use countersign::domain::time::{Clock as _, SystemClock};
use countersign::rpc::proto::key_verifier_client::KeyVerifierClient;
use countersign::rpc::proto::{Credential, VerifyRequest, verify_request};
use countersign::store::{DatabaseUrl, EventDraft, Settings, Store, migrate};

const BATCH: usize = 10_000;
const SAMPLE: usize = 10_000;

fn main() {
    let keys = keys_from_arguments();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let dir = tempfile::tempdir().expect("a temporary folder");

    let empty = measure(&runtime, &dir.path().join("empty"), 0);
    let full = measure(&runtime, &dir.path().join("full"), keys);

    let per_key = (full.resident_kib - empty.resident_kib) as f64 * 1024.0 / keys as f64;
    println!("{:>12} {:>12} {:>14} {:>12}", "keys", "ready in", "resident", "per key");
    println!(
        "{:>12} {:>11.2}s {:>10} MiB",
        0,
        empty.ready.as_secs_f64(),
        empty.resident_kib / 1024
    );
    println!(
        "{keys:>12} {:>11.2}s {:>10} MiB {per_key:>10.0} B",
        full.ready.as_secs_f64(),
        full.resident_kib / 1024
    );
}

fn keys_from_arguments() -> usize {
    let mut arguments = std::env::args().skip_while(|argument| argument != "--keys").skip(1);
    arguments.next().map_or(100_000, |count| count.parse().expect("--keys takes a number"))
}

struct Measured {
    ready: Duration,
    resident_kib: u64,
}

fn measure(runtime: &tokio::runtime::Runtime, dir: &Path, keys: usize) -> Measured {
    std::fs::create_dir_all(dir).expect("a folder");
    let root_key = dir.join("root-key");
    let line = RootKey::new(1, draw(&OsRandom).expect("random bytes")).to_line();
    write_private(&root_key, &line);
    let sample = runtime.block_on(fill(dir, &line, keys));

    let began = Instant::now();
    let mut server = Server::start(dir);
    let ready = began.elapsed();
    let resident_kib = server.resident_kib();
    runtime.block_on(verify_all(&server.endpoint, &sample));
    server.stop();
    Measured { ready, resident_kib }
}

/// Fills a store; the credentials of some of its keys, spread evenly.
async fn fill(dir: &Path, root_key: &str, keys: usize) -> Vec<(String, String)> {
    let settings = Settings::new(DatabaseUrl::sqlite_file(&dir.join("countersign.db")));
    migrate(&settings).await.expect("migrates");
    let keyring = RootKeyring::parse(root_key).expect("a root key");
    let store = Store::open(&settings, keyring, Arc::new(OsRandom)).await.expect("opens");
    let now = SystemClock::start().now();
    let brands = Brands::default();
    let every = keys.div_ceil(SAMPLE).max(1);
    let mut sample = Vec::new();
    let mut batch = Vec::with_capacity(BATCH);
    for number in 0..keys {
        let key_id = mint_key_id(&brands, Environment::Live, draw(&OsRandom).expect("random"));
        let secret = mint_secret(&brands, Environment::Live, draw(&OsRandom).expect("random"));
        let draft = KeyDraft {
            account_id: format!("account-{}", number % 1_000),
            application_id: format!("application-{}", number % 7),
            environment: Some(Environment::Live),
            display_name: format!("key {number}"),
            scopes: (0..3).map(|scope| format!("service-{}:action-{scope}", number % 40)).collect(),
            allowed_cidrs: vec![format!("10.{}.0.0/16", number % 250)],
            ..KeyDraft::default()
        };
        let digest = store.data_key().digest(key_id.as_str(), secret.expose());
        let new = NewSecret { digest, hint: secret.hint() };
        let spec = draft.check(now).expect("a valid key");
        let key = Key::create(spec, key_id, new, "capacity", now);
        if number % every == 0 {
            sample.push((key.key_id.to_string(), secret.expose().to_owned()));
        }
        let event = EventDraft {
            kind: EventType::KeyCreated,
            actor: Actor::local("capacity"),
            changes: changes(None, Some(&key)),
            revoke_reason: None::<RevokeReason>,
            comment: String::new(),
            request_id: String::new(),
            trace_id: String::new(),
        };
        batch.push((key, event));
        if batch.len() == BATCH || number + 1 == keys {
            store.insert_many(std::mem::take(&mut batch)).await.expect("inserts");
        }
    }
    store.close().await;
    sample
}

struct Server {
    process: Child,
    endpoint: String,
}

impl Server {
    fn start(dir: &Path) -> Self {
        let mut process = Command::new(PathBuf::from(env!("CARGO_BIN_EXE_countersign")))
            .args([
                "serve",
                "--listen",
                "127.0.0.1:0",
                "--http-listen",
                "127.0.0.1:0",
                "--data-dir",
            ])
            .arg(dir)
            .env("COUNTERSIGN_LOG", "warn")
            .stdout(Stdio::piped())
            .spawn()
            .expect("starts");
        let mut lines = BufReader::new(process.stdout.take().expect("piped")).lines();
        let mut endpoint = String::new();
        for line in &mut lines {
            let line = line.expect("readable");
            if let Some(address) = line.trim().strip_prefix("gRPC") {
                endpoint = format!("http://{}", address.trim());
            }
            if line.starts_with("ready") {
                break;
            }
        }
        // Reads on, so that the server never meets a closed pipe.
        std::thread::spawn(move || lines.for_each(drop));
        Self { process, endpoint }
    }

    fn resident_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id()));
        let status = status.expect("this runs on Linux");
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("a resident size");
        line.split_whitespace().nth(1).expect("a number").parse().expect("a number")
    }

    fn stop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Every credential of the sample is proven, and none is with another's secret. (The keys are bound to
/// networks and no address is given, so none is allowed: what counts here is that each key is found.)
async fn verify_all(endpoint: &str, sample: &[(String, String)]) {
    let mut client = KeyVerifierClient::connect(endpoint.to_owned()).await.expect("connects");
    for (index, (key_id, secret)) in sample.iter().enumerate() {
        let (_, other) = &sample[(index + 1) % sample.len()];
        for (secret, expected) in [(secret, true), (other, sample.len() == 1)] {
            let presented = Credential { key_id: key_id.clone(), secret: secret.clone() };
            let request = VerifyRequest {
                presented: Some(verify_request::Presented::Credential(presented)),
                ..VerifyRequest::default()
            };
            let answer = client.verify(request).await.expect("an answer").into_inner();
            let proven = answer.key.is_some();
            assert_eq!(proven, expected, "the key {key_id} was judged wrongly");
        }
    }
}

fn write_private(path: &Path, text: &str) {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;

    let mut file = std::fs::OpenOptions::new();
    let mut file = file.write(true).create_new(true).mode(0o600).open(path).expect("a new file");
    writeln!(file, "{text}").expect("written");
}
