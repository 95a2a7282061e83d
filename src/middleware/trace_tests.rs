use http::HeaderValue;

use super::*;

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

fn trace_id(values: &[&str]) -> Option<String> {
    let mut headers = HeaderMap::new();
    for value in values {
        headers.append(TRACEPARENT, HeaderValue::from_str(value).expect("a header's value"));
    }
    callers_trace(&headers).map(|context| context.span().span_context().trace_id().to_string())
}

#[test]
fn the_callers_trace_is_found_in_its_header() {
    let traceparent = format!("00-{TRACE}-b7ad6b7169203331-01");
    assert_eq!(trace_id(&[&traceparent]).as_deref(), Some(TRACE));
}

#[test]
fn a_malformed_or_doubled_header_is_no_trace() {
    let good = format!("00-{TRACE}-b7ad6b7169203331-01");
    let zero = format!("00-{}-b7ad6b7169203331-01", "0".repeat(32));
    for bad in ["", "00", zero.as_str(), "00-xyz-b7ad6b7169203331-01"] {
        assert_eq!(trace_id(&[bad]), None, "{bad:?}");
    }
    assert_eq!(trace_id(&[]), None);
    assert_eq!(trace_id(&[&good, &good]), None);
}

#[test]
fn the_status_is_the_one_in_head_or_trailers_and_a_caller_that_left_cancelled() {
    let started = Some(Instant::now());
    let mut outcome = Outcome { span: Span::none(), noted: None, started, code: None };
    outcome.note(&HeaderMap::new());
    assert_eq!(outcome.code, None);
    let mut trailers = HeaderMap::new();
    Status::not_found("x").add_header(&mut trailers).expect("fits");
    outcome.note(&trailers);
    assert_eq!(outcome.code, Some(Code::NotFound));
}

#[tokio::test]
async fn a_gateways_question_without_an_answer_failed_whatever_its_trailers_say() {
    let calls = calls::Calls::default();
    let service = tower::service_fn(async |request: Request<()>| {
        let mut response = Response::new(String::new());
        if let Some(unanswered) = request.extensions().get::<Unanswered>() {
            response.extensions_mut().insert(*unanswered);
        }
        Ok::<_, std::convert::Infallible>(response)
    });
    let mut service = TraceLayer::new(Some(calls.of_one_thread())).layer(service);
    for unanswered in [None, Some(Unanswered(Code::Unavailable))] {
        let uri = "/envoy.service.auth.v3.Authorization/Check";
        let mut request = Request::builder().uri(uri).body(()).expect("a request");
        if let Some(unanswered) = unanswered {
            request.extensions_mut().insert(unanswered);
        }
        let Ok(mut response) = service.call(request).await;
        let mut trailers = HeaderMap::new();
        trailers.insert(Status::GRPC_STATUS, HeaderValue::from_static("0"));
        response.body_mut().outcome.note(&trailers);
    }
    let mut noted = calls.noted();
    noted.retain(|calls| calls.held.iter().any(|held| held.count > 0));
    let codes: Vec<_> = noted.iter().map(|calls| calls.code).collect();
    assert_eq!(codes, ["OK", "UNAVAILABLE"]);
}

#[test]
fn a_trace_is_sampled_if_its_flag_says_so() {
    let sampled = |traceparent: &str| {
        let mut headers = HeaderMap::new();
        headers.insert(TRACEPARENT, HeaderValue::from_str(traceparent).expect("a header's value"));
        is_sampled(&headers)
    };
    assert!(sampled(&format!("00-{TRACE}-b7ad6b7169203331-01")));
    assert!(!sampled(&format!("00-{TRACE}-b7ad6b7169203331-00")));
    assert!(!sampled("00-xyz-b7ad6b7169203331-01"));
    assert!(!is_sampled(&HeaderMap::new()));
}
