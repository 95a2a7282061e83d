//! Collectors that are not there, or not well: the server starts, answers, and ends in time; the log says it, seldom.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use countersign::rpc::proto::verify_request::Presented;
use countersign::rpc::proto::{self, VerifyRequest};
use futures::future::join_all;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tonic::Request;

use crate::harness::server::Builder;
use crate::harness::{Credential, Database, Server, Store, eventually, key};

const SOON: Duration = Duration::from_secs(60);

async fn sending_to(endpoint: &str, protocol: &str) -> Builder {
    [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", protocol),
        // Longer than the harness waits for the end of a server.
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "600000"),
        ("OTEL_BSP_SCHEDULE_DELAY", "20"),
        ("OTEL_BLRP_SCHEDULE_DELAY", "20"),
        ("OTEL_METRIC_EXPORT_INTERVAL", "20"),
    ]
    .into_iter()
    .fold(Server::on(Database::Sqlite).await, |server, (name, value)| server.with_env(name, value))
}

/// Starts, serves and stops as if nothing were.
async fn serves(server: Builder) {
    let mut server = server.start().await;
    let admin = server.as_admin().await;
    let minted = admin.mint(key("acme", "billing")).await;
    for _ in 0..20 {
        assert!(admin.verify(&minted.credential).await.allowed);
    }
    admin.get(&minted.key.key_id).await.expect("administration as well");
    assert!(server.sigterm().success(), "and it stops");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collector_that_refuses_holds_up_nothing() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
    let nobody = format!("http://{}", listener.local_addr().expect("it has an address"));
    drop(listener);
    for protocol in ["grpc", "http/protobuf"] {
        serves(sending_to(&nobody, protocol).await).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collector_whose_name_leads_nowhere_holds_up_nothing() {
    for (protocol, port) in [("grpc", 4317), ("http/protobuf", 4318)] {
        // RFC 6761, section 6.4: this name is nobody's.
        let nowhere = format!("http://collector.invalid:{port}");
        let server = sending_to(&nowhere, protocol).await;
        serves(server.clone()).await;

        // Its log says of each signal that it does not arrive.
        let server = server.start().await;
        let admin = server.as_admin().await;
        for processor in ["BatchSpanProcessor", "BatchLogProcessor", "PeriodicReader"] {
            let words = format!("{processor}.ExportError");
            eventually(&format!("{words} is in the log, over {protocol}"), SOON, async || {
                // Each has something to send.
                _ = admin.get("csk_live_nobody").await;
                server.log().contains(&words)
            })
            .await;
        }
    }
}

#[tokio::test]
async fn check_config_calls_no_collector() {
    let store = Store::fresh(Database::Sqlite).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
    let silent = format!("http://{}", listener.local_addr().expect("it has an address"));
    let unheard = store.command(["check-config"]).run().succeeded();
    for endpoint in [silent.as_str(), "http://collector.invalid:4318"] {
        let checked = store.command(["check-config"]).env("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint);
        let checked = checked.run().succeeded();
        assert_eq!((&checked.stdout, &checked.stderr), (&unheard.stdout, &unheard.stderr));
    }
    // Whoever had called would be waiting in its queue.
    let nobody = futures::poll!(std::pin::pin!(listener.accept()));
    assert!(nobody.is_pending(), "somebody called");
}

/// A collector that takes connections and never says a word.
async fn silent() -> (String, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
    let url = format!("http://{}", listener.local_addr().expect("it has an address"));
    let holding = tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((connection, _)) = listener.accept().await {
            held.push(connection);
        }
    });
    (url, holding)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collector_that_never_answers_holds_up_nothing() {
    let (silent, holding) = silent().await;
    for protocol in ["grpc", "http/protobuf"] {
        serves(sending_to(&silent, protocol).await).await;
    }
    holding.abort();
}

const CALLERS: usize = 16;
const CALLS: usize = 250;

/// Asks under traces of which each is to be sent, and is always answered.
async fn ask_often(server: &Server) {
    let admin = server.as_admin().await;
    let Credential { key_id, secret } = admin.mint(key("acme", "billing")).await.credential;
    let credential = proto::Credential { key_id, secret };
    let presented = Some(Presented::Credential(credential));
    let question = VerifyRequest { presented, ..VerifyRequest::default() };
    let calls = (0..CALLERS).map(|caller| {
        let (mut verifier, question) = (admin.verifier(), question.clone());
        async move {
            for number in 0..CALLS {
                let mut request = Request::new(question.clone());
                let header = format!("00-{:032x}-{:016x}-01", caller + 1, number + 1);
                let header = header.parse().expect("a header's value");
                request.metadata_mut().insert("traceparent", header);
                let reply = verifier.verify(request).await.expect("it is answered");
                assert!(reply.into_inner().allowed);
            }
        }
    });
    join_all(calls).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sampled_verifications_are_answered_while_nothing_can_be_sent() {
    let (silent, holding) = silent().await;
    for protocol in ["grpc", "http/protobuf"] {
        let mut server = sending_to(&silent, protocol).await;
        // Each call has a span to send and a line of the log, and there is room for one of them.
        for of in ["BSP", "BLRP"] {
            for limit in ["MAX_QUEUE_SIZE", "MAX_EXPORT_BATCH_SIZE"] {
                server = server.with_env(&format!("OTEL_{of}_{limit}"), "1");
            }
        }
        // At TRACE it would be the log on standard error that takes the time.
        let server = server.with_env("COUNTERSIGN_LOG", "info,countersign=debug");
        let mut server = server.start().await;
        tokio::time::timeout(SOON, ask_often(&server)).await.expect("all are answered");
        let log = server.log();
        for begun in
            ["BatchSpanProcessor.SpanDroppingStarted", "BatchLogProcessor.LogDroppingStarted"]
        {
            assert!(log.contains(begun), "{begun} is not in the log, over {protocol}");
        }
        assert!(server.sigterm().success());
        let log = server.log();
        let told = log.lines().find(|line| line.contains("BatchSpanProcessor.SpansDropped"));
        let count =
            told.and_then(|line| line.split_once("dropped_span_count=")?.1.split(' ').next());
        let count: usize = count.and_then(|count| count.parse().ok()).expect("a count");
        // Of all, one is on its way for ever and one waits. What the change of a key made is dropped too.
        let all = CALLERS * CALLS;
        assert!((all - 2..all + 100).contains(&count), "{count} of {all}");
    }
    holding.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_log_says_it_once_in_a_while() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
    let address = listener.local_addr().expect("it has an address");
    let calls = Arc::new(AtomicUsize::new(0));
    let hanging_up = tokio::spawn({
        let calls = Arc::clone(&calls);
        async move {
            while let Ok((connection, _)) = listener.accept().await {
                calls.fetch_add(1, Ordering::Relaxed);
                drop(connection);
            }
        }
    });
    let server = sending_to(&format!("http://{address}"), "http/protobuf").await.start().await;
    let admin = server.as_admin().await;
    eventually("many messages were sent in vain", SOON, async || {
        // Each has something to send.
        _ = admin.get("csk_live_nobody").await;
        calls.load(Ordering::Relaxed) >= 40
    })
    .await;
    hanging_up.abort();
    let log = server.log();
    let said = |words: &str| log.lines().filter(|line| line.contains(words)).count();
    assert_eq!(said("BatchLogProcessor.ExportError"), 1, "{log}");
    assert_eq!(said("BatchSpanProcessor.ExportError"), 1, "{log}");
}
