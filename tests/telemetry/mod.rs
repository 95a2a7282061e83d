//! What operators see: what is sent to collectors, and how it is said what is sent.

mod collector;
mod dead;
mod docs;
mod otlp;
mod receiver;
mod variables;
