//! What operators see of a server from outside.

mod docs;
mod metrics;
pub mod page;
mod prometheus;
