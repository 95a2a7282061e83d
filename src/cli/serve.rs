//! `countersign serve`: the composition root. Read it from top to bottom; each step needs the ones
//! before it.

mod banner;
mod doors;
mod first_start;
mod health;
mod lock;
mod measure;

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use self::doors::Doors;
use self::lock::Locks;
use self::measure::{Measured, Seen};
use super::failure::Failure;
use super::prepare;
use crate::config::{Settings, SettingsArgs};
use crate::control::Control;
use crate::domain::position::Position;
use crate::domain::random::{self, OsRandom};
use crate::domain::replica::ReplicaRow;
use crate::domain::time::{Clock, SystemClock};
use crate::log::{HighWaterFile, Log};
use crate::middleware::Middleware;
use crate::rpc::gateway;
use crate::rpc::services::{Health, services};
use crate::rpc::{AtLeast, Gateway, KeyAdminService, KeyVerifierService};
use crate::store::Store;
use crate::tasks::check_log::Findings;
use crate::tasks::follow::{self, Following};
use crate::tasks::{Tasks, check_log, forget_replies, listen};
use crate::telemetry;
use crate::telemetry::otlp::Exports;
use crate::transport::{self, Connections, Pages, Signals, Verifiers};
use crate::verify::{Index, Verifier};

/// What threads and tasks get to end once their connections have.
const LAST_MOMENTS: Duration = Duration::from_millis(500);

/// Serves until it is asked to stop, or until something without which it can't serve has ended.
pub(super) fn run(args: SettingsArgs) -> Result<(), Failure> {
    let settings = args.resolve()?;
    let exports = Exports::of_this_process().map_err(Failure::Said)?;
    let replica_id = replica_id()?;
    let mut telemetry =
        telemetry::start(&settings.telemetry, &exports, &replica_id).map_err(Failure::said)?;
    let measured = if exports.is_disabled() {
        Measured::default()
    } else {
        let reader = telemetry.metric_reader().map_err(Failure::Said)?;
        let resource = telemetry::resource(&exports, &replica_id);
        Measured::of(resource, reader).map_err(Failure::said)?
    };
    let runtime = administration().map_err(Failure::said)?;
    let outcome = runtime.block_on(serve(&settings, replica_id, &measured));
    telemetry.at_the_end(move || measured.shutdown());
    // Drops what still runs: connections to the database take back what was not committed.
    runtime.shutdown_timeout(LAST_MOMENTS);
    telemetry.shutdown();
    outcome
}

/// The runtime of administration and the database. Verification has threads of its own, and so has the
/// follower of the log.
fn administration() -> std::io::Result<Runtime> {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    Builder::new_multi_thread()
        .worker_threads(cores.max(2))
        .thread_name("admin")
        .enable_all()
        .build()
}

async fn serve(
    settings: &Settings,
    replica_id: String,
    measured: &Measured,
) -> Result<(), Failure> {
    let mut signals = Signals::listen().map_err(Failure::said)?;
    let (following, followed) = oneshot::channel();
    let mut server = tokio::select! {
        started = Server::start(settings, replica_id, measured, following) => started?,
        signal = signals.next() => {
            tracing::info!(signal, "asked to stop before it was ready");
            // What was begun is dropped by now. The follower still removes this replica's row.
            tokio::select! {
                _ = tokio::time::timeout(follow::TAKEN_BACK_WITHIN + LAST_MOMENTS, followed) => {}
                signal = signals.next() => tracing::warn!(signal, "stopped at once"),
            }
            return Ok(());
        }
    };
    let outcome = tokio::select! {
        signal = signals.next() => {
            tracing::info!(signal, "stopping");
            Ok(())
        }
        ended = server.tasks.first_ended() => Err(Failure::said(ended)),
        () = server.verifiers.one_ended() => Err(Failure::said("a verifying thread ended by itself")),
    };
    tokio::select! {
        () = server.stop() => tracing::info!("stopped"),
        // Whoever asks twice does not want to wait.
        signal = signals.next() => tracing::warn!(signal, "stopped at once"),
    }
    outcome
}

/// A running server.
struct Server {
    /// Until the very end.
    _locks: Locks,
    store: Store,
    log: Log<Store>,
    health: Health,
    verifiers: Verifiers,
    tasks: Tasks,
    /// How long connections may take to end.
    drain: Duration,
    /// Set while requests are welcome.
    serving: Arc<AtomicBool>,
    /// Ends connections and watches.
    stop: CancellationToken,
    /// Ends the pages for probes, which must be able to say "not ready" until the very end.
    stop_pages: CancellationToken,
}

impl Server {
    /// `following` is dropped when the log is not followed any more.
    async fn start(
        settings: &Settings,
        replica_id: String,
        measured: &Measured,
        following: oneshot::Sender<Infallible>,
    ) -> Result<Self, Failure> {
        // Ports first: a port in use is found before anything is made.
        let doors = Doors::open(settings).await.map_err(Failure::said)?;
        let addresses = doors.addresses;

        let clock: Arc<dyn Clock> = Arc::new(SystemClock::start());
        let position = Arc::new(Position::default());
        let serving = Arc::new(AtomicBool::new(false));
        let (stop, stop_pages) = (CancellationToken::new(), CancellationToken::new());
        let ready = health::readiness(&serving, &position, &clock);
        measured.look_whether(Arc::clone(&ready));
        let pages = Pages { ready, metrics: measured.page() };
        let at_pages = Arc::new(Connections::new(transport::MAX_PAGE_CONNECTIONS));
        let places = Arc::clone(&at_pages);
        tokio::spawn(transport::serve_pages(doors.pages, pages, places, stop_pages.clone()));

        // Nothing is made before everything is said that has to be said.
        drop(settings.root_key_file()?);
        prepare::data_dir(settings)?;
        let locks = lock::take(settings)?;
        let store = prepare::open_store(settings).await?;
        warn_of_lossy_failover(&store).await?;
        let credential = first_start::bootstrap(&store, settings).await?;

        // Every key into memory, then the follower keeps them up to date.
        let index = Arc::new(Index::default());
        let apply = {
            let index = Arc::clone(&index);
            Box::new(move |change| index.apply(change))
        };
        let keys = Arc::clone(&index);
        let following = Following {
            replica: replica_row(&store, settings, replica_id),
            settings: settings.log.clone(),
            clock: Arc::clone(&clock),
            position: Arc::clone(&position),
            high_water: Arc::new(HighWaterFile::within(&settings.data_dir)),
            apply,
            ended: following,
        };
        let started = follow::start(&store, following);
        let (log, follower) = started.await.map_err(Failure::said)?;
        let mut tasks = Tasks::default();
        tasks.start("follower", follower.run());
        tasks.start("forget replies", forget_replies::run(store.clone()));
        let wake = {
            let log = log.clone();
            move || log.wake()
        };
        tasks.start("listen", listen::run(store.clone(), wake));

        let verifier = Verifier::new(
            index,
            Arc::clone(store.data_key()),
            Arc::clone(&position),
            Arc::clone(&clock),
            settings.brands.clone(),
            store.store_id(),
        );
        let verifier = Arc::new(verifier.counting(measured.tally()));
        let at_least = AtLeast::new(log.clone());
        let control = Control::new(
            store.clone(),
            log.clone(),
            Arc::clone(&clock),
            Arc::new(OsRandom),
            settings.brands.clone(),
        );
        let admin_service = KeyAdminService::new(
            settings.rpc,
            control,
            Arc::clone(&verifier),
            Handle::current(),
            stop.clone(),
        );
        let administration = admin_service.load();
        let verifier_service = KeyVerifierService::new(Arc::clone(&verifier), at_least.clone());
        let gateway = Gateway::new(Arc::clone(&verifier), settings.gateway.clone());
        let health = Health::starting().await;
        let middleware = Middleware::new(settings.middleware, verifier).noting(measured.calls());
        let no_threads = |error| {
            Failure::Said(format!(
                "can't start {} verifying threads: {error}; lower --verify-threads, or raise the \
                 limits of this process",
                settings.transport.verify_threads
            ))
        };
        let here = doors.admin.is_none().then(|| admin_service.clone());
        let at_grpc = services(here, Some(verifier_service), Some(gateway.clone()), &health);
        let at_grpc = at_grpc.map_err(Failure::said)?;
        let at_admin = services(Some(admin_service), None, None, &health).map_err(Failure::said)?;
        let mut verifiers =
            transport::serve(doors.grpc, "verify", &settings.transport, &stop, || {
                gateway::answered(middleware.guard(at_grpc.clone()))
            })
            .map_err(no_threads)?;
        let mut connections = vec![("grpc", Arc::clone(verifiers.connections()))];
        connections.push(("http", at_pages));
        if let Some(listener) = doors.admin {
            // The work of administration is done elsewhere; reading and writing its messages is little.
            let one = transport::Settings { verify_threads: 1, ..settings.transport.clone() };
            let admin = transport::serve(listener, "administration", &one, &stop, || {
                middleware.guard(at_admin.clone())
            });
            let admin = admin.map_err(no_threads)?;
            connections.push(("admin", Arc::clone(admin.connections())));
            verifiers.join(admin);
        }
        if let Some(listener) = doors.gateways {
            let own = Arc::new(Connections::new(settings.transport.gateway_max_connections));
            connections.push(("gateways", Arc::clone(&own)));
            let routes = gateway::routes(gateway.clone());
            tokio::spawn(transport::serve_http(listener, routes, own, stop.clone()));
        }
        let findings = Arc::new(Findings::default());
        measured.look_at(Seen {
            index: keys,
            position: Arc::clone(&position),
            clock: Arc::clone(&clock),
            log: log.clone(),
            store: store.clone(),
            middleware,
            administration,
            at_least,
            gateway,
            connections,
            findings: Arc::clone(&findings),
        });
        tasks.start("metrics", measured.clone().run());
        serving.store(true, Ordering::Release);
        let banner = banner::text(settings, addresses, &credential);
        let ready = move || banner::print(&banner);
        let follow_the_lease =
            health::follow_the_lease(health.clone(), Arc::clone(&serving), position, clock, ready);
        tasks.start("health", follow_the_lease);
        tasks.start("check log", check_log::run(store.clone(), findings));
        let drain = settings.transport.drain;
        Ok(Self {
            _locks: locks,
            store,
            log,
            health,
            verifiers,
            tasks,
            drain,
            serving,
            stop,
            stop_pages,
        })
    }

    /// Not ready → no new connections, GOAWAY on the others, watches end → they drain → the rest.
    async fn stop(mut self) {
        self.serving.store(false, Ordering::Release);
        self.health.not_serving().await;
        self.stop.cancel();
        let drained = self.verifiers.all_ended();
        if tokio::time::timeout(self.drain + LAST_MOMENTS, drained).await.is_err() {
            tracing::warn!("some connections did not end in time");
        }
        // After the last answer: from now on nobody needs to wait for this replica.
        self.log.leave().await;
        drop(self.tasks);
        // On SQLite this moves the journal into the database file, which must not hold up the end.
        if tokio::time::timeout(LAST_MOMENTS, self.store.close()).await.is_err() {
            tracing::warn!("the database was not closed in time");
        }
        self.stop_pages.cancel();
    }
}

/// Several replicas on a database that may lose what it has confirmed: somebody should know beforehand.
async fn warn_of_lossy_failover(store: &Store) -> Result<(), Failure> {
    if store.is_shared() && !store.has_synchronous_standby().await.map_err(Failure::said)? {
        tracing::warn!(
            "PostgreSQL has no synchronous standby (synchronous_standby_names is empty): a failover can lose \
             changes that were acknowledged, revocations among them; replicas that have seen them then answer \
             UNAVAILABLE until an operator runs `countersign store accept`"
        );
    }
    Ok(())
}

/// What this process says of itself to the other replicas.
fn replica_row(store: &Store, settings: &Settings, id: String) -> ReplicaRow {
    let lease_ms = u64::try_from(settings.log.max_staleness.as_millis()).unwrap_or(u64::MAX);
    ReplicaRow {
        id,
        lease_ms,
        applied: 0,
        beat: 0,
        beat_age: Duration::ZERO,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        reads_up_to: store.reads_up_to(),
        root_key_versions: store.root_key_versions(),
    }
}

/// A name for this process that no other has had, among the replicas and for those who look at it from outside.
fn replica_id() -> Result<String, Failure> {
    let drawn: [u8; 16] = random::draw(&OsRandom).map_err(Failure::said)?;
    Ok(format!("{:032x}", u128::from_be_bytes(drawn)))
}
