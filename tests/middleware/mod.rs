//! What a caller who has no credential can take from those who have.

use std::time::Duration;

use countersign::middleware::MAX_OPEN_STREAMS;
use futures::future::join_all;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Response, Status, Streaming};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};
use tonic_prost::ProstCodec;

use crate::harness::{Database, Server, eventually, key};
use crate::rpc::refusal::refused;

const LIMIT: Duration = Duration::from_secs(60);

async fn connect(server: &Server) -> Channel {
    let endpoint = Endpoint::from_shared(server.endpoint()).expect("the endpoint is a URL");
    endpoint.connect().await.expect("the server takes connections")
}

async fn watch(health: &HealthClient<Channel>) -> Result<Streaming<HealthCheckResponse>, Status> {
    health.clone().watch(HealthCheckRequest::default()).await.map(Response::into_inner)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_that_are_open_to_anybody_take_no_place_of_our_services() {
    let quiet = ("COUNTERSIGN_LOG", "info");
    let server = Server::on(Database::Sqlite).await.with_env(quiet.0, quiet.1).start().await;
    let admin = server.as_admin().await;
    let minted = admin.mint(key("acme", "billing")).await;
    let health = HealthClient::new(connect(&server).await);

    let opened = join_all((0..MAX_OPEN_STREAMS + 50).map(|_| watch(&health))).await;
    let (held, shed): (Vec<_>, Vec<_>) = opened.into_iter().partition(Result::is_ok);
    assert_eq!((held.len(), shed.len()), (MAX_OPEN_STREAMS, 50));
    for status in shed {
        let refusal = refused(status, Code::ResourceExhausted, "OVERLOADED");
        assert!(refusal.says("too many streams of health").retry_delay().is_some());
    }
    assert!(admin.verify(&minted.credential).await.allowed, "a service is answered meanwhile");
    admin.get(&minted.key.key_id).await.expect("an administrator as well");
    let check = health.clone().check(HealthCheckRequest::default()).await;
    let check = check.expect("a probe is never shed").into_inner();
    assert_eq!(check.status(), ServingStatus::Serving);

    drop(held);
    let again = eventually("there is place again", LIMIT, async || watch(&health).await.ok()).await;
    drop(again);
}

/// Waits for as long as the server waits for a message.
#[tokio::test]
async fn a_message_that_never_comes_is_given_up() {
    let server = Server::start(Database::Sqlite).await;
    for method in ["countersign.v1.KeyVerifier/Verify", "grpc.health.v1.Health/Watch"] {
        let mut grpc = tonic::client::Grpc::new(connect(&server).await);
        grpc.ready().await.expect("the server takes requests");
        let path = format!("/{method}").parse().expect("a path");
        let silent = Request::new(futures::stream::pending::<()>());
        let call = grpc.client_streaming(silent, path, ProstCodec::<(), ()>::default());
        let answer =
            tokio::time::timeout(LIMIT, call).await.expect("the server gives up by itself");
        refused(answer, Code::DeadlineExceeded, "DEADLINE_EXCEEDED");
    }
}
