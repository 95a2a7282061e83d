//! Waits for a request's message for so long and no longer.
//!
//! A caller that opens a request and never sends its message would hold a place of everybody's for ever.

use std::error::Error as StdError;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http::Request;
use http_body::{Body as HttpBody, Frame, SizeHint};
use prost::bytes::Bytes;
use tokio::time::{Sleep, sleep};
use tonic::Status;
use tower::{Layer, Service};

use super::method::takes_one_message;
use crate::domain::Error;

/// Gives up on messages that do not arrive.
#[derive(Debug, Clone, Copy)]
pub(super) struct ArrivalLayer {
    within: Duration,
}

impl ArrivalLayer {
    /// A message is waited for for so long, from when it was first missed.
    pub(super) fn new(within: Duration) -> Self {
        Self { within }
    }
}

impl<S> Layer<S> for ArrivalLayer {
    type Service = Arrival<S>;

    fn layer(&self, inner: S) -> Arrival<S> {
        Arrival { within: self.within, inner }
    }
}

/// See [`ArrivalLayer`].
#[derive(Debug, Clone)]
pub struct Arrival<S> {
    within: Duration,
    inner: S,
}

impl<S, B> Service<Request<B>> for Arrival<S>
where
    S: Service<Request<Arriving<B>>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> S::Future {
        let within = takes_one_message(request.uri().path()).then_some(self.within);
        self.inner.call(request.map(|body| Arriving { body, within, end: None }))
    }
}

/// The body of a request, which must be complete in time.
#[derive(Debug)]
pub struct Arriving<B> {
    body: B,
    /// `None`: whenever the caller likes.
    within: Option<Duration>,
    /// Only what is waited for costs a timer: most messages are here when they are asked for.
    end: Option<Pin<Box<Sleep>>>,
}

impl<B> HttpBody for Arriving<B>
where
    B: HttpBody<Data = Bytes, Error: Into<Box<dyn StdError + Send + Sync>>> + Unpin,
{
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) {
            let broken = |error: B::Error| Status::from_error(error.into());
            return Poll::Ready(frame.map(|frame| frame.map_err(broken)));
        }
        let Some(within) = self.within else { return Poll::Pending };
        let end = self.end.get_or_insert_with(|| Box::pin(sleep(within)));
        ready!(end.as_mut().poll(cx));
        Poll::Ready(Some(Err(Error::DeadlineExceeded.into())))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::convert::Infallible;
    use std::future::poll_fn;
    use tonic::Code;
    use tonic::body::Body;
    use tower::{ServiceExt as _, service_fn};

    const LIMIT: Duration = Duration::from_millis(1);
    const VERIFY: &str = "/countersign.v1.KeyVerifier/Verify";

    /// Sends so many bytes, one at a time and never at once, and then nothing more.
    struct Dripping {
        left: usize,
        is_due: bool,
    }

    impl HttpBody for Dripping {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            if self.left == 0 {
                return Poll::Pending;
            }
            self.is_due = !self.is_due;
            if self.is_due {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            self.left -= 1;
            Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b"x")))))
        }
    }

    /// Reads a request to its end, as the layer gives it to the service: how many frames, and how it
    /// ended.
    async fn read(path: &str, body: Body) -> (usize, Option<Code>) {
        let service = service_fn(|request: Request<Arriving<Body>>| async {
            let (mut body, mut frames) = (request.into_body(), 0);
            loop {
                match poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
                    Some(Ok(_)) => frames += 1,
                    Some(Err(status)) => return Ok::<_, Infallible>((frames, Some(status.code()))),
                    None => return Ok((frames, None)),
                }
            }
        });
        let request = Request::builder().uri(path).body(body).expect("a request");
        ArrivalLayer::new(LIMIT).layer(service).oneshot(request).await.expect("an outcome")
    }

    #[tokio::test]
    async fn a_message_that_never_comes_is_given_up() {
        let silent = Body::new(Dripping { left: 0, is_due: false });
        assert_eq!(read(VERIFY, silent).await, (0, Some(Code::DeadlineExceeded)));
        let begun = Body::new(Dripping { left: 3, is_due: false });
        assert_eq!(read(VERIFY, begun).await, (3, Some(Code::DeadlineExceeded)));
    }

    #[tokio::test]
    async fn one_that_drips_is_given_up_as_well() {
        let endless = Body::new(Dripping { left: usize::MAX, is_due: false });
        assert_eq!(read(VERIFY, endless).await.1, Some(Code::DeadlineExceeded));
    }

    #[tokio::test]
    async fn one_that_is_there_is_read() {
        assert_eq!(read(VERIFY, Body::empty()).await, (0, None));
    }

    #[tokio::test]
    async fn reflection_may_think_between_its_questions() {
        const REFLECTION: &str = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo";
        let silent = Body::new(Dripping { left: 0, is_due: false });
        let mut reading = Box::pin(read(REFLECTION, silent));
        let mut is_reading = || {
            let mut context = Context::from_waker(std::task::Waker::noop());
            reading.as_mut().poll(&mut context).is_pending()
        };
        assert!(is_reading());
        let waited = read(VERIFY, Body::new(Dripping { left: 0, is_due: false }));
        assert_eq!(waited.await.1, Some(Code::DeadlineExceeded), "the limit has passed");
        assert!(is_reading());
    }
}
