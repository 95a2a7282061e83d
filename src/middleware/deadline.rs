//! Keeps the caller's deadline (`grpc-timeout`) for the whole call, streams included.
//!
//! tonic's own timeout answers CANCELLED and ends at the head of the response.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http::{HeaderMap, HeaderName, Request, Response};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tokio::time::{Instant, Sleep, sleep_until};
use tonic::Status;
use tower::{Layer, Service};

use super::refusable::Refusable;
use crate::domain::Error;
use crate::domain::deadline::Deadline as StopsWaiting;

const GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");

/// When the caller stops waiting; `None`: never, or so late that clocks can't say it.
fn deadline(headers: &HeaderMap) -> Result<Option<Instant>, Error> {
    let Some(value) = headers.get(&GRPC_TIMEOUT) else { return Ok(None) };
    let timeout = value.to_str().ok().and_then(parse_timeout);
    let malformed = || {
        Error::invalid(GRPC_TIMEOUT.as_str(), "must be 1 to 8 digits and one of H, M, S, m, u, n")
    };
    Ok(Instant::now().checked_add(timeout.ok_or_else(malformed)?))
}

/// A timeout as gRPC over HTTP/2 writes it ("Requests" in its PROTOCOL-HTTP2.md).
fn parse_timeout(text: &str) -> Option<Duration> {
    let digits = text.get(..text.len().checked_sub(1)?)?;
    let is_number =
        (1..=8).contains(&digits.len()) && digits.bytes().all(|digit| digit.is_ascii_digit());
    let value: u64 = digits.parse().ok().filter(|_| is_number)?;
    match text.get(digits.len()..)? {
        "H" => Some(Duration::from_secs(value * 3_600)),
        "M" => Some(Duration::from_secs(value * 60)),
        "S" => Some(Duration::from_secs(value)),
        "m" => Some(Duration::from_millis(value)),
        "u" => Some(Duration::from_micros(value)),
        "n" => Some(Duration::from_nanos(value)),
        _ => None,
    }
}

/// Answers DEADLINE_EXCEEDED when the time has come.
#[derive(Debug, Clone, Copy)]
pub(super) struct DeadlineLayer;

impl<S> Layer<S> for DeadlineLayer {
    type Service = Deadline<S>;

    fn layer(&self, inner: S) -> Deadline<S> {
        Deadline { inner }
    }
}

/// See [`DeadlineLayer`].
#[derive(Debug, Clone)]
pub struct Deadline<S> {
    inner: S,
}

impl<S, B, R> Service<Request<B>> for Deadline<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    R: Default,
{
    type Response = Response<Timed<R>>;
    type Error = S::Error;
    type Future = Refusable<InTime<S::Future>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        match deadline(request.headers()) {
            Ok(deadline) => {
                // What waits within the request ends in time for its reply.
                if let Some(deadline) = deadline {
                    request.extensions_mut().insert(StopsWaiting(deadline.into_std()));
                }
                let answer = self.inner.call(request);
                Refusable::answer(InTime { answer, end: End { deadline, timer: None } })
            }
            Err(error) => Refusable::refusal(error),
        }
    }
}

/// When a call is over. What is ready when it is asked for costs no timer.
#[derive(Debug, Default)]
struct End {
    /// `None`: never.
    deadline: Option<Instant>,
    timer: Option<Pin<Box<Sleep>>>,
}

impl End {
    /// Waits for it.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(deadline) = self.deadline else { return Poll::Pending };
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        timer.as_mut().poll(cx)
    }

    fn has_come(&self) -> bool {
        self.deadline.is_some_and(|deadline| deadline <= Instant::now())
    }
}

pin_project! {
    /// An answer that is DEADLINE_EXCEEDED if it is not ready in time.
    #[derive(Debug)]
    pub struct InTime<F> {
        #[pin]
        answer: F,
        end: End,
    }
}

impl<F, R, E> Future for InTime<F>
where
    F: Future<Output = Result<Response<R>, E>>,
    R: Default,
{
    type Output = Result<Response<Timed<R>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        // The answer first: one that is ready is never thrown away.
        if let Poll::Ready(response) = this.answer.poll(cx) {
            let end = std::mem::take(this.end);
            return Poll::Ready(Ok(response?.map(|body| Timed { body, end, is_over: false })));
        }
        ready!(this.end.poll(cx));
        Poll::Ready(Ok(Status::from(Error::DeadlineExceeded).into_http()))
    }
}

/// The body of a response that ends with DEADLINE_EXCEEDED if it is not ready in time.
#[derive(Debug, Default)]
pub struct Timed<R> {
    body: R,
    end: End,
    is_over: bool,
}

impl<R: Body + Default + Unpin> Body for Timed<R> {
    type Data = R::Data;
    type Error = R::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<R::Data>, R::Error>>> {
        if self.is_over {
            return Poll::Ready(None);
        }
        // The end first: a stream that always has something to say would never come to it.
        if !self.end.has_come() {
            if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) {
                return Poll::Ready(frame);
            }
            ready!(self.end.poll(cx));
        }
        // What feeds the body learns from its end that nobody reads any more.
        self.body = R::default();
        self.is_over = true;
        Poll::Ready(Some(Ok(Frame::trailers(trailers()))))
    }

    fn is_end_stream(&self) -> bool {
        self.is_over || self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        // The body may end early, so its length is not known.
        if self.end.deadline.is_some() { SizeHint::default() } else { self.body.size_hint() }
    }
}

fn trailers() -> HeaderMap {
    let mut trailers = HeaderMap::new();
    let status = Status::from(Error::DeadlineExceeded);
    if status.add_header(&mut trailers).is_err() {
        tracing::error!("the status of a passed deadline fits into no header");
    }
    trailers
}

#[cfg(test)]
#[path = "deadline_tests.rs"]
mod tests;
