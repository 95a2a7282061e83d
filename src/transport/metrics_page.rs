//! `/metrics`, in the text format of Prometheus.
//!
//! To make the page costs a millisecond or so, and whoever reaches the listener may ask for it. So one is made at a
//! time, and not again within a moment: however often it is asked for, the server has other work to do.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::Pages;

/// The text format, as its specification names it.
const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";
/// For so long a page is good for everybody who asks. Nobody scrapes that often.
const GOOD_FOR: Duration = Duration::from_millis(100);

/// Makes the page.
pub type MakePage = dyn Fn() -> Result<String, String> + Send + Sync;

/// The page, and the last one that was made.
pub struct MetricsPage {
    make: Box<MakePage>,
    made: Mutex<Option<(Instant, Bytes)>>,
}

impl MetricsPage {
    /// A page that is made by this.
    pub fn new(make: impl Fn() -> Result<String, String> + Send + Sync + 'static) -> Self {
        Self { make: Box::new(make), made: Mutex::new(None) }
    }

    /// The page as it is now, or was a moment ago.
    async fn get(&self) -> Result<Bytes, String> {
        // Held while a page is made, so that whoever waits finds the one of who was first.
        let mut made = self.made.lock().await;
        if let Some((at, page)) = made.as_ref()
            && at.elapsed() < GOOD_FOR
        {
            return Ok(page.clone());
        }
        let page = Bytes::from((self.make)()?);
        *made = Some((Instant::now(), page.clone()));
        Ok(page)
    }
}

pub(super) async fn metrics(State(pages): State<Pages>) -> Response {
    let Some(page) = pages.metrics.as_ref().map(Arc::clone) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    match page.get().await {
        Ok(page) => ([(header::CONTENT_TYPE, CONTENT_TYPE)], page).into_response(),
        Err(error) => {
            tracing::error!(error, "the page for Prometheus could not be made");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[tokio::test]
    async fn a_crowd_gets_one_page() {
        let made = Arc::new(AtomicUsize::new(0));
        let counts = Arc::clone(&made);
        let page = Arc::new(MetricsPage::new(move || {
            Ok(format!("made {}", counts.fetch_add(1, Ordering::SeqCst)))
        }));
        let first = Instant::now();
        let asked = (0..100).map(|_| {
            let page = Arc::clone(&page);
            tokio::spawn(async move { page.get().await })
        });
        let mut seen = std::collections::BTreeSet::new();
        for answer in asked.collect::<Vec<_>>() {
            seen.insert(answer.await.expect("no panic").expect("a page"));
        }
        // On a machine that stands still meanwhile some pages get too old.
        let most = 1 + first.elapsed().as_millis() / GOOD_FOR.as_millis();
        assert!((1..=most).contains(&(made.load(Ordering::SeqCst) as u128)), "{seen:?}");
        assert_eq!(seen.len(), made.load(Ordering::SeqCst));
    }

    #[tokio::test]
    async fn a_page_that_could_not_be_made_is_not_kept() {
        let tries = AtomicUsize::new(0);
        let page = MetricsPage::new(move || match tries.fetch_add(1, Ordering::SeqCst) {
            0 => Err("broken".to_owned()),
            _ => Ok("whole".to_owned()),
        });
        assert_eq!(page.get().await, Err("broken".to_owned()));
        assert_eq!(page.get().await, Ok(Bytes::from_static(b"whole")));
    }
}
