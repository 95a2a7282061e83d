//! `countersign keys get` and `countersign keys list`

use super::show::{self, HEADER, row};
use crate::cli::call::Server;
use crate::cli::failure::Failure;
use crate::cli::{json, output, table};
use crate::rpc::proto::{GetKeyRequest, Key, ListKeysRequest};

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
        .ask(|mut admin| {
            let request = request.clone();
            async move { admin.get_key(request).await }
        })
        .await?;
    let key = show::key_of(reply.key)?;
    if in_json { json::print("Key", &key) } else { Ok(output::line(&show::details(&key))?) }
}

/// Page by page: as JSON each key as soon as it is there, else one table of all.
pub(super) async fn list(server: &Server, args: List, in_json: bool) -> Result<(), Failure> {
    let mut left = args.limit.unwrap_or(usize::MAX);
    let mut rows = Vec::new();
    let mut request = ListKeysRequest {
        filter: args.filter,
        order_by: args.order_by,
        page_size: args.page_size,
        page_token: String::new(),
    };
    while left > 0 {
        let page = server
            .ask(|mut admin| {
                let request = request.clone();
                async move { admin.list_keys(request).await }
            })
            .await?;
        let keys: Vec<Key> = page.keys.into_iter().take(left).collect();
        left = left.saturating_sub(keys.len());
        if in_json {
            keys.iter().try_for_each(|key| json::print("Key", key))?;
        } else {
            rows.extend(keys.iter().map(row));
        }
        request.page_token = page.next_page_token;
        if request.page_token.is_empty() {
            break;
        }
    }
    if in_json { Ok(()) } else { Ok(output::line(&table::rows(&HEADER, rows))?) }
}
