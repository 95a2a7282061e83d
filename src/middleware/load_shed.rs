//! Turns requests away when this replica has its hands full.
//!
//! One limit for all connections and cores, and a small one of its own for the doors that are open to
//! anybody: whoever holds all of their places, with streams that never end, takes none of our services'.
//! tonic's and tower's concurrency limits count per connection
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
use super::method::{Door, door, is_health_check};
use crate::domain::Error;

/// When to try again: long enough for thousands of requests to be answered.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// The places left.
#[derive(Clone)]
struct Places {
    /// For requests to our own services.
    ours: Arc<Semaphore>,
    /// For reflection, watched health, and paths that lead nowhere.
    open: Arc<Semaphore>,
}

impl Places {
    /// A place for a request: `None` if it needs none.
    fn take(&self, path: &str) -> Result<Option<OwnedSemaphorePermit>, Error> {
        if is_health_check(path) {
            return Ok(None);
        }
        let (places, what) = match door(path) {
            Door::Open => (&self.open, "too many streams of health and reflection"),
            Door::Verifier(_) | Door::Admin => (&self.ours, "too many requests in work"),
        };
        let overloaded = Error::Overloaded { what, retry_after: RETRY_AFTER };
        Arc::clone(places).try_acquire_owned().map(Some).map_err(|_| overloaded)
    }
}

/// Sheds what is over the limits.
#[derive(Clone)]
pub(super) struct LoadShedLayer {
    places: Places,
}

impl LoadShedLayer {
    /// So many places for our own services, and so many for what is open to anybody.
    pub(super) fn new(ours: usize, open: usize) -> Self {
        let places = |count: usize| Arc::new(Semaphore::new(count.min(Semaphore::MAX_PERMITS)));
        Self { places: Places { ours: places(ours), open: places(open) } }
    }
}

impl<S> Layer<S> for LoadShedLayer {
    type Service = LoadShed<S>;

    fn layer(&self, inner: S) -> LoadShed<S> {
        LoadShed { places: self.places.clone(), inner }
    }
}

/// See [`LoadShedLayer`].
#[derive(Clone)]
pub struct LoadShed<S> {
    places: Places,
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
        let place = match self.places.take(request.uri().path()) {
            Ok(place) => place,
            Err(error) => return Box::pin(std::future::ready(Ok(Status::from(error).into_http()))),
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
