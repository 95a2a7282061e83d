//! HTTP/1 requests on a schedule, as cheap as they can be made.

use std::net::SocketAddr;
use std::time::Duration;

use hdrhistogram::Histogram;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until};

/// When requests are sent.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Schedule {
    pub(crate) connections: u32,
    /// Between two requests of one connection.
    pub(crate) interval: Duration,
    pub(crate) lasts: Duration,
}

/// The same request again and again.
pub(crate) struct Load {
    to: SocketAddr,
    request: Vec<u8>,
}

impl Load {
    pub(crate) fn new(to: SocketAddr, path: &str, (key_id, secret): (&str, &str)) -> Self {
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer {key_id}\r\nX-Secret-Key: {secret}\r\n\r\n"
        );
        Self { to, request: request.into_bytes() }
    }

    /// Latencies in microseconds.
    pub(crate) async fn run(&self, schedule: Schedule) -> Histogram<u64> {
        let began = Instant::now() + Duration::from_millis(50);
        let connections = (0..schedule.connections).map(|number| {
            // Spread over the interval, so that they do not all come at once.
            let first = began + schedule.interval * number / schedule.connections;
            tokio::spawn(connection(self.to, self.request.clone(), first, schedule))
        });
        let mut all = Histogram::new(3).expect("three digits");
        for connection in connections.collect::<Vec<_>>() {
            all.add(connection.await.expect("no panic")).expect("the same range");
        }
        all
    }
}

async fn connection(
    to: SocketAddr,
    request: Vec<u8>,
    first: Instant,
    schedule: Schedule,
) -> Histogram<u64> {
    let mut socket = TcpStream::connect(to).await.expect("Envoy takes connections");
    socket.set_nodelay(true).expect("no delay");
    let (mut latencies, mut due) = (Histogram::new(3).expect("three digits"), first);
    let mut buffer = vec![0; 16 * 1024];
    while due < first + schedule.lasts {
        // That a timer of ours wakes up late is not Envoy's doing; that an answer was awaited until now is.
        let held_up = Instant::now() > due;
        sleep_until(due).await;
        let counts_from = if held_up { due } else { Instant::now() };
        socket.write_all(&request).await.expect("Envoy reads");
        answer(&mut socket, &mut buffer).await;
        let micros = u64::try_from(counts_from.elapsed().as_micros()).expect("a short time");
        latencies.record(micros.max(1)).expect("within range");
        due += schedule.interval;
    }
    latencies
}

/// Reads one answer, which has to be 200.
async fn answer(socket: &mut TcpStream, buffer: &mut [u8]) {
    let mut read = 0;
    loop {
        let more = socket.read(&mut buffer[read..]).await.expect("Envoy answers");
        assert!(more > 0, "Envoy closed the connection");
        read += more;
        let text = String::from_utf8_lossy(&buffer[..read]);
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
        let length = head.lines().find_map(|line| {
            line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok()
        });
        if body.len() >= length.unwrap_or(0_usize) {
            return;
        }
    }
}
