//! The listeners against real sockets.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hyper::body::Incoming;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;
use tonic::body::Body;
use tonic::transport::{Channel, Endpoint};
use tower::{Service as _, ServiceExt as _};

use super::{Connections, Pages, Settings, Verifiers, bind, serve, serve_pages};
use crate::domain::permission::PeerAddr;

const HERE: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);
const SOON: Duration = Duration::from_secs(20);

/// A listener whose service answers with the peer's address; `/slow` never answers.
struct Server {
    address: SocketAddr,
    stop: CancellationToken,
    verifiers: Verifiers,
}

impl Server {
    async fn start(settings: Settings) -> Self {
        let (listener, address) = bind("listen", HERE).await.expect("a free port");
        let stop = CancellationToken::new();
        let verifiers = serve(listener, "verify", &settings, &stop, || tower::service_fn(answer));
        Self { address, stop, verifiers: verifiers.expect("threads") }
    }

    async fn connect(&self) -> Channel {
        let endpoint = Endpoint::from_shared(format!("http://{}", self.address)).expect("a URL");
        endpoint.connect().await.expect("the server takes connections")
    }

    async fn stops(&mut self) {
        self.stop.cancel();
        let ended = tokio::time::timeout(SOON, self.verifiers.all_ended()).await;
        ended.expect("the threads end in time");
    }
}

async fn answer(request: http::Request<Incoming>) -> Result<http::Response<Body>, Infallible> {
    if request.uri().path() == "/slow" {
        std::future::pending::<()>().await;
    }
    let peer = request.extensions().get::<PeerAddr>().expect("the transport says who it is");
    let response = http::Response::builder().header("peer", peer.0.to_string());
    Ok(response.body(Body::empty()).expect("a good response"))
}

/// A service that is asked for a path, and the peer that it saw.
async fn ask(channel: &mut Channel, path: &str) -> Result<String, tonic::transport::Error> {
    let request = http::Request::builder().uri(path).body(Body::empty()).expect("a good request");
    let response = channel.ready().await?.call(request).await?;
    let peer = response.headers().get("peer").expect("the service says it");
    Ok(peer.to_str().expect("an address").to_owned())
}

fn threads(verify_threads: usize) -> Settings {
    Settings { verify_threads, ..Settings::default() }
}

/// Waits until the peer closes; what it sent before that does not matter.
async fn closed(socket: &mut TcpStream) {
    let mut sent = Vec::new();
    let read = tokio::time::timeout(SOON, socket.read_to_end(&mut sent)).await;
    // A reset is a way to close.
    let _ = read.expect("the server closes the connection");
}

#[tokio::test]
async fn connections_of_every_thread_are_served_and_told_apart_by_their_peer() {
    let mut server = Server::start(threads(3)).await;
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..7 {
        let mut channel = server.connect().await;
        let first = ask(&mut channel, "/").await.expect("an answer");
        assert!(first.starts_with("127.0.0.1:"), "{first}");
        assert_eq!(ask(&mut channel, "/").await.expect("an answer"), first);
        seen.insert(first);
    }
    assert_eq!(seen.len(), 7);
    server.stops().await;
}

#[tokio::test]
async fn a_connection_above_the_cap_is_closed_at_once_and_its_place_comes_back() {
    let mut server = Server::start(Settings { max_connections: 1, ..threads(1) }).await;
    let mut first = server.connect().await;
    ask(&mut first, "/").await.expect("an answer");
    closed(&mut TcpStream::connect(server.address).await.expect("the backlog takes it")).await;
    ask(&mut first, "/").await.expect("the first goes on");
    drop(first);
    for attempt in 0.. {
        let endpoint = Endpoint::from_shared(format!("http://{}", server.address)).expect("a URL");
        let mut channel = endpoint.connect_lazy();
        if ask(&mut channel, "/").await.is_ok() {
            break;
        }
        assert!(attempt < 1_000, "the place did not come back");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    server.stops().await;
}

#[tokio::test]
async fn a_stop_says_goodbye_to_clients_and_does_not_wait_for_the_silent() {
    let mut server = Server::start(threads(2)).await;
    let mut client = server.connect().await;
    ask(&mut client, "/").await.expect("an answer");
    let mut silent = TcpStream::connect(server.address).await.expect("taken");
    let mut hesitant = TcpStream::connect(server.address).await.expect("taken");
    hesitant.write_all(b"PRI * HT").await.expect("sent");
    let limit = Duration::from_secs(2);
    tokio::time::timeout(limit, server.stops()).await.expect("nobody holds up the end");
    closed(&mut silent).await;
    closed(&mut hesitant).await;
    assert!(TcpStream::connect(server.address).await.is_err(), "it still listens");
}

#[tokio::test]
async fn an_open_stream_is_cut_when_the_drain_is_over() {
    let drain = Duration::from_millis(300);
    let mut server = Server::start(Settings { drain, ..threads(1) }).await;
    let mut client = server.connect().await;
    let slow = tokio::spawn(async move { ask(&mut client, "/slow").await });
    let mut other = server.connect().await;
    ask(&mut other, "/").await.expect("an answer");
    server.stops().await;
    assert!(slow.await.expect("no panic").is_err());
}

#[tokio::test]
async fn a_socket_that_never_opens_the_conversation_is_closed_and_one_that_did_is_not() {
    let opening_limit = Duration::from_millis(300);
    let mut server = Server::start(Settings { opening_limit, ..threads(1) }).await;
    let mut client = server.connect().await;
    ask(&mut client, "/").await.expect("an answer");
    for opening in [b"".as_slice(), b"PRI * HTTP/2.0\r\n"] {
        let mut socket = TcpStream::connect(server.address).await.expect("taken");
        socket.write_all(opening).await.expect("sent");
        closed(&mut socket).await;
    }
    ask(&mut client, "/").await.expect("the one that spoke goes on, though it is idle");
    server.stops().await;
}

#[tokio::test]
async fn a_port_in_use_is_one_line_that_says_what_to_do() {
    let (_listener, address) = bind("listen", HERE).await.expect("a free port");
    let error = bind("http-listen", address).await.expect_err("in use").to_string();
    assert!(error.contains("is in use by another program"), "{error}");
    assert!(error.contains("--http-listen") && !error.contains('\n'), "{error}");
}

#[tokio::test]
async fn the_pages_say_live_and_ready_and_why_not() {
    let (listener, address) = bind("http-listen", HERE).await.expect("a free port");
    let (ready, stop) = (Arc::new(AtomicBool::new(false)), CancellationToken::new());
    let state = Arc::clone(&ready);
    let pages = Pages {
        ready: Arc::new(move || {
            if state.load(Ordering::SeqCst) { Ok(()) } else { Err("loading keys".to_owned()) }
        }),
        metrics: None,
    };
    let places = Arc::new(Connections::new(8));
    let served = tokio::spawn(serve_pages(listener, pages, places, stop.clone()));
    let page = async |path: &str| {
        let mut socket = TcpStream::connect(address).await.expect("taken");
        let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        socket.write_all(request.as_bytes()).await.expect("sent");
        let mut response = String::new();
        socket.read_to_string(&mut response).await.expect("answered");
        response
    };
    assert!(page("/livez").await.starts_with("HTTP/1.1 200"));
    let not_yet = page("/readyz").await;
    assert!(not_yet.starts_with("HTTP/1.1 503"), "{not_yet}");
    assert!(not_yet.ends_with("not ready: loading keys\n"), "{not_yet}");
    ready.store(true, Ordering::SeqCst);
    assert!(page("/readyz").await.starts_with("HTTP/1.1 200"));
    assert!(page("/nowhere").await.starts_with("HTTP/1.1 404"));
    assert!(page("/metrics").await.starts_with("HTTP/1.1 404"), "nothing is measured");
    stop.cancel();
    tokio::time::timeout(SOON, served).await.expect("it stops").expect("no panic");
}
