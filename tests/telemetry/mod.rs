//! What operators see of a server from outside.

mod docs;
mod metrics;
mod page;
mod prometheus;
