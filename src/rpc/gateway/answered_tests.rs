use std::convert::Infallible;
use std::time::Duration;

use http::header::CONTENT_TYPE;
use tonic::body::Body as Empty;
use tower::{ServiceExt as _, service_fn};

use super::*;
use crate::domain::Error;
use crate::domain::permission::VERBS;
use crate::rpc::proto::gateway::envoy::service::auth::v3::check_response::HttpResponse;

/// What a service behind this says, in its frames.
#[derive(Debug, Default)]
struct Frames(Vec<Frame<Bytes>>);

impl Body for Frames {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready((!self.0.is_empty()).then(|| Ok(self.0.remove(0))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_empty()
    }
}

async fn ask(path: &str, answer: Response<Frames>) -> Response<AnsweredBody<Frames>> {
    let answer = std::cell::RefCell::new(Some(answer));
    let service = service_fn(|_| {
        let answer = answer.borrow_mut().take().expect("asked once");
        async { Ok::<_, Infallible>(answer) }
    });
    let request = Request::builder().uri(path).body(Empty::empty()).expect("a request");
    answered(service).oneshot(request).await.expect("an answer")
}

async fn next(body: &mut AnsweredBody<Frames>) -> Option<Frame<Bytes>> {
    let frame = std::future::poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx)).await;
    frame.map(|frame| frame.expect("no error"))
}

/// The one message of an answer that says in its trailers that all is well.
async fn message(mut response: Response<AnsweredBody<Frames>>) -> Bytes {
    assert!(response.headers().get(Status::GRPC_STATUS).is_none(), "{response:?}");
    assert!(!response.body().is_end_stream());
    let mut frames = Vec::new();
    while let Some(frame) = next(response.body_mut()).await {
        frames.push(frame);
    }
    assert!(response.body().is_end_stream());
    let [message, trailers] = frames.try_into().expect("a message and trailers");
    let trailers = trailers.into_trailers().expect("trailers");
    assert_eq!(trailers, all_is_well());
    message.into_data().expect("a message")
}

/// Status, reason and detail that the client of a gateway is told, and the message that its operator sees.
fn told(message: &Bytes) -> (i32, String, String, String) {
    let (head, message) = message.split_at(MESSAGE_HEAD);
    assert_eq!(head[0], 0);
    assert_eq!(u32::from_be_bytes(head[1..].try_into().expect("four")) as usize, message.len());
    let response = CheckResponse::decode(message).expect("a CheckResponse");
    let Some(HttpResponse::DeniedResponse(denied)) = response.http_response else {
        panic!("not denied: {response:?}")
    };
    let status = response.status.expect("a status");
    assert_ne!(status.code, 0);
    let retry = denied.headers.iter().filter_map(|option| option.header.as_ref());
    assert!(retry.clone().any(|header| header.key == "retry-after"), "{retry:?}");
    let problem: serde_json::Value = serde_json::from_str(&denied.body).expect("a problem");
    let text = |name: &str| problem[name].as_str().expect("a text").to_owned();
    (denied.status.expect("a status").code, text("reason"), text("detail"), status.message)
}

fn head(error: Error) -> Response<Frames> {
    Status::from(error).into_http()
}

fn trailers(error: Error) -> Frame<Bytes> {
    let mut trailers = HeaderMap::new();
    Status::from(error).add_header(&mut trailers).expect("it fits");
    Frame::trailers(trailers)
}

#[test]
fn the_method_is_one_of_ours() {
    assert!(VERBS.iter().any(|(_, name, _)| CHECK == format!("/{name}")));
}

#[tokio::test]
async fn an_error_becomes_a_denial_with_its_reason() {
    let overloaded =
        || Error::Overloaded { what: "too many requests", retry_after: Duration::from_secs(1) };
    for (error, reason, detail) in [
        (overloaded(), "OVERLOADED", "can't be known now"),
        (Error::Unavailable("no lease"), "UNAVAILABLE", "can't be known now"),
        (Error::DeadlineExceeded, "DEADLINE_EXCEEDED", "can't be known now"),
        (Error::Unauthenticated("who"), "UNAUTHENTICATED", "the gateway itself may not ask"),
        (Error::invalid("request", "what"), "INVALID_REQUEST", "in a way that can't be read"),
        (Error::Internal("hunter2".to_owned()), "INTERNAL", "can't be known now"),
    ] {
        let said = Status::from(error.clone()).message().to_owned();
        let response = ask(CHECK, head(error)).await;
        assert_eq!(response.headers()[CONTENT_TYPE], "application/grpc");
        assert!(response.extensions().get::<Status>().is_none());
        let (status, own, told, to_operators) = told(&message(response).await);
        assert_eq!((status, own.as_str()), (503, reason));
        assert!(told.contains(detail), "{reason}: {told}");
        assert_eq!(to_operators, said);
        assert!(!to_operators.contains("hunter2"));
    }
}

#[tokio::test]
async fn an_error_without_details_is_one_too() {
    let response = ask(CHECK, Status::unimplemented("nothing here").into_http()).await;
    assert_eq!(told(&message(response).await).1, "UNAVAILABLE");
}

#[tokio::test]
async fn an_error_in_the_place_of_the_message_is_one_too() {
    let late = Response::new(Frames(vec![trailers(Error::DeadlineExceeded)]));
    assert_eq!(told(&message(ask(CHECK, late).await).await).1, "DEADLINE_EXCEEDED");
}

#[tokio::test]
async fn an_answer_passes_as_it_is() {
    let well = || vec![Frame::data(Bytes::from_static(b"said")), Frame::trailers(all_is_well())];
    let response = ask(CHECK, Response::new(Frames(well()))).await;
    assert_eq!(message(response).await, "said");
}

#[tokio::test]
async fn errors_of_other_methods_stay_errors() {
    for path in ["/countersign.v1.KeyVerifier/Verify", "/envoy.service.auth.v3.Authorization/No"] {
        let response = ask(path, head(Error::Unavailable("no lease"))).await;
        let status = Status::from_header_map(response.headers()).expect("a status");
        assert_eq!(status.code(), Code::Unavailable);
        assert!(response.body().is_end_stream());
        let frames = vec![trailers(Error::DeadlineExceeded)];
        let mut response = ask(path, Response::new(Frames(frames))).await;
        let frame = next(response.body_mut()).await.expect("a frame");
        assert!(frame.trailers_ref().and_then(refused).is_some());
    }
}
