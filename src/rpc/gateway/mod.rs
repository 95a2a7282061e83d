//! Whether a gateway lets an HTTP request through: one decision, whichever way it is asked.
//!
//! ```text
//!   Envoy ext_authz   ─ gRPC ─► check        ─┐
//!   nginx auth_request ─ HTTP ─► forward_auth ─┼─► decide ─► route table ─► Verifier::verify ─► passed, or refused
//!   Traefik forwardAuth ─ HTTP ─►             ─┘
//! ```
//!
//! In: what a gateway tells of a request. Out: what it sends on to the server behind it, or what it answers instead.
//! Whatever goes wrong, nobody is let through: every refusal is an answer, and no answer but [`Passed`] lets pass. What
//! is refused on the way to `check` becomes an answer in [`answered()`].

mod answered;
mod attempt;
mod check;
mod client;
mod credential;
mod forward_auth;
mod passed;
mod refusal;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use http::HeaderName;
use http::header::AUTHORIZATION;

use self::attempt::Attempt;
use self::passed::Passed;
use self::refusal::Refusal;
use crate::domain::ids::Environment;
use crate::domain::permission::Principal;
use crate::domain::route::{Demand, Path, Routes};
use crate::domain::scope::KeptScope;
use crate::domain::verdict::Question;
use crate::verify::{Query, Verifier};

pub use answered::answered;
pub use attempt::SAY_ANOTHER_REQUEST;
pub use check::EXTENSIONS;
pub use forward_auth::{DOORS, routes};
pub use passed::UPSTREAM_HEADERS;
pub use refusal::REASONS;

/// What is done with a request that no route is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnknownRoutes {
    /// It is refused.
    Deny,
    /// Any good live key passes.
    Verify,
}

/// What can be set about gateways.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The header of the public half. In `authorization` it stands after `Bearer`, in any other by itself.
    pub key_header: HeaderName,
    /// The header of the private half.
    pub secret_header: HeaderName,
    /// How many proxies in front of the gateway are believed in what they write into `x-forwarded-for`.
    pub trusted_hops: usize,
    /// What is done with a request that no route is for.
    pub unknown_routes: UnknownRoutes,
    /// What requests need.
    pub routes: Routes,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            key_header: AUTHORIZATION,
            secret_header: HeaderName::from_static("x-secret-key"),
            trusted_hops: 0,
            unknown_routes: UnknownRoutes::Deny,
            routes: Routes::default(),
        }
    }
}

/// Decides for gateways. Cheap to clone.
#[derive(Clone)]
pub struct Gateway {
    verifier: Arc<Verifier>,
    settings: Arc<Settings>,
    /// How many requests were refused for each of the [`REFUSALS`].
    refused: Arc<[AtomicU64; REFUSALS.len()]>,
}

/// The [`REASONS`] in small letters.
const REFUSALS: [&str; REASONS.len()] = ["ambiguous_request", "unknown_route", "unmeetable"];

impl Gateway {
    /// Decides by these settings, on what the verifier answers.
    pub fn new(verifier: Arc<Verifier>, settings: Settings) -> Self {
        Self { verifier, settings: Arc::new(settings), refused: Arc::default() }
    }

    /// How many requests were refused since the start for no fault of their credential, by reason.
    pub fn refused(&self) -> Vec<(&'static str, u64)> {
        let counts = self.refused.iter().map(|count| count.load(Ordering::Relaxed));
        REFUSALS.into_iter().zip(counts).collect()
    }

    /// Decides on a request. `caller` is the gateway, if it presented a credential of its own.
    fn decide(&self, attempt: &Attempt<'_>, caller: Option<&Principal>) -> Result<Passed, Refusal> {
        self.try_decide(attempt, caller).inspect_err(|refusal| {
            let reason = REASONS.iter().position(|(reason, ..)| *reason == refusal.reason());
            if let Some(count) = reason.and_then(|place| self.refused.get(place)) {
                count.fetch_add(1, Ordering::Relaxed);
            }
        })
    }

    fn try_decide(
        &self,
        attempt: &Attempt<'_>,
        caller: Option<&Principal>,
    ) -> Result<Passed, Refusal> {
        let path = Path::of(attempt.target).map_err(|_| Refusal::ambiguous())?;
        if attempt.headers.say_another_request() {
            return Err(Refusal::ambiguous());
        }
        // That no key would do is told to holders of a good one: to others, every path is alike.
        let (demand, refusal) = match self.demand(attempt, &path) {
            Ok(demand) => (demand, None),
            Err(refusal) => (Demand::default(), Some(refusal)),
        };
        let credential = credential::read(&attempt.headers, &self.settings, self.verifier.brands());
        let scopes: Vec<_> = demand.scopes.iter().map(KeptScope::required).collect();
        let answer = self.verifier.verify(&Query {
            presented: credential.presented,
            question: Question {
                required_scopes: &scopes,
                client_ip: attempt.client,
                account_id: demand.account.as_ref(),
                application_id: demand.application.as_ref(),
                environment: demand.environment.unwrap_or(Environment::Live),
            },
            caller,
            explain: false,
        })?;
        match (answer.denial, answer.proven, refusal) {
            (None, Some(_), Some(refusal)) => Err(refusal),
            (None, Some(key), None) => Ok(Passed::new(key, &credential, attempt, &self.settings)),
            (denial, ..) => Err(Refusal::denied(denial, answer.missing_scopes)),
        }
    }

    /// What the request needs, by the route table and by what the gateway says of its route: both hold.
    fn demand(&self, attempt: &Attempt<'_>, path: &Path<'_>) -> Result<Demand, Refusal> {
        let of_the_table = self.settings.routes.demand(attempt.method, path).transpose();
        let of_the_table = of_the_table.map_err(|_| Refusal::unmeetable())?;
        let is_known = of_the_table.is_some() || attempt.said.names_scopes;
        if !is_known && self.settings.unknown_routes == UnknownRoutes::Deny {
            return Err(Refusal::unknown_route());
        }
        let of_the_table = of_the_table.unwrap_or_default();
        of_the_table.and(attempt.said.demand.clone()).map_err(|_| Refusal::unmeetable())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_the_reasons_in_small_letters() {
        assert_eq!(REFUSALS.map(str::to_uppercase), REASONS.map(|(reason, ..)| reason.to_owned()));
    }
}
