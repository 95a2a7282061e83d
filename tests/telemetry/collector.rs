//! What a collector remembers of what it is sent.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write as _;
use std::sync::{Arc, Mutex};

use axum::http::HeaderMap;
use opentelemetry_proto::tonic::collector::logs::v1::logs_service_server::LogsService;
use opentelemetry_proto::tonic::collector::logs::v1::{
    ExportLogsServiceRequest, ExportLogsServiceResponse,
};
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_server::MetricsService;
use opentelemetry_proto::tonic::collector::metrics::v1::{
    ExportMetricsServiceRequest, ExportMetricsServiceResponse,
};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::TraceService;
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::metrics::v1::Metric;
use prost::Message;
use tonic::{Request, Response, Status};

/// A span as it arrived; ids in hex.
#[derive(Debug, Clone)]
pub struct Span {
    pub name: String,
    pub trace: String,
    pub id: String,
    pub parent: String,
    /// 2: of a server, 3: of a client.
    pub kind: i32,
    /// 2: an error.
    pub status: i32,
    pub attributes: BTreeMap<String, String>,
    pub resource: BTreeMap<String, String>,
}

/// A log record as it arrived.
#[derive(Debug, Clone)]
pub struct Record {
    pub target: String,
    pub body: String,
    pub trace: String,
    pub span: String,
}

#[derive(Default)]
pub struct Taken {
    pub spans: Vec<Span>,
    pub records: Vec<Record>,
    pub metrics: Vec<Metric>,
    pub headers: Vec<(String, String)>,
    pub file: Option<File>,
}

#[derive(Clone, Default)]
pub struct Collector(Arc<Mutex<Taken>>);

impl Collector {
    pub fn with<T>(&self, work: impl FnOnce(&mut Taken) -> T) -> T {
        work(&mut self.0.lock().expect("nobody panics within"))
    }

    fn keep(taken: &mut Taken, message: &impl Message) {
        let file = taken.file.as_mut().expect("it was opened");
        file.write_all(&message.encode_to_vec()).expect("the run folder takes bytes");
    }

    pub fn note(&self, headers: HeaderMap) {
        let texts = headers
            .iter()
            .filter_map(|(name, value)| Some((name.to_string(), value.to_str().ok()?.to_owned())));
        self.with(|taken| taken.headers.extend(texts));
    }

    pub fn take_spans(&self, request: ExportTraceServiceRequest) {
        self.with(|taken| {
            Self::keep(taken, &request);
            for of_resource in request.resource_spans {
                let resource = of_resource.resource.unwrap_or_default().attributes;
                let spans = of_resource.scope_spans.into_iter().flat_map(|scope| scope.spans);
                taken.spans.extend(spans.map(|span| Span {
                    name: span.name,
                    trace: hex(&span.trace_id),
                    id: hex(&span.span_id),
                    parent: hex(&span.parent_span_id),
                    kind: span.kind,
                    status: span.status.unwrap_or_default().code,
                    attributes: texts(&span.attributes),
                    resource: texts(&resource),
                }));
            }
        });
    }

    pub fn take_metrics(&self, request: ExportMetricsServiceRequest) {
        self.with(|taken| {
            Self::keep(taken, &request);
            let scopes = request.resource_metrics.into_iter().flat_map(|all| all.scope_metrics);
            taken.metrics.extend(scopes.flat_map(|scope| scope.metrics));
        });
    }

    pub fn take_records(&self, request: ExportLogsServiceRequest) {
        self.with(|taken| {
            Self::keep(taken, &request);
            for scope in request.resource_logs.into_iter().flat_map(|all| all.scope_logs) {
                let target = scope.scope.unwrap_or_default().name;
                taken.records.extend(scope.log_records.into_iter().map(|record| Record {
                    target: target.clone(),
                    body: record.body.as_ref().map(text).unwrap_or_default(),
                    trace: hex(&record.trace_id),
                    span: hex(&record.span_id),
                }));
            }
        });
    }
}

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        self.note(request.metadata().clone().into_headers());
        self.take_spans(request.into_inner());
        Ok(Response::new(Default::default()))
    }
}

#[tonic::async_trait]
impl MetricsService for Collector {
    async fn export(
        &self,
        request: Request<ExportMetricsServiceRequest>,
    ) -> Result<Response<ExportMetricsServiceResponse>, Status> {
        self.note(request.metadata().clone().into_headers());
        self.take_metrics(request.into_inner());
        Ok(Response::new(Default::default()))
    }
}

#[tonic::async_trait]
impl LogsService for Collector {
    async fn export(
        &self,
        request: Request<ExportLogsServiceRequest>,
    ) -> Result<Response<ExportLogsServiceResponse>, Status> {
        self.note(request.metadata().clone().into_headers());
        self.take_records(request.into_inner());
        Ok(Response::new(Default::default()))
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub fn texts(attributes: &[KeyValue]) -> BTreeMap<String, String> {
    let texts = attributes
        .iter()
        .map(|pair| (pair.key.clone(), pair.value.as_ref().map(text).unwrap_or_default()));
    texts.collect()
}

fn text(value: &AnyValue) -> String {
    match &value.value {
        Some(Value::StringValue(text)) => text.clone(),
        Some(other) => format!("{other:?}"),
        None => String::new(),
    }
}
