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
