//! What was promised, and what a run measured of it.

use crate::report::{Results, figure};
use crate::telemetry;

/// A line of the table: what was promised and what came out.
pub(crate) struct Row {
    pub(crate) what: &'static str,
    pub(crate) value: Option<f64>,
    pub(crate) bar: Bar,
    pub(crate) unit: &'static str,
}

/// What a figure should be.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Bar {
    AtMost(f64),
    AtLeast(f64),
    Between(f64, f64),
}

impl Bar {
    pub(crate) fn holds(self, value: f64) -> bool {
        match self {
            Self::AtMost(most) => value <= most,
            Self::AtLeast(least) => value >= least,
            Self::Between(least, most) => (least..=most).contains(&value),
        }
    }

    pub(crate) fn text(self, unit: &str) -> String {
        match self {
            Self::AtMost(most) => format!("≤ {}{unit}", figure(most)),
            Self::AtLeast(least) => format!("≥ {}{unit}", figure(least)),
            Self::Between(least, most) => format!("{} to {}{unit}", figure(least), figure(most)),
        }
    }
}

impl Results {
    fn ratio(&self, of: &str, to: &str) -> Option<f64> {
        Some(self.costs.get(of)?.cpu_us / self.costs.get(to)?.cpu_us)
    }

    /// The bars, and what this run measured of them.
    pub(crate) fn rows(&self) -> Vec<Row> {
        let cost = |name: &str| self.costs.get(name).map(|cost| cost.cpu_us);
        let figure = |name: &str| self.figures.get(name).copied();
        let row = |what, value, bar, unit| Row { what, value, bar, unit };
        let times = "×";
        let authentication = || {
            let over = cost("ours, authenticated caller, 8×10")? - cost("ours, valid, 8×10")?;
            Some(over / cost("empty current-thread, 8×10")?)
        };
        let p99 = || {
            let of = |name: &str| self.latencies.get(name).map(|latency| latency.p99_us);
            Some(of("ours, valid, 8×10")? / of("empty current-thread, 8×10")?)
        };
        let keys = cost("ours, batch of 64, 8×10").map(|us| 64.0 * 1_000_000.0 / us);
        let ours = "ours, valid, 8×10";
        let most = ["ours, valid, 8×10, 10M", ours];
        let largest = most.into_iter().find(|name| self.costs.contains_key(*name)).unwrap_or(ours);
        vec![
            row(
                "CPU of a valid Verify, against an empty current-thread tonic handler",
                self.ratio(ours, "empty current-thread, 8×10"),
                Bar::AtMost(1.2),
                times,
            ),
            row(
                "the same, against an empty multi-thread tonic handler",
                self.ratio(ours, "empty multi-thread, 8×10"),
                Bar::AtMost(0.6),
                times,
            ),
            row(
                "the same, against GET of redis-server, 80 clients",
                self.ratio(ours, "redis-server GET, 80 clients"),
                Bar::AtMost(0.9),
                times,
            ),
            row(
                "authentication of the caller, in empty handlers",
                authentication(),
                Bar::AtMost(0.1),
                times,
            ),
            row(
                "p99 at half of what each can carry, against the empty handler",
                p99(),
                Bar::AtMost(1.25),
                times,
            ),
            row("batches of 64: keys a second and core", keys, Bar::AtLeast(600_000.0), ""),
            row(
                "cost growth from 1k keys to the most keys of this run",
                self.ratio(largest, "ours, valid, 8×10, 1k"),
                Bar::AtMost(1.5),
                times,
            ),
            row(
                "the same, batches of 64",
                self.ratio(&largest.replace("valid", "batch of 64"), "ours, batch of 64, 8×10, 1k"),
                Bar::AtMost(1.5),
                times,
            ),
            row("memory of a key, 1M keys", figure("bytes per key, 1M"), Bar::AtMost(160.0), " B"),
            row(
                "start to ready, 1M keys, SQLite",
                figure("seconds to ready, SQLite, 1M"),
                Bar::AtMost(3.0),
                " s",
            ),
            row(
                "start to ready, 1M keys, PostgreSQL",
                figure("seconds to ready, PostgreSQL, 1M"),
                Bar::AtMost(5.0),
                " s",
            ),
            row(
                "start to ready, 10M keys, SQLite",
                figure("seconds to ready, SQLite, 10M"),
                Bar::AtMost(30.0),
                " s",
            ),
            row(
                "a wrong secret, against a valid one",
                self.ratio("ours, wrong secret, 8×10", ours),
                Bar::Between(0.8, 1.1),
                times,
            ),
            row(
                "an unknown id, against a valid credential",
                self.ratio("ours, unknown id, 8×10", ours),
                Bar::Between(0.8, 1.1),
                times,
            ),
            row(
                "telemetry by default, against none",
                self.ratio(telemetry::DEFAULT, telemetry::NONE),
                Bar::AtMost(1.05),
                times,
            ),
            row(
                "telemetry with a collector that takes all, against none",
                self.ratio(telemetry::COLLECTED, telemetry::NONE),
                Bar::AtMost(1.05),
                times,
            ),
            row(
                "telemetry with a dead collector, against none",
                self.ratio(telemetry::DEAD, telemetry::NONE),
                Bar::AtMost(1.05),
                times,
            ),
            row(
                "revocation seen by two other replicas, p50, with NOTIFY",
                figure("ms to be revoked elsewhere, NOTIFY, p50"),
                Bar::AtMost(20.0),
                " ms",
            ),
            row(
                "the same, p99, by polling alone",
                figure("ms to be revoked elsewhere, polling, p99"),
                Bar::AtMost(250.0),
                " ms",
            ),
            row(
                "admin writes, two at a time, against bare SQLite commits",
                figure("admin writes per bare commit, SQLite"),
                Bar::AtLeast(0.5),
                times,
            ),
            row(
                "an idle replica's statements a second, with BEGIN and COMMIT",
                figure("statements a second of an idle replica"),
                Bar::AtMost(6.0),
                "",
            ),
        ]
    }
}
