use std::convert::Infallible;
use std::future::{pending, poll_fn};

use tonic::Code;
use tonic::body::Body as TonicBody;
use tower::{ServiceExt as _, service_fn};

use super::*;

fn request(timeout: &str) -> Request<TonicBody> {
    let request = Request::builder().uri("/x").header(GRPC_TIMEOUT, timeout);
    request.body(TonicBody::empty()).expect("a request")
}

/// A body that never has anything to say.
#[derive(Debug, Default)]
struct Silent;

impl Body for Silent {
    type Data = prost::bytes::Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Infallible>>> {
        Poll::Pending
    }
}

/// A body that always has something to say.
#[derive(Debug, Default)]
struct Busy;

impl Body for Busy {
    type Data = prost::bytes::Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Infallible>>> {
        Poll::Ready(Some(Ok(Frame::data(Self::Data::from_static(b"more")))))
    }
}

#[test]
fn timeouts_are_read_as_grpc_writes_them() {
    let cases = [
        ("1H", Duration::from_secs(3_600)),
        ("2M", Duration::from_secs(120)),
        ("3S", Duration::from_secs(3)),
        ("4m", Duration::from_millis(4)),
        ("5u", Duration::from_micros(5)),
        ("99999999n", Duration::from_nanos(99_999_999)),
        ("99999999H", Duration::from_secs(359_999_996_400)),
    ];
    for (text, timeout) in cases {
        assert_eq!(parse_timeout(text), Some(timeout), "{text}");
    }
    for bad in ["", "S", "1", "1s", "1h", "-1S", "+1S", "1.5S", "100000000S", " 1S", "1ü", "üS"] {
        assert_eq!(parse_timeout(bad), None, "{bad:?}");
    }
}

#[tokio::test]
async fn a_malformed_timeout_is_a_violation() {
    let service = service_fn(|_| async { Ok::<_, Infallible>(Response::new(Silent)) });
    let response = DeadlineLayer.layer(service).oneshot(request("soon")).await.expect("an answer");
    let status = response.extensions().get::<Status>().expect("a status");
    assert_eq!(status.code(), Code::InvalidArgument);
    assert!(status.message().contains("grpc-timeout"));
}

#[tokio::test]
async fn a_call_that_is_not_answered_in_time_is_answered_deadline_exceeded() {
    let service = service_fn(|_| pending::<Result<Response<Silent>, Infallible>>());
    let response = DeadlineLayer.layer(service).oneshot(request("1m")).await.expect("an answer");
    let status = response.extensions().get::<Status>().expect("a status");
    assert_eq!(status.code(), Code::DeadlineExceeded);
    assert!(response.body().body.size_hint().exact().is_none());
}

#[tokio::test]
async fn a_stream_ends_with_deadline_exceeded() {
    let service = service_fn(|_| async { Ok::<_, Infallible>(Response::new(Silent)) });
    let response = DeadlineLayer.layer(service).oneshot(request("1m")).await.expect("an answer");
    let mut body = response.into_body();
    let mut next = async || poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await;
    let last = next().await.expect("a frame").expect("no failure");
    let trailers = last.trailers_ref().expect("trailers");
    let status = Status::from_header_map(trailers).expect("a status");
    assert_eq!(status.code(), Code::DeadlineExceeded);
    assert!(next().await.is_none());
}

#[tokio::test]
async fn a_busy_stream_ends_too() {
    let service = service_fn(|_| async { Ok::<_, Infallible>(Response::new(Busy)) });
    let response = DeadlineLayer.layer(service).oneshot(request("1n")).await.expect("an answer");
    let mut body = response.into_body();
    let frame = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await;
    let frame = frame.expect("a frame").expect("no failure");
    let trailers = frame.into_trailers().expect("the nanosecond is over: no more of the stream");
    let status = Status::from_header_map(&trailers).expect("a status");
    assert_eq!(status.code(), Code::DeadlineExceeded);
    assert!(body.is_end_stream());
}
