//! Turns requests away when this replica has its hands full.
//!
//! One limit for all connections and cores. tonic's and tower's concurrency limits count per connection
//! and let the rest wait, so that under overload every answer comes too late.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::Status;
use tower::{Layer, Service};

use super::Answering;
use super::method::is_health_check;
use crate::domain::Error;

/// When to try again: long enough for thousands of requests to be answered.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Sheds what is over the limit.
#[derive(Clone)]
pub(super) struct LoadShedLayer {
    in_flight: Arc<Semaphore>,
}

impl LoadShedLayer {
    /// The permits are the places left.
    pub(super) fn new(in_flight: Arc<Semaphore>) -> Self {
        Self { in_flight }
    }
}

impl<S> Layer<S> for LoadShedLayer {
    type Service = LoadShed<S>;

    fn layer(&self, inner: S) -> LoadShed<S> {
        LoadShed { in_flight: Arc::clone(&self.in_flight), inner }
    }
}

/// See [`LoadShedLayer`].
#[derive(Clone)]
pub struct LoadShed<S> {
    in_flight: Arc<Semaphore>,
    inner: S,
}

impl<S, B, R> Service<Request<B>> for LoadShed<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
    R: Default + Send + 'static,
{
    type Response = Response<Counted<R>>;
    type Error = S::Error;
    type Future = Answering<Counted<R>, S::Error>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let place = if is_health_check(request.uri().path()) {
            None
        } else if let Ok(place) = Arc::clone(&self.in_flight).try_acquire_owned() {
            Some(place)
        } else {
            let overloaded =
                Error::Overloaded { what: "too many requests in work", retry_after: RETRY_AFTER };
            return Box::pin(std::future::ready(Ok(Status::from(overloaded).into_http())));
        };
        let answer = self.inner.call(request);
        Box::pin(async move { Ok(answer.await?.map(|body| Counted { body, place })) })
    }
}

/// The body of a response that holds its request's place until it has been sent, or dropped.
#[derive(Debug, Default)]
pub struct Counted<R> {
    body: R,
    place: Option<OwnedSemaphorePermit>,
}

impl<R: Body + Unpin> Body for Counted<R> {
    type Data = R::Data;
    type Error = R::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<R::Data>, R::Error>>> {
        let frame = std::task::ready!(Pin::new(&mut self.body).poll_frame(cx));
        if frame.is_none() {
            self.place = None;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
#[path = "load_shed_tests.rs"]
mod tests;
