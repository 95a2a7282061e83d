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
use tracing::level_filters::LevelFilter;
use tracing::{Level, Span, field};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

use super::calls::{self, CallsOfThread};
use super::method::{Door, Method, door, is_verification};
use crate::rpc::status::Unanswered;

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
        let span = span(request.uri().path(), request.headers());
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

/// Targets of spans, by which `telemetry` knows what is sent.
const ADMINISTRATION: &str = module_path!();
const SAMPLED: &str = "countersign::middleware::trace::sampled";
const UNSAMPLED: &str = "countersign::middleware::trace::unsampled";

/// The span of a request, in the semantic conventions for RPC (1.42).
///
/// Calls of administration are sampled as the settings say. All others are sent if their caller samples its trace: there
/// are far too many of them, and to make a span takes a tenth of what a verification takes. In the log their spans are
/// for those who look for a fault; with everybody's verifications nothing else could be found there.
fn span(path: &str, headers: &HeaderMap) -> Span {
    macro_rules! span {
        ($target:expr, $level:expr) => {
            tracing::span!(
                target: $target,
                $level,
                "request",
                otel.name = Method::of(path).name(),
                otel.kind = "server",
                rpc.system.name = "grpc",
                rpc.method = Method::of(path).name(),
                rpc.response.status_code = field::Empty,
                "error.type" = field::Empty,
                otel.status_code = field::Empty,
            )
        };
    }
    let door = door(path);
    // Without a listener for such spans the headers are not looked at.
    let is_sampled = || LevelFilter::current() >= Level::DEBUG && is_sampled(headers);
    match door {
        Door::Admin => span!(ADMINISTRATION, Level::INFO),
        Door::Verifier(_) | Door::Open if is_sampled() => span!(SAMPLED, Level::DEBUG),
        Door::Verifier(_) => span!(UNSAMPLED, Level::DEBUG),
        Door::Open => span!(UNSAMPLED, Level::INFO),
    }
}

/// Whether the caller's trace is well-formed and sampled. All others are told from such by one look at the flags, the
/// last two digits of `00-{trace}-{span}-{flags}`.
fn is_sampled(headers: &HeaderMap) -> bool {
    let flags = headers.get(TRACEPARENT).and_then(|value| value.as_bytes().get(54));
    let digit = flags.and_then(|digit| char::from(*digit).to_digit(16));
    digit.is_some_and(|digit| digit & 1 == 1)
        && callers_trace(headers).is_some_and(|caller| caller.span().span_context().is_sampled())
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
        if let Some(Unanswered(code)) = response.extensions().get() {
            outcome.code = Some(*code);
        }
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

/// Writes into a request's span how it ended.
fn record(span: &Span, code: Code) {
    let name = calls::name(code);
    span.record("rpc.response.status_code", name);
    // What a server has to answer for. The others are between the caller and its request.
    if matches!(
        code,
        Code::Unknown
            | Code::DeadlineExceeded
            | Code::Unimplemented
            | Code::Internal
            | Code::Unavailable
            | Code::DataLoss
    ) {
        span.record("error.type", name);
        span.record("otel.status_code", "error");
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
    /// The first that is said: the trailers of a gateway's question that could not be answered say that it was.
    code: Option<Code>,
}

impl Outcome {
    fn note(&mut self, headers: &HeaderMap) {
        if self.started.is_some()
            && self.code.is_none()
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
        record(&self.span, code);
        let duration_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        // Within the span, so that a record that is sent has its ids.
        self.span.in_scope(|| tracing::debug!(?code, duration_us, "answered"));
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
