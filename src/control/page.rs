//! What all lists share: page sizes, page tokens, and filters that do not parse.

use crate::domain::Error;
use crate::domain::filter::{self, Expr, Schema};
use crate::domain::keyring::DataKey;
use crate::domain::token::PageToken;

/// Rows of a page whose size the caller leaves to us.
const DEFAULT_PAGE: u64 = 50;
/// Most rows of a page.
const MAX_PAGE: u64 = 1_000;

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

/// Cuts a list that was read one row too far; the row before the cut if there is more.
pub(super) fn cut<T>(rows: &mut Vec<T>, size: u64) -> Option<&T> {
    let size = usize::try_from(size).unwrap_or(usize::MAX);
    if rows.len() <= size {
        return None;
    }
    rows.truncate(size);
    rows.last()
}
