//! One watcher of the audit log: a task on the administration runtime feeds the stream of its RPC.
//!
//! Memory is bounded: [`QUEUE`] messages wait here, and the log keeps its own bounded ring. Whoever does
//! not read is given up, with the cursor to resume from.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::mpsc::{self, Receiver, Sender};
use tokio::task::JoinHandle;
use tokio_stream::Stream;
use tokio_util::sync::CancellationToken;
use tonic::Status;
use tracing::Instrument as _;

use super::proto::WatchAuditEventsResponse;
use crate::control::{Watch, WatchMessage};
use crate::domain::Error;
use crate::domain::permission::{Permission, Principal};
use crate::verify::Verifier;

/// Messages that wait for a reader. A burst of changes is taken up by it; an event is a kilobyte or so.
const QUEUE: usize = 64;

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
        let task = runtime.spawn(self.feed(sender).in_current_span());
        WatcherStream { messages, end: Some(task) }
    }

    /// Feeds until the watch fails, which is the error, or until the client is gone.
    async fn feed(self, messages: Sender<WatchAuditEventsResponse>) -> Result<(), Error> {
        let Self { mut watch, principal, verifier, shutdown, place: _until_the_end } = self;
        let mut sent_up_to = String::new();
        loop {
            let slot = tokio::select! {
                biased;
                () = shutdown.cancelled() => return Err(SHUTTING_DOWN),
                slot = messages.reserve() => slot,
                () = tokio::time::sleep(STALLED_AFTER) => {
                    return Err(Error::SlowWatcher { cursor: sent_up_to });
                }
            };
            let Ok(slot) = slot else { return Ok(()) };
            let message = tokio::select! {
                biased;
                () = shutdown.cancelled() => return Err(SHUTTING_DOWN),
                () = messages.closed() => return Ok(()),
                message = watch.next() => message?,
            };
            // The right may end while the stream lasts; nothing is sent after that.
            verifier.recheck(&principal, Permission::AuditRead)?;
            cursor_of(&message).clone_into(&mut sent_up_to);
            slot.send(message.into());
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
    messages: Receiver<WatchAuditEventsResponse>,
    end: Option<JoinHandle<Result<(), Error>>>,
}

impl Stream for WatcherStream {
    type Item = Result<WatchAuditEventsResponse, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Some(message) = ready!(self.messages.poll_recv(cx)) {
            return Poll::Ready(Some(Ok(message)));
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
    use tokio_stream::StreamExt as _;
    use tonic::Code;

    /// A stream with one message waiting, whose task ends as `task` does.
    async fn ending(
        task: impl Future<Output = Result<(), Error>> + Send + 'static,
    ) -> WatcherStream {
        let (sender, messages) = mpsc::channel(QUEUE);
        sender.send(WatchAuditEventsResponse::default()).await.expect("there is room");
        let task = tokio::spawn(async move {
            let _sender = sender;
            task.await
        });
        WatcherStream { messages, end: Some(task) }
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
