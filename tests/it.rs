//! The one integration binary: each module is one story or one RPC, told against the real server.
//!
//! `make test` runs it (tests/run.py brings PostgreSQL, grpcurl and the rest); `make test
//! ARGS=contract` runs a part.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_macros,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    unreachable_pub,
    reason = "a test lives on the real clock, environment and disk, and fails by panicking"
)]

mod harness;

mod administrators;
mod cli;
mod contract;
mod durability;
mod errors;
mod gateway;
mod harness_itself;
mod helm;
mod house;
mod journey;
mod middleware;
mod model;
mod permissions;
mod python;
mod readme;
mod replicas;
mod rpc;
mod simulation;
mod store;
mod telemetry;
mod visibility;
