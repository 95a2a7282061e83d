//! The `OTEL_*` variables that are honoured, those that are passed over, and those that are refused. `docs/TELEMETRY.md` holds the same tables.

use super::says::Says;

/// One honoured variable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Variable {
    /// Its name; `*` stands for nothing, `TRACES_`, `METRICS_` or `LOGS_`, of which the more precise decides.
    pub name: &'static str,
    /// What it may say.
    pub says: Says,
    /// What holds without it.
    pub default: &'static str,
    /// What it does.
    pub meaning: &'static str,
}

const fn row(
    name: &'static str,
    says: Says,
    default: &'static str,
    meaning: &'static str,
) -> Variable {
    Variable { name, says, default, meaning }
}

/// Every variable that is honoured.
pub const HONOURED: [Variable; 24] = [
    row("OTEL_SDK_DISABLED", Says::Truth, "false", "turns all of OpenTelemetry off"),
    row("OTEL_SERVICE_NAME", Says::Text, "countersign", "`service.name` of all that is sent"),
    row(
        "OTEL_RESOURCE_ATTRIBUTES",
        Says::Attributes,
        "",
        "more attributes of the resource; they win over our own",
    ),
    row(
        "OTEL_TRACES_EXPORTER",
        Says::Exporter,
        "otlp with an endpoint, else none",
        "whether spans are sent",
    ),
    row(
        "OTEL_METRICS_EXPORTER",
        Says::Exporter,
        "otlp with an endpoint, else none",
        "whether metrics are sent; `/metrics` is there in any case",
    ),
    row(
        "OTEL_LOGS_EXPORTER",
        Says::Exporter,
        "otlp with an endpoint, else none",
        "whether log records are sent, besides standard error",
    ),
    row(
        "OTEL_EXPORTER_OTLP_*ENDPOINT",
        Says::Endpoint,
        "localhost, port 4318, with grpc 4317",
        "the collector; over HTTP `/v1/traces` and so on is added to that for all signals",
    ),
    row("OTEL_EXPORTER_OTLP_*PROTOCOL", Says::Protocol, "http/protobuf", "how OTLP is spoken"),
    row(
        "OTEL_EXPORTER_OTLP_*HEADERS",
        Says::Headers,
        "",
        "what each message to the collector carries besides, such as a credential",
    ),
    row("OTEL_EXPORTER_OTLP_*COMPRESSION", Says::Compression, "none", "of messages"),
    row("OTEL_EXPORTER_OTLP_*TIMEOUT", Says::Milliseconds, "10000", "of one message"),
    row(
        "OTEL_EXPORTER_OTLP_*CERTIFICATE",
        Says::Certificates,
        "the roots of the Mozilla Foundation",
        "whom to believe that a collector at `https:` is the one",
    ),
    row(
        "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE",
        Says::Temporality,
        "cumulative",
        "since when metrics count",
    ),
    row("OTEL_METRIC_EXPORT_INTERVAL", Says::Milliseconds, "60000", "how often metrics are sent"),
    row("OTEL_PROPAGATORS", Says::Propagator, "tracecontext", "how callers name their trace"),
    row(
        "OTEL_TRACES_SAMPLER",
        Says::Sampler,
        "parentbased_always_on",
        "which calls are sampled; see below",
    ),
    row("OTEL_TRACES_SAMPLER_ARG", Says::Ratio, "1", "the part that a ratio sampler takes"),
    row("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", Says::Count, "128", "attributes of one span"),
    row("OTEL_BSP_SCHEDULE_DELAY", Says::Milliseconds, "5000", "how often spans are sent"),
    row("OTEL_BSP_MAX_QUEUE_SIZE", Says::Count, "2048", "spans that wait; more are dropped"),
    row("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", Says::Count, "512", "spans in one message"),
    row("OTEL_BLRP_SCHEDULE_DELAY", Says::Milliseconds, "1000", "how often log records are sent"),
    row("OTEL_BLRP_MAX_QUEUE_SIZE", Says::Count, "2048", "log records that wait; more are dropped"),
    row("OTEL_BLRP_MAX_EXPORT_BATCH_SIZE", Says::Count, "512", "log records in one message"),
];

/// Variables of the specification that change nothing which anybody would miss, and are passed over with a warning.
pub const PASSED_OVER: [(&str, &str); 3] = [
    ("OTEL_BSP_EXPORT_TIMEOUT", "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT says it"),
    ("OTEL_BLRP_EXPORT_TIMEOUT", "OTEL_EXPORTER_OTLP_LOGS_TIMEOUT says it"),
    ("OTEL_METRIC_EXPORT_TIMEOUT", "OTEL_EXPORTER_OTLP_METRICS_TIMEOUT says it"),
];

/// Variables of the specification that would change what is sent, or to whom, and are not honoured.
pub const REFUSED: [(&str, &str); 8] = [
    ("OTEL_EXPORTER_OTLP_*INSECURE", "the endpoint's http:// or https:// says it"),
    ("OTEL_EXPORTER_OTLP_*CLIENT_KEY", "certificates of clients are not supported"),
    ("OTEL_EXPORTER_OTLP_*CLIENT_CERTIFICATE", "certificates of clients are not supported"),
    ("OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION", "buckets are fixed"),
    ("OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT", "values are not cut"),
    ("OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT", "values are not cut"),
    ("OTEL_CONFIG_FILE", "files of settings are not supported"),
    ("OTEL_EXPERIMENTAL_CONFIG_FILE", "files of settings are not supported"),
];
