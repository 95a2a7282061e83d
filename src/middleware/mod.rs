//! What every request passes on its way to a service, from the outside in.
//!
//! In: an HTTP request as the transport took it, with the peer's address among its extensions. Out: the
//! same request with the caller's [`Principal`](crate::domain::permission::Principal), or an answer
//! that refuses it. A layer only finds out who calls; what the caller may do is decided in `control`.
//! Every refusal is made by `rpc::status`.
//!
//! Each layer's future has a name and lies within the next one's, so that a request on its way through all of them
//! allocates nothing for it.

mod arrival;
mod authenticate;
mod calls;
mod deadline;
mod decoding;
mod headers;
mod load_shed;
mod method;
mod refusable;
mod trace;

use std::sync::Arc;
use std::time::Duration;

use tower::ServiceBuilder;

use crate::verify::Verifier;
use arrival::{Arrival, ArrivalLayer};
use authenticate::{Authenticate, AuthenticateLayer};
use deadline::{Deadline, DeadlineLayer};
use decoding::{Decoding, DecodingLayer};
use load_shed::{LoadShed, LoadShedLayer};
use trace::{Trace, TraceLayer};

pub use calls::{Calls, CallsCounted, CallsOfKind};
pub use load_shed::DoorLoad;

/// The most streams of health and reflection, which are open to anybody, on this replica.
pub const MAX_OPEN_STREAMS: usize = 256;
/// How long the message of a request is waited for.
const MESSAGE_ARRIVES_WITHIN: Duration = Duration::from_secs(10);

/// What can be set about the middleware.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// The most requests to our own services in work at once on this replica, watches included; one more is turned away.
    pub max_in_flight: usize,
    /// Whether callers of `KeyVerifier`, and Envoy, need a credential of their own, whose key holds
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
    load_shed: LoadShedLayer,
    authenticate: AuthenticateLayer,
    /// `None`: nobody wants to know.
    calls: Option<Arc<Calls>>,
}

/// A service with everything in front of it that a request passes.
pub type Guarded<S> = Trace<LoadShed<Deadline<Decoding<Authenticate<Arrival<S>>>>>>;

impl Middleware {
    /// The middleware of one replica.
    pub fn new(settings: Settings, verifier: Arc<Verifier>) -> Self {
        Self {
            load_shed: LoadShedLayer::new(settings.max_in_flight, MAX_OPEN_STREAMS),
            authenticate: AuthenticateLayer::new(verifier, settings.require_verify_credential),
            calls: None,
        }
    }

    /// The same, and how long calls take is noted there.
    #[must_use]
    pub fn noting(self, calls: Option<Arc<Calls>>) -> Self {
        Self { calls, ..self }
    }

    /// What the doors carry that load is shed at.
    pub fn doors(&self) -> [DoorLoad; 2] {
        self.load_shed.doors()
    }

    /// The service of one thread, behind the whole stack.
    pub fn guard<S>(&self, service: S) -> Guarded<S> {
        ServiceBuilder::new()
            // First, so that a refusal is seen too, and later layers speak within the request's span.
            .layer(TraceLayer::new(self.calls.as_deref().map(Calls::of_one_thread)))
            // Before anything costs anything. Requests that wait would only grow old together.
            .layer(self.load_shed.clone())
            // Around all work for the request. What must not be cut short runs in a task of its own.
            .layer(DeadlineLayer)
            // What tonic says about messages that it can't read is said in the words of our table.
            .layer(DecodingLayer)
            // Before the service, so that it is told who calls.
            .layer(self.authenticate.clone())
            // Last: the message of a request that is refused is never waited for.
            .layer(ArrivalLayer::new(MESSAGE_ARRIVES_WITHIN))
            .service(service)
    }
}
