//! Lists that a server hands out page by page.

use prost::Message;

use super::failure::Failure;
use super::{json, output, table};

/// How a list is printed.
pub(super) struct Listing<'a, M> {
    /// The most items; `None`: all.
    pub limit: Option<usize>,
    /// As JSON each item as soon as it is there, else one table of all.
    pub in_json: bool,
    /// The name of an item's message in `countersign.v1`.
    pub message: &'a str,
    /// The header of the table.
    pub header: &'a [&'a str],
    /// A line of the table.
    pub row: fn(&M) -> Vec<String>,
}

impl<M: Message> Listing<'_, M> {
    /// Prints it. `page` gives the items of the page with that token, and the token of the next.
    pub(super) async fn print(
        &self,
        page: impl AsyncFn(String) -> Result<(Vec<M>, String), Failure>,
    ) -> Result<(), Failure> {
        let mut left = self.limit.unwrap_or(usize::MAX);
        let (mut rows, mut token) = (Vec::new(), String::new());
        while left > 0 {
            let (mut items, next) = page(token).await?;
            items.truncate(left);
            left = left.saturating_sub(items.len());
            if self.in_json {
                items.iter().try_for_each(|item| json::print(self.message, item))?;
            } else {
                rows.extend(items.iter().map(self.row));
            }
            if next.is_empty() {
                break;
            }
            token = next;
        }
        if self.in_json {
            return Ok(());
        }
        Ok(output::line(&table::rows(self.header, rows))?)
    }
}
