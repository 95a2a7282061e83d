//! One span for each request, under the caller's trace if the request carries one; and how long it took.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use http::{HeaderMap, HeaderName, Request, Response};
use http_body::{Body, Frame, SizeHint};
use opentelemetry::propagation::{Extractor, TextMapPropagator as _};
use opentelemetry::trace::TraceContextExt as _;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use pin_project_lite::pin_project;
use tokio::time::Instant;
use tonic::{Code, Status};
use tower::{Layer, Service};
use tracing::{Level, Span, field};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

use super::calls::CallsOfThread;
use super::method::{Method, is_verification, names};

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// The trace that the caller's request belongs to; among the request's extensions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TraceId(pub(super) opentelemetry::TraceId);

/// Opens the span, and closes it with status and duration when the response has been sent.
#[derive(Debug, Clone)]
pub(super) struct TraceLayer {
    calls: Option<Arc<CallsOfThread>>,
}

impl TraceLayer {
    /// Notes how long the calls of a thread took, unless nobody wants to know.
    pub(super) fn new(calls: Option<Arc<CallsOfThread>>) -> Self {
        Self { calls }
    }
}

impl<S> Layer<S> for TraceLayer {
    type Service = Trace<S>;

    fn layer(&self, inner: S) -> Trace<S> {
        Trace { calls: self.calls.clone(), inner }
    }
}

/// See [`TraceLayer`].
#[derive(Debug, Clone)]
pub struct Trace<S> {
    calls: Option<Arc<CallsOfThread>>,
    inner: S,
}

impl<S, B, R> Service<Request<B>> for Trace<S>
where
    S: Service<Request<B>, Response = Response<R>>,
{
    type Response = Response<Traced<R>>;
    type Error = S::Error;
    type Future = Tracing<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let span = span(request.uri().path());
        // Where nobody listens, nobody asks whose trace it was either: only spans and events of changes do.
        let is_heard = !span.is_disabled();
        if (is_heard || !is_verification(request.uri().path()))
            && let Some(caller) = callers_trace(request.headers())
        {
            request.extensions_mut().insert(TraceId(caller.span().span_context().trace_id()));
            // Without an exporter there is no layer to take it, which is fine.
            _ = span.set_parent(caller);
        }
        let noted = self.calls.as_ref();
        let noted = noted.map(|calls| (Arc::clone(calls), Method::of(request.uri().path())));
        let started = (is_heard || noted.is_some()).then(Instant::now);
        let outcome = Outcome { span, noted, started, code: None };
        let answer = outcome.span.in_scope(|| self.inner.call(request));
        Tracing { answer, outcome: Some(outcome) }
    }
}

/// The span of a request. That of a verification is for those who look for a fault: with everybody's verifications in
/// the log nothing else could be found there, and to make one takes a tenth of what the verification takes.
fn span(path: &str) -> Span {
    let (service, method) = names(path);
    macro_rules! span {
        ($level:expr) => {
            tracing::span!(
                $level,
                "request",
                otel.name = format_args!("{service}/{method}"),
                otel.kind = "server",
                rpc.system = "grpc",
                rpc.service = service,
                rpc.method = method,
                rpc.grpc.status_code = field::Empty,
            )
        };
    }
    if is_verification(path) { span!(Level::DEBUG) } else { span!(Level::INFO) }
}

pin_project! {
    /// An answer that is made within its request's span.
    #[derive(Debug)]
    pub struct Tracing<F> {
        #[pin]
        answer: F,
        outcome: Option<Outcome>,
    }
}

impl<F, R, E> Future for Tracing<F>
where
    F: Future<Output = Result<Response<R>, E>>,
{
    type Output = Result<Response<Traced<R>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let entered = this.outcome.as_ref().map(|outcome| outcome.span.enter());
        let response = ready!(this.answer.poll(cx));
        drop(entered);
        // A future that has given its answer is not asked again.
        let Some(mut outcome) = this.outcome.take() else { return Poll::Pending };
        let response = response?;
        // A refusal, and any answer without a message, has its status in the head.
        outcome.note(response.headers());
        Poll::Ready(Ok(response.map(|body| Traced { body, outcome })))
    }
}

/// The trace context of a well-formed `traceparent` header (W3C Trace Context, section 3.2).
fn callers_trace(headers: &HeaderMap) -> Option<opentelemetry::Context> {
    let mut given = headers.get_all(TRACEPARENT).iter();
    // More than one is as good as none: nobody can say which is meant.
    if given.next().is_none() || given.next().is_some() {
        return None;
    }
    let nobody = opentelemetry::Context::new();
    let context = TraceContextPropagator::new().extract_with_context(&nobody, &Headers(headers));
    context.span().span_context().is_valid().then_some(context)
}

struct Headers<'h>(&'h HeaderMap);

impl Extractor for Headers<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key)?.to_str().ok()
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(http::HeaderName::as_str).collect()
    }
}

/// What became of a request; told when it is dropped, which is when the response has been sent or the
/// caller is gone.
struct Outcome {
    span: Span,
    /// Where it is noted how long a call of that method took.
    noted: Option<(Arc<CallsOfThread>, Method)>,
    /// `None`: nobody wants to know.
    started: Option<Instant>,
    code: Option<Code>,
}

impl Outcome {
    fn note(&mut self, headers: &HeaderMap) {
        if self.started.is_some()
            && let Some(code) = headers.get(Status::GRPC_STATUS)
        {
            self.code = Some(Code::from_bytes(code.as_bytes()));
        }
    }
}

impl Drop for Outcome {
    fn drop(&mut self) {
        let Some(started) = self.started else { return };
        let code = self.code.unwrap_or(Code::Cancelled);
        let took = started.elapsed();
        if let Some((calls, method)) = &self.noted {
            calls.note(*method, code, took);
        }
        if self.span.is_disabled() {
            return;
        }
        self.span.record("rpc.grpc.status_code", i32::from(code));
        let duration_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        tracing::debug!(parent: &self.span, ?code, duration_us, "answered");
    }
}

impl fmt::Debug for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outcome").field("code", &self.code).finish_non_exhaustive()
    }
}

/// The body of a response whose end is noted.
#[derive(Debug)]
pub struct Traced<R> {
    body: R,
    outcome: Outcome,
}

impl<R: Body + Unpin> Body for Traced<R> {
    type Data = R::Data;
    type Error = R::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<R::Data>, R::Error>>> {
        let this = &mut *self;
        let frame = this.outcome.span.in_scope(|| Pin::new(&mut this.body).poll_frame(cx));
        if let Poll::Ready(Some(Ok(frame))) = &frame
            && let Some(trailers) = frame.trailers_ref()
        {
            this.outcome.note(trailers);
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
#[path = "trace_tests.rs"]
mod tests;
