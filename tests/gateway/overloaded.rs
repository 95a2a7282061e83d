//! A server that has its hands full, before a real Envoy that is told to let pass on errors.
//!
//! To take all ten thousand places of a server from outside takes ten thousand requests at once, so here its parts are
//! put together with no place at all, as `serve` puts them together.

use std::sync::Arc;

use countersign::domain::credential::Brands;
use countersign::domain::ids::StoreId;
use countersign::domain::keyring::DataKey;
use countersign::domain::position::Position;
use countersign::domain::time::SystemClock;
use countersign::middleware::{self, Middleware};
use countersign::rpc::services::{Health, services};
use countersign::rpc::{Gateway, gateway};
use countersign::transport;
use countersign::verify::{Index, Verifier};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::envoy::that_lets_pass_on_errors;
use super::{Kind, Setup, serving};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_overloaded_server_lets_nobody_through() {
    let stop = CancellationToken::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("there are free ports");
    let overloaded = listener.local_addr().expect("an address").port();
    let verifier = Arc::new(Verifier::new(
        Arc::new(Index::default()),
        Arc::new(DataKey::new([1; 32])),
        Arc::new(Position::default()),
        Arc::new(SystemClock::start()),
        Brands::default(),
        StoreId([2; 16]),
    ));
    let health = Health::starting().await;
    let gateway = Gateway::new(Arc::clone(&verifier), gateway::Settings::default());
    let services = services(None, None, Some(gateway), &health).expect("the services");
    let settings = middleware::Settings { max_in_flight: 0, ..middleware::Settings::default() };
    let middleware = Middleware::new(settings, verifier);
    let settings = transport::Settings { verify_threads: 1, ..transport::Settings::default() };
    let threads = transport::serve(listener, "overloaded", &settings, &stop, || {
        gateway::answered(middleware.guard(services.clone()))
    });
    let _threads = threads.expect("a thread");

    let server = serving(Kind::Envoy).await.start().await;
    let other = server.address().rsplit_once(':').expect("a port").1.to_owned();
    let setup = Setup::before(Kind::Envoy, server, |text| {
        let (other, ours) = (format!("port_value: {other} "), format!("port_value: {overloaded} "));
        assert!(text.contains(&other), "{text}");
        that_lets_pass_on_errors(&text).replace(&other, &ours)
    })
    .await;
    let credential = setup.mint("acme", &["transactions:read"]).await.credential;
    for _ in 0..3 {
        let refused = setup.ask_as(&credential, "GET", "/v1/transactions");
        assert_eq!((refused.status, refused.reason().as_str()), (503, "OVERLOADED"), "{refused:?}");
        assert_eq!(refused.header("retry-after"), Some("1"));
    }
    assert_eq!(setup.service.arrived().len(), 0);
    stop.cancel();
}
