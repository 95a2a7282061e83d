//! A watch of the log from the side of its reader.

use std::time::Duration;

use countersign::rpc::proto::watch_audit_events_request::Start;
use countersign::rpc::proto::watch_audit_events_response::{Heartbeat, Message};
use countersign::rpc::proto::{AuditEvent, WatchAuditEventsRequest, WatchAuditEventsResponse};
use tonic::{Status, Streaming};

use crate::harness::Caller;

/// More than the ten seconds after which a heartbeat must come.
const PATIENCE: Duration = Duration::from_secs(60);

pub struct Watching(Streaming<WatchAuditEventsResponse>);

pub fn from(start: Start) -> WatchAuditEventsRequest {
    WatchAuditEventsRequest { start: Some(start), filter: String::new() }
}

pub fn from_now() -> WatchAuditEventsRequest {
    WatchAuditEventsRequest::default()
}

pub fn from_the_beginning() -> WatchAuditEventsRequest {
    from(Start::AfterRevision(0))
}

pub fn after(cursor: &str) -> WatchAuditEventsRequest {
    from(Start::Cursor(cursor.to_owned()))
}

impl Caller {
    pub async fn watch(&self, request: WatchAuditEventsRequest) -> Result<Watching, Status> {
        self.admin().watch_audit_events(request).await.map(|reply| Watching(reply.into_inner()))
    }
}

impl Watching {
    pub fn of(stream: Streaming<WatchAuditEventsResponse>) -> Self {
        Self(stream)
    }

    /// The next message, or the status that ended the stream.
    pub async fn next(&mut self) -> Result<Message, Status> {
        let message = tokio::time::timeout(PATIENCE, self.0.message()).await;
        let message = message.expect("a watcher hears something every ten seconds")?;
        Ok(message.expect("a watch ends with a status").message.expect("a message says what it is"))
    }

    /// The next event; heartbeats are passed over.
    pub async fn event(&mut self) -> AuditEvent {
        loop {
            if let Message::Event(event) = self.next().await.expect("the watch goes on") {
                return *event;
            }
        }
    }

    /// The revisions of the next so many events.
    pub async fn revisions(&mut self, count: usize) -> Vec<i64> {
        let mut revisions = Vec::with_capacity(count);
        while revisions.len() < count {
            revisions.push(self.event().await.revision);
        }
        revisions
    }

    /// The next message, which must be a heartbeat.
    pub async fn heartbeat(&mut self) -> Heartbeat {
        match self.next().await.expect("the watch goes on") {
            Message::Heartbeat(heartbeat) => heartbeat,
            Message::Event(event) => panic!("no event was due, but {event:?} came"),
        }
    }

    /// Reads to the end of the stream: the revisions on the way, and its status.
    pub async fn rest(&mut self) -> (Vec<i64>, Status) {
        let mut revisions = Vec::new();
        let to_the_end = async {
            loop {
                match self.next().await {
                    Ok(Message::Event(event)) => revisions.push(event.revision),
                    Ok(Message::Heartbeat(_)) => {}
                    Err(status) => return status,
                }
            }
        };
        let status = tokio::time::timeout(PATIENCE, to_the_end).await;
        (revisions, status.expect("the watch ends, however many heartbeats come before"))
    }
}
