//! What operators see of a server from outside: its page of metrics, and what it sends to collectors.

mod collector;
mod dead;
mod docs;
mod metrics;
mod otlp;
pub mod page;
mod page_of_variables;
pub mod prometheus;
mod receiver;
mod sent;
mod variables;
