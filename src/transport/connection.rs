//! One HTTP/2 connection, from its first byte to its last.

use std::convert::Infallible;
use std::error::Error;
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use http_body::Body as HttpBody;
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;
use tower::Service;

use super::Settings;
use super::at_once::Streams;
use super::preface::{Counted, Heard};
use crate::domain::permission::PeerAddr;

/// A peer that is silent for so long is asked whether it lives.
const PING_AFTER: Duration = Duration::from_secs(30);
/// A peer that does not answer that within this time is given up.
const PONG_LIMIT: Duration = Duration::from_secs(20);
/// The most bytes of headers of one request.
const MAX_HEADERS: u32 = 16 * 1024;
/// The most requests of one connection at a time; a client has more of them wait. Well above the
/// 1,000 that we promise to carry, and above 200 watchers.
const MAX_STREAMS: u32 = 2_048;

/// What serves requests, one for each thread; cloned for each connection. It is always ready for one.
pub trait Serves:
    Service<
        ::http::Request<Incoming>,
        Response = ::http::Response<Self::Answer>,
        Error = Infallible,
        Future: Send + 'static,
    > + Clone
    + Send
    + 'static
{
    /// The body of its responses.
    type Answer: HttpBody<Data: Send, Error: Into<Box<dyn Error + Send + Sync>>> + Send + 'static;
}

impl<S, A> Serves for S
where
    S: Service<
            ::http::Request<Incoming>,
            Response = ::http::Response<A>,
            Error = Infallible,
            Future: Send + 'static,
        > + Clone
        + Send
        + 'static,
    A: HttpBody<Data: Send, Error: Into<Box<dyn Error + Send + Sync>>> + Send + 'static,
{
    type Answer = A;
}

/// The service of one connection.
struct OfConnection<S> {
    /// Never contended: one task serves the connection. To clone the service for each request would be a dozen counters,
    /// which all cores share.
    service: Mutex<S>,
    peer: PeerAddr,
}

impl<S: Serves> hyper::service::Service<::http::Request<Incoming>> for OfConnection<S> {
    type Response = ::http::Response<S::Answer>;
    type Error = Infallible;
    type Future = S::Future;

    fn call(&self, mut request: ::http::Request<Incoming>) -> S::Future {
        request.extensions_mut().insert(self.peer);
        // Nothing of ours has to be waited for before it takes a request: what is full sheds. And a panic of one
        // request leaves nothing half done that another would meet.
        self.service.lock().unwrap_or_else(PoisonError::into_inner).call(request)
    }
}

/// Serves one socket until its peer leaves, breaks the rules, or the word to stop is said and its
/// streams have ended or the drain is over.
pub(super) async fn serve<S: Serves>(
    socket: TcpStream,
    peer: SocketAddr,
    service: S,
    settings: Settings,
    shutdown: CancellationToken,
) {
    let (socket, heard) = Counted::new(socket);
    let service = OfConnection { service: Mutex::new(service), peer: PeerAddr(peer) };
    // Windows and the limits against reset floods stay at hyper's defaults.
    let streams = Streams::default();
    let connection = http2::Builder::new(streams.clone())
        .timer(TokioTimer::new())
        .keep_alive_interval(PING_AFTER)
        .keep_alive_timeout(PONG_LIMIT)
        .max_header_list_size(MAX_HEADERS)
        .max_concurrent_streams(MAX_STREAMS)
        // No gRPC client reads it.
        .auto_date_header(false)
        .serve_connection(TokioIo::new(socket), service);
    tokio::pin!(connection);

    let ended = tokio::select! {
        ended = streams.run(connection.as_mut()) => ended,
        () = silent(&heard, settings.opening_limit) => {
            tracing::debug!(%peer, "closed a connection that did not open the conversation");
            return;
        }
        () = shutdown.cancelled() => {
            // A peer that has said nothing can't be waited for, and has nothing to lose.
            if !heard.the_opening() {
                return;
            }
            connection.as_mut().graceful_shutdown();
            match tokio::time::timeout(settings.drain, streams.run(connection)).await {
                Ok(ended) => ended,
                Err(_) => {
                    tracing::info!(%peer, "closed a connection that did not end in time");
                    return;
                }
            }
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%peer, %error, "a connection ended badly");
    }
}

/// Ends when the peer's time to open the conversation is over and it has not; else never.
async fn silent(heard: &Heard, limit: Duration) {
    tokio::time::sleep(limit).await;
    if heard.the_opening() {
        std::future::pending::<()>().await;
    }
}
