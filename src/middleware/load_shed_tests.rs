use std::convert::Infallible;

use tonic::Code;
use tonic::body::Body as TonicBody;
use tonic_types::StatusExt as _;
use tower::{ServiceExt as _, service_fn};

use super::*;

type Answer = Result<Response<Counted<TonicBody>>, Infallible>;

async fn ask(layer: &LoadShedLayer, path: &str) -> Response<Counted<TonicBody>> {
    let service = service_fn(|_| async { Ok::<_, Infallible>(Response::new(TonicBody::empty())) });
    let request = Request::builder().uri(path).body(TonicBody::empty()).expect("a request");
    let answer: Answer = layer.layer(service).oneshot(request).await;
    answer.expect("an answer")
}

fn code(response: &Response<Counted<TonicBody>>) -> Code {
    response.extensions().get::<Status>().map_or(Code::Ok, Status::code)
}

#[tokio::test]
async fn what_is_over_the_limit_is_told_to_come_back_later() {
    let layer = LoadShedLayer::new(Arc::new(Semaphore::new(1)));
    let first = ask(&layer, "/x").await;
    let second = ask(&layer, "/x").await;
    assert_eq!((code(&first), code(&second)), (Code::Ok, Code::ResourceExhausted));
    let status = second.extensions().get::<Status>().expect("a status");
    let retry = status.get_details_retry_info().expect("a RetryInfo");
    assert_eq!(retry.retry_delay, Some(RETRY_AFTER));
}

#[tokio::test]
async fn a_place_is_taken_until_the_response_has_been_sent() {
    let layer = LoadShedLayer::new(Arc::new(Semaphore::new(1)));
    let mut sent = ask(&layer, "/x").await;
    assert_eq!(code(&ask(&layer, "/x").await), Code::ResourceExhausted);
    let end = std::future::poll_fn(|cx| Pin::new(sent.body_mut()).poll_frame(cx)).await;
    assert!(end.is_none());
    let dropped = ask(&layer, "/x").await;
    assert_eq!(code(&dropped), Code::Ok);
    drop(dropped);
    assert_eq!(code(&ask(&layer, "/x").await), Code::Ok);
}

#[tokio::test]
async fn a_health_check_is_never_shed() {
    let layer = LoadShedLayer::new(Arc::new(Semaphore::new(0)));
    assert_eq!(code(&ask(&layer, "/grpc.health.v1.Health/Check").await), Code::Ok);
    assert_eq!(code(&ask(&layer, "/grpc.health.v1.Health/Watch").await), Code::ResourceExhausted);
}
