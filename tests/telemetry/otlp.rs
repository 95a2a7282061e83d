//! Real servers send to a real receiver.

use std::collections::BTreeSet;
use std::time::Duration;

use countersign::rpc::proto::gateway::envoy::service::auth::v3::attribute_context::{
    HttpRequest, Request as OfAttributes,
};
use countersign::rpc::proto::gateway::envoy::service::auth::v3::authorization_client::AuthorizationClient;
use countersign::rpc::proto::gateway::envoy::service::auth::v3::{AttributeContext, CheckRequest};
use countersign::rpc::proto::verify_request::Presented;
use countersign::rpc::proto::{BatchVerifyRequest, CreateKeyRequest, GetKeyRequest, VerifyRequest};
use countersign::telemetry::otlp::{Exporters, Exports, Variables, end};
use opentelemetry::metrics::MeterProvider as _;
use opentelemetry_sdk::metrics::SdkMeterProvider;
use tonic::transport::Endpoint;
use tonic::{Code, Request};

use super::collector::Span;
use super::metrics::calls;
use super::page::Page;
use super::receiver::{Receiver, Speaks};
use crate::harness::replicas::Told;
use crate::harness::{Credential, Database, Replicas, Server, canary, eventually, key, tools};
use crate::on_both_databases;

const SOON: Duration = Duration::from_secs(30);
const CREATE: &str = "countersign.v1.KeyAdmin/CreateKey";
const VERIFY: &str = "countersign.v1.KeyVerifier/Verify";
const CHECK: &str = "envoy.service.auth.v3.Authorization/Check";
const CALLERS_SPAN: &str = "00f067aa0ba902b7";

/// A trace of some caller, and its header.
fn trace(number: u8, flags: &str) -> (String, String) {
    let trace = format!("4bf92f3577b34da6a3ce929d0e0e47{number:02x}");
    let header = format!("00-{trace}-{CALLERS_SPAN}-{flags}");
    (trace, header)
}

fn under<T>(header: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("traceparent", header.parse().expect("a header's value"));
    request
}

fn question(credential: &Credential) -> VerifyRequest {
    VerifyRequest { presented: Some(Presented::Token(credential.token())), ..Default::default() }
}

#[track_caller]
fn named<'s>(spans: &'s [Span], name: &str) -> &'s Span {
    let found: Vec<_> = spans.iter().filter(|span| span.name == name).collect();
    assert_eq!(found.len(), 1, "{name} among {spans:#?}");
    found[0]
}

on_both_databases! {
    async fn a_callers_trace_goes_through_to_the_statements_of_its_change(db: Database) {
        let receiver = Receiver::start(Speaks::Grpc).await;
        let server = receiver.of(Server::on(db).await).start().await;
        let admin = server.as_admin().await;
        let (trace, header) = trace(1, "01");
        let asked = CreateKeyRequest { key: Some(key("acme", "billing")), ..Default::default() };
        let made = admin.admin().create_key(under(&header, asked)).await.unwrap().into_inner();
        canary::record_secret(&made.secret);

        let spans = receiver.trace(&trace, CREATE).await;
        let call = named(&spans, CREATE);
        assert_eq!((call.parent.as_str(), call.kind, call.status), (CALLERS_SPAN, 2, 0));
        let said = |name: &str| call.attributes.get(name).map(String::as_str);
        assert_eq!(said("rpc.system.name"), Some("grpc"));
        assert_eq!(said("rpc.method"), Some(CREATE));
        assert_eq!(said("rpc.response.status_code"), Some("OK"));
        assert_eq!(call.resource.get("service.name").map(String::as_str), Some("countersign"));
        assert!(call.resource.get("service.instance.id").is_some_and(|id| id.len() == 32));

        let (system, lock) = match db {
            Database::Sqlite => ("sqlite", vec!["BEGIN"]),
            Database::Postgres => ("postgresql", vec!["BEGIN", "SET"]),
        };
        let wanted = ["INSERT keys", "INSERT key_secrets", "INSERT audit_events", "COMMIT"];
        for name in lock.into_iter().chain(wanted) {
            named(&spans, name);
        }
        for span in spans.iter().filter(|span| span.name != CREATE) {
            assert_eq!((&span.parent, span.kind), (&call.id, 3), "{span:#?}");
            let said = |name: &str| span.attributes.get(name).map(String::as_str);
            assert_eq!(said("db.system.name"), Some(system), "{span:#?}");
            assert_eq!(said("db.query.summary"), Some(span.name.as_str()), "{span:#?}");
        }
        let insert = named(&spans, "INSERT keys");
        assert_eq!(insert.attributes["db.operation.name"], "INSERT");
        assert_eq!(insert.attributes["db.collection.name"], "keys");
        // Who is asked about is nobody's business but the caller's.
        let about = made.key.unwrap();
        for value in receiver.spans().iter().flat_map(|span| span.attributes.values()) {
            assert!(!value.contains(&about.key_id) && !value.contains("acme"), "{value}");
            assert!(!value.contains("127.0.0.1"), "{value}");
        }
    }
}

on_both_databases! {
    async fn the_follower_makes_no_spans_and_what_fails_is_said_to_have_failed(db: Database) {
        let receiver = Receiver::start(Speaks::Http).await;
        let server = receiver.of(Server::on(db).await).start().await;
        let admin = server.as_admin().await;
        let (trace, header) = trace(2, "01");
        let asked = GetKeyRequest { key_id: "csk_live_0000000000000000000000".to_owned() };
        let refused = admin.admin().get_key(under(&header, asked)).await.unwrap_err();
        assert_eq!(refused.code(), Code::NotFound);
        let method = "countersign.v1.KeyAdmin/GetKey";
        let spans = receiver.trace(&trace, method).await;
        let call = named(&spans, method);
        assert_eq!(call.attributes["rpc.response.status_code"], "NOT_FOUND");
        assert_eq!(call.status, 0, "it is the caller's affair");
        assert!(spans.iter().any(|span| span.parent == call.id), "{spans:#?}");

        let mut server = server;
        assert!(server.sigterm().success());
        // Many polls, beats and checks of the log came between.
        for span in receiver.spans() {
            assert!(span.kind == 2 || !span.parent.is_empty(), "{span:#?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_verifications_those_are_seen_that_their_callers_sample() {
    for speaks in [Speaks::Grpc, Speaks::Http] {
        let receiver = Receiver::start(speaks).await;
        let server = receiver.of(Server::on(Database::Sqlite).await);
        // In the log they are seen by nobody, whoever samples them.
        let server = server.with_env("COUNTERSIGN_LOG", "info");
        let server = server.with_env("OTEL_TRACES_SAMPLER", "always_on");
        let mut server = server.with_args(["--gateway-listen", "127.0.0.1:0"]).start().await;
        let admin = server.as_admin().await;
        let minted = admin.mint(key("acme", "billing")).await;
        let ask = async |header: &str| {
            let asked = under(header, question(&minted.credential));
            assert!(admin.verifier().verify(asked).await.unwrap().into_inner().allowed);
        };

        ask(&trace(0x10, "00").1).await;
        ask("00-nonsense-01").await;
        admin.verify(&minted.credential).await;
        // The trace of whoever asks a gateway for something is not ours to record.
        let end_users = format!("traceparent: {}", trace(0x11, "01").1);
        let page = format!("http://{}/v1/forward-auth", server.gateways());
        tools::curl().args(["--silent", "--header", &end_users, &page]).run().succeeded();
        let (sampled, header) = trace(0x12, "01");
        ask(&header).await;
        let (batch, header) = trace(0x13, "01");
        let asked = BatchVerifyRequest { requests: vec![question(&minted.credential); 3] };
        admin.verifier().batch_verify(under(&header, asked)).await.unwrap();
        let (check, header) = trace(0x14, "01");
        let endpoint = Endpoint::from_shared(server.endpoint()).unwrap();
        let mut envoy = AuthorizationClient::new(endpoint.connect().await.unwrap());
        envoy.check(under(&header, CheckRequest::default())).await.unwrap();

        // At its end it sends all that it has.
        assert!(server.sigterm().success());
        let spans = receiver.spans();
        for (trace, method, code) in [
            (sampled, VERIFY, "OK"),
            (batch, "countersign.v1.KeyVerifier/BatchVerify", "OK"),
            // It says nothing of any request. Its answer says so, and the span what it was.
            (check, CHECK, "INVALID_ARGUMENT"),
        ] {
            let span = named(&spans, method);
            assert_eq!((&span.trace, span.parent.as_str()), (&trace, CALLERS_SPAN), "{span:#?}");
            assert_eq!(span.attributes["rpc.response.status_code"], code);
        }
        // Without a parent, as the sampler says.
        assert_eq!(named(&spans, CREATE).parent, "");
        assert!(!server.log().contains("request{"), "the log has spans of verifications");
    }
}

/// What Envoy asks about somebody who wants a page.
fn wants_a_page(credential: &Credential) -> CheckRequest {
    let headers = [
        ("authorization".to_owned(), format!("Bearer {}", credential.key_id)),
        ("x-secret-key".to_owned(), credential.secret.clone()),
    ];
    let http = HttpRequest {
        method: "GET".to_owned(),
        path: "/page".to_owned(),
        headers: headers.into(),
        ..HttpRequest::default()
    };
    let request = OfAttributes { http: Some(http), ..OfAttributes::default() };
    let attributes = AttributeContext { request: Some(request), ..AttributeContext::default() };
    CheckRequest { attributes: Some(attributes) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateways_question_that_cannot_be_answered_has_failed() {
    let receiver = Receiver::start(Speaks::Grpc).await;
    let told = Told::default().max_staleness("3s");
    let with = |told: Told, (name, value)| told.env(name, value);
    let replicas = Replicas::start(1, receiver.variables().into_iter().fold(told, with)).await;
    let (replica, http) = (&replicas[0], replicas[0].http());
    let good = replica.caller().mint(key("acme", "billing")).await.credential;
    replicas.all_allow(&good, SOON).await;
    let endpoint = Endpoint::from_shared(format!("http://{}", replica.address())).unwrap();
    let mut envoy = AuthorizationClient::new(endpoint.connect().await.unwrap());
    let mut check = async |header: &str| {
        let reply = envoy.check(under(header, wants_a_page(&good))).await;
        let reply = reply.expect("whatever happens, a gateway is answered").into_inner();
        Code::from_i32(reply.status.expect("an answer has a status").code)
    };

    // There is no route for it. To say so is an answer.
    let (answered, header) = trace(0x50, "01");
    assert_eq!(check(&header).await, Code::PermissionDenied);
    replica.network.cut_off();
    Page::that(&http, "its lease has ended", |page| {
        page.value("countersign_lease_remaining_seconds") == 0.0
    })
    .await;
    let (unanswered, header) = trace(0x51, "01");
    assert_eq!(check(&header).await, Code::Unavailable);

    for (trace, code, status) in [(answered, "OK", 0), (unanswered, "UNAVAILABLE", 2)] {
        let spans = receiver.trace(&trace, CHECK).await;
        let span = named(&spans, CHECK);
        assert_eq!(span.attributes["rpc.response.status_code"], code, "{span:#?}");
        assert_eq!(span.status, status, "{span:#?}");
        Page::that(&http, &format!("one is counted as {code}"), |page| {
            page.find(&calls(CHECK, code)) == Some(1.0)
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unsampled_trace_is_not_sent_by_default() {
    let receiver = Receiver::start(Speaks::Grpc).await;
    let mut server = receiver.of(Server::on(Database::Sqlite).await).start().await;
    let admin = server.as_admin().await;
    let (unsampled, header) = trace(0x20, "00");
    let asked = GetKeyRequest { key_id: "csk_live_0000000000000000000000".to_owned() };
    admin.admin().get_key(under(&header, asked)).await.unwrap_err();
    assert!(server.sigterm().success());
    assert!(receiver.spans().iter().all(|span| span.trace != unsampled), "{:#?}", receiver.spans());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn log_records_are_sent_with_the_ids_of_their_trace() {
    let receiver = Receiver::start(Speaks::Grpc).await;
    // At TRACE, where every library speaks, the exporters' own among them.
    let mut server = receiver.of(Server::on(Database::Sqlite).await).start().await;
    let admin = server.as_admin().await;
    let (trace, header) = trace(0x30, "01");
    let asked = CreateKeyRequest { key: Some(key("acme", "billing")), ..Default::default() };
    let made = admin.admin().create_key(under(&header, asked)).await.unwrap().into_inner();
    canary::record_secret(&made.secret);
    let call = named(&receiver.trace(&trace, CREATE).await, CREATE).clone();
    let answered = eventually("its record arrives", SOON, async || {
        let records = receiver.records().into_iter();
        records.into_iter().find(|record| record.body == "answered" && record.trace == trace)
    });
    let answered = answered.await;
    assert_eq!(
        (answered.span, answered.target.as_str()),
        (call.id, "countersign::middleware::trace")
    );
    assert!(server.sigterm().success());
    let targets: BTreeSet<String> =
        receiver.records().into_iter().map(|record| record.target).collect();
    for target in &targets {
        let of_exporters = ["h2", "hyper", "tonic", "tower", "opentelemetry"];
        assert!(!of_exporters.iter().any(|name| target.starts_with(name)), "{targets:?}");
    }
    assert!(server.log().contains(" h2::"), "otherwise that proves nothing");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn disabled_is_disabled() {
    let receiver = Receiver::start(Speaks::Grpc).await;
    let server = receiver.of(Server::on(Database::Sqlite).await);
    let mut server = server.with_env("OTEL_SDK_DISABLED", "true").start().await;
    let admin = server.as_admin().await;
    let minted = admin.mint(key("acme", "billing")).await;
    let asked = under(&trace(0x40, "01").1, question(&minted.credential));
    admin.verifier().verify(asked).await.unwrap();
    assert!(server.sigterm().success());
    assert!(receiver.spans().is_empty() && receiver.records().is_empty());
    assert!(receiver.metrics().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_meter_providers_metrics_are_sent() {
    for speaks in [Speaks::Grpc, Speaks::Http] {
        let receiver = Receiver::start(speaks).await;
        let variables = receiver.variables().into_iter();
        let variables = variables.map(|(name, value)| (name.to_owned(), value));
        let exports = Exports::of(Variables::of(variables)).unwrap();
        let resource = countersign::telemetry::resource(&exports, "a test");
        let exporters = Exporters::start(&exports, &resource).unwrap().expect("something is sent");
        let reader = exporters.metric_reader().unwrap().expect("metrics are sent");
        let meters =
            SdkMeterProvider::builder().with_reader(reader).with_resource(resource).build();
        meters.meter("test").u64_counter("countersign.sent").build().add(1, &[]);
        // Waits for its own threads.
        let flush = move || end(Some(exporters), vec![Box::new(move || _ = meters.shutdown())]);
        tokio::task::spawn_blocking(flush).await.unwrap();
        assert!(receiver.newest_metrics().contains_key("countersign.sent"), "{speaks:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collector_behind_tls_is_believed_by_its_certificate_alone() {
    for speaks in [Speaks::Grpc, Speaks::Http] {
        let (receiver, certificate) = Receiver::start_secured(speaks).await;
        let builder = receiver.of(Server::on(Database::Sqlite).await);
        let mut stranger = builder.clone().start().await;
        stranger.as_admin().await.mint(key("acme", "billing")).await;
        assert!(stranger.sigterm().success());
        assert!(receiver.spans().is_empty() && receiver.records().is_empty());
        let file = certificate.display().to_string();
        let mut server = builder.with_env("OTEL_EXPORTER_OTLP_CERTIFICATE", file).start().await;
        server.as_admin().await.mint(key("acme", "billing")).await;
        assert!(server.sigterm().success());
        named(&receiver.spans(), CREATE);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_compressed_and_headed_is_understood() {
    for speaks in [Speaks::Grpc, Speaks::Http] {
        let receiver = Receiver::start(speaks).await;
        let server = receiver.of(Server::on(Database::Sqlite).await);
        let server = server.with_env("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip");
        let server = server.with_env("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "x-tenant=a%20b");
        let mut server = server.start().await;
        server.as_admin().await.mint(key("acme", "billing")).await;
        assert!(server.sigterm().success());
        named(&receiver.spans(), CREATE);
        assert_eq!(receiver.headers("x-tenant"), BTreeSet::from(["a b".to_owned()]));
    }
}
