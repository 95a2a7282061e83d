//! What all lists share: page sizes, page tokens, and filters that do not parse.

use serde::Serialize;

use crate::domain::Error;
use crate::domain::filter::{self, Expr, Schema};
use crate::domain::keyring::DataKey;
use crate::domain::token::PageToken;

/// Rows of a page whose size the caller leaves to us.
const DEFAULT_PAGE: u64 = 50;
/// Most rows of a page.
const MAX_PAGE: u64 = 1_000;
/// Most bytes of a page, counted as JSON, which is longer than what is sent. gRPC clients refuse replies
/// above 4 MiB unless told otherwise, and no row is longer than the difference.
const MAX_PAGE_BYTES: usize = 3 * 1024 * 1024;

/// The number of rows to return: 50 for zero, 1,000 at most (AIP-158).
pub(super) fn page_size(asked: i32) -> Result<u64, Error> {
    match u64::try_from(asked) {
        Ok(0) => Ok(DEFAULT_PAGE),
        Ok(size) => Ok(size.min(MAX_PAGE)),
        Err(_) => Err(Error::invalid("page_size", "must not be negative")),
    }
}

/// A filter, parsed.
pub(super) fn parse_filter(text: &str, schema: &Schema) -> Result<Option<Expr>, Error> {
    filter::parse(text, schema).map_err(|error| Error::invalid("filter", error.to_string()))
}

/// The page token of a request, if it has one.
pub(super) fn page_token(
    text: &str,
    key: &DataKey,
    query: &[&str],
) -> Result<Option<PageToken>, Error> {
    if text.is_empty() {
        return Ok(None);
    }
    let token = PageToken::decode(text, key, query);
    token.map(Some).map_err(|_| {
        Error::invalid("page_token", "must be the next_page_token of a reply to the same query")
    })
}

/// Cuts a list that was read one row too far, and earlier where it would be too long for a reply; the
/// row before the cut if there is more. `shown` is what a row shows of itself.
pub(super) fn cut<T, S: Serialize>(
    rows: &mut Vec<T>,
    size: u64,
    shown: impl Fn(&T) -> &S,
) -> Option<&T> {
    let mut bytes = 0;
    let in_reply = rows.iter().take_while(|row| {
        bytes += serde_json::to_vec(shown(row)).map_or(0, |json| json.len());
        bytes <= MAX_PAGE_BYTES
    });
    let size = usize::try_from(size).unwrap_or(usize::MAX).min(in_reply.count().max(1));
    if rows.len() <= size {
        return None;
    }
    rows.truncate(size);
    rows.last()
}
