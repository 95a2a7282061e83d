//! Several servers on one PostgreSQL. Each has a data folder of its own, and a network of its own between it and the
//! database, so that each can be frozen, cut off, killed and started while the others go on.
//!
//! ```text
//!   caller ──► replica 0 ──► network 0 ──┐
//!   caller ──► replica 1 ──► network 1 ──┼──► database
//!   caller ──► replica 2 ──► network 2 ──┘
//! ```

use std::path::Path;
use std::process::ExitStatus;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use countersign::rpc::proto::{
    ListReplicasRequest, Replica as Row, RevokeKeyRequest, RevokeKeyResponse, RevokeReason,
    VerifyRequest, VerifyResponse, Wait,
};
use tokio::runtime::Handle;
use tonic::{Request, Status};

use super::server::Builder;
use super::{Caller, Credential, Database, Proxy, Server, Store, eventually, postgres, run};

/// The replicas of one store, by number.
pub struct Replicas {
    /// The store as it is reached without any network in between.
    pub store: Arc<Store>,
    all: Vec<Replica>,
}

/// One server, or the place of one. What is done to it needs only a reference, so that a test can do it while callers
/// call.
pub struct Replica {
    /// Between it and the database.
    pub network: Proxy,
    builder: Builder,
    server: Mutex<Option<Server>>,
    /// Where it is called; the last address while it does not run.
    caller: Mutex<Option<Caller>>,
}

/// What all replicas of a test are told.
#[derive(Clone, Default)]
pub struct Told {
    args: Vec<String>,
    env: Vec<(&'static str, String)>,
}

impl Told {
    pub fn max_staleness(self, staleness: &str) -> Self {
        self.arg("--max-staleness").arg(staleness)
    }

    /// Whether replicas are woken by the database, or find everything by looking.
    pub fn database_listen(self, listen: bool) -> Self {
        self.arg("--database-listen").arg(if listen { "on" } else { "off" })
    }

    /// Its wall clock shows what this file says, e.g. `+3600`, and follows it when it changes. The clocks that nobody
    /// can set are left as they are.
    pub fn wall_clock(mut self, offset: &Path) -> Self {
        self.env.extend([
            ("LD_PRELOAD", run::faketime().display().to_string()),
            ("FAKETIME_TIMESTAMP_FILE", offset.display().to_string()),
            ("FAKETIME_NO_CACHE", "1".to_owned()),
            ("DONT_FAKE_MONOTONIC", "1".to_owned()),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
        ]);
        self
    }

    pub fn env(mut self, name: &'static str, value: String) -> Self {
        self.env.push((name, value));
        self
    }

    pub fn arg(mut self, arg: &str) -> Self {
        self.args.push(arg.to_owned());
        self
    }
}

impl Replicas {
    /// So many servers on a fresh store on the cluster of the run.
    pub async fn start(count: usize, told: Told) -> Self {
        let store = Store::fresh(Database::Postgres).await;
        Self::on(store, count, told).await
    }

    /// So many servers on a store that is prepared. Its URL may name a proxy or a pooler.
    pub async fn on(store: Store, count: usize, told: Told) -> Self {
        let mut replicas = Self::none(store);
        for _ in 0..count {
            replicas.add(&told).await;
            replicas.all.last().expect("it was just added").start().await;
        }
        replicas
    }

    pub fn none(store: Store) -> Self {
        Self { store: Arc::new(store), all: Vec::new() }
    }

    /// The place of one more, which does not run yet.
    pub async fn add(&mut self, told: &Told) -> &Replica {
        let url = self.store.url.as_deref().expect("replicas share a PostgreSQL");
        let network = Proxy::to(postgres::address_of(url)).await;
        let seen = Arc::new(self.store.seen_through(postgres::through(url, network.address())));
        // At TRACE a server under load spends its time on its log.
        let builder = Server::on_store(seen).with_args(&told.args);
        let builder = builder.with_env("COUNTERSIGN_LOG", "info,countersign=debug");
        let with = |builder: Builder, (name, value): &(&str, String)| builder.with_env(name, value);
        let builder = told.env.iter().fold(builder, with);
        let (server, caller) = (Mutex::default(), Mutex::default());
        self.all.push(Replica { network, builder, server, caller });
        self.all.last().expect("it was just added")
    }

    pub fn each(&self) -> impl Iterator<Item = &Replica> {
        self.all.iter()
    }

    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// What each replica says to a credential, asked at the same time.
    pub async fn verify_everywhere(
        &self,
        credential: &Credential,
    ) -> Vec<Result<VerifyResponse, Status>> {
        let callers = self.all.iter().map(Replica::caller);
        let asked = callers.map(|caller| async move {
            caller.anonymous().try_verify(credential, VerifyRequest::default()).await
        });
        futures::future::join_all(asked).await
    }

    /// Waits until every replica serves: allows what is good.
    pub async fn all_allow(&self, credential: &Credential, limit: Duration) {
        eventually("every replica allows a good key", limit, async || {
            let answers = self.verify_everywhere(credential).await;
            answers.iter().all(|answer| answer.as_ref().is_ok_and(|reply| reply.allowed))
        })
        .await;
    }
}

impl std::ops::Index<usize> for Replicas {
    type Output = Replica;

    fn index(&self, number: usize) -> &Replica {
        &self.all[number]
    }
}

impl Replica {
    /// Starts it, or starts it anew, and waits until it is ready.
    pub async fn start(&self) {
        let (builder, runtime) = (self.builder.clone(), Handle::current());
        // On a thread of its own, since what waits so can't be sent to another one.
        let started = tokio::task::spawn_blocking(move || runtime.block_on(builder.start())).await;
        self.take(started.expect("the server starts"));
    }

    /// Makes a server that was started elsewhere the one in this place.
    pub fn take(&self, server: Server) {
        let caller = Caller::lazily(&server.endpoint(), Some(server.admin()));
        *self.caller.lock().unwrap() = Some(caller);
        *self.server.lock().unwrap() = Some(server);
    }

    pub fn builder(&self) -> Builder {
        self.builder.clone()
    }

    /// The first administrator as a caller of this replica.
    pub fn caller(&self) -> Caller {
        self.caller.lock().unwrap().clone().expect("it was started once")
    }

    /// Stops its clock hands: it does nothing, and knows nothing of it.
    pub fn freeze(&self) {
        self.with(|server| server.signal("STOP"));
    }

    pub fn thaw(&self) {
        self.with(|server| server.signal("CONT"));
    }

    pub fn kill9(&self) {
        self.server.lock().unwrap().take().expect("it runs").kill9();
    }

    /// Asks it to end, and gives how it did and how long it took.
    pub async fn stop(&self) -> (ExitStatus, Duration) {
        let mut server = self.server.lock().unwrap().take().expect("it runs");
        let began = Instant::now();
        let status = tokio::task::spawn_blocking(move || server.sigterm()).await;
        (status.expect("it can be waited for"), began.elapsed())
    }

    pub fn runs(&self) -> bool {
        self.server.lock().unwrap().is_some()
    }

    /// What it has logged so far, over all its starts.
    pub fn log(&self) -> String {
        self.builder.log()
    }

    /// The store as this replica sees it.
    pub fn store(&self) -> &Store {
        self.builder.store()
    }

    /// `host:port` of gRPC, until it is started anew.
    pub fn address(&self) -> String {
        self.with(|server| server.address().to_owned())
    }

    pub fn http(&self) -> String {
        self.with(|server| server.http())
    }

    /// `countersign <args>` on its data folder and its way to the database.
    pub fn command<'a>(&self, args: impl IntoIterator<Item = &'a str>) -> super::Program {
        self.builder.store().command(args)
    }

    /// Revokes a key by way of this replica.
    pub async fn revoke(
        &self,
        key_id: &str,
        wait: Wait,
        deadline: Duration,
    ) -> Result<RevokeKeyResponse, Status> {
        let key_id = key_id.to_owned();
        let reason = RevokeReason::Compromised.into();
        let request = RevokeKeyRequest { key_id, reason, wait: wait.into(), ..Default::default() };
        let mut request = Request::new(request);
        request.set_timeout(deadline);
        self.caller().admin().revoke_key(request).await.map(tonic::Response::into_inner)
    }

    /// The replicas that there are, as this one sees them.
    pub async fn rows(&self) -> Vec<Row> {
        let reply = self.caller().admin().list_replicas(ListReplicasRequest {}).await;
        reply.expect("replicas can be listed").into_inner().replicas
    }

    /// What this one is called in replies about others.
    pub async fn id(&self) -> String {
        let own = self.rows().await.into_iter().find(|row| row.self_);
        own.expect("a replica that serves has a row").replica_id
    }

    fn with<T>(&self, look: impl FnOnce(&Server) -> T) -> T {
        look(self.server.lock().unwrap().as_ref().expect("it runs"))
    }
}
