//! The load: HTTP/2 without gRPC's comfort, on one thread of the other core.
//!
//! Closed: each stream sends its next request when it has its answer; this finds what a server can carry and what a
//! request costs. Open: requests are sent when they are due, whether or not earlier ones are answered, and latency
//! counts from when one was due, so that a stalled server can't hide behind a load that waits for it.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::client::SendRequest;
use hdrhistogram::Histogram;
use http::{HeaderValue, Request};
use tokio::net::TcpStream;
use tokio::task::{JoinHandle, LocalSet, spawn_local};

use crate::cpu::{self, Used};
use crate::random::Random;
use crate::requests::Requests;
use crate::store::Sample;

/// Every so many answers, one is read completely instead of glanced at.
const READ_EVERY: u64 = 64;
/// No measurement takes longer.
const LIMIT: Duration = Duration::from_secs(60);

/// Connections, and requests at a time on each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Shape {
    pub(crate) connections: usize,
    pub(crate) streams: usize,
}

/// What one measurement found.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Measured {
    pub(crate) requests: u64,
    pub(crate) elapsed: Duration,
    /// What the server used for them.
    pub(crate) server: Used,
    /// Nanoseconds of the load's own thread.
    pub(crate) load_ns: u64,
}

impl Measured {
    /// Microseconds of the server's core for one request.
    pub(crate) fn cpu_us(&self) -> f64 {
        self.server.cpu_ns as f64 / 1_000.0 / self.requests as f64
    }

    /// Requests of one second of the wall's clock.
    pub(crate) fn per_second(&self) -> f64 {
        self.requests as f64 / self.elapsed.as_secs_f64()
    }

    /// The part of the time for which the load's core worked: near 1, the load is the bottleneck.
    pub(crate) fn load_busy(&self) -> f64 {
        self.load_ns as f64 / self.elapsed.as_nanos() as f64
    }

    /// The part of the time for which the server's core worked.
    pub(crate) fn server_busy(&self) -> f64 {
        self.server.cpu_ns as f64 / self.elapsed.as_nanos() as f64
    }

    pub(crate) fn writes_per_request(&self) -> f64 {
        self.server.writes as f64 / self.requests as f64
    }
}

/// Where to send it, and as whom.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Target<'t> {
    pub(crate) address: SocketAddr,
    pub(crate) pid: u32,
    pub(crate) caller: Option<&'t Sample>,
    /// Whether the caller wants every request in its trace.
    pub(crate) sampled: bool,
}

/// Keeps every stream busy for so long.
pub(crate) fn closed(
    target: Target<'_>,
    shape: Shape,
    requests: &Rc<Requests>,
    duration: Duration,
) -> Measured {
    on_this_thread(async {
        let head = head(target, requests);
        let connections = connect(target.address, shape.connections).await;
        let (done, ends) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(None::<Instant>)));
        let mut streams = Vec::new();
        for (connection, client) in connections.clients.iter().enumerate() {
            for stream in 0..shape.streams {
                let place = connection * shape.streams + stream;
                let (head, requests) = (head.clone(), Rc::clone(requests));
                let (done, ends) = (Rc::clone(&done), Rc::clone(&ends));
                let client = client.clone();
                streams.push(spawn_local(async move {
                    let mut next = place * requests.bodies.len() / 7_919;
                    while ends.get().is_none() {
                        let body = &requests.bodies[next % requests.bodies.len()];
                        ask(&client, &head, body, &requests, done.get()).await;
                        done.set(done.get() + 1);
                        next += 1;
                    }
                }));
            }
        }
        let measured = while_it_runs(target.pid, &done, duration).await;
        ends.set(Some(Instant::now()));
        for stream in streams {
            stream.await.expect("an answer was wrong");
        }
        connections.close().await;
        measured
    })
}

/// Measures a load that already runs and counts its answers in `done`.
pub(crate) async fn while_it_runs(pid: u32, done: &Cell<u64>, duration: Duration) -> Measured {
    // The first answers come from cold caches.
    for_so_long(pid, duration / 10).await;
    let (began, answered) = (Instant::now(), done.get());
    let (server, load_ns) = (cpu::used(pid), cpu::used_by_this_thread());
    for_so_long(pid, duration).await;
    Measured {
        requests: done.get() - answered,
        elapsed: began.elapsed(),
        server: cpu::used(pid) - server,
        load_ns: cpu::used_by_this_thread() - load_ns,
    }
}

/// Sends exactly so many requests, each stream its part; for counting instructions.
pub(crate) fn counted(target: Target<'_>, shape: Shape, requests: &Rc<Requests>, count: usize) {
    on_this_thread(async {
        let head = head(target, requests);
        let connections = connect(target.address, shape.connections).await;
        let left = Rc::new(Cell::new(count));
        let mut streams = Vec::new();
        for client in &connections.clients {
            for _ in 0..shape.streams {
                let (head, requests, left) = (head.clone(), Rc::clone(requests), Rc::clone(&left));
                let client = client.clone();
                streams.push(spawn_local(async move {
                    while let Some(next) = left.get().checked_sub(1) {
                        left.set(next);
                        let body = &requests.bodies[next % requests.bodies.len()];
                        ask(&client, &head, body, &requests, next as u64).await;
                    }
                }));
            }
        }
        for stream in streams {
            stream.await.expect("an answer was wrong");
        }
        connections.close().await;
    });
}

/// Sends so many requests a second at random intervals, and gives their latencies in nanoseconds.
pub(crate) fn open(
    target: Target<'_>,
    connections: usize,
    requests: &Rc<Requests>,
    per_second: f64,
    duration: Duration,
) -> Histogram<u64> {
    on_this_thread(async {
        let head = head(target, requests);
        let connections = connect(target.address, connections).await;
        let latencies = Histogram::new_with_bounds(1_000, 60_000_000_000, 3).expect("good bounds");
        let latencies = Rc::new(RefCell::new(latencies));
        let in_flight = Rc::new(Cell::new(0_usize));
        let mut random = Random::new(0x0be1);
        let (began, mut number) = (Instant::now(), 0_usize);
        let warm = duration / 10;
        let mut due = Duration::ZERO;
        while due < duration + warm {
            // Yields to the answers. With work at hand tokio looks for I/O each time that all tasks have yielded.
            while began.elapsed() < due {
                tokio::task::yield_now().await;
            }
            let client = connections.clients[number % connections.clients.len()].clone();
            let (head, requests) = (head.clone(), Rc::clone(requests));
            let (latencies, in_flight) = (Rc::clone(&latencies), Rc::clone(&in_flight));
            in_flight.set(in_flight.get() + 1);
            let is_warm = due >= warm;
            let was_due = due;
            spawn_local(async move {
                let body = &requests.bodies[number % requests.bodies.len()];
                ask(&client, &head, body, &requests, number as u64).await;
                if is_warm {
                    let late = began.elapsed().saturating_sub(was_due).as_nanos();
                    let late = u64::try_from(late).expect("less than centuries");
                    latencies.borrow_mut().saturating_record(late);
                }
                in_flight.set(in_flight.get() - 1);
            });
            number += 1;
            due += Duration::from_secs_f64(random.exponential() / per_second);
        }
        while in_flight.get() > 0 {
            assert!(began.elapsed() < LIMIT, "the server does not come after");
            tokio::task::yield_now().await;
        }
        connections.close().await;
        Rc::try_unwrap(latencies).expect("all have answered").into_inner()
    })
}

/// Waits until the server has worked for so long, whatever else the machine does, and has done something at all.
async fn for_so_long(pid: u32, duration: Duration) {
    let (began, before) = (Instant::now(), cpu::used(pid).cpu_ns);
    let wanted = duration.as_nanos() / 4;
    while began.elapsed() < duration
        || (u128::from(cpu::used(pid).cpu_ns - before) < wanted && began.elapsed() < 5 * duration)
    {
        tokio::time::sleep(duration / 10).await;
    }
}

async fn ask(
    client: &SendRequest<Bytes>,
    head: &Request<()>,
    body: &Bytes,
    requests: &Requests,
    number: u64,
) {
    let mut client = client.clone().ready().await.expect("the connection lives");
    let (answer, mut stream) = client.send_request(head.clone(), false).expect("sent");
    stream.send_data(body.clone(), true).expect("sent");
    let answer = answer.await.expect("an answer");
    assert_eq!(answer.status(), 200);
    assert!(answer.headers().get("grpc-status").is_none(), "{:?}", answer.headers());
    let mut body = answer.into_body();
    let mut message = body.data().await.expect("a message").expect("a good frame");
    while let Some(more) = body.data().await {
        let more = more.expect("a good frame");
        body.flow_control().release_capacity(more.len()).expect("received");
        message = [message, more].concat().into();
    }
    let trailers = body.trailers().await.expect("good trailers").expect("trailers");
    assert_eq!(trailers.get("grpc-status").map(HeaderValue::as_bytes), Some(b"0".as_slice()));
    if number.is_multiple_of(READ_EVERY) {
        requests.check(&message);
    } else {
        assert!(requests.glance(&message), "a wrong answer");
    }
    // The first frame's room last: it is dropped with its stream, which gives it back in one update.
}

fn head(target: Target<'_>, requests: &Requests) -> Request<()> {
    let uri = format!("http://{}{}", target.address, requests.path);
    let mut head = Request::post(uri)
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header("user-agent", "grpc-bench/1.0");
    if let Some(caller) = target.caller {
        head = head.header("authorization", format!("Bearer {}", caller.key_id));
        head = head.header("x-secret-key", &caller.secret);
    }
    if target.sampled {
        head =
            head.header("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
    }
    head.body(()).expect("a good request")
}

struct Connections {
    clients: Vec<SendRequest<Bytes>>,
    running: Vec<JoinHandle<()>>,
}

impl Connections {
    async fn close(self) {
        drop(self.clients);
        for connection in self.running {
            connection.await.expect("no panic");
        }
    }
}

async fn connect(address: SocketAddr, count: usize) -> Connections {
    let (mut clients, mut running) = (Vec::new(), Vec::new());
    for _ in 0..count {
        let socket = TcpStream::connect(address).await.expect("the server takes connections");
        socket.set_nodelay(true).expect("a socket");
        let (client, connection) = h2::client::Builder::new()
            .initial_window_size(1 << 20)
            .initial_connection_window_size(1 << 24)
            .handshake(socket)
            .await
            .expect("the server speaks HTTP/2");
        running.push(spawn_local(async move { connection.await.expect("a clean end") }));
        clients.push(client);
    }
    Connections { clients, running }
}

pub(crate) fn on_this_thread<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime");
    LocalSet::new().block_on(&runtime, work)
}
