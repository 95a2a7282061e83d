//! A gRPC client without a clock of its own. tonic's ends a call by itself when its `grpc-timeout` has
//! passed, mostly a moment before the server would, so that nobody sees what the server says.

use std::task::{Context, Poll};

use countersign::rpc::proto::key_admin_client::KeyAdminClient;
use futures::future::BoxFuture;
use http::header::AUTHORIZATION;
use hyper::body::Incoming;
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tonic::body::Body;

use crate::harness::Server;

/// One connection, whose every request carries these headers.
#[derive(Clone)]
pub struct Wire {
    sender: SendRequest<Body>,
    authorization: String,
    timeout: &'static str,
}

/// The administrator's client; `timeout` is the header as gRPC writes it, e.g. `200m`.
pub async fn admin_with_timeout(server: &Server, timeout: &'static str) -> KeyAdminClient<Wire> {
    let socket = TcpStream::connect(server.address()).await.expect("the server takes connections");
    let opened = handshake(TokioExecutor::new(), TokioIo::new(socket)).await;
    let (sender, connection) = opened.expect("the server speaks HTTP/2");
    tokio::spawn(connection);
    let authorization = format!("Bearer {}", server.admin().token());
    let wire = Wire { sender, authorization, timeout };
    KeyAdminClient::with_origin(wire, server.endpoint().parse().expect("a URL"))
}

impl tower::Service<http::Request<Body>> for Wire {
    type Response = http::Response<Incoming>;
    type Error = hyper::Error;
    type Future = BoxFuture<'static, Result<Self::Response, hyper::Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), hyper::Error>> {
        self.sender.poll_ready(cx)
    }

    fn call(&mut self, mut request: http::Request<Body>) -> Self::Future {
        let headers = request.headers_mut();
        headers.insert(AUTHORIZATION, self.authorization.parse().expect("a header's value"));
        headers.insert("grpc-timeout", self.timeout.parse().expect("a header's value"));
        Box::pin(self.sender.send_request(request))
    }
}
