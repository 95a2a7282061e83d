//! `countersign keys get` and `countersign keys list`

use super::show::{self, HEADER, row};
use crate::cli::call::{Admin, Server};
use crate::cli::failure::Failure;
use crate::cli::pages::Listing;
use crate::cli::{json, output};
use crate::rpc::proto::{GetKeyRequest, ListKeysRequest};

#[derive(clap::Args)]
pub(super) struct Get {
    /// The key's id
    key_id: String,
}

#[derive(clap::Args)]
pub(super) struct List {
    /// Which keys, e.g. 'account_id = "acme" AND state = ACTIVE'
    #[arg(long, default_value = "", hide_default_value = true)]
    filter: String,

    /// create_time, update_time or key_id, each optionally followed by " desc"
    #[arg(long, value_name = "FIELD", default_value = "", hide_default_value = true)]
    order_by: String,

    /// Keys that are asked for at a time
    #[arg(long, value_name = "N", default_value = "500", value_parser = clap::value_parser!(i32).range(1..=1_000))]
    page_size: i32,

    /// The most keys to print
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
}

pub(super) async fn get(server: &Server, args: Get, in_json: bool) -> Result<(), Failure> {
    let request = GetKeyRequest { key_id: args.key_id };
    let reply = server
        .read(|mut admin| {
            let request = request.clone();
            async move { admin.get_key(request).await }
        })
        .await?;
    let key = show::key_of(reply.key)?;
    if in_json { json::print("Key", &key) } else { Ok(output::line(&show::details(&key))?) }
}

pub(super) async fn list(server: &Server, args: List, in_json: bool) -> Result<(), Failure> {
    let List { filter, order_by, page_size, limit } = args;
    let listing = Listing { limit, in_json, message: "Key", header: &HEADER, row };
    let page = async |page_token| {
        let (filter, order_by) = (filter.clone(), order_by.clone());
        let request = ListKeysRequest { filter, order_by, page_size, page_token };
        let ask = |mut admin: Admin| {
            let request = request.clone();
            async move { admin.list_keys(request).await }
        };
        let page = server.read(ask).await?;
        Ok((page.keys, page.next_page_token))
    };
    listing.print(page).await
}
