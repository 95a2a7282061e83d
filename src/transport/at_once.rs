//! Does the work of a connection's streams where they arrive, instead of in tasks of their own.
//!
//! ```text
//!   hyper's way    socket ─► connection ─► spawn, spawn, spawn … ─► each task answers ─► connection ─► socket
//!   here           socket ─► connection ─► answer, answer, answer … ───────────────────► connection ─► socket
//! ```
//!
//! A verification waits for nothing: it has its answer when it is first polled. A task for it costs an allocation, a
//! turn of the scheduler and wakers that nobody needs. What is not ready at once (administration, watches, a message
//! that has not arrived, a long batch) becomes a task as ever.
//!
//! The answers are made when the connection has read all that there is, and leave in one write: hyper looks after the
//! socket each time that it takes a stream, so answers made as streams are taken would leave one by one.

use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

use hyper::rt::Executor;
use tokio::task::coop::{consume_budget, has_budget_remaining};

type Stream = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The streams of one connection that have arrived and not been looked at. hyper takes it for an executor.
#[derive(Clone, Default)]
pub(super) struct Streams {
    /// Never contended: the connection's task fills it, and empties it.
    arrived: Arc<Mutex<Vec<Stream>>>,
}

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Streams {
    fn execute(&self, stream: F) {
        self.arrived.lock().unwrap_or_else(PoisonError::into_inner).push(Box::pin(stream));
    }
}

impl Streams {
    /// Runs a connection, and its streams as they arrive, to the connection's end.
    pub(super) async fn run<C: Future>(&self, mut connection: Pin<&mut C>) -> C::Output {
        let mut at_work = Vec::new();
        poll_fn(|cx| {
            loop {
                let polled = connection.as_mut().poll(cx);
                std::mem::swap(
                    &mut *self.arrived.lock().unwrap_or_else(PoisonError::into_inner),
                    &mut at_work,
                );
                if at_work.is_empty() || polled.is_ready() {
                    at_work.drain(..).for_each(spawn);
                    return polled;
                }
                at_work.drain(..).for_each(begin);
                // Once more, so that the answers leave.
            }
        })
        .await
    }
}

/// Polls a stream once, and spawns it if it is not done.
fn begin(mut stream: Stream) {
    // Each stream counts as a step of its connection's task, so that other connections get their turn: a hundred
    // streams at once is a lot, thousands are not to be worked off in one go.
    if !takes_a_step() {
        spawn(stream);
        return;
    }
    // A task polls it again before it waits for anything, with a waker of its own; so none is needed here.
    let mut nobody = Context::from_waker(Waker::noop());
    let polled = catch_unwind(AssertUnwindSafe(|| stream.as_mut().poll(&mut nobody)));
    // A panic has been told by its hook. It ends its own stream, which is reset as it is dropped, as a task's would;
    // not the connection with all the others.
    if matches!(polled, Ok(Poll::Pending)) {
        spawn(stream);
    }
}

/// How a stream ends is between it and its peer.
fn spawn(stream: Stream) {
    drop(tokio::spawn(stream));
}

/// Whether the connection's task may go on, after one step more.
fn takes_a_step() -> bool {
    let mut nobody = Context::from_waker(Waker::noop());
    has_budget_remaining() && pin!(consume_budget()).poll(&mut nobody).is_ready()
}
