//! `countersign audit tail`

use std::time::Duration;

use tonic::{Code, Status};

use super::show::line;
use crate::cli::call::Server;
use crate::cli::failure::{Failure, code_name};
use crate::cli::{json, output};
use crate::rpc::proto::watch_audit_events_request::Start;
use crate::rpc::proto::watch_audit_events_response::Message;
use crate::rpc::proto::{WatchAuditEventsRequest, WatchAuditEventsResponse};

/// The first wait before a stream that broke is opened again; it doubles with each failure in a row.
const FIRST_WAIT: Duration = Duration::from_millis(250);
const LONGEST_WAIT: Duration = Duration::from_secs(15);
/// The server sends something every ten seconds: a stream that is silent for so long is dead.
const SILENCE_LIMIT: Duration = Duration::from_secs(45);

#[derive(clap::Args)]
pub(super) struct Args {
    /// Which events, e.g. 'account_id = "acme"'
    #[arg(long, default_value = "", hide_default_value = true)]
    filter: String,

    /// Begin after this revision; 0 is the beginning of the log [default: from now on]
    #[arg(long, value_name = "REVISION", conflicts_with = "cursor")]
    after_revision: Option<i64>,

    /// Begin after the event or heartbeat that bore this cursor
    #[arg(long)]
    cursor: Option<String>,

    /// Print JSON, one event a line
    #[arg(long)]
    json: bool,
}

/// Where a tail is.
struct Tail {
    request: WatchAuditEventsRequest,
    in_json: bool,
    /// Failures since the last message.
    failures: u32,
}

/// Prints events until it is ended from outside, or the server says something that repeating won't mend.
pub(super) async fn run(server: &Server, args: Args) -> Result<(), Failure> {
    let start = match (args.cursor, args.after_revision) {
        (Some(cursor), _) => Some(Start::Cursor(cursor)),
        (None, Some(revision)) => Some(Start::AfterRevision(revision)),
        (None, None) => None,
    };
    let request = WatchAuditEventsRequest { start, filter: args.filter };
    let mut tail = Tail { request, in_json: args.json, failures: 0 };
    loop {
        let status = tail.follow(server).await?;
        if !may_pass(&status) {
            return Err(server.explained(status));
        }
        if tail.request.start.is_none() {
            // Nothing has come yet, so there is no cursor: what happens meanwhile would be missed.
            output::warn("the server gave no cursor yet; events until it is back are not shown");
        }
        let wait = FIRST_WAIT.saturating_mul(1 << tail.failures.min(6)).min(LONGEST_WAIT);
        output::warn(&format!("{}: {}; trying again", code_name(status.code()), status.message()));
        tail.failures = tail.failures.saturating_add(1);
        tokio::time::sleep(wait).await;
    }
}

impl Tail {
    /// Prints one stream to its end, and gives how it ended.
    async fn follow(&mut self, server: &Server) -> Result<Status, Failure> {
        let mut stream = match server.admin().watch_audit_events(self.request.clone()).await {
            Ok(response) => response.into_inner(),
            Err(status) => return Ok(status),
        };
        loop {
            match tokio::time::timeout(SILENCE_LIMIT, stream.message()).await {
                Ok(Ok(Some(message))) => self.take(message)?,
                Ok(Ok(None)) => return Ok(Status::unavailable("the stream ended")),
                Ok(Err(status)) => return Ok(status),
                Err(_) => return Ok(Status::unavailable("the stream went silent")),
            }
        }
    }

    /// Prints an event; remembers where to go on.
    fn take(&mut self, message: WatchAuditEventsResponse) -> Result<(), Failure> {
        let cursor = match message.message {
            Some(Message::Event(event)) => {
                if self.in_json {
                    json::print("AuditEvent", &*event)?;
                } else {
                    output::line(&line(&event))?;
                }
                event.cursor
            }
            Some(Message::Heartbeat(heartbeat)) => heartbeat.cursor,
            // From a later release.
            None => return Ok(()),
        };
        self.request.start = Some(Start::Cursor(cursor));
        self.failures = 0;
        Ok(())
    }
}

/// Whether a stream that ended so may be opened again: the server went away or was too busy for us, or
/// the connection broke, which h2 reports as INTERNAL, UNKNOWN or CANCELLED with a source.
fn may_pass(status: &Status) -> bool {
    match status.code() {
        Code::Unavailable | Code::ResourceExhausted | Code::DeadlineExceeded => true,
        Code::Internal | Code::Unknown | Code::Cancelled => {
            std::error::Error::source(status).is_some()
        }
        _ => false,
    }
}
