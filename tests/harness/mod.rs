//! Drives the real binary the way its users do. A test reads as a sentence:
//!
//! ```ignore
//! on_both_databases! {
//!     async fn a_revoked_key_is_denied(db: Database) {
//!         let server = Server::start(db).await;
//!         let minted = server.as_admin().await.mint(key("acme", "billing")).await;
//!         …
//!     }
//! }
//! ```
//!
//! Every server, database and file lives in the run folder that tests/run.py makes, searches for
//! secrets and removes.

#![allow(dead_code, unused_imports, reason = "a kit: each part is for the tests that need it")]

pub mod canary;
pub mod client;
pub mod eventually;
pub mod following;
pub mod postgres;
pub mod process;
pub mod proxy;
pub mod run;
pub mod server;
pub mod store;
pub mod tools;

pub use client::{Caller, Credential, Minted, key};
pub use eventually::eventually;
pub use process::{Output, Program, Running};
pub use proxy::Proxy;
pub use server::Server;
pub use store::Store;

/// Which database a test runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Database {
    Sqlite,
    Postgres,
}

/// Makes of each `async fn name(db: Database)` two tests, `name::sqlite` and `name::postgres`.
#[macro_export]
macro_rules! on_both_databases {
    ($($(#[$attribute:meta])* async fn $name:ident($db:ident: Database) $body:block)+) => {$(
        mod $name {
            #[allow(unused_imports, reason = "a story may need nothing from around it")]
            use super::*;

            $(#[$attribute])*
            async fn on($db: $crate::harness::Database) $body

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn sqlite() {
                on($crate::harness::Database::Sqlite).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn postgres() {
                on($crate::harness::Database::Postgres).await;
            }
        }
    )+};
}
