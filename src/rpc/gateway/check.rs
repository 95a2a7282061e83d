//! Envoy's way to ask: `envoy.service.auth.v3.Authorization/Check`.

use std::collections::HashMap;
use std::net::IpAddr;

use http::StatusCode;
use prost_types::value::Kind;
use prost_types::{ListValue, Struct, Value};
use tonic::{Code, Request, Response, Status};

use super::attempt::{Attempt, Headers, Said};
use super::passed::Passed;
use super::refusal::Refusal;
use super::{Gateway, client};
use crate::domain::Error;
use crate::domain::cidr::parse_client_ip;
use crate::domain::ids::{AccountId, ApplicationId, Environment};
use crate::domain::permission::Principal;
use crate::domain::route::{Demand, scopes};
use crate::rpc::proto::gateway::envoy::config::core::v3::address::Address;
use crate::rpc::proto::gateway::envoy::config::core::v3::header_value_option::HeaderAppendAction;
use crate::rpc::proto::gateway::envoy::config::core::v3::{HeaderValue, HeaderValueOption};
use crate::rpc::proto::gateway::envoy::service::auth::v3::attribute_context::{HttpRequest, Peer};
use crate::rpc::proto::gateway::envoy::service::auth::v3::authorization_server::Authorization;
use crate::rpc::proto::gateway::envoy::service::auth::v3::check_response::HttpResponse;
use crate::rpc::proto::gateway::envoy::service::auth::v3::{
    CheckRequest, CheckResponse, DeniedHttpResponse, OkHttpResponse,
};
use crate::rpc::proto::gateway::envoy::r#type::v3::HttpStatus;

/// What a route of Envoy can say in its `context_extensions`, and what each means.
pub const EXTENSIONS: [(&str, &str); 4] = [
    (
        "scopes",
        "the scopes that the key must have, with commas between them; empty: any good key passes",
    ),
    ("account", "the account that the key must be of"),
    ("application", "the application that the key must be of"),
    ("environment", "`live` or `test`"),
];

#[tonic::async_trait]
impl Authorization for Gateway {
    async fn check(
        &self,
        request: Request<CheckRequest>,
    ) -> Result<Response<CheckResponse>, Status> {
        let caller = request.extensions().get::<Principal>();
        let outcome = self.check_request(request.get_ref(), caller);
        // A refusal is an answer, never an error: there are gateways that are told to let pass on errors.
        Ok(match outcome {
            Ok(passed) => Response::new(allowed(&passed)),
            Err(refusal) => {
                let mut response = Response::new(denied(&refusal));
                if let Some(unanswered) = refusal.unanswered() {
                    response.extensions_mut().insert(unanswered);
                }
                response
            }
        })
    }
}

impl Gateway {
    fn check_request(
        &self,
        request: &CheckRequest,
        caller: Option<&Principal>,
    ) -> Result<Passed, Refusal> {
        let attributes = request.attributes.as_ref();
        let http = attributes.and_then(|attributes| attributes.request.as_ref()?.http.as_ref());
        let (Some(attributes), Some(http)) = (attributes, http) else {
            return Err(Error::invalid("attributes.request.http", "must be there").into());
        };
        let headers = headers(http);
        let peer = attributes.source.as_ref().and_then(address);
        let client = client::behind_peer(&headers, peer, self.settings.trusted_hops);
        let said = said(&attributes.context_extensions)
            .map_err(|why| Error::invalid("attributes.context_extensions", why))?;
        let attempt = Attempt { method: &http.method, target: &http.path, headers, client, said };
        self.decide(&attempt, caller)
    }
}

/// Envoy joins headers of one name with a comma, or with `encode_raw_headers` gives each by itself and as bytes.
fn headers(http: &HttpRequest) -> Headers<'_> {
    let joined = http.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes()));
    let raw = http.header_map.iter().flat_map(|map| &map.headers).map(|header| {
        let value =
            if header.raw_value.is_empty() { header.value.as_bytes() } else { &header.raw_value };
        (header.key.as_str(), value)
    });
    joined.chain(raw).collect()
}

fn address(peer: &Peer) -> Option<IpAddr> {
    match peer.address.as_ref()?.address.as_ref()? {
        Address::SocketAddress(socket) => parse_client_ip(&socket.address).ok(),
        _ => None,
    }
}

/// What the route says that it needs. A word that we don't know may be a mistyped one that we do, so it is an error.
fn said(extensions: &HashMap<String, String>) -> Result<Said, String> {
    let (mut demand, mut names_scopes) = (Demand::default(), false);
    for (name, value) in extensions {
        let bad = |why: String| format!("{name}: {why}");
        match name.as_str() {
            "scopes" => {
                let listed = value.split(',').map(str::trim).filter(|_| !value.trim().is_empty());
                demand.scopes = scopes(listed)?;
                names_scopes = true;
            }
            "account" => {
                demand.account = Some(AccountId::parse(value).map_err(|why| bad(why.to_string()))?)
            }
            "application" => {
                demand.application =
                    Some(ApplicationId::parse(value).map_err(|why| bad(why.to_string()))?);
            }
            "environment" => {
                let all = [Environment::Live, Environment::Test];
                let named = all.into_iter().find(|environment| environment.as_str() == value);
                demand.environment =
                    Some(named.ok_or_else(|| bad("must be live or test".to_owned()))?);
            }
            _ => {
                return Err(bad(
                    "is none of scopes, account, application and environment".to_owned()
                ));
            }
        }
    }
    Ok(Said { demand, names_scopes })
}

fn allowed(passed: &Passed) -> CheckResponse {
    // Envoy's contract says both of headers without a value, that it drops them (and leaves the client's) and that it
    // keeps them (`keep_empty_value`). What is to be gone is taken away.
    let (said, unsaid): (Vec<_>, Vec<_>) =
        passed.headers().into_iter().partition(|(_, value)| !value.is_empty());
    let mut headers_to_remove = passed.removed.clone();
    headers_to_remove.extend(unsaid.into_iter().map(|(name, _)| name.to_owned()));
    let response = OkHttpResponse {
        headers: said.into_iter().map(|(name, value)| overwritten(name, value)).collect(),
        headers_to_remove,
        ..OkHttpResponse::default()
    };
    CheckResponse {
        status: Some(tonic_types::Status {
            code: Code::Ok.into(),
            ..tonic_types::Status::default()
        }),
        http_response: Some(HttpResponse::OkResponse(response)),
        dynamic_metadata: Some(metadata(passed)),
    }
}

/// The answer to a request that may not go on.
pub(super) fn denied(refusal: &Refusal) -> CheckResponse {
    let headers =
        refusal.headers().into_iter().map(|(name, value)| overwritten(name, value)).collect();
    let response = DeniedHttpResponse {
        status: Some(HttpStatus { code: number(refusal.status) }),
        headers,
        body: refusal.body(),
    };
    CheckResponse {
        status: Some(tonic_types::Status {
            code: refusal.code.into(),
            ..tonic_types::Status::default()
        }),
        http_response: Some(HttpResponse::DeniedResponse(response)),
        dynamic_metadata: None,
    }
}

/// The numbers of Envoy's `StatusCode` are HTTP's.
fn number(status: StatusCode) -> i32 {
    i32::from(status.as_u16())
}

/// In the place of whatever stood under that name, from whomever.
fn overwritten(name: &str, value: String) -> HeaderValueOption {
    let header = HeaderValue { key: name.to_owned(), value, ..HeaderValue::default() };
    HeaderValueOption {
        header: Some(header),
        append_action: HeaderAppendAction::OverwriteIfExistsOrAdd.into(),
        ..HeaderValueOption::default()
    }
}

/// The same as the headers, for other filters and the access log of the gateway.
fn metadata(passed: &Passed) -> Struct {
    let text = |text: &str| Value { kind: Some(Kind::StringValue(text.to_owned())) };
    let scopes = ListValue { values: passed.scopes().map(text).collect() };
    let key = &passed.key;
    let fields = [
        ("account", text(key.account_id.as_str())),
        ("application", text(key.application_id.as_str())),
        ("key_id", text(key.key_id.as_str())),
        ("environment", text(key.environment.as_str())),
        ("scopes", Value { kind: Some(Kind::ListValue(scopes)) }),
    ];
    Struct { fields: fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn extensions(pairs: &[(&str, &str)]) -> Result<Said, String> {
        said(&pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
    }

    #[test]
    fn a_route_says_what_it_needs_in_words_that_are_known() {
        assert_eq!(extensions(&[]), Ok(Said::default()));
        let none = Said { names_scopes: true, ..Said::default() };
        assert_eq!(extensions(&[("scopes", " ")]), Ok(none));
        let demand =
            extensions(&[("scopes", "a:read, b"), ("account", "acme"), ("environment", "test")]);
        let Said { demand, names_scopes } = demand.expect("good");
        assert!(names_scopes);
        assert_eq!(demand.scopes.len(), 2);
        assert_eq!(demand.account.as_ref().map(AccountId::as_str), Some("acme"));
        assert_eq!(demand.environment, Some(Environment::Test));
        for bad in [
            ("scope", "a"),
            ("scopes", "a,,b"),
            ("scopes", "a:*"),
            ("account", ""),
            ("environment", "LIVE"),
        ] {
            assert!(extensions(&[bad]).is_err(), "{bad:?}");
        }
        for (name, _) in EXTENSIONS {
            let unknown = extensions(&[(name, "live")]);
            assert!(unknown.is_ok(), "{name} is documented and not read");
        }
    }
}
