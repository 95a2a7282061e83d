//! The service behind a gateway: it serves everybody, and records what arrives.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::{Request, State};
use http::{HeaderMap, Method};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// What arrived.
#[derive(Debug, Clone)]
pub(super) struct Arrived {
    pub(super) method: Method,
    pub(super) target: String,
    pub(super) headers: HeaderMap,
}

type Record = Arc<Mutex<Vec<Arrived>>>;

/// A service that runs as long as this value.
pub(super) struct Service {
    address: SocketAddr,
    arrived: Record,
    task: JoinHandle<()>,
}

async fn record(State(arrived): State<Record>, request: Request) -> &'static str {
    arrived.lock().unwrap().push(Arrived {
        method: request.method().clone(),
        target: request.uri().to_string(),
        headers: request.headers().clone(),
    });
    "served\n"
}

impl Service {
    pub(super) async fn start() -> Self {
        let arrived = Record::default();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("there are free ports");
        let address = listener.local_addr().expect("an address");
        let routes = Router::new().fallback(record).with_state(Arc::clone(&arrived));
        let task =
            tokio::spawn(async move { axum::serve(listener, routes).await.expect("it serves") });
        Self { address, arrived, task }
    }

    pub(super) fn port(&self) -> u16 {
        self.address.port()
    }

    /// What arrived since somebody last looked.
    pub(super) fn arrived(&self) -> Vec<Arrived> {
        std::mem::take(&mut self.arrived.lock().unwrap())
    }

    /// The one request that arrived since.
    #[track_caller]
    pub(super) fn the_one(&self) -> Arrived {
        let mut arrived = self.arrived();
        assert_eq!(arrived.len(), 1, "{arrived:?}");
        arrived.remove(0)
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Arrived {
    /// All values of a header, in one text.
    pub(super) fn header(&self, name: &str) -> Option<String> {
        let values = self
            .headers
            .get_all(name)
            .iter()
            .map(|value| String::from_utf8_lossy(value.as_bytes()));
        let values: Vec<_> = values.collect();
        (!values.is_empty()).then(|| values.join(" + "))
    }

    /// Whether a text stands in any header.
    pub(super) fn mentions(&self, text: &str) -> bool {
        let within = |value: &[u8]| String::from_utf8_lossy(value).contains(text);
        self.headers.iter().any(|(_, value)| within(value.as_bytes())) || self.target.contains(text)
    }
}
