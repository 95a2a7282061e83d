//! One connection through the proxy: two pumps and what the knobs do to them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio_util::sync::CancellationToken;

use super::{Direction, Shared};

/// How often a throttled connection gets its share.
const SHARES_PER_SECOND: u64 = 20;

/// One connection through the proxy.
struct Link {
    shared: Arc<Shared>,
    /// A request whose reply is to be lost was passed on.
    awaits_reply: AtomicBool,
    cut: CancellationToken,
}

/// Connects the client to the target until either ends, or until `cut`.
pub(super) async fn carry(client: TcpStream, shared: Arc<Shared>, cut: CancellationToken) {
    cut.clone().run_until_cancelled_owned(connect(client, shared, cut)).await;
}

async fn connect(client: TcpStream, shared: Arc<Shared>, cut: CancellationToken) {
    shared.passes(Direction::ToServer).await;
    let target = *shared.target.lock().unwrap();
    let Ok(server) = TcpStream::connect(target).await else { return };
    // A delayed small packet would be the proxy's doing, not a knob's.
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let link = Link { shared, awaits_reply: AtomicBool::new(false), cut };
    tokio::join!(
        link.pump(Direction::ToServer, from_client, to_server),
        link.pump(Direction::ToClient, from_server, to_client),
    );
}

impl Shared {
    /// Waits until nothing is held in that direction.
    async fn passes(&self, direction: Direction) {
        let mut held = self.held.subscribe();
        // An error means that the proxy is gone, and this connection with it.
        let _ = held.wait_for(|held| !held.holds(direction)).await;
    }
}

impl Link {
    /// Passes data on until an end closes or a knob cuts. A close of one direction is passed on as
    /// such.
    async fn pump(&self, direction: Direction, mut from: OwnedReadHalf, mut to: OwnedWriteHalf) {
        let mut buffer = vec![0; 64 * 1024];
        let mut carried = 0;
        loop {
            let rate = self.shared.rules.lock().unwrap().rate;
            let share = rate.map_or(buffer.len() as u64, |rate| (rate / SHARES_PER_SECOND).max(1));
            let most = usize::try_from(share).unwrap_or(usize::MAX).min(buffer.len());
            let Ok(length @ 1..) = from.read(&mut buffer[..most]).await else { break };
            let mut data = &buffer[..length];
            let (delay, silent, cut_after) = {
                let rules = self.shared.rules.lock().unwrap();
                (rules.delay, rules.silent, rules.cut_after)
            };
            let slowness = rate.map_or(Duration::ZERO, |rate| {
                Duration::from_secs_f64(length as f64 / rate as f64)
            });
            if !(delay + slowness).is_zero() {
                tokio::time::sleep(delay + slowness).await;
            }
            self.shared.passes(direction).await;
            // Whoever cuts a connection and then ends the partition wants what was held to be lost.
            if self.cut.is_cancelled() {
                return;
            }
            if silent {
                continue;
            }
            if let Some((_, limit)) = cut_after.filter(|(cut, _)| *cut == direction) {
                let left = usize::try_from(limit.saturating_sub(carried)).unwrap_or(usize::MAX);
                data = &data[..left.min(length)];
            }
            if self.swallows(direction, data) {
                self.cut.cancel();
                return;
            }
            if to.write_all(data).await.is_err() {
                return;
            }
            carried += data.len() as u64;
            self.shared.carried[direction as usize].fetch_add(data.len() as u64, Ordering::SeqCst);
            if data.len() < length || cut_after.is_some_and(|limit| limit == (direction, carried)) {
                self.cut.cancel();
                return;
            }
        }
        // Its end is news too, and does not get through a partition either.
        self.shared.passes(direction).await;
        let _ = to.shutdown().await;
    }

    /// Whether this data is a reply to throw away; notes requests whose reply will be.
    fn swallows(&self, direction: Direction, data: &[u8]) -> bool {
        let mut rules = self.shared.rules.lock().unwrap();
        let Some(losing) = rules.losing.as_mut() else { return false };
        match direction {
            Direction::ToServer => {
                if losing.left > 0 && (losing.is_request)(data) {
                    losing.left -= 1;
                    self.awaits_reply.store(true, Ordering::SeqCst);
                }
                false
            }
            Direction::ToClient => {
                let lost = self.awaits_reply.load(Ordering::SeqCst) && (losing.is_reply)(data);
                self.shared.lost.fetch_add(u64::from(lost), Ordering::SeqCst);
                lost
            }
        }
    }
}
