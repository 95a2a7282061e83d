use std::convert::Infallible;

use tonic::body::Body as TonicBody;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;
use tower::{ServiceExt as _, service_fn};

use super::*;

type Answer = Result<Response<Counted<TonicBody>>, Infallible>;

const VERIFY: &str = "/countersign.v1.KeyVerifier/Verify";
const CHECK: &str = "/grpc.health.v1.Health/Check";
/// What anybody may call, and keep open for as long as they like.
const OPEN: [&str; 4] = [
    "/grpc.health.v1.Health/Watch",
    "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
    "/nowhere",
];

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
    let layer = LoadShedLayer::new(1, 0);
    let first = ask(&layer, VERIFY).await;
    let second = ask(&layer, VERIFY).await;
    assert_eq!((code(&first), code(&second)), (Code::Ok, Code::ResourceExhausted));
    let status = second.extensions().get::<Status>().expect("a status");
    let retry = status.get_details_retry_info().expect("a RetryInfo");
    assert_eq!(retry.retry_delay, Some(RETRY_AFTER));
}

#[tokio::test]
async fn a_place_is_taken_until_the_response_has_been_sent() {
    let layer = LoadShedLayer::new(1, 0);
    let mut sent = ask(&layer, VERIFY).await;
    assert_eq!(code(&ask(&layer, VERIFY).await), Code::ResourceExhausted);
    let end = std::future::poll_fn(|cx| Pin::new(sent.body_mut()).poll_frame(cx)).await;
    assert!(end.is_none());
    let dropped = ask(&layer, VERIFY).await;
    assert_eq!(code(&dropped), Code::Ok);
    drop(dropped);
    assert_eq!(code(&ask(&layer, VERIFY).await), Code::Ok);
}

#[tokio::test]
async fn a_health_check_is_never_shed() {
    let layer = LoadShedLayer::new(0, 0);
    assert_eq!(code(&ask(&layer, CHECK).await), Code::Ok);
    assert_eq!(code(&ask(&layer, OPEN[0]).await), Code::ResourceExhausted);
}

#[tokio::test]
async fn what_is_open_to_anybody_takes_no_place_of_our_services() {
    for path in OPEN {
        let layer = LoadShedLayer::new(1, 2);
        let held = [ask(&layer, path).await, ask(&layer, path).await];
        assert_eq!(held.each_ref().map(code), [Code::Ok, Code::Ok], "{path}");
        for other in OPEN {
            assert_eq!(code(&ask(&layer, other).await), Code::ResourceExhausted, "{other}");
        }
        let ours = ask(&layer, VERIFY).await;
        assert_eq!(code(&ours), Code::Ok, "beside {path}");
        assert_eq!(code(&ask(&layer, CHECK).await), Code::Ok);
        drop(held);
        assert_eq!(code(&ask(&layer, path).await), Code::Ok, "while ours are all taken");
    }
}
