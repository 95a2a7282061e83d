//! A collector: takes what is sent over OTLP, by gRPC or over HTTP, and remembers it. All of it is also written into the
//! run's folder, where it is searched for secrets.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, OpenOptions};
use std::io::Read as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::routing::post;
use flate2::read::GzDecoder;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceResponse;
use opentelemetry_proto::tonic::collector::logs::v1::logs_service_server::LogsServiceServer;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceResponse;
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_server::MetricsServiceServer;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::TraceServiceServer;
use opentelemetry_proto::tonic::metrics::v1::Metric;
use prost::Message;
use rcgen::{CertifiedKey, KeyPair};
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::PrivateKeyDer;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tonic::codec::CompressionEncoding;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Identity, ServerTlsConfig};

use super::collector::{Collector, Record, Span, Taken};
use crate::harness::server::Builder;
use crate::harness::{eventually, run};

const SOON: Duration = Duration::from_secs(30);

/// How OTLP is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Speaks {
    Grpc,
    Http,
}

pub struct Receiver {
    speaks: Speaks,
    url: String,
    collector: Collector,
    task: JoinHandle<()>,
}

impl Receiver {
    pub async fn start(speaks: Speaks) -> Self {
        Self::start_with(speaks, None).await
    }

    /// One behind TLS, and the file of the certificate that it has for `localhost`.
    pub async fn start_secured(speaks: Speaks) -> (Self, PathBuf) {
        let issued = rcgen::generate_simple_self_signed(["localhost".to_owned()]);
        let issued = issued.expect("a certificate");
        let file = run::new_data_dir(&run::unique_name()).join("collector.pem");
        fs::write(&file, issued.cert.pem()).expect("the run folder takes files");
        (Self::start_with(speaks, Some(issued)).await, file)
    }

    async fn start_with(speaks: Speaks, issued: Option<CertifiedKey<KeyPair>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let port = listener.local_addr().expect("it has an address").port();
        let url = match &issued {
            None => format!("http://127.0.0.1:{port}"),
            Some(_) => format!("https://localhost:{port}"),
        };
        let collector = Collector::default();
        let path = run::dir().join("logs").join(format!("{}.otlp", run::unique_name()));
        let file = OpenOptions::new().create(true).append(true).open(path);
        collector.with(|taken| taken.file = Some(file.expect("the run folder takes files")));
        let task = match speaks {
            Speaks::Grpc => {
                let mut server = tonic::transport::Server::builder();
                if let Some(issued) = issued {
                    let key = issued.signing_key.serialize_pem();
                    let identity = Identity::from_pem(issued.cert.pem(), key);
                    let tls = ServerTlsConfig::new().identity(identity);
                    server = server.tls_config(tls).expect("the certificate fits");
                }
                let server = server
                    .add_service(
                        TraceServiceServer::new(collector.clone())
                            .accept_compressed(CompressionEncoding::Gzip),
                    )
                    .add_service(
                        MetricsServiceServer::new(collector.clone())
                            .accept_compressed(CompressionEncoding::Gzip),
                    )
                    .add_service(
                        LogsServiceServer::new(collector.clone())
                            .accept_compressed(CompressionEncoding::Gzip),
                    );
                let incoming = TcpIncoming::from(listener);
                tokio::spawn(async move {
                    server.serve_with_incoming(incoming).await.expect("the receiver serves");
                })
            }
            Speaks::Http => {
                let router = Router::new()
                    .route("/v1/traces", post(http_traces))
                    .route("/v1/metrics", post(http_metrics))
                    .route("/v1/logs", post(http_logs))
                    .with_state(collector.clone());
                tokio::spawn(async move {
                    match issued {
                        None => axum::serve(listener, router).await.expect("the receiver serves"),
                        Some(issued) => serve_secured(listener, router, &issued).await,
                    }
                })
            }
        };
        Self { speaks, url, collector, task }
    }

    /// The variables that have a server send everything here, and soon.
    pub fn variables(&self) -> Vec<(&'static str, String)> {
        let protocol = match self.speaks {
            Speaks::Grpc => "grpc",
            Speaks::Http => "http/protobuf",
        };
        vec![
            ("OTEL_EXPORTER_OTLP_ENDPOINT", self.url.clone()),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", protocol.to_owned()),
            ("OTEL_BSP_SCHEDULE_DELAY", "50".to_owned()),
            ("OTEL_BLRP_SCHEDULE_DELAY", "50".to_owned()),
            ("OTEL_METRIC_EXPORT_INTERVAL", "100".to_owned()),
        ]
    }

    /// A server that sends everything here.
    pub fn of(&self, server: Builder) -> Builder {
        let with = |server: Builder, (name, value)| server.with_env(name, value);
        self.variables().into_iter().fold(server, with)
    }

    pub fn spans(&self) -> Vec<Span> {
        self.collector.with(|taken| taken.spans.clone())
    }

    pub fn records(&self) -> Vec<Record> {
        self.collector.with(|taken| taken.records.clone())
    }

    pub fn metrics(&self) -> Vec<Metric> {
        self.collector.with(|taken| taken.metrics.clone())
    }

    /// What was said last of each metric, by its name.
    pub fn newest_metrics(&self) -> BTreeMap<String, Metric> {
        self.metrics().into_iter().map(|metric| (metric.name.clone(), metric)).collect()
    }

    /// What the messages bore under that name.
    pub fn headers(&self, name: &str) -> BTreeSet<String> {
        let of_name = |taken: &mut Taken| {
            let found = taken.headers.iter().filter(|(found, _)| found == name);
            found.map(|(_, value)| value.clone()).collect()
        };
        self.collector.with(of_name)
    }

    /// The spans of a trace, as soon as the one of that name is among them, which ends last.
    pub async fn trace(&self, id: &str, last: &str) -> Vec<Span> {
        let what = format!("the span {last} of the trace {id} arrives");
        eventually(&what, SOON, async || {
            let spans = self.spans().into_iter().filter(|span| span.trace == id);
            let spans: Vec<_> = spans.collect();
            spans.iter().any(|span| span.name == last).then_some(spans)
        })
        .await
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve_secured(listener: TcpListener, router: Router, issued: &CertifiedKey<KeyPair>) {
    let key = PrivateKeyDer::try_from(issued.signing_key.serialize_der()).expect("a key");
    let config = ServerConfig::builder_with_provider(ring::default_provider().into())
        .with_safe_default_protocol_versions()
        .expect("ring speaks them")
        .with_no_client_auth()
        .with_single_cert(vec![issued.cert.der().clone()], key)
        .expect("the certificate fits");
    let tls = TlsAcceptor::from(Arc::new(config));
    while let Ok((connection, _)) = listener.accept().await {
        let (tls, router) = (tls.clone(), router.clone());
        tokio::spawn(async move {
            // Whoever does not believe our certificate goes away.
            let Ok(connection) = tls.accept(connection).await else { return };
            let service = TowerToHyperService::new(router);
            let served = http1::Builder::new().serve_connection(TokioIo::new(connection), service);
            let _ = served.await;
        });
    }
}

async fn http_traces(
    State(collector): State<Collector>,
    headers: HeaderMap,
    body: Bytes,
) -> Vec<u8> {
    let body = uncompressed(&headers, body);
    collector.note(headers);
    collector.take_spans(Message::decode(body).expect("spans in protobuf"));
    ExportTraceServiceResponse::default().encode_to_vec()
}

async fn http_metrics(
    State(collector): State<Collector>,
    headers: HeaderMap,
    body: Bytes,
) -> Vec<u8> {
    let body = uncompressed(&headers, body);
    collector.note(headers);
    collector.take_metrics(Message::decode(body).expect("metrics in protobuf"));
    ExportMetricsServiceResponse::default().encode_to_vec()
}

async fn http_logs(State(collector): State<Collector>, headers: HeaderMap, body: Bytes) -> Vec<u8> {
    let body = uncompressed(&headers, body);
    collector.note(headers);
    collector.take_records(Message::decode(body).expect("log records in protobuf"));
    ExportLogsServiceResponse::default().encode_to_vec()
}

fn uncompressed(headers: &HeaderMap, body: Bytes) -> Bytes {
    if headers.get("content-encoding").is_none_or(|encoding| encoding != "gzip") {
        return body;
    }
    let mut whole = Vec::new();
    GzDecoder::new(&*body).read_to_end(&mut whole).expect("what is said to be gzip is");
    whole.into()
}
