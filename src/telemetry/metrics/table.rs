//! The one table of our metrics: what is on `/metrics` and what is exported, under which names, and what it means.
//! `docs/METRICS.md` is held against it.

/// What a metric is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It only grows, from zero at the start.
    Counter,
    /// It is what it is now.
    Gauge,
    /// How many took how long.
    Histogram,
}

/// One metric.
#[derive(Debug, PartialEq, Eq)]
pub struct Metric {
    /// Its name in OpenTelemetry.
    pub name: &'static str,
    /// What it is.
    pub kind: Kind,
    /// Its unit, in the code of UCUM; in braces what is counted.
    pub unit: &'static str,
    /// The names of its labels, as OpenTelemetry has them. Their values are words of this program, never of a caller.
    pub labels: &'static [&'static str],
    /// What it says.
    pub meaning: &'static str,
}

impl Metric {
    const fn of(
        kind: Kind,
        name: &'static str,
        unit: &'static str,
        labels: &'static [&'static str],
        meaning: &'static str,
    ) -> Self {
        Self { name, kind, unit, labels, meaning }
    }

    /// Its name in Prometheus: with underscores, its unit, and `_total` if it only grows.
    pub fn prometheus_name(&self) -> String {
        let unit = if self.unit == "s" { "_seconds" } else { "" };
        let total = if self.kind == Kind::Counter { "_total" } else { "" };
        format!("{}{unit}{total}", self.name.replace('.', "_"))
    }

    /// The names of its labels in Prometheus, which has no dots in names.
    pub fn prometheus_labels(&self) -> Vec<String> {
        self.labels.iter().map(|label| label.replace('.', "_")).collect()
    }
}

macro_rules! metrics {
    ($($id:ident = $kind:ident $name:literal, $unit:literal, [$($label:literal),*], $meaning:literal;)*) => {
        $(
            #[doc = $meaning]
            pub static $id: Metric = Metric::of(Kind::$kind, $name, $unit, &[$($label),*], $meaning);
        )*
        /// All of them, in the order of the documentation.
        pub static METRICS: &[&Metric] = &[$(&$id),*];
    };
}

metrics! {
    VERIFICATIONS = Counter "countersign.verifications", "{verification}", ["outcome", "reason"],
        "Questions about a credential (each entry of a batch is one) that were allowed, denied for a reason, or unknown because this replica could not say";
    GATEWAY_REFUSALS = Counter "countersign.gateway.refusals", "{request}", ["reason"],
        "Requests of gateways that were refused for no fault of their credential";
    CALLS = Histogram "rpc.server.call.duration", "s", ["rpc.system.name", "rpc.method", "rpc.response.status_code"],
        "How long gRPC calls took, from the request's head to the last byte of the response or the caller's departure";
    CALLS_ENDED = Counter "countersign.calls", "{call}", ["rpc.system.name", "rpc.method", "rpc.response.status_code"],
        "gRPC calls that have ended; those of our methods that succeed, or fail on this side, are counted from zero";
    INDEX_KEYS = Gauge "countersign.index.keys", "{key}", [],
        "Keys in memory, from which verifications are answered";
    LOG_REVISION = Gauge "countersign.log.revision", "{revision}", [],
        "The newest revision of the log that this replica's answers rest on";
    LOG_EPOCH = Gauge "countersign.log.epoch", "{epoch}", [],
        "The epoch of the log, which grows when an operator accepts that changes were lost";
    LOG_FEED_LAG = Gauge "countersign.log.feed_lag", "{revision}", [],
        "Revisions that the database was seen to have and that are not applied here";
    LOG_STALENESS = Gauge "countersign.log.staleness", "s", [],
        "Time since the last look at the log that found nothing newer than what is applied here; since the machine's start if there was none";
    LEASE_REMAINING = Gauge "countersign.lease.remaining", "s", [],
        "Time for which this replica may still answer without news of the database; 0 without a lease";
    LEASE_HALF_USED = Counter "countersign.lease.half_used", "{lease}", [],
        "Leases of which more than half had passed before there was another, the one of now included once it has come to that";
    LOG_FORKED = Gauge "countersign.log.forked", "{state}", [],
        "1 while the database's log is not the one that this replica has followed, so that nothing is answered";
    READY = Gauge "countersign.ready", "{state}", [],
        "1 while requests are welcome, as /readyz says";
    CLOCK_SKEW = Gauge "countersign.clock.skew", "s", [],
        "What this machine's wall clock is ahead of the database's; nothing is decided by it";
    REQUESTS_IN_FLIGHT = Gauge "countersign.requests.in_flight", "{request}", ["door"],
        "Requests in work: to our own services, or to what is open to anybody (health and reflection)";
    REQUESTS_LIMIT = Gauge "countersign.requests.limit", "{request}", ["door"],
        "The most requests in work at once";
    REQUESTS_SHED = Counter "countersign.requests.shed", "{request}", ["door"],
        "Requests that were turned away because that many were in work";
    ADMINISTRATION_IN_FLIGHT = Gauge "countersign.administration.in_flight", "{call}", [],
        "Administration calls in work";
    ADMINISTRATION_LIMIT = Gauge "countersign.administration.limit", "{call}", [],
        "The most administration calls in work at once";
    ADMINISTRATION_SHED = Counter "countersign.administration.shed", "{call}", [],
        "Administration calls and watches that were turned away because too many were in work or open";
    WATCHERS = Gauge "countersign.watchers", "{stream}", [],
        "Open streams of the audit log";
    WATCHERS_LIMIT = Gauge "countersign.watchers.limit", "{stream}", [],
        "The most open streams of the audit log";
    WAITERS = Gauge "countersign.waiters", "{call}", ["awaited"],
        "Calls that wait: for other replicas to have a change, or for this one to come as far as at_least asks";
    CONNECTIONS = Gauge "countersign.connections", "{connection}", ["listener"],
        "Open connections: gRPC, plain HTTP of gateways, or the pages for probes and Prometheus";
    CONNECTIONS_LIMIT = Gauge "countersign.connections.limit", "{connection}", ["listener"],
        "The most open connections";
    CONNECTIONS_REFUSED = Counter "countersign.connections.refused", "{connection}", ["listener"],
        "Connections that were closed at once because that many were open, or every thread was far behind";
    DATABASE_CONNECTIONS = Gauge "countersign.database.connections", "{connection}", ["pool", "state"],
        "Connections to the database that are idle or used";
    DATABASE_CONNECTIONS_LIMIT = Gauge "countersign.database.connections.limit", "{connection}", ["pool"],
        "The most connections to the database";
    AUDIT_APPEND = Histogram "countersign.audit.append.duration", "s", [],
        "How long the transactions of changes took, from BEGIN (the wait for the writer's lock included) until the database had confirmed the COMMIT";
    AUDIT_CHECKS = Counter "countersign.audit.checks", "{check}", ["outcome"],
        "Checks of the whole log and all keys: good, faulty (something was changed from outside), or failed (it could not be checked)";
    AUDIT_CHECK_FAULTS = Gauge "countersign.audit.check.faults", "{fault}", [],
        "Faults that the last check of the log found that came to its end";
}

/// What Prometheus's client library says of every process. It is on `/metrics` alone.
pub const OF_THE_PROCESS: [&str; 7] = [
    "process_cpu_seconds_total",
    "process_max_fds",
    "process_open_fds",
    "process_resident_memory_bytes",
    "process_start_time_seconds",
    "process_threads",
    "process_virtual_memory_bytes",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_in_prometheus_have_unit_and_kind() {
        assert_eq!(VERIFICATIONS.prometheus_name(), "countersign_verifications_total");
        assert_eq!(CALLS.prometheus_name(), "rpc_server_call_duration_seconds");
        assert_eq!(LOG_FEED_LAG.prometheus_name(), "countersign_log_feed_lag");
    }

    #[test]
    fn labels_have_dots_in_opentelemetry_and_none_in_prometheus() {
        let labels = ["rpc_system_name", "rpc_method", "rpc_response_status_code"];
        assert_eq!(CALLS.prometheus_labels(), labels);
        // What stands for a dot there may not stand for something else here.
        for label in METRICS.iter().flat_map(|metric| metric.labels) {
            assert!(!label.starts_with("rpc_") && !label.starts_with("error_"), "{label}");
        }
    }

    #[test]
    fn no_name_stands_for_two() {
        let mut names: Vec<_> = METRICS.iter().map(|metric| metric.prometheus_name()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), METRICS.len());
    }
}
