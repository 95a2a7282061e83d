//! What telemetry costs: the same server without it, as it is by default, with a collector that takes everything, and
//! with one that is not there.

use std::path::Path;
use std::process::Command;

use bytes::Bytes;
use h2::RecvStream;
use h2::server::{self, SendResponse};
use tokio::net::{TcpListener, TcpStream};

use crate::server::Server;
use crate::store::{self, Filled};

/// One server, and what it does with its telemetry.
pub(crate) struct Candidate {
    pub(crate) name: &'static str,
    /// What it is called where every request is in its caller's trace, if that is measured.
    pub(crate) sampled: Option<&'static str>,
    pub(crate) server: Server,
    pub(crate) filled: Filled,
}

/// All of them, each on a small store of its own, and the collector that two of them were told of.
pub(crate) struct Candidates {
    pub(crate) all: Vec<Candidate>,
    _collector: Server,
}

/// Without any telemetry.
pub(crate) const NONE: &str = "ours, no telemetry, 8×10, 1k";
/// As it is when nothing is set: everything is measured, `/metrics` is there, nothing is exported.
pub(crate) const DEFAULT: &str = "ours, telemetry by default, 8×10, 1k";
/// Traces, metrics and logs go to a collector.
pub(crate) const COLLECTED: &str = "ours, collector takes all, 8×10, 1k";
/// They go to a port where nobody listens.
pub(crate) const DEAD: &str = "ours, dead collector, 8×10, 1k";

/// The same two, and every request wants its span there: more than any exporter keeps up with, so most are dropped.
const ALL_SAMPLED: &str = "ours, collector takes all, every call sampled, 8×10, 1k";
const ALL_SAMPLED_DEAD: &str = "ours, dead collector, every call sampled, 8×10, 1k";

impl Candidates {
    /// Starts them. Metrics are exported each second instead of each minute, so that exports fall into every round.
    pub(crate) fn start(runtime: &tokio::runtime::Runtime, root: &Path, keys: usize) -> Self {
        let mut collector = Command::new(std::env::current_exe().expect("our own path"));
        collector.arg("collector");
        let collector = Server::started(collector, &root.join("collector.log"));
        // A port that was free a moment ago.
        let nobody = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let dead = nobody.local_addr().expect("an address");
        drop(nobody);
        let exporting = |address| {
            vec![
                ("OTEL_EXPORTER_OTLP_ENDPOINT", format!("http://{address}")),
                ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc".to_owned()),
                ("OTEL_METRIC_EXPORT_INTERVAL", "1000".to_owned()),
            ]
        };
        let settings = [
            (NONE, None, "none", vec![("OTEL_SDK_DISABLED", "true".to_owned())]),
            (DEFAULT, None, "default", vec![]),
            (COLLECTED, Some(ALL_SAMPLED), "collected", exporting(collector.address)),
            (DEAD, Some(ALL_SAMPLED_DEAD), "dead", exporting(dead)),
        ];
        let start = |(name, sampled, folder, variables): (_, _, &str, Vec<(&str, String)>)| {
            let filled = store::sqlite(runtime, &root.join("telemetry").join(folder), keys);
            let server = Server::ours_with(&filled.dir, &[], &variables);
            Candidate { name, sampled, server, filled }
        };
        Self { all: settings.into_iter().map(start).collect(), _collector: collector }
    }
}

/// Takes whatever is exported, and says that it was taken, until it is killed.
pub(crate) fn collect() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        println!("  gRPC        {}", listener.local_addr().expect("an address"));
        println!("ready");
        loop {
            let (stream, _) = listener.accept().await.expect("accepts");
            tokio::spawn(serve(stream));
        }
    });
}

/// A connection ends when the server that exports ends, however that comes.
async fn serve(stream: TcpStream) -> Result<(), h2::Error> {
    let mut connection = server::handshake(stream).await?;
    while let Some(request) = connection.accept().await {
        let (request, respond) = request?;
        tokio::spawn(take(request.into_body(), respond));
    }
    Ok(())
}

/// Answers with an empty message, which is that of a complete success in all three services.
async fn take(mut body: RecvStream, mut respond: SendResponse<Bytes>) -> Result<(), h2::Error> {
    while let Some(data) = body.data().await {
        body.flow_control().release_capacity(data?.len())?;
    }
    let head = http::Response::builder().header("content-type", "application/grpc");
    let mut stream = respond.send_response(head.body(()).expect("a response"), false)?;
    stream.send_data(Bytes::from_static(&[0; 5]), false)?;
    let mut trailers = http::HeaderMap::new();
    trailers.insert("grpc-status", http::HeaderValue::from_static("0"));
    stream.send_trailers(trailers)
}
