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
/// Rows that are read at a time; a row may have a hundred kilobytes.
const ROWS_AT_A_TIME: u64 = 50;
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

/// A page that is being read, a few rows at a time: what does not fit into a reply is not held in memory.
pub(super) struct Page<T> {
    pub(super) rows: Vec<T>,
    size: u64,
    bytes: usize,
    asked: u64,
    state: State,
}

#[derive(PartialEq, Eq)]
enum State {
    Reading,
    /// No room for the next row, which is there.
    Full,
    /// No more rows.
    Ended,
}

impl<T> Page<T> {
    /// An empty page for so many rows.
    pub(super) fn of(size: u64) -> Self {
        Self { rows: Vec::new(), size, bytes: 0, asked: 0, state: State::Reading }
    }

    /// How many rows to read next, after the last one; `None` if the page is done. One row too far is read, to know
    /// whether there is more.
    pub(super) fn wants(&mut self) -> Option<u64> {
        let left = (self.size + 1).saturating_sub(self.rows.len() as u64);
        self.asked = left.min(ROWS_AT_A_TIME);
        (self.state == State::Reading).then_some(self.asked)
    }

    /// Takes what was read, as far as there is room; `shown` is what a row shows of itself.
    pub(super) fn take<S: Serialize>(&mut self, rows: Vec<T>, shown: impl Fn(&T) -> &S) {
        if (rows.len() as u64) < self.asked {
            self.state = State::Ended;
        }
        for row in rows {
            self.bytes += serde_json::to_vec(shown(&row)).map_or(0, |json| json.len());
            let is_full = self.rows.len() as u64 >= self.size || self.bytes > MAX_PAGE_BYTES;
            if is_full && !self.rows.is_empty() {
                self.state = State::Full;
                return;
            }
            self.rows.push(row);
        }
    }

    /// The last row, if there is more after it.
    pub(super) fn cut(&self) -> Option<&T> {
        self.rows.last().filter(|_| self.state == State::Full)
    }
}
