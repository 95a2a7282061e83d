//! What every request passes on its way to a service, from the outside in.
//!
//! In: an HTTP request as the transport took it, with the peer's address among its extensions. Out: the
//! same request with the caller's [`Principal`](crate::domain::permission::Principal), or an answer
//! that refuses it. A layer only finds out who calls; what the caller may do is decided in `control`.
//! Every refusal is made by `rpc::status`.

mod authenticate;
mod deadline;
mod decoding;
mod headers;
mod load_shed;
mod method;
mod trace;

use std::pin::Pin;
use std::sync::Arc;

use http::Response;
use tokio::sync::Semaphore;
use tower::ServiceBuilder;

use crate::verify::Verifier;
use authenticate::{Authenticate, AuthenticateLayer};
use deadline::{Deadline, DeadlineLayer};
use decoding::{Decoding, DecodingLayer};
use load_shed::{LoadShed, LoadShedLayer};
use trace::{Trace, TraceLayer};

/// A response that is being made.
type Answering<B, E> = Pin<Box<dyn Future<Output = Result<Response<B>, E>> + Send>>;

/// What can be set about the middleware.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// The most requests in work at once on this replica, streams included; one more is turned away.
    pub max_in_flight: usize,
    /// Whether callers of `KeyVerifier` need a credential of their own, whose key holds
    /// `countersign.verify:call`.
    pub require_verify_credential: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self { max_in_flight: 10_000, require_verify_credential: true }
    }
}

/// What all requests of this replica share, on whatever listener and core they arrive.
#[derive(Clone)]
pub struct Middleware {
    in_flight: Arc<Semaphore>,
    authenticate: AuthenticateLayer,
}

/// A service with everything in front of it that a request passes.
pub type Guarded<S> = Trace<LoadShed<Deadline<Decoding<Authenticate<S>>>>>;

impl Middleware {
    /// The middleware of one replica.
    pub fn new(settings: Settings, verifier: Arc<Verifier>) -> Self {
        Self {
            in_flight: Arc::new(Semaphore::new(settings.max_in_flight.min(Semaphore::MAX_PERMITS))),
            authenticate: AuthenticateLayer::new(verifier, settings.require_verify_credential),
        }
    }

    /// The service behind the whole stack.
    pub fn guard<S>(&self, service: S) -> Guarded<S> {
        ServiceBuilder::new()
            // First, so that a refusal is seen too, and later layers speak within the request's span.
            .layer(TraceLayer)
            // Before anything costs anything. Requests that wait would only grow old together.
            .layer(LoadShedLayer::new(Arc::clone(&self.in_flight)))
            // Around all work for the request. What must not be cut short runs in a task of its own.
            .layer(DeadlineLayer)
            // What tonic says about messages that it can't read is said in the words of our table.
            .layer(DecodingLayer)
            // Last, so that the service is told who calls.
            .layer(self.authenticate.clone())
            .service(service)
    }
}
