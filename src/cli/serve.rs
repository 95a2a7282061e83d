//! `countersign serve`: the composition root. Read it from top to bottom; each step needs the ones
//! before it.

mod banner;
mod first_start;
mod health;
mod lock;

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use self::banner::Addresses;
use self::lock::Locks;
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
use crate::tasks::follow::{self, Following};
use crate::tasks::{Tasks, check_log, forget_replies, listen};
use crate::telemetry;
use crate::transport::{self, Pages, Signals, Verifiers};
use crate::verify::{Index, Verifier};

/// What threads and tasks get to end once their connections have.
const LAST_MOMENTS: Duration = Duration::from_millis(500);

/// Serves until it is asked to stop, or until something without which it can't serve has ended.
pub(super) fn run(args: SettingsArgs) -> Result<(), Failure> {
    let settings = args.resolve()?;
    let logging = telemetry::start(&settings.telemetry).map_err(Failure::said)?;
    let runtime = administration().map_err(Failure::said)?;
    let outcome = runtime.block_on(serve(&settings));
    // Drops what still runs: connections to the database take back what was not committed.
    runtime.shutdown_timeout(LAST_MOMENTS);
    logging.shutdown();
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

async fn serve(settings: &Settings) -> Result<(), Failure> {
    let mut signals = Signals::listen().map_err(Failure::said)?;
    let (following, followed) = oneshot::channel();
    let mut server = tokio::select! {
        started = Server::start(settings, following) => started?,
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
        following: oneshot::Sender<Infallible>,
    ) -> Result<Self, Failure> {
        // Ports first: a port in use is found before anything is made.
        let bound = transport::bind("listen", settings.listen).await;
        let (listener, grpc) = bound.map_err(Failure::said)?;
        let bound = transport::bind("http-listen", settings.http_listen).await;
        let (pages_listener, http) = bound.map_err(Failure::said)?;

        let gateways = match settings.gateway_listen {
            None => None,
            Some(address) => {
                Some(transport::bind("gateway-listen", address).await.map_err(Failure::said)?)
            }
        };

        let clock: Arc<dyn Clock> = Arc::new(SystemClock::start());
        let position = Arc::new(Position::default());
        let serving = Arc::new(AtomicBool::new(false));
        let (stop, stop_pages) = (CancellationToken::new(), CancellationToken::new());
        let pages = Pages { ready: health::readiness(&serving, &position, &clock) };
        tokio::spawn(transport::serve_pages(pages_listener, pages, stop_pages.clone()));

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
        let following = Following {
            replica: replica_row(&store, settings)?,
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

        let verifier = Arc::new(Verifier::new(
            index,
            Arc::clone(store.data_key()),
            Arc::clone(&position),
            Arc::clone(&clock),
            settings.brands.clone(),
            store.store_id(),
        ));
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
        let verifier_service = KeyVerifierService::new(Arc::clone(&verifier), at_least);
        let gateway = Gateway::new(Arc::clone(&verifier), settings.gateway.clone());
        let health = Health::starting().await;
        let services =
            services(Some(admin_service), Some(verifier_service), Some(gateway.clone()), &health);
        let services = services.map_err(Failure::said)?;
        let middleware = Middleware::new(settings.middleware, verifier);

        let verifiers = transport::serve(listener, &settings.transport, &stop, || {
            gateway::answered(middleware.guard(services.clone()))
        });
        let verifiers = verifiers.map_err(|error| {
            Failure::Said(format!(
                "can't start {} verifying threads: {error}; lower --verify-threads, or raise the \
                 limits of this process",
                settings.transport.verify_threads
            ))
        })?;
        let gateways = gateways.map(|(listener, address)| {
            let most = settings.transport.gateway_max_connections;
            tokio::spawn(transport::serve_http(
                listener,
                gateway::routes(gateway),
                most,
                stop.clone(),
            ));
            address
        });
        serving.store(true, Ordering::Release);
        let banner = banner::text(settings, Addresses { grpc, http, gateways }, &credential);
        let ready = move || banner::print(&banner);
        let follow_the_lease =
            health::follow_the_lease(health.clone(), Arc::clone(&serving), position, clock, ready);
        tasks.start("health", follow_the_lease);
        tasks.start("check log", check_log::run(store.clone()));
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
fn replica_row(store: &Store, settings: &Settings) -> Result<ReplicaRow, Failure> {
    let drawn: [u8; 16] = random::draw(&OsRandom).map_err(Failure::said)?;
    let lease_ms = u64::try_from(settings.log.max_staleness.as_millis()).unwrap_or(u64::MAX);
    Ok(ReplicaRow {
        id: format!("{:032x}", u128::from_be_bytes(drawn)),
        lease_ms,
        applied: 0,
        beat: 0,
        beat_age: Duration::ZERO,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        reads_up_to: store.reads_up_to(),
        root_key_versions: store.root_key_versions(),
    })
}
