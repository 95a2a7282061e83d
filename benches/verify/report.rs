//! The results: a table for people, JSON for comparing.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use comfy_table::Table;
use serde::{Deserialize, Serialize};

use crate::bars::Row;
use crate::cpu;
use crate::grid::{Cost, Latency};

/// All of a run.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Results {
    pub(crate) machine: String,
    pub(crate) date: String,
    pub(crate) rounds: usize,
    pub(crate) costs: BTreeMap<String, Cost>,
    pub(crate) latencies: BTreeMap<String, Latency>,
    /// Everything else that is one number, with its unit in its name.
    pub(crate) figures: BTreeMap<String, f64>,
}

/// What this machine is.
pub(crate) fn machine() -> String {
    let cpus = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let field = |name: &str| {
        let line = cpus.lines().find(|line| line.starts_with(name));
        line.and_then(|line| line.split(':').nth(1)).unwrap_or("?").trim().to_owned()
    };
    let cores = cpu::cores();
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let extension = if cpus.contains("sha_ni") { "with SHA-NI" } else { "without SHA-NI" };
    let (model, mhz) = (field("model name"), field("cpu MHz"));
    format!("{cores} × {model} at {mhz} MHz, {extension}, Linux {}", kernel.trim())
}

impl Results {
    pub(crate) fn write(&self, path: &Path) {
        fs::create_dir_all(path.parent().expect("a file in a folder")).expect("a folder");
        let text = serde_json::to_string_pretty(self).expect("numbers and names");
        fs::write(path, text + "\n").expect("written");
    }

    pub(crate) fn read(path: &Path) -> Self {
        let text = fs::read_to_string(path);
        let text = text.unwrap_or_else(|error| panic!("can't read {}: {error}", path.display()));
        serde_json::from_str(&text).expect("results of this benchmark")
    }

    /// Prints everything for people.
    pub(crate) fn print(&self) {
        println!("{}\n{}, medians of {} rounds\n", self.machine, self.date, self.rounds);
        println!("{}\n", self.cost_table());
        println!("{}\n", self.latency_table());
        let mut others = table(&["", ""]);
        for (name, value) in &self.figures {
            others.add_row([name.clone(), figure(*value)]);
        }
        println!("{others}\n");
        let mut bars = table(&["what", "measured", "bar", ""]);
        for Row { what, value, bar, unit } in self.rows() {
            let measured = value.map_or("not in this run".to_owned(), |value| figure(value) + unit);
            let verdict =
                value.map_or("", |value| if bar.holds(value) { "met" } else { "NOT MET" });
            bars.add_row([what, &measured, &bar.text(unit), verdict]);
        }
        println!("{bars}");
        println!(
            "Counted, not measured, by tests: answers after a settled revocation while replicas are frozen, cut off, \
             killed and started (`make test ARGS=replicas::chaos`), and while the database is gone \
             (`make test ARGS=replicas::absence`)."
        );
    }

    fn cost_table(&self) -> Table {
        let mut costs = table(&[
            "one request",
            "CPU µs",
            "least",
            "most",
            "a second and core",
            "writes",
            "server",
            "load",
        ]);
        for (name, cost) in &self.costs {
            costs.add_row([
                name.clone(),
                format!("{:.2}", cost.cpu_us),
                format!("{:.2}", cost.cpu_us_least),
                format!("{:.2}", cost.cpu_us_most),
                figure(cost.per_second_and_core),
                format!("{:.2}", cost.writes),
                format!("{:.0} %", cost.server_busy * 100.0),
                format!("{:.0} %", cost.load_busy * 100.0),
            ]);
        }
        costs
    }

    fn latency_table(&self) -> Table {
        let mut latencies = table(&["latency, µs", "a second", "p50", "p99", "p99.9", "requests"]);
        for (name, latency) in &self.latencies {
            latencies.add_row([
                name.clone(),
                figure(latency.per_second),
                figure(latency.p50_us),
                figure(latency.p99_us),
                figure(latency.p999_us),
                latency.requests.to_string(),
            ]);
        }
        latencies
    }
}

/// Says what changed from one run to another.
pub(crate) fn compare(before: &Results, after: &Results) {
    println!(
        "before: {}, {}\nafter:  {}, {}\n",
        before.date, before.machine, after.date, after.machine
    );
    let mut changes =
        table(&["CPU µs of one request", "before", "after", "change", "in empty handlers"]);
    // Machines and their neighbours differ from day to day; the empty handler of the same run says by how much.
    let scale =
        |results: &Results| results.costs.get("empty current-thread, 8×10").map(|cost| cost.cpu_us);
    for (name, new) in &after.costs {
        let Some(old) = before.costs.get(name) else { continue };
        let relative = scale(before).zip(scale(after));
        let relative =
            relative.map(|(b, a)| format!("{:.2} → {:.2}", old.cpu_us / b, new.cpu_us / a));
        let apart = new.cpu_us_least > old.cpu_us_most || new.cpu_us_most < old.cpu_us_least;
        changes.add_row([
            name.clone(),
            format!("{:.2}", old.cpu_us),
            format!("{:.2}", new.cpu_us),
            format!(
                "{:+.1} %{}",
                100.0 * (new.cpu_us / old.cpu_us - 1.0),
                if apart { " !" } else { "" }
            ),
            relative.unwrap_or_default(),
        ]);
    }
    println!("{changes}\n! the rounds of one run all lie on one side of the other's\n");
    let mut changes = table(&["", "before", "after", "change"]);
    for (name, new) in &after.figures {
        let Some(old) = before.figures.get(name) else { continue };
        let change = format!("{:+.1} %", 100.0 * (new / old - 1.0));
        changes.add_row([name.clone(), figure(*old), figure(*new), change]);
    }
    println!("{changes}");
}

fn table(head: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(comfy_table::presets::UTF8_HORIZONTAL_ONLY).set_header(head);
    table
}

/// A number with as many digits as mean something.
pub(crate) fn figure(value: f64) -> String {
    match value.abs() {
        size if size >= 1_000.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}
