//! Makes an answer of whatever refuses a question of Envoy's before it is decided.
//!
//! Much stands in front of [`Gateway`](super::Gateway): too many requests are in work, the gateway's own credential is
//! refused or can't be looked up without a lease, the message can't be read. To gRPC these are errors, and there are
//! gateways that are told to let pass on errors. So this goes around all of it:
//!
//! ```text
//!   Envoy ─► [here] ─► trace ─► load shed ─► deadline ─► authentication ─► Check
//!         ◄─ denied ◄──────────── UNAVAILABLE ◄─────────────┘
//! ```
//!
//! Spans and metrics lie within, and tell the error as it was. What asks for anything but a Check passes untouched.

use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http::{HeaderMap, HeaderValue, Request, Response};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use prost::Message as _;
use prost::bytes::{BufMut as _, Bytes, BytesMut};
use tonic::{Code, Status};
use tower::Service;

use super::check;
use super::refusal::Refusal;
use crate::rpc::proto::gateway::envoy::service::auth::v3::CheckResponse;

/// The one method whose errors somebody may take for a yes.
const CHECK: &str = "/envoy.service.auth.v3.Authorization/Check";

/// A message in gRPC: a byte for its compression, four for its length, then itself.
const MESSAGE_HEAD: usize = 5;

/// The service, and an answer to Envoy where it has an error.
pub fn answered<S>(inner: S) -> Answered<S> {
    Answered { inner }
}

/// See [`answered`].
#[derive(Debug, Clone)]
pub struct Answered<S> {
    inner: S,
}

impl<S, B, R> Service<Request<B>> for Answered<S>
where
    S: Service<Request<B>, Response = Response<R>>,
{
    type Response = Response<AnsweredBody<R>>;
    type Error = S::Error;
    type Future = Answering<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let is_check = request.uri().path() == CHECK;
        Answering { answer: self.inner.call(request), is_check }
    }
}

pin_project! {
    /// The answer of the service, or ours.
    #[derive(Debug)]
    pub struct Answering<F> {
        #[pin]
        answer: F,
        is_check: bool,
    }
}

impl<F, R, E> Future for Answering<F>
where
    F: Future<Output = Result<Response<R>, E>>,
{
    type Output = Result<Response<AnsweredBody<R>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let mut response = ready!(this.answer.poll(cx))?;
        if !*this.is_check {
            return Poll::Ready(
                Ok(response.map(|body| AnsweredBody { body, stage: Stage::Given })),
            );
        }
        // A refusal has its status in the head, and no body.
        let stage = match refused(response.headers()) {
            None => Stage::Awaited,
            Some(status) => {
                let head = response.headers_mut();
                for name in [Status::GRPC_STATUS, Status::GRPC_MESSAGE, Status::GRPC_STATUS_DETAILS]
                {
                    head.remove(name);
                }
                response.extensions_mut().remove::<Status>();
                Stage::Denied(denied(&status))
            }
        };
        Poll::Ready(Ok(response.map(|body| AnsweredBody { body, stage })))
    }
}

/// The body of an answer that is there in any case.
#[derive(Debug)]
pub struct AnsweredBody<R> {
    body: R,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    /// It passes as it is.
    Given,
    /// Its message has not come.
    Awaited,
    /// In its place comes this one,
    Denied(Bytes),
    /// then the word that all is well,
    Said,
    /// and nothing more.
    Over,
}

impl<R: Body<Data = Bytes> + Unpin> Body for AnsweredBody<R> {
    type Data = Bytes;
    type Error = R::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, R::Error>>> {
        let this = &mut *self;
        if let Stage::Awaited = this.stage {
            let frame = ready!(Pin::new(&mut this.body).poll_frame(cx));
            let trailers = frame.as_ref().and_then(|frame| frame.as_ref().ok()?.trailers_ref());
            let Some(status) = trailers.and_then(refused) else {
                this.stage = Stage::Given;
                return Poll::Ready(frame);
            };
            this.stage = Stage::Denied(denied(&status));
        }
        match mem::replace(&mut this.stage, Stage::Over) {
            Stage::Denied(message) => {
                this.stage = Stage::Said;
                Poll::Ready(Some(Ok(Frame::data(message))))
            }
            Stage::Said => Poll::Ready(Some(Ok(Frame::trailers(all_is_well())))),
            Stage::Over => Poll::Ready(None),
            given @ (Stage::Given | Stage::Awaited) => {
                this.stage = given;
                Pin::new(&mut this.body).poll_frame(cx)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self.stage {
            Stage::Given | Stage::Awaited => self.body.is_end_stream(),
            Stage::Denied(_) | Stage::Said => false,
            Stage::Over => true,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self.stage {
            Stage::Given => self.body.size_hint(),
            _ => SizeHint::default(),
        }
    }
}

/// The error that head or trailers hold.
fn refused(headers: &HeaderMap) -> Option<Status> {
    Status::from_header_map(headers).filter(|status| status.code() != Code::Ok)
}

fn all_is_well() -> HeaderMap {
    HeaderMap::from_iter([(Status::GRPC_STATUS, HeaderValue::from_static("0"))])
}

/// The message that denies in the place of an error.
fn denied(status: &Status) -> Bytes {
    let mut response: CheckResponse = check::denied(&Refusal::of_the_question(status));
    if let Some(said) = &mut response.status {
        // For whoever looks why a gateway is refused; clients of the gateway are not told.
        status.message().clone_into(&mut said.message);
    }
    let length = response.encoded_len();
    let mut message = BytesMut::with_capacity(MESSAGE_HEAD + length);
    message.put_u8(0);
    // It has a few hundred bytes.
    message.put_u32(u32::try_from(length).unwrap_or_default());
    message.extend_from_slice(&response.encode_to_vec());
    message.freeze()
}

#[cfg(test)]
#[path = "answered_tests.rs"]
mod tests;
