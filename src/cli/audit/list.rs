//! `countersign audit list`

use super::show::{HEADER, row};
use crate::cli::call::{Admin, Server};
use crate::cli::failure::Failure;
use crate::cli::pages::Listing;
use crate::rpc::proto::ListAuditEventsRequest;

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

pub(super) async fn run(server: &Server, args: Args) -> Result<(), Failure> {
    let Args { filter, page_size, limit, json: in_json } = args;
    let listing = Listing { limit, in_json, message: "AuditEvent", header: &HEADER, row };
    let page = async |page_token| {
        let request = ListAuditEventsRequest { filter: filter.clone(), page_size, page_token };
        let ask = |mut admin: Admin| {
            let request = request.clone();
            async move { admin.list_audit_events(request).await }
        };
        let page = server.read(ask).await?;
        Ok((page.events, page.next_page_token))
    };
    listing.print(page).await
}
