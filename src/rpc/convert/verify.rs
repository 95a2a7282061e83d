//! The question of a `Verify`, and its answer.

use std::net::IpAddr;

use super::{key, time};
use crate::domain::cidr::parse_client_ip;
use crate::domain::credential::{self, Brands, Presented};
use crate::domain::ids::{AccountId, ApplicationId, Environment};
use crate::domain::scope::RequiredScope;
use crate::domain::verdict::{DenialReason, Question};
use crate::domain::{Error, Violation};
use crate::rpc::proto;
use crate::verify::{Answer, Proven};

/// The most scopes that one request can require.
const MAX_REQUIRED_SCOPES: usize = 100;

/// What a request asks of the credential, checked. A [`Question`] borrows from it.
#[derive(Debug)]
pub(in crate::rpc) struct Asked {
    required_scopes: Vec<RequiredScope>,
    client_ip: Option<IpAddr>,
    account_id: Option<AccountId>,
    application_id: Option<ApplicationId>,
    environment: Environment,
}

/// What a request presents. Nothing in it can make the request malformed: a bad credential is denied.
pub(in crate::rpc) fn presented<'a>(
    request: &'a proto::VerifyRequest,
    brands: &Brands,
) -> Presented<'a> {
    match &request.presented {
        None => Presented::Missing,
        Some(proto::verify_request::Presented::Token(token)) => {
            credential::from_token(token, brands)
        }
        Some(proto::verify_request::Presented::Credential(pair)) => {
            credential::from_pair(&pair.key_id, &pair.secret, brands)
        }
    }
}

impl TryFrom<&proto::VerifyRequest> for Asked {
    type Error = Error;

    fn try_from(request: &proto::VerifyRequest) -> Result<Self, Error> {
        let mut found = Findings::default();
        let asked = Self {
            required_scopes: found.scopes(&request.required_scopes),
            client_ip: found.said("client_ip", &request.client_ip, parse_client_ip),
            account_id: found.said("account_id", &request.account_id, AccountId::parse),
            application_id: found.said(
                "application_id",
                &request.application_id,
                ApplicationId::parse,
            ),
            environment: found.environment(request.environment),
        };
        if found.0.is_empty() { Ok(asked) } else { Err(Error::InvalidRequest(found.0)) }
    }
}

impl Asked {
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
    fn scopes(&mut self, texts: &[String]) -> Vec<RequiredScope> {
        if texts.len() > MAX_REQUIRED_SCOPES {
            let too_many = format!("must be at most {MAX_REQUIRED_SCOPES}, are {}", texts.len());
            self.0.push(Violation::new("required_scopes", too_many));
            return Vec::new();
        }
        let mut scopes = Vec::with_capacity(texts.len());
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

impl From<Answer> for proto::VerifyResponse {
    fn from(answer: Answer) -> Self {
        let Answer { denial, proven, missing_scopes, checks, consistency_token, staleness } =
            answer;
        let superseded_time = proven.as_ref().and_then(|proven| proven.superseded_time);
        Self {
            allowed: denial.is_none() && proven.is_some(),
            denial_reason: denial.map_or(0, number),
            key: proven.map(proto::VerifiedKey::from),
            missing_scopes,
            superseded_time: superseded_time.map(time::to_proto),
            consistency_token,
            staleness: Some(time::duration_to_proto(staleness)),
            checks: checks
                .into_iter()
                .map(|(check, passed)| proto::CheckResult { check: number(check), passed })
                .collect(),
        }
    }
}

impl From<Proven> for proto::VerifiedKey {
    fn from(proven: Proven) -> Self {
        let key = &proven.key;
        Self {
            // Copied as they are: `to_string` goes through `Display`, which takes several times as long.
            key_id: key.key_id.as_str().to_owned(),
            account_id: key.account_id.as_str().to_owned(),
            application_id: key.application_id.as_str().to_owned(),
            environment: proto::Environment::from(key.environment).into(),
            scopes: key.scopes.iter().map(|scope| scope.as_str().to_owned()).collect(),
            expire_time: key.expire_time.map(time::to_proto),
            secret_number: key::number(proven.secret_number),
        }
    }
}

/// The numbers of the domain are those of the proto; a test holds them together.
fn number(reason: DenialReason) -> i32 {
    reason as i32
}

#[cfg(test)]
#[path = "verify_tests.rs"]
mod tests;
