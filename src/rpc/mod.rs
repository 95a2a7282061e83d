//! The contract as code: the generated messages, their conversions, and the services.
//!
//! In: requests that passed the middleware, with the [`Principal`](crate::domain::permission::Principal)
//! that it found. Out: replies, or a status made in [`status`] and nowhere else. Each method only
//! converts and delegates: what is allowed and what happens is decided in `control` and `verify`. Never
//! in here: the store.

mod at_least;
mod batch_verify;
pub mod codec;
mod convert;
pub mod gateway;
mod key_admin;
mod key_verifier;
mod places;
pub mod proto;
mod redact;
pub mod services;
pub mod status;
mod turn;
mod waiters;
mod watch;
mod wire;

pub use at_least::AtLeast;
pub use gateway::Gateway;
pub use key_admin::KeyAdminService;
pub use key_verifier::KeyVerifierService;
pub use places::AdminLoad;

use std::time::Duration;

use tokio::time::Instant;

use crate::domain::deadline::Deadline;

/// How much time is left until a caller stops waiting; `None`: any.
fn time_left(deadline: Option<&Deadline>) -> Option<Duration> {
    let Deadline(deadline) = *deadline?;
    Some(Instant::from_std(deadline).saturating_duration_since(Instant::now()))
}

/// What can be set about the services.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// The most watchers of the audit log at once; one more is turned away.
    pub max_watchers: usize,
    /// The most administration requests in work at once; one more is turned away. They share a pool of
    /// database connections, so more would only wait for each other.
    pub max_admin_in_flight: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self { max_watchers: 1_000, max_admin_in_flight: 64 }
    }
}
