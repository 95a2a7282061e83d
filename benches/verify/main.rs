//! What a verification costs, beside what the transport alone costs: `make bench`, or
//! `cargo bench --bench verify -- --help`.
//!
//! Servers run on one core and the load on another. Side by side, alternating round after round in one run: an empty
//! tonic handler with the same messages, on a current-thread and on tokio's multi-thread runtime; our server as a user
//! starts it; `redis-server`. Time is the scheduler's account of each server's process, so that what else the machine
//! does counts as little as it can. All traffic stays on loopback, and everything ends by itself.

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

mod admin;
mod bars;
mod cpu;
mod empty;
mod grid;
mod instructions;
mod load;
mod random;
mod redis;
mod replicas;
mod report;
mod requests;
mod run;
mod server;
mod store;
mod telemetry;

use std::path::PathBuf;

use clap::{Parser, Subcommand};

/// Measures what a verification costs.
#[derive(Debug, Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    run: run::Options,
    /// What cargo tells every benchmark.
    #[arg(long, hide = true, global = true)]
    bench: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve the empty handler until killed.
    #[command(hide = true)]
    Empty {
        #[arg(long)]
        runtime: empty::Runtime,
    },
    /// Take exported telemetry until killed.
    #[command(hide = true)]
    Collector,
    /// Say what changed between two runs.
    Compare {
        #[arg(default_value = "benches/baseline.json")]
        before: PathBuf,
        #[arg(default_value = "target/bench/latest.json")]
        after: PathBuf,
    },
}

fn main() {
    let arguments = Arguments::parse();
    match arguments.command {
        Some(Command::Empty { runtime }) => empty::serve(runtime),
        Some(Command::Collector) => telemetry::collect(),
        Some(Command::Compare { before, after }) => {
            report::compare(&report::Results::read(&before), &report::Results::read(&after));
        }
        None => run::run(&arguments.run),
    }
}
