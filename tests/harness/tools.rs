//! The foreign programs that a user of Countersign would use.

use std::path::PathBuf;

use super::{process::Program, run};

pub fn grpcurl() -> Program {
    tool("grpcurl")
}

pub fn buf() -> Program {
    // Nothing of the user's own buf, and no question to the network.
    tool("buf").env("BUF_CACHE_DIR", run::dir().join("buf-cache"))
}

/// Python with grpcio, grpcio-tools, health checking and reflection.
pub fn python() -> Program {
    tool("python")
}

/// A program of PostgreSQL's server package, e.g. `initdb`.
pub fn of_postgres(name: &str) -> Program {
    Program::new(run::postgres_programs().join(name))
}

pub fn envoy() -> Program {
    tool("envoy").with_a_clean_environment()
}

pub fn nginx() -> Program {
    Program::new(run::nginx()).with_a_clean_environment()
}

pub fn prometheus() -> Program {
    Program::new(run::prometheus()).with_a_clean_environment()
}

/// What checks rules, and pages as Prometheus reads them.
pub fn promtool() -> Program {
    Program::new(run::promtool()).with_a_clean_environment()
}

/// Nothing of the user's own settings for it.
pub fn curl() -> Program {
    Program::new(run::curl()).with_a_clean_environment().args(["--disable", "--noproxy", "*"])
}

/// Pools connections to PostgreSQL.
pub fn pgbouncer() -> Program {
    Program::new(run::pgbouncer())
}

/// Our own binary, as its users get it.
pub fn countersign() -> Program {
    Program::new(env!("CARGO_BIN_EXE_countersign")).with_a_clean_environment()
}

/// A path of the repository, e.g. `proto`.
pub fn in_repository(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn tool(name: &str) -> Program {
    Program::new(run::tools_dir().join("bin").join(name))
}
