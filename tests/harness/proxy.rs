//! A network that misbehaves on purpose: a TCP proxy on the loopback address, in this process.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

mod link;

/// Which way bytes travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    ToServer,
    ToClient,
}

type Predicate = Box<dyn Fn(&[u8]) -> bool + Send>;

/// Requests whose reply gets lost: forwarded, answered by the server, and the answer thrown away.
struct LostReplies {
    is_request: Predicate,
    is_reply: Predicate,
    left: usize,
}

#[derive(Default)]
struct Rules {
    delay: Duration,
    silent: bool,
    refusing: bool,
    cut_after: Option<(Direction, u64)>,
    losing: Option<LostReplies>,
}

#[derive(Default)]
struct Shared {
    rules: Mutex<Rules>,
    lost: AtomicU64,
}

/// Listens on a port of its own and passes on to `target`, as the knobs say. It ends with this
/// value.
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    end: CancellationToken,
    /// Ends the connections of the moment; replaced after each cut.
    connections: Arc<Mutex<CancellationToken>>,
}

impl Proxy {
    pub async fn to(target: SocketAddr) -> Self {
        let listener =
            TcpListener::bind("127.0.0.1:0").await.expect("the loopback address has free ports");
        let proxy = Self {
            address: listener.local_addr().expect("a bound listener has an address"),
            shared: Arc::default(),
            end: CancellationToken::new(),
            connections: Arc::default(),
        };
        let (shared, end, connections) =
            (proxy.shared.clone(), proxy.end.clone(), proxy.connections.clone());
        tokio::spawn(end.clone().run_until_cancelled_owned(async move {
            while let Ok((client, _)) = listener.accept().await {
                if shared.rules.lock().unwrap().refusing {
                    continue;
                }
                let cut = connections.lock().unwrap().child_token();
                tokio::spawn(end.clone().run_until_cancelled_owned(link::carry(
                    client,
                    target,
                    shared.clone(),
                    cut,
                )));
            }
        }));
        proxy
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Holds back every piece of data for so long.
    pub fn delay(&self, delay: Duration) {
        self.rules(|rules| rules.delay = delay);
    }

    /// Cuts each connection once so many bytes have gone that way.
    pub fn cut_after(&self, direction: Direction, bytes: u64) {
        self.rules(|rules| rules.cut_after = Some((direction, bytes)));
    }

    /// Throws all data away without a word, as a network partition does.
    pub fn go_silent(&self) {
        self.rules(|rules| rules.silent = true);
    }

    /// Closes all connections, now.
    pub fn cut(&self) {
        std::mem::take(&mut *self.connections.lock().unwrap()).cancel();
    }

    /// Closes all connections and takes no new ones.
    pub fn refuse(&self) {
        self.rules(|rules| rules.refusing = true);
        self.cut();
    }

    /// Behaves well from now on. What was thrown away stays lost, so connections that missed data
    /// are best cut.
    pub fn heal(&self) {
        self.rules(|rules| *rules = Rules::default());
    }

    /// For the next `count` requests that match: passes them on, waits for the reply that matches,
    /// throws it away and cuts the connection. The server has done it, and the client can't know.
    pub fn lose_replies(
        &self,
        count: usize,
        is_request: impl Fn(&[u8]) -> bool + Send + 'static,
        is_reply: impl Fn(&[u8]) -> bool + Send + 'static,
    ) {
        let losing = LostReplies {
            is_request: Box::new(is_request),
            is_reply: Box::new(is_reply),
            left: count,
        };
        self.rules(|rules| rules.losing = Some(losing));
    }

    /// The same for COMMIT on a PostgreSQL connection.
    pub fn lose_commit_replies(&self, count: usize) {
        // Sent as the text of a query, answered by the command tag; both end with NUL in the
        // protocol.
        self.lose_replies(
            count,
            |bytes| contains(bytes, b"COMMIT\0"),
            |bytes| contains(bytes, b"COMMIT\0"),
        );
    }

    /// The same for the next calls on an HTTP/2 connection: lost is the head of the response, and
    /// what follows.
    pub fn lose_responses(&self, count: usize) {
        const HEADERS: u8 = 1;
        self.lose_replies(
            count,
            |bytes| frame_types(bytes).contains(&HEADERS),
            |bytes| frame_types(bytes).contains(&HEADERS),
        );
    }

    /// How many replies were thrown away so far.
    pub fn lost_replies(&self) -> u64 {
        self.shared.lost.load(Ordering::SeqCst)
    }

    fn rules(&self, change: impl FnOnce(&mut Rules)) {
        change(&mut self.shared.rules.lock().unwrap());
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.end.cancel();
    }
}

pub fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

/// The types of the HTTP/2 frames (RFC 9113, section 4.1) that begin in these bytes, if a frame
/// begins at their start.
fn frame_types(bytes: &[u8]) -> Vec<u8> {
    const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    let mut rest = bytes.strip_prefix(PREFACE).unwrap_or(bytes);
    let mut types = Vec::new();
    while let [a, b, c, kind, _flags, _, _, _, _, payload @ ..] = rest {
        types.push(*kind);
        let length = u32::from_be_bytes([0, *a, *b, *c]) as usize;
        rest = payload.get(length..).unwrap_or_default();
    }
    types
}
