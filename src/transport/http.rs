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
pub const MAX_PAGE_CONNECTIONS: usize = 256;
/// For how long one of them may hold its place, whatever it does with it: without an end, some that never read would keep
/// Prometheus and the probes out. Who has come for longer is told to come again.
const PAGES_WITHIN: Duration = Duration::from_secs(30);
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

/// Serves the pages until `shutdown` is said, to as many connections at once as have a place.
pub async fn serve_pages(
    listener: TcpListener,
    pages: Pages,
    connections: Arc<Connections>,
    shutdown: CancellationToken,
) {
    serve_within(Some(PAGES_WITHIN), listener, pages.routes(), connections, shutdown).await;
}

/// Serves these routes until `shutdown` is said, to as many connections at once as have a place.
pub async fn serve(
    listener: TcpListener,
    routes: Router,
    connections: Arc<Connections>,
    shutdown: CancellationToken,
) {
    serve_within(None, listener, routes, connections, shutdown).await;
}

/// The same, with a limit on how long each connection may last.
async fn serve_within(
    limit: Option<Duration>,
    listener: TcpListener,
    routes: Router,
    connections: Arc<Connections>,
    shutdown: CancellationToken,
) {
    let each = shutdown.clone();
    accept(listener, shutdown, move |socket, _| {
        if let Some(place) = connections.place() {
            let served = connection(limit, socket, routes.clone(), each.clone());
            tokio::spawn(async move {
                served.await;
                drop(place);
            });
        }
    })
    .await;
}

async fn connection(
    limit: Option<Duration>,
    socket: TcpStream,
    routes: Router,
    shutdown: CancellationToken,
) {
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADERS_WITHIN)
        .max_buf_size(MAX_HEAD_BYTES)
        .serve_connection(TokioIo::new(socket), TowerToHyperService::new(routes));
    tokio::pin!(connection);
    let time_is_up = async {
        match limit {
            Some(limit) => tokio::time::sleep(limit).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        // How it ended is between the peer and the network.
        _ = &mut connection => return,
        () = shutdown.cancelled() => {}
        () = time_is_up => {}
    }
    // A page that is on its way may still arrive.
    connection.as_mut().graceful_shutdown();
    let _ = tokio::time::timeout(DRAIN, connection).await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    const SOON: Duration = Duration::from_secs(20);
    /// More than the buffers of both ends hold.
    const LONG: usize = 64 * 1024 * 1024;

    #[tokio::test]
    async fn who_asks_and_never_reads_loses_its_place_in_time() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let routes = Router::new().route("/", get(|| async { vec![b'x'; LONG] }));
        let (connections, stop) = (Arc::new(Connections::new(2)), CancellationToken::new());
        let (places, limit) = (Arc::clone(&connections), Some(Duration::from_millis(300)));
        let server = tokio::spawn(serve_within(limit, listener, routes, places, stop.clone()));
        let are_open = async |number: usize| {
            let there = async {
                while connections.open() != number {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            };
            let there = tokio::time::timeout(SOON, there).await;
            there.unwrap_or_else(|_| panic!("not {number} but {}", connections.open()));
        };
        let mut deaf = TcpStream::connect(address).await.expect("taken");
        deaf.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.expect("sent");
        are_open(1).await;
        are_open(0).await;
        let mut arrived = Vec::new();
        // Reset or not, it was cut.
        _ = deaf.read_to_end(&mut arrived).await;
        assert!(arrived.len() < LONG);
        stop.cancel();
        tokio::time::timeout(SOON, server).await.expect("it stops").expect("no panic");
    }
}
