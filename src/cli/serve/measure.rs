//! What is measured, and where it is read: the rooms keep counters of their own, and telemetry knows none of them.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use opentelemetry_sdk::Resource;

use crate::domain::durations::{BOUNDS, BUCKETS, Held};
use crate::domain::position::Position;
use crate::domain::time::Clock;
use crate::log::Log;
use crate::middleware::{Calls, Middleware};
use crate::rpc::{AdminLoad, AtLeast, Gateway};
use crate::store::Store;
use crate::tasks::check_log::Findings;
use crate::telemetry::metrics::{self as table, Labels, Metrics};
use crate::telemetry::otlp::Reader;
use crate::transport::{Connections, MetricsPage, Readiness};
use crate::verify::{Index, Outcome, Tally};

/// How often the histograms are brought up to date when nobody looks, so that there is little to do when somebody does.
const HAND_OVER_EVERY: Duration = Duration::from_secs(1);
/// How long the last metrics may take to leave.
const LAST_EXPORT: Duration = Duration::from_secs(1);

/// The metrics of this process, and what the way of a request counts in; nothing of it if nobody wants to know.
#[derive(Debug, Clone, Default)]
pub(super) struct Measured(Option<Arc<Counters>>);

#[derive(Debug)]
struct Counters {
    metrics: Metrics,
    tally: Arc<Tally>,
    calls: Arc<Calls>,
}

/// The rooms that are looked at.
pub(super) struct Seen {
    pub(super) index: Arc<Index>,
    pub(super) position: Arc<Position>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) log: Log<Store>,
    pub(super) store: Store,
    pub(super) middleware: Middleware,
    pub(super) administration: AdminLoad,
    pub(super) at_least: AtLeast,
    pub(super) gateway: Gateway,
    /// By the name of their listener.
    pub(super) connections: Vec<(&'static str, Arc<Connections>)>,
    pub(super) findings: Arc<Findings>,
}

impl Measured {
    /// What a process of that resource measures; it is also given to `reader`, if there is one.
    ///
    /// # Errors
    ///
    /// One line.
    pub(super) fn of(resource: Resource, reader: Option<Reader>) -> Result<Self, String> {
        let metrics = Metrics::new(resource, &BOUNDS, |builder| match reader {
            Some(reader) => builder.with_reader(reader),
            None => builder,
        })?;
        let counters = Counters { metrics, tally: Arc::default(), calls: Arc::default() };
        Ok(Self(Some(Arc::new(counters))))
    }

    /// Where verifications are counted.
    pub(super) fn tally(&self) -> Option<Arc<Tally>> {
        self.0.as_ref().map(|counters| Arc::clone(&counters.tally))
    }

    /// Where calls are noted.
    pub(super) fn calls(&self) -> Option<Arc<Calls>> {
        self.0.as_ref().map(|counters| Arc::clone(&counters.calls))
    }

    /// The page for Prometheus.
    pub(super) fn page(&self) -> Option<Arc<MetricsPage>> {
        let counters = Arc::clone(self.0.as_ref()?);
        Some(Arc::new(MetricsPage::new(move || counters.metrics.page())))
    }

    /// From now on it is told whether requests are welcome: while keys are loaded, they are not.
    pub(super) fn look_whether(&self, ready: Arc<Readiness>) {
        let Some(counters) = &self.0 else { return };
        let ready = move || f64::from(u8::from(ready().is_ok()));
        counters.metrics.observe_one(&table::READY, ready);
    }

    /// From now on all of this is read whenever somebody looks.
    pub(super) fn look_at(&self, seen: Seen) {
        let Some(counters) = &self.0 else { return };
        let Seen { index, position, clock, log, store, .. } = seen;
        let metrics = &counters.metrics;
        verifications(metrics, counters, seen.gateway);
        replica(metrics, (index, position, clock), log);
        load(metrics, seen.middleware, seen.administration, seen.at_least);
        connections(metrics, seen.connections, store.clone());
        audit(metrics, store, seen.findings);
    }

    /// Keeps the histograms up to date, for ever.
    pub(super) async fn run(self) -> Infallible {
        let Some(counters) = self.0 else { return std::future::pending().await };
        loop {
            tokio::time::sleep(HAND_OVER_EVERY).await;
            counters.metrics.hand_over();
        }
    }

    /// The end.
    pub(super) fn shutdown(&self) {
        if let Some(counters) = &self.0 {
            counters.metrics.shutdown(LAST_EXPORT);
        }
    }
}

fn verifications(metrics: &Metrics, counters: &Counters, gateway: Gateway) {
    let tally = Arc::clone(&counters.tally);
    metrics.observe(&table::VERIFICATIONS, move || {
        let counts = tally.counts().into_iter();
        counts
            .map(|(outcome, count)| {
                let labels = match outcome {
                    Outcome::Allowed => vec!["allowed", ""],
                    Outcome::Denied(reason) => vec!["denied", reason.name()],
                    Outcome::Unknown => vec!["unknown", ""],
                };
                (labels, count as f64)
            })
            .collect::<Vec<_>>()
    });
    metrics.observe(&table::GATEWAY_REFUSALS, move || {
        let refused = gateway.refused().into_iter();
        refused.map(|(reason, count)| (vec![reason], count as f64)).collect::<Vec<_>>()
    });
    let calls = Arc::clone(&counters.calls);
    metrics.observe(&table::CALLS_ENDED, move || {
        let counted = calls.counted().into_iter();
        counted
            .map(|calls| (vec!["grpc", calls.method, calls.code], calls.count as f64))
            .collect::<Vec<_>>()
    });
    let calls = Arc::clone(&counters.calls);
    metrics.fill(&table::CALLS, move || {
        let noted = calls.noted().into_iter();
        noted
            .map(|calls| (vec!["grpc", calls.method, calls.code], pairs(&calls.held)))
            .collect::<Vec<_>>()
    });
}

fn replica(
    metrics: &Metrics,
    (index, position, clock): (Arc<Index>, Arc<Position>, Arc<dyn Clock>),
    log: Log<Store>,
) {
    // Each reader gets handles of its own.
    let of_position = |read: fn(&Position, &dyn Clock) -> f64| {
        let (position, clock) = (Arc::clone(&position), Arc::clone(&clock));
        move || read(&position, clock.as_ref())
    };
    metrics.observe_one(&table::INDEX_KEYS, move || index.len() as f64);
    let read = of_position(|position, _| position.applied() as f64);
    metrics.observe_one(&table::LOG_REVISION, read);
    let read = of_position(|position, _| f64::from(position.epoch()));
    metrics.observe_one(&table::LOG_EPOCH, read);
    let read = of_position(|position, _| position.behind() as f64);
    metrics.observe_one(&table::LOG_FEED_LAG, read);
    let read = of_position(|position, clock| position.since_poll(clock).as_secs_f64());
    metrics.observe_one(&table::LOG_STALENESS, read);
    let read = of_position(|position, clock| position.lease_left(clock).as_secs_f64());
    metrics.observe_one(&table::LEASE_REMAINING, read);
    let read = of_position(|position, clock| position.half_used(clock) as f64);
    metrics.observe_one(&table::LEASE_HALF_USED, read);
    metrics.observe_one(&table::LOG_FORKED, move || f64::from(u8::from(log.is_forked())));
    metrics.observe(&table::CLOCK_SKEW, move || {
        let skew = position.skew(clock.as_ref());
        skew.map(|micros| (Labels::new(), micros as f64 / 1e6)).into_iter().collect::<Vec<_>>()
    });
}

fn load(metrics: &Metrics, middleware: Middleware, administration: AdminLoad, at_least: AtLeast) {
    let doors = |read: fn(&crate::middleware::DoorLoad) -> f64| {
        let middleware = middleware.clone();
        move || {
            middleware.doors().iter().map(|door| (vec![door.door], read(door))).collect::<Vec<_>>()
        }
    };
    metrics.observe(&table::REQUESTS_IN_FLIGHT, doors(|door| door.in_flight as f64));
    metrics.observe(&table::REQUESTS_LIMIT, doors(|door| door.limit as f64));
    metrics.observe(&table::REQUESTS_SHED, doors(|door| door.shed as f64));
    let of_administration = |read: fn(&AdminLoad) -> f64| {
        let administration = administration.clone();
        move || read(&administration)
    };
    metrics.observe_one(
        &table::ADMINISTRATION_IN_FLIGHT,
        of_administration(|load| load.in_flight() as f64),
    );
    metrics
        .observe_one(&table::ADMINISTRATION_LIMIT, of_administration(|load| load.limit() as f64));
    metrics.observe_one(&table::ADMINISTRATION_SHED, of_administration(|load| load.shed() as f64));
    metrics.observe_one(&table::WATCHERS, of_administration(|load| load.watchers() as f64));
    metrics.observe_one(
        &table::WATCHERS_LIMIT,
        of_administration(|load| load.watchers_limit() as f64),
    );
    metrics.observe(&table::WAITERS, move || {
        vec![
            (vec!["replicas"], administration.waiting() as f64),
            (vec!["at_least"], at_least.waiting() as f64),
        ]
    });
}

fn connections(metrics: &Metrics, listeners: Vec<(&'static str, Arc<Connections>)>, store: Store) {
    let of_listeners = |read: fn(&Connections) -> f64| {
        let listeners = listeners.clone();
        move || {
            let each = listeners.iter();
            each.map(|(name, connections)| (vec![*name], read(connections))).collect::<Vec<_>>()
        }
    };
    metrics.observe(&table::CONNECTIONS, of_listeners(|listener| listener.open() as f64));
    metrics.observe(&table::CONNECTIONS_LIMIT, of_listeners(|listener| listener.limit() as f64));
    metrics
        .observe(&table::CONNECTIONS_REFUSED, of_listeners(|listener| listener.refused() as f64));
    let pools = store.clone();
    metrics.observe(&table::DATABASE_CONNECTIONS, move || {
        let loads = pools.connections().into_iter();
        loads
            .flat_map(|load| {
                [
                    (vec![load.pool, "idle"], load.idle as f64),
                    (vec![load.pool, "used"], load.used as f64),
                ]
            })
            .collect::<Vec<_>>()
    });
    metrics.observe(&table::DATABASE_CONNECTIONS_LIMIT, move || {
        let loads = store.connections().into_iter();
        loads.map(|load| (vec![load.pool], load.limit as f64)).collect::<Vec<_>>()
    });
}

fn audit(metrics: &Metrics, store: Store, findings: Arc<Findings>) {
    metrics.fill(&table::AUDIT_APPEND, move || vec![(Labels::new(), pairs(&store.appended()))]);
    let found = Arc::clone(&findings);
    metrics.observe(&table::AUDIT_CHECKS, move || {
        let checks = found.checks().into_iter();
        checks.map(|(outcome, count)| (vec![outcome], count as f64)).collect::<Vec<_>>()
    });
    metrics.observe(&table::AUDIT_CHECK_FAULTS, move || {
        let faults = findings.faults();
        faults.map(|faults| (Labels::new(), faults as f64)).into_iter().collect::<Vec<_>>()
    });
}

fn pairs(held: &[Held; BUCKETS]) -> Vec<(u64, u64)> {
    held.iter().map(|held| (held.count, held.nanos)).collect::<Vec<_>>()
}
