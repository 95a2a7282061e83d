//! Collectors that are not there, or not well: the server starts, answers, and ends in time; the log says it, seldom.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::net::TcpListener;

use crate::harness::server::Builder;
use crate::harness::{Database, Server, eventually, key};

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
        let nowhere = format!("http://collector.invalid:{port}");
        serves(sending_to(&nowhere, protocol).await).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collector_that_never_answers_holds_up_nothing() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
    let silent = format!("http://{}", listener.local_addr().expect("it has an address"));
    let holding = tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((connection, _)) = listener.accept().await {
            held.push(connection);
        }
    });
    for protocol in ["grpc", "http/protobuf"] {
        serves(sending_to(&silent, protocol).await).await;
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
