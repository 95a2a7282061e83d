//! The program: parses, runs, flushes the log, and ends with an exit code.

use std::process::ExitCode;

/// A request makes and drops some fifty small objects; `docs/BENCHMARKS.md` says how the allocators compare.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    countersign::cli::run(std::env::args_os())
}
