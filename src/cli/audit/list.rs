//! `countersign audit list`

use super::show::{HEADER, row};
use crate::cli::call::Server;
use crate::cli::failure::Failure;
use crate::cli::{json, output, table};
use crate::rpc::proto::{AuditEvent, ListAuditEventsRequest};

#[derive(clap::Args)]
pub(super) struct Args {
    /// Which events, e.g. 'type = TYPE_KEY_REVOKED AND time >= 2030-01-01T00:00:00Z'
    #[arg(long, default_value = "", hide_default_value = true)]
    filter: String,

    /// Events that are asked for at a time
    #[arg(long, value_name = "N", default_value = "500", value_parser = clap::value_parser!(i32).range(1..=1_000))]
    page_size: i32,

    /// The most events to print
    #[arg(long, value_name = "N")]
    limit: Option<usize>,

    /// Print JSON, one event a line
    #[arg(long)]
    json: bool,
}

/// Page by page: as JSON each event as soon as it is there, else one table of all.
pub(super) async fn run(server: &Server, args: Args) -> Result<(), Failure> {
    let mut left = args.limit.unwrap_or(usize::MAX);
    let mut rows = Vec::new();
    let mut request = ListAuditEventsRequest {
        filter: args.filter,
        page_size: args.page_size,
        page_token: String::new(),
    };
    while left > 0 {
        let page = server
            .ask(|mut admin| {
                let request = request.clone();
                async move { admin.list_audit_events(request).await }
            })
            .await?;
        let events: Vec<AuditEvent> = page.events.into_iter().take(left).collect();
        left = left.saturating_sub(events.len());
        if args.json {
            events.iter().try_for_each(|event| json::print("AuditEvent", event))?;
        } else {
            rows.extend(events.iter().map(row));
        }
        request.page_token = page.next_page_token;
        if request.page_token.is_empty() {
            break;
        }
    }
    if args.json { Ok(()) } else { Ok(output::line(&table::rows(&HEADER, rows))?) }
}
