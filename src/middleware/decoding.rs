//! Says in the words of our table what tonic says about a message that it can't read.
//!
//! tonic calls an oversized message OUT_OF_RANGE, which here means a cursor, and a message that is no
//! protobuf INTERNAL, with the decoder's own words. Both are the caller's doing and get a clear answer.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http::{Request, Response};
use pin_project_lite::pin_project;
use tonic::{Code, Status};
use tower::{Layer, Service};

use super::method::{Door, door};
use crate::domain::Error;
use crate::rpc::status::{most_bytes, unreadable};

/// What an answer without details, which no error of ours is, means for the caller.
fn in_our_words(status: &Status, limit: usize) -> Option<Error> {
    if !status.details().is_empty() {
        return None;
    }
    match status.code() {
        Code::OutOfRange => Some(Error::RequestTooLarge { limit }),
        Code::Internal => Some(unreadable()),
        _ => None,
    }
}

/// Replaces tonic's refusals of messages to our services.
#[derive(Debug, Clone, Copy)]
pub(super) struct DecodingLayer;

impl<S> Layer<S> for DecodingLayer {
    type Service = Decoding<S>;

    fn layer(&self, inner: S) -> Decoding<S> {
        Decoding { inner }
    }
}

/// See [`DecodingLayer`].
#[derive(Debug, Clone)]
pub struct Decoding<S> {
    inner: S,
}

impl<S, B, R> Service<Request<B>> for Decoding<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    R: Default,
{
    type Response = Response<R>;
    type Error = S::Error;
    type Future = Decoded<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let path = request.uri().path();
        let limit = (door(path) != Door::Open).then(|| most_bytes(path));
        Decoded { answer: self.inner.call(request), limit }
    }
}

pin_project! {
    /// An answer whose refusal may have to be said in our words.
    #[derive(Debug)]
    pub struct Decoded<F> {
        #[pin]
        answer: F,
        // The longest request of a service of ours.
        limit: Option<usize>,
    }
}

impl<F, R, E> Future for Decoded<F>
where
    F: Future<Output = Result<Response<R>, E>>,
    R: Default,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let response = ready!(this.answer.poll(cx))?;
        let Some(limit) = *this.limit else { return Poll::Ready(Ok(response)) };
        // A status that came without a message stands in the head; tonic leaves it here as well.
        let refusal = response.extensions().get::<Status>();
        let refusal = refusal.and_then(|status| in_our_words(status, limit));
        Poll::Ready(Ok(refusal.map_or(response, |error| Status::from(error).into_http())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_not_ours_is_replaced() {
        let ours = Status::from(Error::CursorOutOfRange("it is ahead of the log"));
        assert_eq!(in_our_words(&ours, 7), None);
        assert_eq!(in_our_words(&Status::unimplemented(""), 7), None);
        let too_large =
            in_our_words(&Status::out_of_range("Error, decoded message length too large"), 7);
        assert_eq!(too_large, Some(Error::RequestTooLarge { limit: 7 }));
        let unreadable = in_our_words(&Status::internal("failed to decode Protobuf message"), 7);
        assert!(matches!(unreadable, Some(Error::InvalidRequest(_))));
    }
}
