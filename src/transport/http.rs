//! HTTP/1: the pages for probes (`/livez` and `/readyz`) and for Prometheus (`/metrics`), and whatever else has pages of
//! its own.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use super::accept::accept;
use super::connections::Connections;
use super::metrics_page::{MetricsPage, metrics};

/// The most connections for the pages at once: probes and people, not traffic.
const MAX_CONNECTIONS: usize = 256;
/// How long a request may take to arrive.
const HEADERS_WITHIN: Duration = Duration::from_secs(10);
/// The longest head of a request. Gateways pass on what clients send them, of which they take 64 KiB at most.
const MAX_HEAD_BYTES: usize = 128 * 1024;
/// A page that is not finished by then will not be.
const DRAIN: Duration = Duration::from_secs(2);

/// Says whether this server can serve, and if not, why, in one line.
pub type Readiness = dyn Fn() -> Result<(), String> + Send + Sync;

/// What the pages show.
#[derive(Clone)]
pub struct Pages {
    /// Asked at each `/readyz`.
    pub ready: Arc<Readiness>,
    /// What `/metrics` shows; there is no such page without it.
    pub metrics: Option<Arc<MetricsPage>>,
}

impl Pages {
    fn routes(self) -> Router {
        Router::new()
            .route("/livez", get(|| async { "ok\n" }))
            .route("/readyz", get(readyz))
            .route("/metrics", get(metrics))
            .with_state(self)
    }
}

async fn readyz(State(pages): State<Pages>) -> (StatusCode, String) {
    match (pages.ready)() {
        Ok(()) => (StatusCode::OK, "ready\n".to_owned()),
        Err(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {why}\n")),
    }
}

/// Serves the pages until `shutdown` is said.
pub async fn serve_pages(listener: TcpListener, pages: Pages, shutdown: CancellationToken) {
    let connections = Arc::new(Connections::new(MAX_CONNECTIONS));
    serve(listener, pages.routes(), connections, shutdown).await;
}

/// Serves these routes until `shutdown` is said, to as many connections at once as have a place.
pub async fn serve(
    listener: TcpListener,
    routes: Router,
    connections: Arc<Connections>,
    shutdown: CancellationToken,
) {
    let each = shutdown.clone();
    accept(listener, shutdown, move |socket, _| {
        if let Some(place) = connections.place() {
            let served = connection(socket, routes.clone(), each.clone());
            tokio::spawn(async move {
                served.await;
                drop(place);
            });
        }
    })
    .await;
}

async fn connection(socket: TcpStream, routes: Router, shutdown: CancellationToken) {
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADERS_WITHIN)
        .max_buf_size(MAX_HEAD_BYTES)
        .serve_connection(TokioIo::new(socket), TowerToHyperService::new(routes));
    tokio::pin!(connection);
    tokio::select! {
        // How it ended is between the peer and the network.
        _ = &mut connection => {}
        () = shutdown.cancelled() => {
            connection.as_mut().graceful_shutdown();
            let _ = tokio::time::timeout(DRAIN, connection).await;
        }
    }
}
