//! Envoy's `Authorization.Check`, message by message. What the real Envoy makes of it is in `gateway::envoy`.

use std::collections::HashMap;

use countersign::rpc::proto::gateway::envoy::config::core::v3::address::Address;
use countersign::rpc::proto::gateway::envoy::config::core::v3::header_value_option::HeaderAppendAction;
use countersign::rpc::proto::gateway::envoy::config::core::v3::{
    Address as AnyAddress, HeaderMap, HeaderValue, SocketAddress,
};
use countersign::rpc::proto::gateway::envoy::service::auth::v3::attribute_context::{
    HttpRequest, Peer, Request,
};
use countersign::rpc::proto::gateway::envoy::service::auth::v3::authorization_client::AuthorizationClient;
use countersign::rpc::proto::gateway::envoy::service::auth::v3::check_response::HttpResponse;
use countersign::rpc::proto::gateway::envoy::service::auth::v3::{
    AttributeContext, CheckRequest, CheckResponse, DeniedHttpResponse, OkHttpResponse,
};
use countersign::rpc::proto::{Environment, Key};
use prost_types::value::Kind;
use tonic::transport::Endpoint;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use super::verbs::key_with_scopes;
use crate::harness::{Credential, Database, Server, key, tools};

const SERVICE: &str = "envoy.service.auth.v3.Authorization";

/// A request as Envoy tells of it: joined headers, and the peer 192.0.2.1.
fn request(method: &str, path: &str, headers: &[(&str, &str)]) -> CheckRequest {
    let pairs = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let http = HttpRequest {
        method: method.to_owned(),
        path: path.to_owned(),
        headers: pairs.collect(),
        ..HttpRequest::default()
    };
    let socket = SocketAddress { address: "192.0.2.1".to_owned(), ..SocketAddress::default() };
    let address = AnyAddress { address: Some(Address::SocketAddress(socket)) };
    CheckRequest {
        attributes: Some(AttributeContext {
            source: Some(Peer { address: Some(address), ..Peer::default() }),
            request: Some(Request { http: Some(http), ..Request::default() }),
            ..AttributeContext::default()
        }),
    }
}

/// The same, and what its route says.
fn of_a_route(mut request: CheckRequest, said: &[(&str, &str)]) -> CheckRequest {
    let said = said.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    request.attributes.as_mut().unwrap().context_extensions = said.collect::<HashMap<_, _>>();
    request
}

fn bearer(credential: &Credential) -> String {
    format!("Bearer {}", credential.key_id)
}

async fn check(server: &Server, request: CheckRequest) -> CheckResponse {
    try_check(server, request, None).await.expect("Check answers")
}

async fn try_check(
    server: &Server,
    request: CheckRequest,
    caller: Option<&Credential>,
) -> Result<CheckResponse, tonic::Status> {
    let channel = Endpoint::from_shared(server.endpoint()).unwrap().connect().await.unwrap();
    let mut request = tonic::Request::new(request);
    if let Some(Credential { key_id, secret }) = caller {
        let metadata = request.metadata_mut();
        metadata.insert("authorization", format!("Bearer {key_id}").parse().unwrap());
        metadata.insert("x-secret-key", secret.parse().unwrap());
    }
    AuthorizationClient::new(channel).check(request).await.map(tonic::Response::into_inner)
}

#[track_caller]
fn passed(reply: CheckResponse) -> OkHttpResponse {
    assert_eq!(reply.status.as_ref().map(|status| status.code), Some(0), "{reply:?}");
    match reply.http_response {
        Some(HttpResponse::OkResponse(response)) => response,
        other => panic!("should have passed: {other:?}"),
    }
}

/// The status and the reason of a refusal.
#[track_caller]
fn refused(reply: CheckResponse) -> (i32, String) {
    let Some(HttpResponse::DeniedResponse(DeniedHttpResponse { status, body, .. })) =
        reply.http_response
    else {
        panic!("should have been refused: {reply:?}")
    };
    assert_ne!(reply.status.expect("a status").code, 0);
    assert!(reply.dynamic_metadata.is_none());
    let problem: serde_json::Value = serde_json::from_str(&body).expect("a problem");
    (status.expect("an HTTP status").code, problem["reason"].as_str().expect("a reason").to_owned())
}

/// What the operator of a gateway can see of a refusal.
#[track_caller]
fn message(reply: &CheckResponse) -> &str {
    &reply.status.as_ref().expect("a status").message
}

#[tokio::test]
async fn who_passes_is_said_in_headers_and_metadata_and_the_secret_is_taken_out() {
    let server = Server::start(Database::Sqlite).await;
    let admin = server.as_admin().await;
    let Credential { key_id, secret } =
        &admin.mint(key_with_scopes("acme", &["a:read", "b"])).await.credential;
    let authorization = format!("Bearer {key_id}");
    let headers = [
        ("authorization", authorization.as_str()),
        ("x-secret-key", secret),
        ("x-countersign-account", "forged"),
        ("x-countersign-role", "admin"),
        ("x_countersign_account", "forged"),
        ("x.countersign.account", "forged"),
        ("accept", "*/*"),
    ];
    let reply =
        check(&server, of_a_route(request("GET", "/v1", &headers), &[("scopes", "a:read")])).await;
    let metadata = reply.dynamic_metadata.clone().expect("metadata");
    let text = |name: &str| match metadata.fields.get(name).and_then(|value| value.kind.clone()) {
        Some(Kind::StringValue(text)) => text,
        Some(Kind::ListValue(list)) => format!("{} scopes", list.values.len()),
        other => panic!("{name}: {other:?}"),
    };
    assert_eq!(
        (text("account"), text("key_id"), text("scopes")),
        ("acme".to_owned(), key_id.clone(), "2 scopes".to_owned())
    );
    assert_eq!(
        (text("application"), text("environment")),
        ("administration".to_owned(), "live".to_owned())
    );

    let response = passed(reply);
    let mut removed = response.headers_to_remove.clone();
    removed.sort_unstable();
    assert_eq!(
        removed,
        ["x-countersign-role", "x-secret-key", "x.countersign.account", "x_countersign_account"]
    );
    let said: Vec<_> = response
        .headers
        .iter()
        .map(|option| {
            assert_eq!(option.append_action(), HeaderAppendAction::OverwriteIfExistsOrAdd);
            let header = option.header.as_ref().expect("a header");
            (header.key.as_str(), header.value.as_str())
        })
        .collect();
    assert_eq!(
        said,
        [
            ("x-countersign-account", "acme"),
            ("x-countersign-application", "administration"),
            ("x-countersign-key-id", key_id.as_str()),
            ("x-countersign-scopes", "a:read b"),
        ]
    );

    // As one string, the header that holds it is as secret.
    let whole = format!("Bearer {key_id}.{secret}");
    let reply = check(
        &server,
        of_a_route(request("GET", "/v1", &[("authorization", &whole)]), &[("scopes", "")]),
    );
    assert_eq!(passed(reply.await).headers_to_remove, ["x-secret-key", "authorization"]);

    // What a key does not have is taken away: to set a header to nothing may be to leave it.
    let Credential { key_id, secret } = &admin.mint(key("acme", "billing")).await.credential;
    let authorization = format!("Bearer {key_id}");
    let headers = [("authorization", authorization.as_str()), ("x-secret-key", secret)];
    let reply = check(&server, of_a_route(request("GET", "/v1", &headers), &[("scopes", "")]));
    let response = passed(reply.await);
    assert_eq!(response.headers_to_remove, ["x-secret-key", "x-countersign-scopes"]);
    let said = response.headers.iter().filter_map(|option| option.header.as_ref());
    assert!(said.clone().all(|header| !header.value.is_empty()), "{said:?}");
}

/// The table's word on a request is whole: what it does not say can't be said by the route of a gateway.
#[tokio::test]
async fn an_entry_without_an_environment_is_for_live_keys_whatever_a_route_says() {
    let example = tools::in_repository("examples/envoy/countersign.toml");
    let example = example.to_str().expect("a path in UTF-8");
    let server = Server::on(Database::Sqlite).await.with_args(["--config", example]).start().await;
    let admin = server.as_admin().await;
    let of = |environment: Environment| Key {
        environment: environment.into(),
        ..key_with_scopes("acme", &["transactions:read"])
    };
    let live = admin.mint(of(Environment::Live)).await.credential;
    let test = admin.mint(of(Environment::Test)).await.credential;
    let said = [("scopes", "transactions:read"), ("environment", "test")];
    for (credential, reason, without) in
        [(&live, "UNMEETABLE", 200), (&test, "ENVIRONMENT_MISMATCH", 403)]
    {
        let own = bearer(credential);
        let headers = [("authorization", own.as_str()), ("x-secret-key", &credential.secret)];
        let of_table = || request("GET", "/v1/transactions", &headers);
        let reply = check(&server, of_a_route(of_table(), &said)).await;
        assert_eq!(refused(reply), (403, reason.to_owned()));
        let reply = check(&server, of_table()).await;
        match without {
            200 => drop(passed(reply)),
            status => assert_eq!(refused(reply).0, status),
        }
        // Where the table says nothing, the route's word is the only one.
        let reply = check(&server, of_a_route(request("GET", "/v1/other", &headers), &said)).await;
        match without {
            200 => assert_eq!(refused(reply), (403, "ENVIRONMENT_MISMATCH".to_owned())),
            _ => drop(passed(reply)),
        }
    }
}

#[tokio::test]
async fn headers_that_envoy_joins_or_gives_as_bytes_are_read_alike() {
    let server = Server::start(Database::Sqlite).await;
    let admin = server.as_admin().await;
    let one = admin.mint(key_with_scopes("acme", &["a"])).await.credential;
    let own = bearer(&one);
    let said = [("scopes", "a")];
    let joined = format!("{own},{own}");
    for (value, reason) in
        [(joined.as_str(), "MALFORMED"), ("Basic YTpi", "MISSING"), ("", "MISSING")]
    {
        let headers = [("authorization", value), ("x-secret-key", &one.secret)];
        let reply = check(&server, of_a_route(request("GET", "/", &headers), &said)).await;
        assert_eq!(refused(reply), (401, reason.to_owned()), "{reason}");
    }
    let raw = |headers: Vec<(&str, Vec<u8>)>| {
        let mut request = of_a_route(request("GET", "/", &[]), &said);
        let http =
            request.attributes.as_mut().unwrap().request.as_mut().unwrap().http.as_mut().unwrap();
        let headers = headers.into_iter().map(|(name, raw_value)| HeaderValue {
            key: name.to_owned(),
            raw_value,
            ..HeaderValue::default()
        });
        http.header_map = Some(HeaderMap { headers: headers.collect() });
        request
    };
    let (name, secret_name) = ("authorization", "x-secret-key");
    let secret = one.secret.clone().into_bytes();
    let pair = vec![(name, own.clone().into_bytes()), (secret_name, secret.clone())];
    passed(check(&server, raw(pair.clone())).await);
    for (what, headers) in [
        ("two of one name", [pair.clone(), vec![(name, own.clone().into_bytes())]].concat()),
        ("no UTF-8", vec![(name, b"Bearer \xff\xfe".to_vec()), (secret_name, secret.clone())]),
        ("64 KiB", vec![(name, own.into_bytes()), (secret_name, vec![b'a'; 64 * 1024])]),
    ] {
        assert_eq!(
            refused(check(&server, raw(headers)).await),
            (401, "MALFORMED".to_owned()),
            "{what}"
        );
    }
}

#[tokio::test]
async fn what_cannot_be_read_lets_nobody_through_and_is_no_error() {
    let server = Server::start(Database::Sqlite).await;
    let admin = server.as_admin().await;
    let credential = admin.mint(key_with_scopes("acme", &["*"])).await.credential;
    let own = bearer(&credential);
    let headers = [("authorization", own.as_str()), ("x-secret-key", &credential.secret)];
    let good = || request("GET", "/v1/transactions", &headers);
    let invalid = (503, "INVALID_REQUEST".to_owned());
    assert_eq!(refused(check(&server, CheckRequest::default()).await), invalid);
    for said in
        [("scope", "a"), ("scopes", "a:*"), ("account", "a b"), ("environment", "prod"), ("", "")]
    {
        assert_eq!(refused(check(&server, of_a_route(good(), &[said])).await), invalid, "{said:?}");
    }
    // No route, and none said.
    let unknown = (403, "UNKNOWN_ROUTE".to_owned());
    assert_eq!(refused(check(&server, good()).await), unknown);
    // Which is told to holders of good keys only.
    let reply = check(&server, request("GET", "/v1/transactions", &[])).await;
    assert_eq!(refused(reply), (401, "MISSING".to_owned()));
    for path in ["/v1/../admin", "//v1", "/v1;a=b", "/%76", "", "*", "http://a/v1"] {
        let reply =
            check(&server, of_a_route(request("GET", path, &headers), &[("scopes", "")])).await;
        assert_eq!(refused(reply), (403, "AMBIGUOUS_REQUEST".to_owned()), "{path}");
    }
    passed(check(&server, of_a_route(good(), &[("scopes", "a:read,b")])).await);
    // Nor does a route that is silent about scopes become one.
    let silent = of_a_route(good(), &[("account", "acme")]);
    assert_eq!(refused(check(&server, silent).await), unknown);
    let of_another = of_a_route(good(), &[("scopes", ""), ("account", "globex")]);
    assert_eq!(refused(check(&server, of_another).await), (403, "ACCOUNT_MISMATCH".to_owned()));
    let of_test = of_a_route(good(), &[("scopes", ""), ("environment", "test")]);
    assert_eq!(refused(check(&server, of_test).await), (403, "ENVIRONMENT_MISMATCH".to_owned()));
}

#[tokio::test]
async fn the_peer_is_who_envoy_says_it_is() {
    let server = Server::start(Database::Sqlite).await;
    let admin = server.as_admin().await;
    let bound =
        |network: &str| Key { allowed_cidrs: vec![network.to_owned()], ..key("acme", "billing") };
    let here = admin.mint(bound("192.0.2.0/24")).await.credential;
    let elsewhere = admin.mint(bound("203.0.113.7")).await.credential;
    for (credential, passes) in [(here, true), (elsewhere, false)] {
        let own = bearer(&credential);
        let headers = [
            ("authorization", own.as_str()),
            ("x-secret-key", &credential.secret),
            ("x-forwarded-for", "203.0.113.7"),
        ];
        let reply =
            check(&server, of_a_route(request("GET", "/", &headers), &[("scopes", "")])).await;
        if passes {
            passed(reply);
        } else {
            assert_eq!(refused(reply), (403, "IP_NOT_ALLOWED".to_owned()));
        }
    }
}

/// The door of Verify: whoever asks needs what a caller of Verify needs, and sees no more.
#[tokio::test]
async fn a_gateway_passes_the_door_of_verify() {
    let required = ["--verify-auth", "required"];
    let server = Server::on(Database::Sqlite).await.with_args(required).start().await;
    let admin = server.as_admin().await;
    let minted = admin.mint(key_with_scopes("acme", &["a"])).await.credential;
    let own = bearer(&minted);
    let headers = [("authorization", own.as_str()), ("x-secret-key", &minted.secret)];
    let asked = || of_a_route(request("GET", "/", &headers), &[("scopes", "a")]);

    // Of a gateway that may not ask nothing is known, which is no error: there are gateways that let pass on errors.
    let of_nobody = try_check(&server, asked(), None).await.expect("an answer");
    assert!(message(&of_nobody).contains("authorization header is missing"), "{of_nobody:?}");
    assert_eq!(refused(of_nobody), (503, "UNAUTHENTICATED".to_owned()));
    let reader =
        admin.mint(key_with_scopes("countersign", &["countersign.keys:read"])).await.credential;
    let of_reader = try_check(&server, asked(), Some(&reader)).await.expect("an answer");
    assert!(message(&of_reader).contains("countersign.verify:call"), "{of_reader:?}");
    assert_eq!(refused(of_reader), (503, "PERMISSION_DENIED".to_owned()));
    let stale = Credential { secret: server.admin().secret, ..reader };
    let of_stale = try_check(&server, asked(), Some(&stale)).await.expect("an answer");
    assert_eq!(refused(of_stale), (503, "UNAUTHENTICATED".to_owned()));
    let of = |account: &str| key_with_scopes(account, &["countersign.verify:call"]);
    let gateway = admin.mint(of("countersign")).await.credential;
    passed(try_check(&server, asked(), Some(&gateway)).await.expect("it may ask"));
    // Bound to another account, it does not learn of this one's keys.
    let of_globex = admin.mint(of("globex")).await.credential;
    let reply = try_check(&server, asked(), Some(&of_globex)).await.expect("it may ask");
    assert_eq!(refused(reply), (401, "INVALID_CREDENTIAL".to_owned()));
}

#[tokio::test]
async fn health_says_that_gateways_are_served() {
    let server = Server::start(Database::Sqlite).await;
    let channel = Endpoint::from_shared(server.endpoint()).unwrap().connect().await.unwrap();
    let request = HealthCheckRequest { service: SERVICE.to_owned() };
    let reply =
        HealthClient::new(channel).check(request).await.expect("health answers").into_inner();
    assert_eq!(reply.status(), ServingStatus::Serving);
}
