use super::page::{Page, page_size, page_token, parse_filter};
use super::{Control, KeyView};
use crate::domain::Error;
use crate::domain::filter::KEYS;
use crate::domain::key::Key;
use crate::domain::permission::{Principal, Verb};
use crate::domain::token::PageToken;
use crate::store::{KeyOrder, KeyQuery, KeySort};

/// A request for a page of keys.
#[derive(Debug, Clone, Default)]
pub struct ListKeys {
    /// Which keys; empty: all within reach.
    pub filter: String,
    /// `create_time`, `update_time` or `key_id`, optionally followed by ` desc`.
    pub order_by: String,
    /// Keys per page.
    pub page_size: i32,
    /// The token of the page before; empty: the first page.
    pub page_token: String,
}

/// A page of keys.
#[derive(Debug, Clone)]
pub struct KeyPage {
    /// The keys.
    pub keys: Vec<KeyView>,
    /// For the next page; empty on the last.
    pub next_page_token: String,
}

impl Control {
    /// Lists keys within the principal's reach, page by page.
    ///
    /// # Errors
    ///
    /// A filter, order or page token that is not valid.
    pub async fn list_keys(
        &self,
        principal: &Principal,
        request: ListKeys,
    ) -> Result<KeyPage, Error> {
        principal.require(Verb::ListKeys)?;
        let size = page_size(request.page_size)?;
        let filter = parse_filter(&request.filter, &KEYS)?;
        let order = parse_order(&request.order_by)?;
        let account = principal.reach().account().cloned();

        let filter_text = filter.as_ref().map(ToString::to_string).unwrap_or_default();
        let order_text = format!("{order:?}");
        let confined = account.as_ref().map(ToString::to_string).unwrap_or_default();
        let query = ["ListKeys", &confined, &filter_text, &order_text];
        let data_key = self.store.data_key();
        let after = page_token(&request.page_token, data_key, &query)?;
        let after = after.map(|token| (token.sort_value, token.last_id));
        let place_of = |key: &Key| (sort_value(key, order), key.key_id.to_string());

        let now = self.now();
        let _place = self.store.place_to_list().await?;
        let mut page = Page::of(size);
        let mut rows = KeyQuery { account, filter, order, after, limit: 0, now };
        while let Some(limit) = page.wants() {
            rows.limit = limit;
            rows.after = page.rows.last().map(place_of).or(rows.after);
            page.take(self.store.list_keys(&rows).await?, |key| key);
        }
        let next_page_token = page.cut().map(place_of).map_or_else(String::new, |place| {
            let (sort_value, last_id) = place;
            PageToken { sort_value, last_id }.encode(data_key, &query)
        });
        let keys = page.rows.into_iter().map(|key| KeyView::of(key, now)).collect();
        Ok(KeyPage { keys, next_page_token })
    }
}

fn parse_order(text: &str) -> Result<KeyOrder, Error> {
    let mut words = text.split_whitespace();
    let by = match words.next() {
        None | Some("create_time") => Some(KeySort::CreateTime),
        Some("update_time") => Some(KeySort::UpdateTime),
        Some("key_id") => Some(KeySort::KeyId),
        Some(_) => None,
    };
    let descending = match words.next() {
        None | Some("asc") => Some(false),
        Some("desc") => Some(true),
        Some(_) => None,
    };
    match (by, descending, words.next()) {
        (Some(by), Some(descending), None) => Ok(KeyOrder { by, descending }),
        _ => Err(Error::invalid(
            "order_by",
            "must be create_time, update_time or key_id, optionally followed by desc",
        )),
    }
}

fn sort_value(key: &Key, order: KeyOrder) -> i64 {
    match order.by {
        KeySort::CreateTime => key.create_time.micros(),
        KeySort::UpdateTime => key.update_time.micros(),
        KeySort::KeyId => 0,
    }
}
