use std::sync::Arc;

use super::page::{Page, page_size, page_token, parse_filter};
use super::{Control, CursoredEvent};
use crate::domain::Error;
use crate::domain::audit::LoggedEvent;
use crate::domain::filter::AUDIT;
use crate::domain::permission::{Principal, Verb};
use crate::domain::token::{PageToken, PositionKind};
use crate::store::EventQuery;

/// A request for a page of the log.
#[derive(Debug, Clone, Default)]
pub struct ListAuditEvents {
    /// Which events; empty: all within reach.
    pub filter: String,
    /// Events per page.
    pub page_size: i32,
    /// The token of the page before; empty: the first page.
    pub page_token: String,
}

/// A page of the log.
#[derive(Debug, Clone)]
pub struct EventPage {
    /// The events, oldest first.
    pub events: Vec<CursoredEvent>,
    /// For the next page; empty on the last.
    pub next_page_token: String,
}

impl Control {
    /// Reads the log within the principal's reach, page by page, oldest first.
    ///
    /// # Errors
    ///
    /// A filter or page token that is not valid.
    pub async fn list_audit_events(
        &self,
        principal: &Principal,
        request: ListAuditEvents,
    ) -> Result<EventPage, Error> {
        principal.require(Verb::ListAuditEvents)?;
        let size = page_size(request.page_size)?;
        let filter = parse_filter(&request.filter, &AUDIT)?;
        let account = principal.reach().account().cloned();

        let filter_text = filter.as_ref().map(ToString::to_string).unwrap_or_default();
        let confined = account.as_ref().map(ToString::to_string).unwrap_or_default();
        let query = ["ListAuditEvents", &confined, &filter_text];
        let data_key = self.store.data_key();
        let after = page_token(&request.page_token, data_key, &query)?;
        let after_revision = after.map_or(0, |token| token.sort_value.unsigned_abs());

        let _place = self.store.place_to_list().await?;
        let mut page = Page::of(size);
        let mut rows = EventQuery { account, filter, after_revision, limit: 0 };
        while let Some(limit) = page.wants() {
            rows.limit = limit;
            rows.after_revision =
                page.rows.last().map_or(after_revision, |last: &LoggedEvent| last.event.revision);
            page.take(self.store.list_events(&rows).await?, |logged| &logged.event);
        }
        let next_page_token = page.cut().map_or_else(String::new, |last| {
            let sort_value = i64::try_from(last.event.revision).unwrap_or(i64::MAX);
            PageToken { sort_value, last_id: String::new() }.encode(data_key, &query)
        });
        let events = page.rows.into_iter().map(|logged| self.cursored(Arc::new(logged))).collect();
        Ok(EventPage { events, next_page_token })
    }

    /// An event with the cursor behind it.
    pub(super) fn cursored(&self, logged: Arc<LoggedEvent>) -> CursoredEvent {
        let cursor = self.log.position_at(logged.event.revision).encode(PositionKind::Cursor);
        CursoredEvent { logged, cursor }
    }
}
