//! The way to ask of gateways that speak plain HTTP: nginx `auth_request`, Traefik `forwardAuth`.
//!
//! Each has a path of its own, and each path reads the headers of its gateway alone: nginx passes on what a client
//! sends under Traefik's names, and Traefik what it sends under nginx's.

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use axum::routing::any;
use http::{HeaderValue, StatusCode};

use super::attempt::{Attempt, Headers, Said};
use super::passed::{Passed, is_misspelt};
use super::refusal::Refusal;
use super::{Gateway, client};
use crate::domain::Error;

/// The paths, and the headers in which each expects the method and the target of the request that wants through.
pub const DOORS: [(&str, &str, &str); 2] = [
    ("/v1/auth-request", "x-original-method", "x-original-uri"),
    ("/v1/forward-auth", "x-forwarded-method", "x-forwarded-uri"),
];

/// The pages that gateways ask. Whoever reaches them may ask.
pub fn routes(gateway: Gateway) -> Router {
    DOORS.into_iter().fold(Router::new(), |router, (path, method, target)| {
        let gateway = gateway.clone();
        let answer = async move |State(gateway): State<Gateway>, request: Request| match gateway
            .forward_auth(&request, method, target)
        {
            Ok(passed) => allowed(&passed),
            Err(refusal) => denied(&refusal),
        };
        router.route(path, any(answer).with_state(gateway))
    })
}

impl Gateway {
    fn forward_auth(
        &self,
        request: &Request,
        method: &str,
        target: &str,
    ) -> Result<Passed, Refusal> {
        if request.uri().query().is_some() {
            return Err(Error::invalid("query", "nothing can be said there").into());
        }
        let headers = request.headers().iter();
        let headers: Headers<'_> =
            headers.map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
        // These gateways can only take away what they are told by name, so what goes by another is not let in.
        if headers.names().any(is_misspelt) {
            return Err(Refusal::ambiguous());
        }
        let said = |name: &str| match headers.only(name) {
            Ok(Some(text)) => Ok(text),
            Ok(None) => Err(Refusal::from(Error::invalid(name, "must be set by the gateway"))),
            Err(_) => Err(Refusal::ambiguous()),
        };
        let (method, target) = (said(method)?, said(target)?);
        let client = client::forwarded(&headers, self.settings.trusted_hops);
        self.decide(&Attempt { method, target, headers, client, said: Said::default() }, None)
    }
}

fn allowed(passed: &Passed) -> Response {
    answer(StatusCode::OK, passed.headers().to_vec(), String::new())
}

fn denied(refusal: &Refusal) -> Response {
    answer(refusal.status, refusal.headers(), refusal.body())
}

/// What can't be put into a header lets nobody through.
fn answer(status: StatusCode, headers: Vec<(&'static str, String)>, body: String) -> Response {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    for (name, value) in headers {
        match HeaderValue::from_str(&value) {
            Ok(value) => _ = response.headers_mut().insert(name, value),
            Err(_) => *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE,
        }
    }
    response
}
