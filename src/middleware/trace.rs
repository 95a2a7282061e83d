//! One span for each request, under the caller's trace if the request carries one.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use http::{HeaderMap, Request, Response};
use http_body::{Body, Frame, SizeHint};
use opentelemetry::propagation::{Extractor, TextMapPropagator as _};
use opentelemetry::trace::TraceContextExt as _;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use tokio::time::Instant;
use tonic::{Code, Status};
use tower::{Layer, Service};
use tracing::{Instrument as _, Span, field};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

use super::Answering;
use super::method::names;

const TRACEPARENT: &str = "traceparent";

/// The trace that the caller's request belongs to; among the request's extensions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TraceId(pub(super) opentelemetry::TraceId);

/// Opens the span, and closes it with status and duration when the response has been sent.
#[derive(Debug, Clone, Copy)]
pub(super) struct TraceLayer;

impl<S> Layer<S> for TraceLayer {
    type Service = Trace<S>;

    fn layer(&self, inner: S) -> Trace<S> {
        Trace { inner }
    }
}

/// See [`TraceLayer`].
#[derive(Debug, Clone)]
pub struct Trace<S> {
    inner: S,
}

impl<S, B, R> Service<Request<B>> for Trace<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
    R: 'static,
{
    type Response = Response<Traced<R>>;
    type Error = S::Error;
    type Future = Answering<Traced<R>, S::Error>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let (service, method) = names(request.uri().path());
        let span = tracing::info_span!(
            "request",
            otel.name = format_args!("{service}/{method}"),
            otel.kind = "server",
            rpc.system = "grpc",
            rpc.service = service,
            rpc.method = method,
            rpc.grpc.status_code = field::Empty,
        );
        if let Some(caller) = callers_trace(request.headers()) {
            request.extensions_mut().insert(TraceId(caller.span().span_context().trace_id()));
            // Without an exporter there is no layer to take it, which is fine.
            _ = span.set_parent(caller);
        }
        let outcome = Outcome { span, started: Instant::now(), code: None };
        let answer = outcome.span.in_scope(|| self.inner.call(request));
        Box::pin(async move {
            let mut outcome = outcome;
            let response = answer.instrument(outcome.span.clone()).await?;
            // A refusal, and any answer without a message, has its status in the head.
            outcome.note(response.headers());
            Ok(response.map(|body| Traced { body, outcome }))
        })
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
    started: Instant,
    code: Option<Code>,
}

impl Outcome {
    fn note(&mut self, headers: &HeaderMap) {
        if let Some(code) = headers.get(Status::GRPC_STATUS) {
            self.code = Some(Code::from_bytes(code.as_bytes()));
        }
    }
}

impl Drop for Outcome {
    fn drop(&mut self) {
        let code = self.code.unwrap_or(Code::Cancelled);
        self.span.record("rpc.grpc.status_code", i32::from(code));
        let duration_us = u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX);
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
