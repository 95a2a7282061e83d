//! Sockets, the threads that serve them, and how all of it ends.
//!
//! ```text
//!               admin runtime                        verification threads, one current-thread
//!                                                    runtime each
//!   listener ─► acceptor ── round robin ──┬─► bounded ─► verify-0: HTTP/2 ─► service
//!               cap, EMFILE back-off      └─► bounded ─► verify-1: HTTP/2 ─► service
//!   listener ─► acceptor ────────────────────► administration-0, if KeyAdmin has a listener of its own
//!   listener ─► acceptor ─► HTTP/1 pages for probes and Prometheus
//!   listener ─► acceptor ─► HTTP/1 for gateways
//! ```
//!
//! In: listeners, a factory of services, and the word to stop. Out: bytes. A connection lives on one
//! thread from its first byte to its last. tonic's and axum's own servers are not used: they spin when
//! file descriptors run out, and wait for ever for a silent peer when they are to stop.

mod accept;
mod at_once;
mod connection;
mod connections;
mod http;
mod metrics_page;
mod preface;
mod signals;
mod threads;

use std::time::Duration;

pub use accept::{BindError, bind};
pub use connections::Connections;
pub use http::{MAX_PAGE_CONNECTIONS, Pages, Readiness, serve as serve_http, serve_pages};
pub use metrics_page::{MakePage, MetricsPage};
pub use signals::Signals;
pub use threads::{Verifiers, serve};

/// Limits of the listeners.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Threads that serve gRPC, each with a runtime of its own.
    pub verify_threads: usize,
    /// The most gRPC connections at once; a socket above it is closed at once.
    pub max_connections: usize,
    /// The most connections of gateways over plain HTTP at once; a socket above it is closed at once.
    pub gateway_max_connections: usize,
    /// How long a new connection may take to open the conversation. 10 s
    pub opening_limit: Duration,
    /// How long connections may take to finish after the word to stop. 8 s, so that with what comes
    /// after, the server is gone within ten.
    pub drain: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self {
            verify_threads: cores,
            max_connections: 10_000,
            gateway_max_connections: 1_024,
            opening_limit: Duration::from_secs(10),
            drain: Duration::from_secs(8),
        }
    }
}

#[cfg(test)]
mod tests;
