//! The rules of the service, pure: no database, no network, no clock, no randomness of its own.
//!
//! In: values, a [`Timestamp`] for "now", random bytes as parameters. Out: values and the closed set
//! of [`Error`]s. Never in here: tokio, tonic, `sea_orm`, tracing, or any other room of this crate.

pub mod activation;
pub mod audit;
pub mod canonical;
pub mod cidr;
pub mod credential;
pub mod deadline;
pub mod draft;
pub mod durations;
pub mod error;
pub mod filter;
pub mod hex;
pub mod ids;
pub mod key;
pub mod keyring;
pub mod permission;
pub mod position;
pub mod random;
pub mod replica;
pub mod route;
pub mod scope;
pub mod seal;
pub mod time;
pub mod token;
pub mod tree;
pub mod verdict;

pub use error::{Error, Violation};
pub use time::Timestamp;
