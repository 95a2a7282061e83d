//! The program: parses, runs, flushes the log, and ends with an exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    countersign::cli::run(std::env::args_os())
}
