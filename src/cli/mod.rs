//! The commands. `serve` composes the whole server; `migrate`, `bootstrap`, `root-key` and
//! `check-config` work on what it needs; `keys`, `replicas`, `audit`, `verify` and `health` are an
//! ordinary gRPC client; `store` is for emergencies.
//!
//! In: arguments. Out: an exit code, answers on standard output, and on standard error one line for
//! what went wrong (a request with several bad fields adds a line for each). Nothing here decides what
//! is allowed: that is `control`'s.

mod audit;
mod bootstrap;
mod call;
mod check_config;
mod failure;
mod first_credential;
mod health;
mod json;
mod keys;
mod migrate;
mod output;
mod pages;
mod prepare;
mod redact;
mod replicas;
mod root_key;
mod serve;
mod store;
mod table;
mod time;
mod verify;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand};

use crate::config::{SettingsArgs, unknown_variables};
use failure::Failure;

/// Issues API keys and verifies them
#[derive(Parser)]
#[command(name = "countersign", version, arg_required_else_help = true, after_help = EXIT_CODES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const EXIT_CODES: &str = "Exit codes: 0 done, for `verify` allowed, and for `health` serving; 1 `verify`: denied, \
                          `audit check`: faults found, `health`: not serving; 2 anything that went wrong, \
                          with one line on standard error that says what.";

#[derive(Subcommand)]
enum Command {
    /// Start the server; on SQLite everything that is missing is made
    Serve(SettingsArgs),
    /// Bring the database's schema up to date
    Migrate(SettingsArgs),
    /// Make the first admin credential of an empty store
    Bootstrap(bootstrap::Args),
    /// Print the settings in effect, without secrets, or what is wrong with them
    CheckConfig(SettingsArgs),
    /// Make root keys
    RootKey(root_key::Args),
    /// Manage keys
    Keys(keys::Args),
    /// Ask whether a credential would be let in
    Verify(verify::Args),
    /// List the replicas that serve the store
    Replicas(replicas::Args),
    /// Ask whether a server serves
    Health(health::Args),
    /// Read the audit log, or check it
    Audit(audit::Args),
    /// Have a store go on that has lost changes
    Store(store::Args),
}

/// The whole command line, for whoever documents it.
pub fn command() -> clap::Command {
    Cli::command()
}

/// Runs one command to its end.
pub fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let result = match Cli::try_parse_from(args) {
        Ok(cli) => run_command(cli.command),
        Err(error) => Err(Failure::from_clap(&error)),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

fn run_command(command: Command) -> Result<(), Failure> {
    match command {
        Command::Serve(args) => {
            warn_of_unknown_variables();
            serve::run(args)
        }
        Command::Migrate(args) => {
            warn_of_unknown_variables();
            migrate::run(args)
        }
        Command::Bootstrap(args) => {
            warn_of_unknown_variables();
            bootstrap::run(args)
        }
        Command::CheckConfig(args) => {
            warn_of_unknown_variables();
            check_config::run(args)
        }
        Command::RootKey(args) => root_key::run(args),
        Command::Keys(args) => keys::run(args),
        Command::Verify(args) => verify::run(args),
        Command::Replicas(args) => replicas::run(args),
        Command::Health(args) => health::run(args),
        Command::Audit(args) => audit::run(args),
        Command::Store(args) => store::run(args),
    }
}

/// A warning and no error: Kubernetes sets some of its own for a service named `countersign`.
fn warn_of_unknown_variables() {
    let unknown = unknown_variables();
    if !unknown.is_empty() {
        output::warn(&format!("no such setting, passed over: {}", unknown.join(", ")));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        command().debug_assert();
    }

    #[test]
    fn no_value_of_a_variable_stands_in_any_help() {
        fn every(command: &clap::Command) {
            for arg in command.get_arguments().filter(|arg| arg.get_env().is_some()) {
                assert!(arg.is_hide_env_values_set(), "{} of {}", arg.get_id(), command.get_name());
            }
            command.get_subcommands().for_each(every);
        }
        every(&command());
    }
}
