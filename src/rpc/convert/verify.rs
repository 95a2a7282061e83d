//! The question of a `Verify`.

use std::net::IpAddr;

use smallvec::SmallVec;

use super::key;
use crate::domain::cidr::parse_client_ip;
use crate::domain::credential::{self, Brands, Presented};
use crate::domain::ids::{AccountId, ApplicationId, Environment};
use crate::domain::scope::RequiredScope;
use crate::domain::verdict::Question;
use crate::domain::{Error, Violation};
use crate::rpc::wire;

/// The most scopes that one request can require.
const MAX_REQUIRED_SCOPES: usize = 100;

/// What a request asks of the credential, checked. A [`Question`] borrows from it.
#[derive(Debug)]
pub(in crate::rpc) struct Asked<'m> {
    required_scopes: SmallVec<[RequiredScope<'m>; 4]>,
    client_ip: Option<IpAddr>,
    account_id: Option<AccountId>,
    application_id: Option<ApplicationId>,
    environment: Environment,
}

/// What a request presents. Nothing in it can make the request malformed: a bad credential is denied.
pub(in crate::rpc) fn presented<'m>(
    request: &wire::VerifyRequest<'m>,
    brands: &Brands,
) -> Presented<'m> {
    match request.presented {
        None => Presented::Missing,
        Some(wire::Presented::Token(token)) => credential::from_token(token, brands),
        Some(wire::Presented::Credential { key_id, secret }) => {
            credential::from_pair(key_id, secret, brands)
        }
    }
}

impl<'m> TryFrom<&wire::VerifyRequest<'m>> for Asked<'m> {
    type Error = Error;

    fn try_from(request: &wire::VerifyRequest<'m>) -> Result<Self, Error> {
        let mut found = Findings::default();
        let asked = Self {
            required_scopes: found.scopes(&request.required_scopes, request.further_scopes),
            client_ip: found.said("client_ip", request.client_ip, parse_client_ip),
            account_id: found.said("account_id", request.account_id, AccountId::parse),
            application_id: found.said(
                "application_id",
                request.application_id,
                ApplicationId::parse,
            ),
            environment: found.environment(request.environment),
        };
        if found.0.is_empty() { Ok(asked) } else { Err(Error::InvalidRequest(found.0)) }
    }
}

impl Asked<'_> {
    /// The same as the domain asks it.
    pub(in crate::rpc) fn question(&self) -> Question<'_> {
        Question {
            required_scopes: &self.required_scopes,
            client_ip: self.client_ip,
            account_id: self.account_id.as_ref(),
            application_id: self.application_id.as_ref(),
            environment: self.environment,
        }
    }
}

/// The violations found so far.
#[derive(Default)]
struct Findings(Vec<Violation>);

impl Findings {
    fn scopes<'m>(
        &mut self,
        texts: &[&'m str],
        further: usize,
    ) -> SmallVec<[RequiredScope<'m>; 4]> {
        let count = texts.len() + further;
        if count > MAX_REQUIRED_SCOPES {
            let too_many = format!("must be at most {MAX_REQUIRED_SCOPES}, are {count}");
            self.0.push(Violation::new("required_scopes", too_many));
            return SmallVec::new();
        }
        let mut scopes = SmallVec::with_capacity(texts.len());
        for (index, text) in texts.iter().enumerate() {
            match RequiredScope::parse(text) {
                Ok(scope) => scopes.push(scope),
                Err(why) => {
                    self.0
                        .push(Violation::new(format!("required_scopes[{index}]"), why.to_string()));
                }
            }
        }
        scopes
    }

    /// Reads a text that may be empty, which says nothing.
    fn said<T, E: ToString>(
        &mut self,
        field: &str,
        text: &str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        if text.is_empty() {
            return None;
        }
        parse(text).map_err(|why| self.0.push(Violation::new(field, why.to_string()))).ok()
    }

    /// Not said means live, so that a test key never passes by omission.
    fn environment(&mut self, number: i32) -> Environment {
        let environment = key::environment(number).unwrap_or_else(|_| {
            self.0.push(Violation::new(
                "environment",
                "must be ENVIRONMENT_LIVE or ENVIRONMENT_TEST",
            ));
            None
        });
        environment.unwrap_or(Environment::Live)
    }
}

#[cfg(test)]
#[path = "verify_tests.rs"]
mod tests;
