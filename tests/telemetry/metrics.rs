//! Every documented metric is there, and says the truth.

use std::time::Duration;

use countersign::middleware::MAX_OPEN_STREAMS;
use countersign::rpc::proto::{
    BatchVerifyRequest, Environment, VerifyRequest, verify_request::Presented,
};
use countersign::telemetry::metrics::{Kind, METRICS, OF_THE_PROCESS};
use futures::future::join_all;
use tonic::Code;
use tonic::transport::Endpoint;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use super::page::{Page, get};
use super::prometheus::Prometheus;
use crate::harness::replicas::Told;
use crate::harness::{Caller, Credential, Database, Replicas, Server, eventually, key, tools};
use crate::on_both_databases;
use crate::rpc::at_least::of_the_future;

const SOON: Duration = Duration::from_secs(60);

async fn quiet(database: Database, args: &[&str]) -> Server {
    let builder = Server::on(database).await.with_env("COUNTERSIGN_LOG", "info");
    builder.with_args(args.iter().copied()).start().await
}

fn asks_about(credential: &Credential) -> VerifyRequest {
    let Credential { key_id, secret } = credential.clone();
    let credential = countersign::rpc::proto::Credential { key_id, secret };
    VerifyRequest { presented: Some(Presented::Credential(credential)), ..Default::default() }
}

/// A batch of questions about these, and whether each was allowed.
async fn batch(caller: &Caller, credentials: &[&Credential]) -> usize {
    let requests = credentials.iter().map(|credential| asks_about(credential)).collect();
    let reply = caller.verifier().batch_verify(BatchVerifyRequest { requests }).await;
    reply.expect("BatchVerify answers").into_inner().results.len()
}

fn verifications(outcome: &str, reason: &str) -> String {
    format!(r#"countersign_verifications_total{{outcome="{outcome}",reason="{reason}"}}"#)
}

pub fn calls(method: &str, code: &str) -> String {
    format!(
        "rpc_server_call_duration_seconds_count{{rpc_method=\"{method}\",\
         rpc_response_status_code=\"{code}\",rpc_system_name=\"grpc\"}}"
    )
}

fn ended(method: &str, code: &str) -> String {
    format!(
        "countersign_calls_total{{rpc_method=\"{method}\",\
         rpc_response_status_code=\"{code}\",rpc_system_name=\"grpc\"}}"
    )
}

const VERIFY: &str = "countersign.v1.KeyVerifier/Verify";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_real_prometheus_finds_every_documented_metric_and_the_right_numbers() {
    let gateways = ["--gateway-listen", "127.0.0.1:0", "--gateway-unknown-routes", "verify"];
    let server = quiet(Database::Sqlite, &gateways).await;
    let prometheus = Prometheus::scraping(&server.http()).await;
    let admin = server.as_admin().await;
    let good = admin.mint(key("acme", "billing")).await.credential;
    let wrong = Credential { secret: server.admin().secret, ..good.clone() };

    for _ in 0..3 {
        assert!(admin.verify(&good).await.allowed);
    }
    for _ in 0..2 {
        assert!(!admin.verify(&wrong).await.allowed);
    }
    assert_eq!(batch(&admin, &[&good, &good, &wrong, &good]).await, 4);
    // No question: nobody could read it.
    let malformed = VerifyRequest { client_ip: "nowhere".to_owned(), ..asks_about(&good) };
    admin.verifier().verify(malformed).await.expect_err("the address is none");
    // Of a test key asked for in live traffic, by a gateway.
    let of_test = countersign::rpc::proto::Key {
        environment: Environment::Test.into(),
        ..key("acme", "billing")
    };
    let of_test = admin.mint(of_test).await.credential;
    let bearer = format!("Authorization: Bearer {}", of_test.token());
    let door = format!("http://{}/v1/auth-request", server.gateways());
    let original = ["--header", "X-Original-Method: GET", "--header", "X-Original-URI: /x"];
    let refused = get(&door, &[&original[..], &["--header", &bearer][..]].concat());
    assert_eq!(refused.status, "403", "{refused:?}");
    let two_ways = ["--header", "X-Original-Method: GET", "--header", "X-Original-URI: /a/../b"];
    assert_eq!(get(&door, &two_ways).status, "403");

    for (series, value) in [
        (verifications("allowed", ""), 6.0),
        (verifications("denied", "invalid_credential"), 3.0),
        (verifications("denied", "environment_mismatch"), 1.0),
        (verifications("denied", "revoked"), 0.0),
        (verifications("unknown", ""), 0.0),
        (r#"countersign_gateway_refusals_total{reason="ambiguous_request"}"#.to_owned(), 1.0),
        (r#"countersign_gateway_refusals_total{reason="unknown_route"}"#.to_owned(), 0.0),
        (calls(VERIFY, "OK"), 5.0),
        (calls(VERIFY, "INVALID_ARGUMENT"), 1.0),
        (calls("countersign.v1.KeyVerifier/BatchVerify", "OK"), 1.0),
        (calls("countersign.v1.KeyAdmin/CreateKey", "OK"), 2.0),
        (ended(VERIFY, "OK"), 5.0),
        (ended(VERIFY, "INVALID_ARGUMENT"), 1.0),
        // Alerts see the first of these as growth.
        (ended(VERIFY, "UNAVAILABLE"), 0.0),
        (ended("countersign.v1.KeyAdmin/RevokeKey", "INTERNAL"), 0.0),
        ("countersign_audit_append_duration_seconds_count >= bool 2".to_owned(), 1.0),
        ("countersign_index_keys".to_owned(), 3.0),
        ("countersign_ready".to_owned(), 1.0),
        ("countersign_log_forked".to_owned(), 0.0),
        ("countersign_log_epoch".to_owned(), 1.0),
        ("countersign_log_feed_lag".to_owned(), 0.0),
        (r#"countersign_connections_limit{listener="grpc"}"#.to_owned(), 10_000.0),
        (r#"countersign_connections_limit{listener="http"}"#.to_owned(), 256.0),
        (r#"countersign_connections{listener="http"} > bool 0"#.to_owned(), 1.0),
        (r#"countersign_audit_checks_total{outcome="good"}"#.to_owned(), 1.0),
        ("countersign_audit_check_faults".to_owned(), 0.0),
        ("countersign_log_staleness_seconds < bool 25".to_owned(), 1.0),
        ("countersign_lease_remaining_seconds > bool 5".to_owned(), 1.0),
        ("abs(countersign_clock_skew_seconds) < bool 25".to_owned(), 1.0),
        // What a call of a verification takes lies within the buckets: its mean is less than the last bound.
        (
            format!(
                "rpc_server_call_duration_seconds_sum{{rpc_method=\"{VERIFY}\",\
                 rpc_response_status_code=\"OK\"}} > bool 0"
            ),
            1.0,
        ),
        (r#"target_info{service_name="countersign"}"#.to_owned(), 1.0),
    ] {
        prometheus.finds(&series, value).await;
    }

    // In both directions: all that is documented is found, and all that is found is documented.
    let of_ours = METRICS.iter().map(|metric| match metric.kind {
        Kind::Histogram => format!("{}_count", metric.prometheus_name()),
        Kind::Counter | Kind::Gauge => metric.prometheus_name(),
    });
    for name in of_ours.chain(OF_THE_PROCESS.map(str::to_owned)) {
        assert!(!prometheus.ask(&name).is_empty(), "Prometheus has not found {name}");
    }
    let own = ["up", "target_info"].map(str::to_owned).into_iter();
    let documented: Vec<String> = METRICS
        .iter()
        .map(|metric| metric.prometheus_name())
        .chain(OF_THE_PROCESS.map(str::to_owned))
        .chain(own)
        .collect();
    for (metric, _) in prometheus.ask(r#"{job="countersign"}"#) {
        let name = metric["__name__"].as_str().expect("a name");
        let family = ["_bucket", "_sum", "_count"]
            .iter()
            .find_map(|part| name.strip_suffix(part).filter(|name| name.ends_with("_seconds")));
        let name = family.unwrap_or(name);
        let is_own = name.starts_with("scrape_") || documented.iter().any(|known| known == name);
        assert!(is_own, "{name} is not documented");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_callers_word_is_a_label_and_series_do_not_grow_with_callers() {
    let server = quiet(Database::Sqlite, &[]).await;
    let admin = server.as_admin().await;
    let channel = Endpoint::from_shared(server.endpoint()).expect("a URL").connect().await;
    let channel = channel.expect("the server takes connections");
    let ask = async |number: usize| {
        let account = format!("account-{number}");
        let minted = admin.mint(key(&account, &format!("application-{number}"))).await.credential;
        assert!(admin.verify(&minted).await.allowed);
        let unknown = Credential { key_id: format!("legacy-{number}"), ..minted.clone() };
        assert!(!admin.verify(&unknown).await.allowed);
        let path = format!("/countersign.v1.KeyVerifier/Path{number}");
        let mut client = tonic::client::Grpc::new(channel.clone());
        client.ready().await.expect("it is ready");
        let codec = tonic_prost::ProstCodec::<VerifyRequest, VerifyRequest>::default();
        let path = path.parse().expect("a path");
        let answer = client.unary(tonic::Request::new(VerifyRequest::default()), path, codec).await;
        answer.expect_err("there is no such method");
        minted
    };
    let mut credentials = Vec::new();
    for number in 0..10 {
        credentials.push(ask(number).await);
    }
    let says = |page: &Page, number: f64| page.find(&verifications("allowed", "")) == Some(number);
    let few = Page::that(&server.http(), "ten are counted", |page| says(page, 10.0)).await;
    for number in 10..300 {
        credentials.push(ask(number).await);
    }
    let many = Page::that(&server.http(), "all are counted", |page| says(page, 300.0)).await;

    let is_refused = |name: &&str| name.contains("_OTHER") && name.contains("_count");
    let other = many.names().find(is_refused).expect("paths that lead nowhere are counted");
    assert_eq!(many.value(other), 300.0);
    assert_eq!(few.names().collect::<Vec<_>>(), many.names().collect::<Vec<_>>());
    for word in ["account-", "application-", "legacy-", "/Path", "127.0.0.1", "csk_", "css_"] {
        assert!(!many.text.contains(word), "{word} is on the page");
    }
    for credential in credentials {
        assert!(!many.text.contains(&credential.key_id));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_question_that_this_replica_has_not_come_far_enough_for_has_no_answer() {
    let server = quiet(Database::Sqlite, &[]).await;
    let admin = server.as_admin().await;
    let good = admin.mint(key("acme", "billing")).await.credential;
    let known = admin.verify(&good).await.consistency_token;
    let ahead = VerifyRequest { at_least: of_the_future(&known), ..asks_about(&good) };
    let alone = admin.verifier().verify(ahead.clone()).await;
    assert_eq!(alone.expect_err("nobody has come there").code(), Code::Unavailable);
    let malformed = VerifyRequest { at_least: "nowhere".to_owned(), ..asks_about(&good) };
    admin.verifier().verify(malformed.clone()).await.expect_err("no token");
    let requests = vec![asks_about(&good), ahead, malformed];
    let reply = admin.verifier().batch_verify(BatchVerifyRequest { requests }).await;
    assert_eq!(reply.expect("BatchVerify answers").into_inner().results.len(), 3);
    let page = Page::that(&server.http(), "the batch is counted", |page| {
        page.value(&verifications("allowed", "")) == 2.0
    })
    .await;
    assert_eq!(page.value(&verifications("unknown", "")), 2.0, "{}", page.text);
    assert_eq!(page.value(r#"countersign_waiters{awaited="at_least"}"#), 0.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_shed_is_counted_at_its_door() {
    const MORE: usize = 20;
    let server = quiet(Database::Sqlite, &[]).await;
    let endpoint = Endpoint::from_shared(server.endpoint()).expect("a URL");
    let health = HealthClient::new(endpoint.connect().await.expect("it takes connections"));
    let watched = (0..MAX_OPEN_STREAMS + MORE).map(|_| {
        let mut health = health.clone();
        async move { health.watch(HealthCheckRequest::default()).await }
    });
    let watched = join_all(watched).await;
    assert_eq!(watched.iter().filter(|opened| opened.is_err()).count(), MORE);
    let shed = r#"countersign_requests_shed_total{door="open"}"#;
    let page =
        Page::that(&server.http(), "they are counted", |page| page.find(shed) == Some(MORE as f64))
            .await;
    let limit = MAX_OPEN_STREAMS as f64;
    assert_eq!(page.value(r#"countersign_requests_limit{door="open"}"#), limit);
    assert_eq!(page.value(r#"countersign_requests_in_flight{door="open"}"#), limit);
    assert_eq!(page.value(r#"countersign_requests_shed_total{door="services"}"#), 0.0);
    let refused = calls("grpc.health.v1.Health/Watch", "RESOURCE_EXHAUSTED");
    assert_eq!(page.value(&refused), MORE as f64);
    drop(watched);
    Page::that(&server.http(), "their places are free again", |page| {
        page.value(r#"countersign_requests_in_flight{door="open"}"#) == 0.0
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_without_its_database_says_how_it_stands() {
    let replicas = Replicas::start(1, Told::default().max_staleness("3s")).await;
    let (replica, http) = (&replicas[0], replicas[0].http());
    let good = replica.caller().mint(key("acme", "billing")).await.credential;
    replicas.all_allow(&good, SOON).await;
    let page =
        Page::that(&http, "it is ready", |page| page.value("countersign_ready") == 1.0).await;
    assert!(page.value("countersign_lease_remaining_seconds") > 0.0, "{}", page.text);
    assert!(page.value("countersign_log_staleness_seconds") < 3.0, "{}", page.text);
    for pool in ["writer", "reader", "follower", "checker", "messages"] {
        let limit = format!("countersign_database_connections_limit{{pool=\"{pool}\"}}");
        assert!(page.value(&limit) > 0.0);
        let open = ["idle", "used"].map(|state| {
            let open =
                format!("countersign_database_connections{{pool=\"{pool}\",state=\"{state}\"}}");
            page.value(&open)
        });
        assert!(open.iter().sum::<f64>() <= page.value(&limit), "{pool}: {open:?}");
    }

    replica.network.cut_off();
    let page = Page::that(&http, "its lease has ended", |page| {
        page.value("countersign_lease_remaining_seconds") == 0.0
    })
    .await;
    assert!(page.value("countersign_log_staleness_seconds") > 0.5, "{}", page.text);
    assert!(page.value("countersign_lease_half_used_total") >= 1.0, "{}", page.text);
    assert_eq!(page.value("countersign_ready"), 0.0);
    let before = page.value(&verifications("unknown", ""));
    let refused = replica.caller().anonymous().try_verify(&good, VerifyRequest::default()).await;
    refused.expect_err("it has no lease");
    Page::that(&http, "the question is counted as one without an answer", |page| {
        page.value(&verifications("unknown", "")) == before + 1.0
    })
    .await;

    replica.network.heal();
    Page::that(&http, "it is ready again", |page| {
        page.value("countersign_ready") == 1.0
            && page.value("countersign_lease_remaining_seconds") > 0.0
            && page.value("countersign_log_staleness_seconds") < 3.0
    })
    .await;
}

on_both_databases! {
    async fn promtool_finds_nothing_wrong_with_the_page(db: Database) {
        let server = quiet(db, &[]).await;
        let admin = server.as_admin().await;
        let good = admin.mint(key("acme", "billing")).await.credential;
        admin.verify(&good).await;
        let page = Page::that(&server.http(), "all was counted", |page| {
            page.find(&calls(VERIFY, "OK")) == Some(1.0)
        })
        .await;
        let checked = tools::promtool().args(["check", "metrics"]).stdin(page.text).run();
        let checked = checked.succeeded();
        assert_eq!((checked.stdout.as_str(), checked.stderr.as_str()), ("", ""));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_the_sdk_is_disabled_there_is_no_page_and_the_server_serves() {
    let server = Server::on(Database::Sqlite).await.with_env("OTEL_SDK_DISABLED", "true");
    let server = server.start().await;
    let admin = server.as_admin().await;
    let good = admin.mint(key("acme", "billing")).await.credential;
    assert!(admin.verify(&good).await.allowed);
    assert_eq!(get(&format!("{}/metrics", server.http()), &[]).status, "404");
    assert_eq!(get(&format!("{}/readyz", server.http()), &[]).status, "200");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_open_stream_of_the_log_is_seen_until_it_is_gone() {
    let server = quiet(Database::Sqlite, &[]).await;
    let watch = server
        .as_admin()
        .await
        .admin()
        .watch_audit_events(countersign::rpc::proto::WatchAuditEventsRequest::default())
        .await
        .expect("the log can be watched");
    let page = Page::that(&server.http(), "the watcher is seen", |page| {
        page.value("countersign_watchers") == 1.0
    })
    .await;
    assert_eq!(page.value("countersign_watchers_limit"), 1_000.0);
    drop(watch);
    eventually("its place is free again", SOON, async || {
        Page::of(&server.http()).value("countersign_watchers") == 0.0
    })
    .await;
}
