//! What is in `ops/` for those who run it: alert rules, their runbook, and the dashboard. They are read by Prometheus's own
//! promtool, and held against each other and against `docs/METRICS.md` by the Python beside this file.

mod live;

use std::path::PathBuf;
use std::time::Duration;

use crate::harness::{Program, run, tools};

/// promtool plays hours of made-up measurements through all rules, several times.
const LIMIT: Duration = Duration::from_secs(240);

/// The tests of a script, in a folder of their own.
fn script(name: &str) -> Program {
    let scratch: PathBuf = run::new_data_dir(&run::unique_name());
    tools::python()
        .arg(tools::in_repository("tests/ops").join(name))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("COUNTERSIGN_PROGRAM", env!("CARGO_BIN_EXE_countersign"))
        .env("PROMTOOL", run::promtool())
        .env("SCRATCH", scratch)
        .within(LIMIT)
}

#[test]
fn every_alert_fires_when_it_should_and_only_then() {
    script("rules.py").run().succeeded();
}

#[test]
fn the_runbook_says_what_to_do_about_every_alert() {
    script("runbook.py").run().succeeded();
}

#[test]
fn the_dashboard_shows_what_is_measured() {
    script("dashboard.py").run().succeeded();
}
