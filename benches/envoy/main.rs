//! What a gateway's question costs: `make bench-envoy`, or `cargo bench --bench envoy -- --help`.
//!
//! One Envoy with `examples/envoy/envoy.yaml`, one service behind it, one Countersign. The same requests go through
//! it in turns: on a route for which the filter is switched off, and on one for which it asks. Each connection sends on
//! a schedule, and where an answer comes too late for the next request, that one counts from when it was due, so that a
//! stall is not left out of the figures. All
//! traffic stays on loopback and is bounded, and everything ends by itself.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    clippy::disallowed_macros,
    clippy::print_stdout,
    clippy::print_stderr,
    missing_docs,
    reason = "a measuring program: it reads the real clock, prints, and stops at the first surprise"
)]

mod load;
mod stack;

use std::time::Duration;

use clap::Parser;
use comfy_table::Table;
use hdrhistogram::Histogram;

use load::{Load, Schedule};
use stack::Stack;

/// Measures what a gateway's question costs.
#[derive(Debug, Parser)]
struct Arguments {
    /// Turns of each route
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// How long a turn takes, in seconds
    #[arg(long, default_value_t = 4)]
    seconds: u64,
    /// Connections to Envoy
    #[arg(long, default_value_t = 8)]
    connections: u32,
    /// Requests a second, all connections together; at most 5,000
    #[arg(long, default_value_t = 800)]
    rate: u32,
    /// What cargo tells every benchmark.
    #[arg(long, hide = true)]
    bench: bool,
}

/// The routes of the example: the filter is off for the first, and asks for the second.
const ROUTES: [(&str, &str); 2] =
    [("without the filter", "/healthz"), ("with the filter", "/v1/transactions")];

fn main() {
    let arguments = Arguments::parse();
    assert!(
        (1..=5_000).contains(&arguments.rate),
        "a bounded load is 1 to 5,000 requests a second"
    );
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.expect("a runtime").block_on(run(&arguments));
}

async fn run(arguments: &Arguments) {
    let stack = Stack::start().await;
    let connections = arguments.connections.max(1);
    let schedule = Schedule {
        connections,
        interval: Duration::from_secs(1) * connections / arguments.rate,
        lasts: Duration::from_secs(arguments.seconds),
    };
    let loads = ROUTES.map(|(_, path)| Load::new(stack.envoy(), path, stack.credential()));
    // Connections, caches and both ways warm.
    for load in &loads {
        load.run(Schedule { lasts: Duration::from_secs(1), ..schedule }).await;
    }
    let mut latencies = ROUTES.map(|_| Histogram::<u64>::new(3).expect("three digits"));
    let mut rounds = ROUTES.map(|_| Vec::new());
    for _ in 0..arguments.rounds.max(1) {
        for (index, load) in loads.iter().enumerate() {
            let round = load.run(schedule).await;
            rounds[index].push(round.value_at_quantile(0.5));
            latencies[index].add(round).expect("the same range");
        }
    }
    print(arguments, &latencies, rounds);
}

fn print(arguments: &Arguments, latencies: &[Histogram<u64>; 2], rounds: [Vec<u64>; 2]) {
    let quantiles = [0.5, 0.9, 0.99, 0.999];
    let mut table = Table::new();
    table.set_header(["µs", "p50", "p90", "p99", "p99.9", "p50 of each turn", "requests"]);
    for ((name, _), (latency, rounds)) in ROUTES.iter().zip(latencies.iter().zip(&rounds)) {
        let mut row = vec![(*name).to_owned()];
        row.extend(quantiles.map(|quantile| latency.value_at_quantile(quantile).to_string()));
        row.push(rounds.iter().map(u64::to_string).collect::<Vec<_>>().join(" "));
        row.push(latency.len().to_string());
        table.add_row(row);
    }
    let [without, with] = latencies;
    let mut row = vec!["what the check adds".to_owned()];
    row.extend(quantiles.map(|quantile| {
        let added = i128::from(with.value_at_quantile(quantile))
            - i128::from(without.value_at_quantile(quantile));
        format!("{added:+}")
    }));
    table.add_row(row);
    println!("{table}");
    println!(
        "{} connections, {} requests a second together, {} turns of {} s each",
        arguments.connections, arguments.rate, arguments.rounds, arguments.seconds
    );
}
