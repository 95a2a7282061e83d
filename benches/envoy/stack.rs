//! A service, Countersign before it, and Envoy before both, as `examples/envoy` has them.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use axum::Router;
use countersign::rpc::proto::key_admin_client::KeyAdminClient;
use countersign::rpc::proto::{CreateKeyRequest, Environment, Key};
use tonic::Request;

const READY_WITHIN: Duration = Duration::from_secs(30);

/// What runs, until this is dropped.
pub(crate) struct Stack {
    _folder: tempfile::TempDir,
    _processes: [Process; 2],
    with_the_filter: SocketAddr,
    without_the_filter: SocketAddr,
    key_id: String,
    secret: String,
}

struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Stack {
    pub(crate) async fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let service = service().await;
        let (server, grpc) = countersign(folder.path());
        let (key_id, secret) = mint(grpc, &folder.path().join("admin.env")).await;
        let (envoy, [with_the_filter, without_the_filter]) = envoy(folder.path(), service, grpc);
        let _processes = [envoy, server];
        Self { _folder: folder, _processes, with_the_filter, without_the_filter, key_id, secret }
    }

    /// The listener of the example.
    pub(crate) fn with_the_filter(&self) -> SocketAddr {
        self.with_the_filter
    }

    /// The same listener but for the filter.
    pub(crate) fn without_the_filter(&self) -> SocketAddr {
        self.without_the_filter
    }

    pub(crate) fn credential(&self) -> (&str, &str) {
        (&self.key_id, &self.secret)
    }
}

fn in_repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

async fn service() -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    let routes = Router::new().fallback(|| async { "served\n" });
    tokio::spawn(async move { axum::serve(listener, routes).await.expect("it serves") });
    address
}

/// Our server as a user starts it, with the routes of the example.
fn countersign(folder: &Path) -> (Process, SocketAddr) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_countersign"));
    command.args([
        "serve",
        "--listen",
        "127.0.0.1:0",
        "--http-listen",
        "127.0.0.1:0",
        "--log",
        "warn",
    ]);
    command
        .arg("--data-dir")
        .arg(folder)
        .arg("--config")
        .arg(in_repository("examples/envoy/countersign.toml"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("COUNTERSIGN_")) {
        command.env_remove(name);
    }
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().expect("it starts");
    let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    let process = Process(child);
    let mut address = None;
    loop {
        let line = lines.next().expect("the server ended before it was ready").expect("text");
        if let Some(text) = line.trim().strip_prefix("gRPC") {
            address = text.trim().parse().ok();
        }
        if line.trim() == "ready" {
            break;
        }
    }
    std::thread::spawn(move || lines.for_each(drop));
    (process, address.expect("it says where it is"))
}

/// A key that may read transactions.
async fn mint(grpc: SocketAddr, admin_env: &Path) -> (String, String) {
    let text = fs::read_to_string(admin_env).expect("the first credential");
    let value = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
        line.expect("both lines").to_owned()
    };
    let mut request = Request::new(CreateKeyRequest {
        key: Some(Key {
            account_id: "acme".to_owned(),
            application_id: "bench".to_owned(),
            environment: Environment::Live.into(),
            display_name: "a key of the benchmark".to_owned(),
            scopes: vec!["transactions:read".to_owned()],
            ..Key::default()
        }),
        ..CreateKeyRequest::default()
    });
    let authorization = format!("Bearer {}", value("COUNTERSIGN_KEY_ID"));
    request.metadata_mut().insert("authorization", authorization.parse().expect("ASCII"));
    request
        .metadata_mut()
        .insert("x-secret-key", value("COUNTERSIGN_SECRET").parse().expect("ASCII"));
    let mut client =
        KeyAdminClient::connect(format!("http://{grpc}")).await.expect("it takes calls");
    let reply = client.create_key(request).await.expect("a key").into_inner();
    (reply.key.expect("the key").key_id, reply.secret)
}

/// The example, with the ports of this run and its listener a second time, without the filter.
fn envoy(folder: &Path, service: SocketAddr, grpc: SocketAddr) -> (Process, [SocketAddr; 2]) {
    // Both at once, so that they are two.
    let free = [0; 2].map(|_| TcpListener::bind("127.0.0.1:0").expect("a free port"));
    let free = free.map(|listener| listener.local_addr().expect("an address"));
    let [with_the_filter, without_the_filter] = free;
    let example =
        fs::read_to_string(in_repository("examples/envoy/envoy.yaml")).expect("the example");
    let (head, rest) = once(&example, "    - name: public\n");
    let (listener, clusters) = once(rest, "  clusters:\n");
    let (before, after) =
        once(listener, "                  - name: envoy.filters.http.ext_authz\n");
    let (_, after) = once(after, "                  - name: envoy.filters.http.router\n");
    let unfiltered =
        format!("{before}                  - name: envoy.filters.http.router\n{after}");
    let at = |listener: &str, address: SocketAddr| {
        once(listener, "port_value: 10000");
        listener.replace("port_value: 10000", &format!("port_value: {}", address.port()))
    };
    let mut text = format!(
        "{head}    - name: public\n{}    - name: without the filter\n{}  clusters:\n{clusters}",
        at(listener, with_the_filter),
        at(&unfiltered, without_the_filter)
    );
    for (port, other) in [("9000", service), ("50051", grpc)] {
        let port = format!("port_value: {port} ");
        once(&text, &port);
        text = text.replace(&port, &format!("port_value: {} ", other.port()));
    }
    let file = folder.join("envoy.yaml");
    fs::write(&file, text).expect("a file");
    let program = in_repository(".tools/bin/envoy");
    assert!(program.exists(), "there is no .tools/bin/envoy: python3 tests/run.py --tools-only");
    let mut command = Command::new(program);
    command
        .args(["--concurrency", "1", "--disable-hot-restart", "--log-level", "error", "-c"])
        .arg(&file);
    let child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().expect("Envoy starts");
    let (process, began) = (Process(child), Instant::now());
    while free.iter().any(|address| TcpStream::connect(address).is_err()) {
        assert!(began.elapsed() < READY_WITHIN, "Envoy does not listen");
        std::thread::sleep(Duration::from_millis(10));
    }
    (process, free)
}

/// What stands before and after a text that is there once.
fn once<'t>(text: &'t str, part: &str) -> (&'t str, &'t str) {
    let (before, after) = text.split_once(part).unwrap_or_else(|| panic!("no {part} in {text}"));
    assert!(!after.contains(part), "{part} is there more than once");
    (before, after)
}
