//! A network that misbehaves on purpose: a TCP proxy on the loopback address, in this process.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

mod link;

/// Which way bytes travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    ToServer,
    ToClient,
}

type Predicate = Box<dyn Fn(&[u8]) -> bool + Send>;

/// All proxies of this process have a thread of their own: a test that keeps its own threads busy, or
/// blocks them while it waits for a program, must not be a fault of the network.
static NETWORK: LazyLock<Runtime> = LazyLock::new(|| {
    let mut runtime = Builder::new_multi_thread();
    let runtime = runtime.worker_threads(1).thread_name("network").enable_all().build();
    runtime.expect("a runtime can be made")
});

/// Requests whose reply gets lost: forwarded, answered by the server, and the answer thrown away.
struct LostReplies {
    is_request: Predicate,
    is_reply: Predicate,
    left: usize,
}

#[derive(Default)]
struct Rules {
    delay: Duration,
    /// Bytes per second that each connection carries each way.
    rate: Option<u64>,
    silent: bool,
    refusing: bool,
    cut_after: Option<(Direction, u64)>,
    losing: Option<LostReplies>,
}

/// Whether each direction is cut off: what comes is held until it no longer is.
#[derive(Clone, Copy, Default)]
struct Held {
    to_server: bool,
    to_client: bool,
}

impl Held {
    fn holds(self, direction: Direction) -> bool {
        match direction {
            Direction::ToServer => self.to_server,
            Direction::ToClient => self.to_client,
        }
    }
}

struct Shared {
    target: Mutex<SocketAddr>,
    rules: Mutex<Rules>,
    held: watch::Sender<Held>,
    lost: AtomicU64,
    /// Bytes that got through, to the server and to the client.
    carried: [AtomicU64; 2],
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
        let started = NETWORK.spawn(async move {
            let listener = TcpListener::bind("127.0.0.1:0").await;
            let listener = listener.expect("the loopback address has free ports");
            let proxy = Self {
                address: listener.local_addr().expect("a bound listener has an address"),
                shared: Arc::new(Shared {
                    target: Mutex::new(target),
                    rules: Mutex::default(),
                    held: watch::Sender::default(),
                    lost: AtomicU64::new(0),
                    carried: Default::default(),
                }),
                end: CancellationToken::new(),
                connections: Arc::default(),
            };
            tokio::spawn(proxy.end.clone().run_until_cancelled_owned(accept(
                listener,
                Arc::clone(&proxy.shared),
                Arc::clone(&proxy.connections),
                proxy.end.clone(),
            )));
            proxy
        });
        started.await.expect("a proxy starts")
    }

    /// New connections go there from now on. Those that there are stay as they are: cut them, if the old
    /// target would keep them.
    pub fn point_to(&self, target: SocketAddr) {
        *self.shared.target.lock().unwrap() = target;
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

    /// Lets so many bytes a second through, for each connection and each way.
    pub fn throttle(&self, bytes_per_second: u64) {
        assert!(bytes_per_second > 0, "a connection that carries nothing is cut off, not slow");
        self.rules(|rules| rules.rate = Some(bytes_per_second));
    }

    /// A partition: nothing gets through and nothing is closed or refused. What is sent meanwhile, new
    /// connections and ends of old ones too, arrives after [`Self::heal`], as TCP sends it again until then.
    pub fn cut_off(&self) {
        self.shared.held.send_replace(Held { to_server: true, to_client: true });
    }

    /// The same for one direction only: requests arrive and their answers don't, or the other way round.
    pub fn cut_off_towards(&self, direction: Direction) {
        self.shared.held.send_modify(|held| match direction {
            Direction::ToServer => held.to_server = true,
            Direction::ToClient => held.to_client = true,
        });
    }

    /// Throws all data away without a word, as a firewall does that forgot the connections of before.
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

    /// Behaves well from now on, and passes on what was held. What was thrown away stays lost, so
    /// connections that missed data are best cut.
    pub fn heal(&self) {
        self.rules(|rules| *rules = Rules::default());
        self.shared.held.send_replace(Held::default());
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

    /// How many bytes got through that way so far, on all connections.
    pub fn carried(&self, direction: Direction) -> u64 {
        self.shared.carried[direction as usize].load(Ordering::SeqCst)
    }

    fn rules(&self, change: impl FnOnce(&mut Rules)) {
        change(&mut self.shared.rules.lock().unwrap());
    }
}

async fn accept(
    listener: TcpListener,
    shared: Arc<Shared>,
    connections: Arc<Mutex<CancellationToken>>,
    end: CancellationToken,
) {
    while let Ok((client, _)) = listener.accept().await {
        if shared.rules.lock().unwrap().refusing {
            continue;
        }
        let cut = connections.lock().unwrap().child_token();
        let carried = link::carry(client, Arc::clone(&shared), cut);
        tokio::spawn(end.clone().run_until_cancelled_owned(carried));
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
