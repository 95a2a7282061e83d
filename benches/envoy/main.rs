//! What a gateway's question costs: `make bench-envoy`, or `cargo bench --bench envoy -- --help`.
//!
//! One Envoy with `examples/envoy/envoy.yaml`, one service behind it, one Countersign. That Envoy has a second listener,
//! which is the first one without the filter. The very same requests go through the two in turns, a turn of each to a
//! round, and who begins changes from round to round: what the check adds is the difference within a round, so that a
//! machine that is slower for a while slows both. Each connection sends on a schedule, and where an answer comes too
//! late for the next request, that one counts from when it was due, so that a stall is not left out of the figures. All
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
    /// Turns of each listener
    #[arg(long, default_value_t = 9)]
    rounds: usize,
    /// How long a turn takes, in seconds
    #[arg(long, default_value_t = 3)]
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

/// What both listeners are asked for.
const PATH: &str = "/v1/transactions";
const QUANTILES: [(&str, f64); 4] = [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999)];

/// Latencies of one round in microseconds, without the filter and with it.
type Round = [Histogram<u64>; 2];

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
    let loads = [stack.without_the_filter(), stack.with_the_filter()]
        .map(|listener| Load::new(listener, PATH, stack.credential()));
    // Connections, caches and both ways warm.
    for load in &loads {
        load.run(Schedule { lasts: Duration::from_secs(1), ..schedule }).await;
    }
    let mut rounds = Vec::new();
    for number in 0..arguments.rounds.max(1) {
        let [without, with] = &loads;
        rounds.push(if number % 2 == 0 {
            let first = without.run(schedule).await;
            [first, with.run(schedule).await]
        } else {
            let first = with.run(schedule).await;
            [without.run(schedule).await, first]
        });
    }
    print(arguments, &rounds);
}

fn print(arguments: &Arguments, rounds: &[Round]) {
    let mut table = Table::new();
    table.set_header([
        "µs",
        "without the filter",
        "with the filter",
        "what the check adds: median of the rounds",
        "least",
        "most",
    ]);
    for (name, quantile) in QUANTILES {
        let of_rounds = |which: usize| {
            rounds.iter().map(move |round| signed(round[which].value_at_quantile(quantile)))
        };
        let added = of_rounds(1).zip(of_rounds(0)).map(|(with, without)| with - without);
        let added = sorted(added);
        table.add_row([
            name.to_owned(),
            median(&sorted(of_rounds(0))).to_string(),
            median(&sorted(of_rounds(1))).to_string(),
            format!("{:+}", median(&added)),
            format!("{:+}", added[0]),
            format!("{:+}", added[added.len() - 1]),
        ]);
    }
    println!("{table}");
    let requests: u64 = rounds.iter().flatten().map(Histogram::len).sum();
    println!(
        "{} connections, {} requests a second together, {} rounds of two turns of {} s, {requests} requests",
        arguments.connections,
        arguments.rate,
        rounds.len(),
        arguments.seconds
    );
}

fn signed(micros: u64) -> i64 {
    i64::try_from(micros).expect("a short time")
}

fn sorted(values: impl Iterator<Item = i64>) -> Vec<i64> {
    let mut values: Vec<i64> = values.collect();
    values.sort_unstable();
    values
}

/// Of an even number the upper of the two in the middle.
fn median(sorted: &[i64]) -> i64 {
    sorted[sorted.len() / 2]
}
