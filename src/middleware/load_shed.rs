//! Turns requests away when this replica has its hands full.
//!
//! One limit for all connections and cores, and a small one of its own for the doors that are open to
//! anybody: whoever holds all of their places, with streams that never end, takes none of our services'.
//! tonic's and tower's concurrency limits count per connection
//! and let the rest wait, so that under overload every answer comes too late.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tower::{Layer, Service};

use super::method::{Door, door, is_health_check};
use super::refusable::Refusable;
use crate::domain::Error;

/// When to try again: long enough for thousands of requests to be answered.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// So many places. Nobody waits for one, so a number is enough; a semaphore would also keep a queue.
#[derive(Debug)]
struct Places {
    count: usize,
    free: AtomicUsize,
    /// How many found none.
    shed: AtomicU64,
}

/// What one door carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DoorLoad {
    /// `services` for our own, `open` for what anybody may ask.
    pub door: &'static str,
    /// Requests that are in work.
    pub in_flight: usize,
    /// The most of them.
    pub limit: usize,
    /// How many were turned away since the start.
    pub shed: u64,
}

/// A place that is taken until this is dropped.
#[derive(Debug)]
struct Place(Arc<Places>);

impl Places {
    fn new(count: usize) -> Arc<Self> {
        Arc::new(Self { count, free: AtomicUsize::new(count), shed: AtomicU64::new(0) })
    }

    /// A place, if one is left. The number guards no memory, so it needs no order with anything else.
    fn take(self: &Arc<Self>) -> Option<Place> {
        let less_one = |free: usize| free.checked_sub(1);
        let taken = self.free.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less_one);
        if taken.is_err() {
            self.shed.fetch_add(1, Ordering::Relaxed);
        }
        taken.ok().map(|_| Place(Arc::clone(self)))
    }

    fn load(&self, door: &'static str) -> DoorLoad {
        let free = self.free.load(Ordering::Relaxed);
        DoorLoad {
            door,
            in_flight: self.count.saturating_sub(free),
            limit: self.count,
            shed: self.shed.load(Ordering::Relaxed),
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.free.fetch_add(1, Ordering::Relaxed);
    }
}

/// Sheds what is over the limits.
#[derive(Clone)]
pub(super) struct LoadShedLayer {
    /// For requests to our own services.
    ours: Arc<Places>,
    /// For reflection, watched health, and paths that lead nowhere.
    open: Arc<Places>,
}

impl LoadShedLayer {
    /// So many places for our own services, and so many for what is open to anybody.
    pub(super) fn new(ours: usize, open: usize) -> Self {
        Self { ours: Places::new(ours), open: Places::new(open) }
    }

    /// What the two doors carry.
    pub(super) fn doors(&self) -> [DoorLoad; 2] {
        [self.ours.load("services"), self.open.load("open")]
    }

    /// A place for a request: `None` if it needs none.
    fn take(&self, path: &str) -> Result<Option<Place>, Error> {
        let (places, what) = match door(path) {
            Door::Open if is_health_check(path) => return Ok(None),
            Door::Open => (&self.open, "too many streams of health and reflection"),
            Door::Verifier(_) | Door::Admin => (&self.ours, "too many requests in work"),
        };
        let overloaded = || Error::Overloaded { what, retry_after: RETRY_AFTER };
        places.take().map(Some).ok_or_else(overloaded)
    }
}

impl<S> Layer<S> for LoadShedLayer {
    type Service = LoadShed<S>;

    fn layer(&self, inner: S) -> LoadShed<S> {
        LoadShed { layer: self.clone(), inner }
    }
}

/// See [`LoadShedLayer`].
#[derive(Clone)]
pub struct LoadShed<S> {
    layer: LoadShedLayer,
    inner: S,
}

impl<S, B, R> Service<Request<B>> for LoadShed<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    R: Default,
{
    type Response = Response<Counted<R>>;
    type Error = S::Error;
    type Future = Refusable<Admitted<S::Future>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        match self.layer.take(request.uri().path()) {
            Ok(place) => Refusable::answer(Admitted { answer: self.inner.call(request), place }),
            Err(error) => Refusable::refusal(error),
        }
    }
}

pin_project! {
    /// The answer to a request that has its place, if it needs one.
    #[derive(Debug)]
    pub struct Admitted<F> {
        #[pin]
        answer: F,
        place: Option<Place>,
    }
}

impl<F, R, E> Future for Admitted<F>
where
    F: Future<Output = Result<Response<R>, E>>,
{
    type Output = Result<Response<Counted<R>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let response = ready!(this.answer.poll(cx))?;
        let place = this.place.take();
        Poll::Ready(Ok(response.map(|body| Counted { body, place })))
    }
}

/// The body of a response that holds its request's place until it has been sent, or dropped.
#[derive(Debug, Default)]
pub struct Counted<R> {
    body: R,
    place: Option<Place>,
}

impl<R: Body + Unpin> Body for Counted<R> {
    type Data = R::Data;
    type Error = R::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<R::Data>, R::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
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
