//! Finds out who calls, from the credential in the request's headers.

use std::net::IpAddr;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::header::AUTHORIZATION;
use http::{Request, Response};
use tower::{Layer, Service};

use super::headers::{SECRET_KEY, presented, user_agent};
use super::method::{Door, door};
use super::refusable::Refusable;
use super::trace::TraceId;
use crate::domain::Error;
use crate::domain::permission::{Origin, PeerAddr, Principal};
use crate::verify::{Refusal, Verifier};

/// Puts the caller's [`Principal`] into the request's extensions, or refuses the request.
#[derive(Clone)]
pub(super) struct AuthenticateLayer {
    verifier: Arc<Verifier>,
    require_verify_credential: bool,
}

impl AuthenticateLayer {
    pub(super) fn new(verifier: Arc<Verifier>, require_verify_credential: bool) -> Self {
        Self { verifier, require_verify_credential }
    }

    /// The caller; `None` where nobody needs to say who they are, and this one did not.
    fn caller<B>(&self, request: &Request<B>) -> Result<Option<Principal>, Error> {
        let door = door(request.uri().path());
        if door == Door::Open {
            return Ok(None);
        }
        let presented = presented(request.headers(), self.verifier.brands())?;
        let principal = match presented {
            None => None,
            Some(presented) => {
                let peer =
                    request.extensions().get::<PeerAddr>().map(|peer| peer.0.ip().to_canonical());
                // Verifications are not told to the log, so where they came from is not looked for.
                let origin = match door {
                    Door::Verifier(_) => Origin::default(),
                    Door::Open | Door::Admin => origin(request, peer),
                };
                let principal = self.verifier.authenticate(&presented, peer, origin);
                Some(principal.map_err(|refusal| match refusal {
                    // Which check failed is nobody's business who is not let in.
                    Refusal::Denied(_) => Error::Unauthenticated("the credential was refused"),
                    Refusal::Unknown(error) => error,
                })?)
            }
        };
        match (door, &principal) {
            (Door::Open, _) => {}
            (Door::Verifier(_), _) if !self.require_verify_credential => {}
            (Door::Verifier(verb), Some(principal)) => principal.require(verb)?,
            (Door::Admin, Some(_)) => {}
            (Door::Verifier(_) | Door::Admin, None) => {
                return Err(Error::Unauthenticated("the authorization header is missing"));
            }
        }
        Ok(principal)
    }
}

/// Where the request came from, for the log.
fn origin<B>(request: &Request<B>, peer: Option<IpAddr>) -> Origin {
    let trace_id = request.extensions().get::<TraceId>();
    Origin {
        address: peer.map(|peer| peer.to_string()).unwrap_or_default(),
        user_agent: user_agent(request.headers()),
        trace_id: trace_id.map(|id| id.0.to_string()).unwrap_or_default(),
    }
}

impl<S> Layer<S> for AuthenticateLayer {
    type Service = Authenticate<S>;

    fn layer(&self, inner: S) -> Authenticate<S> {
        Authenticate { layer: self.clone(), inner }
    }
}

/// See [`AuthenticateLayer`].
#[derive(Clone)]
pub struct Authenticate<S> {
    layer: AuthenticateLayer,
    inner: S,
}

impl<S, B, R> Service<Request<B>> for Authenticate<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    R: Default,
{
    type Response = Response<R>;
    type Error = S::Error;
    type Future = Refusable<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        match self.layer.caller(&request) {
            Ok(principal) => {
                // Nothing behind this needs the credential, and so nothing can let it out.
                request.headers_mut().remove(AUTHORIZATION);
                request.headers_mut().remove(SECRET_KEY);
                if let Some(principal) = principal {
                    request.extensions_mut().insert(principal);
                }
                Refusable::answer(self.inner.call(request))
            }
            Err(error) => Refusable::refusal(error),
        }
    }
}
