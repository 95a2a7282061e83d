//! One watcher of the audit log: a task on the administration runtime feeds the stream of its RPC.
//!
//! Memory is bounded: [`QUEUE`] messages and [`QUEUE_BYTES`] wait here, as they are in the log's own
//! bounded ring, and are copied only when they are sent. Whoever does not read is given up, with the
//! cursor to resume from.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::mpsc::{self, Permit, Receiver, Sender};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinHandle;
use tokio_stream::Stream;
use tokio_util::sync::CancellationToken;
use tonic::Status;
use tracing::Instrument as _;

use super::proto::WatchAuditEventsResponse;
use crate::control::{Watch, WatchMessage};
use crate::domain::Error;
use crate::domain::permission::{Permission, Principal};
use crate::log;
use crate::verify::Verifier;

/// Messages that wait for a reader. A burst of changes is taken up by it; an event is a kilobyte or so.
const QUEUE: usize = 64;

/// Bytes that wait for a reader, unless one message alone has more.
const QUEUE_BYTES: u32 = 256 * 1024;

/// How long a full queue may stay full. The log's ring mostly decides sooner; this frees the place of a
/// reader that is gone for good while nothing happens in the log.
const STALLED_AFTER: Duration = Duration::from_secs(60);

/// A watch that was opened, and whose it is.
pub(super) struct Watcher {
    pub(super) watch: Watch,
    pub(super) principal: Principal,
    pub(super) verifier: Arc<Verifier>,
    pub(super) shutdown: CancellationToken,
    /// Its place among the watchers, free again when the task ends.
    pub(super) place: OwnedSemaphorePermit,
}

impl Watcher {
    /// Starts the task that feeds the stream.
    pub(super) fn spawn_on(self, runtime: &Handle) -> WatcherStream {
        let (sender, messages) = mpsc::channel(QUEUE);
        let room = Arc::new(Semaphore::new(QUEUE_BYTES as usize));
        let sender = Queue { sender, room };
        let task = runtime.spawn(self.feed(sender).in_current_span());
        WatcherStream { messages, end: Some(task) }
    }

    /// Feeds until the watch fails, which is the error, or until the client is gone.
    async fn feed(self, messages: Queue) -> Result<(), Error> {
        let Self { mut watch, principal, verifier, shutdown, place: _until_the_end } = self;
        let mut sent_up_to = String::new();
        loop {
            let message = tokio::select! {
                biased;
                () = shutdown.cancelled() => return Err(SHUTTING_DOWN),
                () = messages.sender.closed() => return Ok(()),
                message = watch.next() => message?,
            };
            let slot = tokio::select! {
                biased;
                () = shutdown.cancelled() => return Err(SHUTTING_DOWN),
                slot = messages.slot(&message) => slot,
                () = tokio::time::sleep(STALLED_AFTER) => {
                    return Err(Error::SlowWatcher { cursor: sent_up_to });
                }
            };
            let Some((slot, room)) = slot else { return Ok(()) };
            // The right may end while the stream lasts; nothing is sent after that.
            verifier.recheck(&principal, Permission::AuditRead)?;
            cursor_of(&message).clone_into(&mut sent_up_to);
            slot.send(Waiting { message, _room: room });
        }
    }
}

/// The sending half of what waits for a reader.
struct Queue {
    sender: Sender<Waiting>,
    /// A permit for each byte.
    room: Arc<Semaphore>,
}

/// A message that waits, and the room that it takes meanwhile.
#[derive(Debug)]
struct Waiting {
    message: WatchMessage,
    _room: OwnedSemaphorePermit,
}

impl Queue {
    /// A place for a message; waits for it. `None` if the reader is gone.
    async fn slot(
        &self,
        message: &WatchMessage,
    ) -> Option<(Permit<'_, Waiting>, OwnedSemaphorePermit)> {
        let bytes = match message {
            WatchMessage::Event(event) => log::weight(&event.logged),
            WatchMessage::Heartbeat { cursor, .. } => cursor.len(),
        };
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX).min(QUEUE_BYTES);
        let slot = self.sender.reserve().await.ok()?;
        tokio::select! {
            () = self.sender.closed() => None,
            room = Arc::clone(&self.room).acquire_many_owned(bytes) => Some((slot, room.ok()?)),
        }
    }
}

const SHUTTING_DOWN: Error = Error::Unavailable("shutting down");

fn cursor_of(message: &WatchMessage) -> &str {
    match message {
        WatchMessage::Event(event) => &event.cursor,
        WatchMessage::Heartbeat { cursor, .. } => cursor,
    }
}

/// What the client reads: the messages, then the reason why there are no more.
#[derive(Debug)]
pub struct WatcherStream {
    messages: Receiver<Waiting>,
    end: Option<JoinHandle<Result<(), Error>>>,
}

impl Stream for WatcherStream {
    type Item = Result<WatchAuditEventsResponse, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Some(Waiting { message, .. }) = ready!(self.messages.poll_recv(cx)) {
            return Poll::Ready(Some(Ok(message.into())));
        }
        let Some(task) = self.end.as_mut() else { return Poll::Ready(None) };
        let end = ready!(Pin::new(task).poll(cx));
        self.end = None;
        Poll::Ready(match end {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(Err(error.into())),
            Err(died) => Some(Err(Error::Internal(format!("a watcher died: {died}")).into())),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Timestamp;
    use tokio_stream::StreamExt as _;
    use tonic::Code;

    /// A stream with one message waiting, whose task ends as `task` does.
    async fn ending(
        task: impl Future<Output = Result<(), Error>> + Send + 'static,
    ) -> WatcherStream {
        let (sender, messages) = mpsc::channel(QUEUE);
        let room = Arc::new(Semaphore::new(1)).acquire_owned().await.expect("there is room");
        let message = heartbeat("here".to_owned());
        sender.send(Waiting { message, _room: room }).await.expect("there is room");
        let task = tokio::spawn(async move {
            let _sender = sender;
            task.await
        });
        WatcherStream { messages, end: Some(task) }
    }

    fn heartbeat(cursor: String) -> WatchMessage {
        WatchMessage::Heartbeat { cursor, time: Timestamp::default() }
    }

    #[tokio::test]
    async fn what_waits_is_bounded_by_bytes_but_one_message_always_passes() {
        let (sender, mut messages) = mpsc::channel(QUEUE);
        let room = Arc::new(Semaphore::new(QUEUE_BYTES as usize));
        let queue = Queue { sender, room };
        let long = || heartbeat("x".repeat(QUEUE_BYTES as usize * 2));
        let (slot, room) = queue.slot(&long()).await.expect("there is room for one");
        slot.send(Waiting { message: long(), _room: room });
        let (second, no_room) = (long(), std::pin::pin!(async {}));
        let mut waiting = std::pin::pin!(queue.slot(&second));
        tokio::select! {
            biased;
            _ = &mut waiting => panic!("there was room for a second one"),
            () = no_room => {}
        }
        drop(messages.recv().await.expect("the first"));
        assert!(waiting.await.is_some());
    }

    async fn read_to_the_end(mut stream: WatcherStream) -> Option<Code> {
        assert!(stream.next().await.expect("the waiting message").is_ok());
        let end = stream.next().await.map(|end| end.expect_err("the reason").code());
        assert!(stream.next().await.is_none(), "nothing follows the end");
        end
    }

    #[tokio::test]
    async fn what_waits_is_read_before_the_reason_for_the_end() {
        let slow = Error::SlowWatcher { cursor: "opaque".to_owned() };
        let stream = ending(async { Err(slow) }).await;
        assert_eq!(read_to_the_end(stream).await, Some(Code::ResourceExhausted));
        let stream = ending(async { Ok(()) }).await;
        assert_eq!(read_to_the_end(stream).await, None);
    }

    #[tokio::test]
    async fn a_watcher_that_dies_is_our_fault_and_ends_the_stream() {
        let stream = ending(async { panic!("planted") }).await;
        assert_eq!(read_to_the_end(stream).await, Some(Code::Internal));
    }
}
