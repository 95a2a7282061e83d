//! The verifying threads: each has a runtime of its own, and serves its connections alone.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::runtime;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Settings;
use super::accept::accept;
use super::connection::{self, Serves};
use super::connections::Connections;

/// New sockets that may wait for one thread. A thread that is that far behind gets no more.
const WAITING: usize = 256;

/// How often the log may be told of sockets that no thread had room for.
const TOLD_AGAIN_AFTER: Duration = Duration::from_secs(1);

/// A socket on its way to a thread, with its place under the cap.
type Arrival = (std::net::TcpStream, SocketAddr, OwnedSemaphorePermit);

/// The running threads.
#[derive(Debug)]
pub struct Verifiers {
    ended: Vec<oneshot::Receiver<()>>,
    connections: Arc<Connections>,
}

/// Serves gRPC on a listener: starts the threads, whose names begin with that one, and the acceptor that feeds them.
/// `make` builds the service of one thread. Call it on the runtime that owns the listener.
///
/// # Errors
///
/// If the system gives us no thread or no runtime.
pub fn serve<S: Serves>(
    listener: TcpListener,
    name: &str,
    settings: &Settings,
    shutdown: &CancellationToken,
    mut make: impl FnMut() -> S,
) -> io::Result<Verifiers> {
    let (mut queues, mut ended) = (Vec::new(), Vec::new());
    for number in 0..settings.verify_threads.max(1) {
        let (queue, arrivals) = mpsc::channel(WAITING);
        let name = format!("{name}-{number}");
        ended.push(start(name, arrivals, make(), settings.clone(), shutdown.clone())?);
        queues.push(queue);
    }
    let connections = Arc::new(Connections::new(settings.max_connections));
    let places = Arc::clone(&connections);
    let mut queues = Queues::new(queues, Arc::clone(&connections));
    tokio::spawn(accept(listener, shutdown.clone(), move |socket, peer| {
        // Above the cap, and where the hand-over fails, the socket is dropped, which closes it.
        let Some(place) = places.place() else {
            tracing::debug!(%peer, "closed a connection above max-connections");
            return;
        };
        let Ok(socket) = socket.into_std() else { return };
        if !queues.take((socket, peer, place))
            && let Some(closed) = queues.due_to_tell(Instant::now())
        {
            tracing::warn!(closed, "closed connections: every thread is far behind");
        }
    }));
    Ok(Verifiers { ended, connections })
}

/// The queues of all threads, which take turns.
struct Queues {
    queues: Vec<mpsc::Sender<Arrival>>,
    connections: Arc<Connections>,
    turn: usize,
    /// Sockets that were closed and of which the log knows nothing yet.
    closed: u64,
    /// When it was told last.
    told: Option<Instant>,
}

impl Queues {
    fn new(queues: Vec<mpsc::Sender<Arrival>>, connections: Arc<Connections>) -> Self {
        Self { queues, connections, turn: 0, closed: 0, told: None }
    }

    /// Offers a socket to the thread whose turn it is, and if that is far behind, to the others. If all are, the socket
    /// is closed, which is false.
    fn take(&mut self, mut arrival: Arrival) -> bool {
        self.turn = self.turn.wrapping_add(1);
        let (after, first) = self.queues.split_at(self.turn % self.queues.len().max(1));
        for queue in first.iter().chain(after) {
            match queue.try_send(arrival) {
                Ok(()) => return true,
                Err(
                    mpsc::error::TrySendError::Full(back) | mpsc::error::TrySendError::Closed(back),
                ) => {
                    arrival = back;
                }
            }
        }
        self.connections.refuse();
        self.closed += 1;
        false
    }

    /// How many were closed since the log was told last, if that is long enough ago: whoever opens connections could
    /// otherwise fill it.
    fn due_to_tell(&mut self, now: Instant) -> Option<u64> {
        let is_due = self.told.is_none_or(|told| now >= told + TOLD_AGAIN_AFTER);
        is_due.then(|| {
            self.told = Some(now);
            std::mem::take(&mut self.closed)
        })
    }
}

fn start<S: Serves>(
    name: String,
    mut arrivals: mpsc::Receiver<Arrival>,
    service: S,
    settings: Settings,
    shutdown: CancellationToken,
) -> io::Result<oneshot::Receiver<()>> {
    let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
    let (alive, ended) = oneshot::channel();
    let body = move || {
        // Dropped at the end of this thread, however it ends.
        let _alive: oneshot::Sender<()> = alive;
        runtime.block_on(async move {
            let connections = TaskTracker::new();
            // Ends when the acceptor is gone, and with it the sender.
            while let Some((socket, peer, place)) = arrivals.recv().await {
                let Ok(socket) = TcpStream::from_std(socket) else { continue };
                let served = connection::serve(
                    socket,
                    peer,
                    service.clone(),
                    settings.clone(),
                    shutdown.clone(),
                );
                connections.spawn(async move {
                    served.await;
                    drop(place);
                });
            }
            connections.close();
            connections.wait().await;
        });
    };
    std::thread::Builder::new().name(name).spawn(body)?;
    Ok(ended)
}

impl Verifiers {
    /// Their connections.
    pub fn connections(&self) -> &Arc<Connections> {
        &self.connections
    }

    /// From now on those of another listener as well; the connections stay apart.
    pub fn join(&mut self, other: Self) {
        self.ended.extend(other.ended);
    }

    /// Waits until every thread has ended, which they do some time after the word to stop.
    pub async fn all_ended(&mut self) {
        for ended in &mut self.ended {
            // The error is what says that the thread is gone.
            let _ = ended.await;
        }
        self.ended.clear();
    }

    /// Waits until some thread has ended: before the word to stop that is a fault.
    pub async fn one_ended(&mut self) {
        std::future::poll_fn(|cx| {
            let polled =
                |ended: &mut oneshot::Receiver<()>| std::pin::Pin::new(ended).poll(cx).is_ready();
            if self.ended.iter_mut().any(polled) {
                std::task::Poll::Ready(())
            } else {
                std::task::Poll::Pending
            }
        })
        .await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A socket with a place.
    fn arrival(connections: &Connections) -> Arrival {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let peer = listener.local_addr().expect("it has an address");
        let socket = std::net::TcpStream::connect(peer).expect("it listens");
        (socket, peer, connections.place().expect("there is room"))
    }

    #[test]
    fn a_socket_goes_where_there_is_room_and_without_any_it_is_closed() {
        let connections = Arc::new(Connections::new(10));
        let (queues, mut arrivals): (Vec<_>, Vec<_>) = (0..2).map(|_| mpsc::channel(1)).unzip();
        let mut queues = Queues::new(queues, Arc::clone(&connections));
        assert!(queues.take(arrival(&connections)) && queues.take(arrival(&connections)));
        assert!(!queues.take(arrival(&connections)), "both are full");
        assert_eq!((connections.refused(), connections.open()), (1, 2));
        let taken = arrivals[1].try_recv().expect("each got one");
        drop(taken);
        assert!(queues.take(arrival(&connections)), "one has room");
        assert!(!queues.take(arrival(&connections)));
        assert_eq!((connections.refused(), connections.open()), (2, 2));
    }

    #[test]
    fn the_log_is_told_once_a_second_of_all_that_were_closed() {
        let mut queues = Queues::new(Vec::new(), Arc::new(Connections::new(1)));
        let start = Instant::now();
        let mut closed_at = |now| {
            queues.closed += 1;
            queues.due_to_tell(now)
        };
        assert_eq!(closed_at(start), Some(1));
        assert_eq!(closed_at(start + TOLD_AGAIN_AFTER / 2), None);
        assert_eq!(closed_at(start + TOLD_AGAIN_AFTER), Some(2));
    }
}
