//! `countersign serve` as a child process.

use std::path::PathBuf;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Duration;

use super::{Caller, Credential, Database, Program, Running, Store, eventually, run};

const START_LIMIT: Duration = Duration::from_secs(60);
const STOP_LIMIT: Duration = Duration::from_secs(15);

/// A server that is going to start.
#[derive(Clone)]
pub struct Builder {
    store: Arc<Store>,
    args: Vec<String>,
    env: Vec<(String, String)>,
}

/// A server that said it is ready. It ends with this value.
pub struct Server {
    builder: Builder,
    running: Running,
    log: PathBuf,
    grpc: String,
    admin: Option<String>,
    http: String,
    gateways: Option<String>,
}

impl Builder {
    pub fn with_arg(mut self, arg: impl Into<String>) -> Self {
        self.args.push(arg.into());
        self
    }

    pub fn with_args<A: Into<String>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    pub fn with_env(mut self, name: &str, value: impl Into<String>) -> Self {
        self.env.push((name.to_owned(), value.into()));
        self
    }

    pub fn store(&self) -> &Arc<Store> {
        &self.store
    }

    /// What servers of this store have logged so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(run::log_file(&self.store.name).0).expect("the log is there")
    }

    /// The program as it would be started, for tests of servers that refuse to.
    pub fn program(&self) -> Program {
        let listen = ["serve", "--listen", "127.0.0.1:0", "--http-listen", "127.0.0.1:0"];
        let program = self.store.command(listen).args(&self.args).env("COUNTERSIGN_LOG", "trace");
        self.env.iter().fold(program, |program, (name, value)| program.env(name, value))
    }

    /// Starts it and waits for nothing.
    pub fn begin(self) -> Starting {
        let (log, file) = run::log_file(&self.store.name);
        let running = self.program().start(file);
        Starting {
            builder: self,
            running,
            log,
            grpc: None,
            admin: None,
            http: None,
            gateways: None,
            said_ready: false,
        }
    }

    /// Starts it and waits until it is ready.
    pub async fn start(self) -> Server {
        let mut starting = self.begin();
        eventually("the server is ready, or ends", START_LIMIT, async || {
            starting.is_ready() || starting.has_ended()
        })
        .await;
        starting.into_server()
    }
}

/// A server that may become ready. It ends with this value.
pub struct Starting {
    builder: Builder,
    running: Running,
    log: PathBuf,
    grpc: Option<String>,
    admin: Option<String>,
    http: Option<String>,
    gateways: Option<String>,
    said_ready: bool,
}

impl Starting {
    /// Whether it has said so; before, it names its addresses.
    pub fn is_ready(&mut self) -> bool {
        for line in self.running.lines_so_far() {
            let words: Vec<&str> = line.split_whitespace().collect();
            match words[..] {
                ["gRPC", address, ..] => self.grpc = Some(address.to_owned()),
                ["KeyAdmin", address, ..] => self.admin = Some(address.to_owned()),
                ["HTTP", address, ..] => self.http = Some(address.to_owned()),
                ["gateways", address, ..] => self.gateways = Some(address.to_owned()),
                ["ready", ..] => self.said_ready = true,
                _ => {}
            }
        }
        self.said_ready
    }

    pub fn has_ended(&mut self) -> bool {
        self.running.has_ended()
    }

    /// Asks it to end, and waits until it has.
    pub fn sigterm(&mut self) -> ExitStatus {
        self.running.signal("TERM");
        self.running.wait(STOP_LIMIT)
    }

    /// The server that has said that it is ready.
    pub fn into_server(mut self) -> Server {
        if !self.is_ready() {
            let status = self.running.wait(STOP_LIMIT);
            let log = run::tail(&self.log, 20);
            panic!("the server ended before it was ready ({status}):\n{log}");
        }
        self.builder.store.record_canaries();
        let Self { builder, running, log, grpc, admin, http, gateways, .. } = self;
        let named = grpc.zip(http);
        let (grpc, http) = named.expect("the server names its addresses before it says ready");
        Server { builder, running, log, grpc, admin, http, gateways }
    }
}

impl Server {
    /// A server on a fresh store.
    pub async fn start(database: Database) -> Self {
        Self::on(database).await.start().await
    }

    /// The same, with settings still to be said.
    pub async fn on(database: Database) -> Builder {
        Self::on_store(Arc::new(Store::fresh(database).await))
    }

    /// A server on a store that is there already: a second replica, or the next one after a crash.
    pub fn on_store(store: Arc<Store>) -> Builder {
        Builder { store, args: Vec::new(), env: Vec::new() }
    }

    pub fn store(&self) -> &Arc<Store> {
        &self.builder.store
    }

    /// `host:port` of gRPC, as grpcurl wants it.
    pub fn address(&self) -> &str {
        &self.grpc
    }

    /// The URL of gRPC.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.grpc)
    }

    /// The URL of gRPC where `KeyAdmin` has a listener of its own.
    pub fn admin_endpoint(&self) -> String {
        format!("http://{}", self.admin.as_deref().expect("--admin-listen was said"))
    }

    /// The URL of the health and metrics pages.
    pub fn http(&self) -> String {
        format!("http://{}", self.http)
    }

    /// `host:port` where gateways ask over plain HTTP.
    pub fn gateways(&self) -> &str {
        self.gateways.as_deref().expect("--gateway-listen was said")
    }

    /// The first admin's credential.
    pub fn admin(&self) -> Credential {
        self.store().admin()
    }

    /// A caller with the first admin's credential.
    pub async fn as_admin(&self) -> Caller {
        self.caller(Some(self.admin())).await
    }

    /// A caller with that credential, or with none.
    pub async fn caller(&self, credential: Option<Credential>) -> Caller {
        Caller::connect(&self.endpoint(), credential).await
    }

    pub fn pid(&self) -> u32 {
        self.running.pid()
    }

    /// What it has logged so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).expect("the log is there")
    }

    /// Ends it as a power cut would.
    pub fn kill9(&mut self) {
        self.running.kill9();
    }

    /// Asks it to end, and waits until it has.
    pub fn sigterm(&mut self) -> ExitStatus {
        self.running.signal("TERM");
        self.running.wait(STOP_LIMIT)
    }

    pub fn signal(&self, signal: &str) {
        self.running.signal(signal);
    }

    pub fn has_ended(&mut self) -> bool {
        self.running.has_ended()
    }

    /// The same settings and the same store, for the next one.
    pub fn again(&self) -> Builder {
        self.builder.clone()
    }

    /// Starts it anew on the same store with the same settings; kill -9 if it still runs. Its ports
    /// are new ones.
    pub async fn restart(mut self) -> Self {
        self.kill9();
        self.builder.start().await
    }
}
