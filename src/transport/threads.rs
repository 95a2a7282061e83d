//! The verifying threads: each has a runtime of its own, and serves its connections alone.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::{TcpListener, TcpStream};
use tokio::runtime;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Settings;
use super::accept::accept;
use super::connection::{self, Serves};
use super::connections::Connections;

/// New sockets that may wait for one thread. A thread that is that far behind gets no more.
const WAITING: usize = 256;

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
    let mut turn = 0_usize;
    tokio::spawn(accept(listener, shutdown.clone(), move |socket, peer| {
        // Above the cap, and where the hand-over fails, the socket is dropped, which closes it.
        let Some(place) = places.place() else {
            tracing::debug!(%peer, "closed a connection above max-connections");
            return;
        };
        let Ok(socket) = socket.into_std() else { return };
        turn = turn.wrapping_add(1);
        give_to_one(&queues, turn, (socket, peer, place));
    }));
    Ok(Verifiers { ended, connections })
}

/// Offers a socket to the thread whose turn it is, and if that is far behind, to the others.
fn give_to_one(queues: &[mpsc::Sender<Arrival>], turn: usize, mut arrival: Arrival) {
    let (after, first) = queues.split_at(turn % queues.len().max(1));
    for queue in first.iter().chain(after) {
        match queue.try_send(arrival) {
            Ok(()) => return,
            Err(
                mpsc::error::TrySendError::Full(back) | mpsc::error::TrySendError::Closed(back),
            ) => {
                arrival = back;
            }
        }
    }
    tracing::warn!(peer = %arrival.1, "closed a connection: every thread is far behind");
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
