//! `countersign serve`: the composition root. Read it from top to bottom; each step needs the ones
//! before it.

mod banner;
mod first_start;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::runtime::{Builder, Handle, Runtime};
use tokio_util::sync::CancellationToken;

use super::failure::Failure;
use super::prepare;
use crate::config::{Settings, SettingsArgs};
use crate::control::Control;
use crate::domain::position::Position;
use crate::domain::random::OsRandom;
use crate::domain::time::{Clock, SystemClock};
use crate::middleware::Middleware;
use crate::rpc::services::{Health, services};
use crate::rpc::{KeyAdminService, KeyVerifierService};
use crate::store::Store;
use crate::tasks::{Tasks, check_log, follow, forget_replies};
use crate::telemetry;
use crate::transport::{self, Pages, Readiness, Signals, Verifiers};
use crate::verify::{Basis, Index, Verifier};

/// A replica that has had no news of the log for so long says that it is not ready. Far more than a
/// poll, far less than `max_staleness`: traffic should be elsewhere before answers end.
const READY_WITHIN: Duration = Duration::from_secs(5);
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
    let mut server = tokio::select! {
        started = Server::start(settings) => started?,
        signal = signals.next() => {
            tracing::info!(signal, "asked to stop before it was ready");
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
    store: Store,
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
    async fn start(settings: &Settings) -> Result<Self, Failure> {
        // Ports first: a port in use is found before anything is made.
        let bound = transport::bind("listen", settings.listen).await;
        let (listener, grpc) = bound.map_err(Failure::said)?;
        let bound = transport::bind("http-listen", settings.http_listen).await;
        let (pages_listener, http) = bound.map_err(Failure::said)?;

        let clock: Arc<dyn Clock> = Arc::new(SystemClock::start());
        let position = Arc::new(Position::default());
        let serving = Arc::new(AtomicBool::new(false));
        let (stop, stop_pages) = (CancellationToken::new(), CancellationToken::new());
        let pages = Pages { ready: readiness(&serving, &position, &clock) };
        tokio::spawn(transport::serve_pages(pages_listener, pages, stop_pages.clone()));

        let store = prepare::open_store(settings).await?;
        let credential = first_start::bootstrap(&store, settings).await?;

        // Every key into memory, then the follower keeps them up to date.
        let index = Arc::new(Index::default());
        let apply = {
            let index = Arc::clone(&index);
            Box::new(move |change| index.apply(change))
        };
        let started = follow::start(
            &store,
            settings.log.clone(),
            Arc::clone(&clock),
            Arc::clone(&position),
            apply,
        );
        let (log, following) = started.await.map_err(Failure::said)?;
        let mut tasks = Tasks::default();
        tasks.start("follower", following.run());
        tasks.start("forget replies", forget_replies::run(store.clone()));

        let basis = Basis {
            store: store.store_id(),
            epoch: store.epoch(),
            max_staleness: settings.log.max_staleness,
        };
        let verifier = Arc::new(Verifier::new(
            index,
            Arc::clone(store.data_key()),
            Arc::clone(&position),
            Arc::clone(&clock),
            settings.brands.clone(),
            basis,
        ));
        let control = Control::new(
            store.clone(),
            log,
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
        let verifier_service = KeyVerifierService::new(Arc::clone(&verifier));
        let health = Health::starting().await;
        let services = services(Some(admin_service), Some(verifier_service), &health);
        let services = services.map_err(Failure::said)?;
        let middleware = Middleware::new(settings.middleware, verifier);

        let verifiers = transport::serve(listener, &settings.transport, &stop, || {
            middleware.guard(services.clone())
        });
        let verifiers = verifiers.map_err(|error| {
            Failure::Said(format!(
                "can't start {} verifying threads: {error}; lower --verify-threads, or raise the \
                 limits of this process",
                settings.transport.verify_threads
            ))
        })?;
        health.serving().await;
        serving.store(true, Ordering::Release);
        tasks.start("check log", check_log::run(store.clone()));
        banner::print(settings, grpc, http, &credential)?;
        let drain = settings.transport.drain;
        Ok(Self { store, health, verifiers, tasks, drain, serving, stop, stop_pages })
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
        drop(self.tasks);
        // On SQLite this moves the journal into the database file, which must not hold up the end.
        if tokio::time::timeout(LAST_MOMENTS, self.store.close()).await.is_err() {
            tracing::warn!("the database was not closed in time");
        }
        self.stop_pages.cancel();
    }
}

fn readiness(
    serving: &Arc<AtomicBool>,
    position: &Arc<Position>,
    clock: &Arc<dyn Clock>,
) -> Arc<Readiness> {
    let (serving, position, clock) = (Arc::clone(serving), Arc::clone(position), Arc::clone(clock));
    Arc::new(move || {
        if !serving.load(Ordering::Acquire) {
            return Err("starting, or stopping".to_owned());
        }
        let staleness = position.staleness(&*clock);
        if staleness > READY_WITHIN {
            return Err(format!("no news of the log for {} s", staleness.as_secs()));
        }
        Ok(())
    })
}
