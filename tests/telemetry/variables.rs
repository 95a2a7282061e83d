//! `OTEL_*` variables that can't be honoured end the start, and `check-config` finds them.

use crate::harness::{Database, Server, Store};

/// What each may not say, and what is said about it.
const BAD: &[(&str, &str, &str)] = &[
    ("OTEL_SDK_DISABLED", "yes", "must be true or false"),
    ("OTEL_TRACES_EXPORTER", "zipkin", "must be otlp or none"),
    ("OTEL_METRICS_EXPORTER", "prometheus", "must be otlp or none"),
    ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json", "must be grpc or http/protobuf"),
    ("OTEL_EXPORTER_OTLP_LOGS_PROTOCOL", "tcp", "must be grpc or http/protobuf"),
    ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4317", "must be a URL such as"),
    ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://u:hunter2@collector:4318", "must be a URL such as"),
    ("OTEL_EXPORTER_OTLP_HEADERS", "hunter2", "must be name=value"),
    ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/no/such/file", "must be a file of PEM certificates"),
    ("OTEL_EXPORTER_OTLP_CLIENT_KEY", "/hunter2", "is not supported"),
    ("OTEL_TRACES_SAMPLER", "jaeger_remote", "must be always_on"),
    ("OTEL_TRACES_SAMPLER_ARG", "1.5", "must be a number from 0 to 1"),
    ("OTEL_BSP_MAX_QUEUE_SIZE", "99999999999", "must be a whole number from 1 to 1000000"),
    ("OTEL_PROPAGATORS", "tracecontext,b3", "must be tracecontext, alone or in a list with"),
];

#[tokio::test]
async fn what_cannot_be_honoured_is_refused_in_a_sentence() {
    let store = Store::fresh(Database::Sqlite).await;
    for (name, value, words) in BAD {
        let serve = ["serve", "--listen", "127.0.0.1:0", "--http-listen", "127.0.0.1:0"];
        for command in [&serve[..], &["check-config"]] {
            let program = store.command(command.iter().copied()).env(name, value);
            let refusal = program.run().failed();
            assert_eq!(refusal.status.code(), Some(2));
            let said = refusal.stderr.trim_end();
            assert!(said.contains(name) && said.contains(words), "{name}={value}: {said}");
            assert_eq!(said.lines().count(), 1, "{said}");
            assert!(!said.contains("hunter2"), "{said}");
        }
    }
}

#[tokio::test]
async fn what_is_passed_over_is_warned_of() {
    let passed_over = [
        ("OTEL_NODE_IP", "10.0.0.1", "not honoured, passed over: OTEL_NODE_IP"),
        // What the specification has by default, which some operators of Kubernetes write out.
        ("OTEL_PROPAGATORS", "tracecontext,baggage", "OTEL_PROPAGATORS: baggage is passed over"),
        ("OTEL_BSP_EXPORT_TIMEOUT", "30000", "OTEL_BSP_EXPORT_TIMEOUT is passed over: OTEL_EXPO"),
        ("OTEL_METRIC_EXPORT_TIMEOUT", "30000", "OTEL_METRIC_EXPORT_TIMEOUT is passed over"),
    ];
    let server = Server::on(Database::Sqlite).await;
    let server =
        passed_over.iter().fold(server, |server, (name, value, _)| server.with_env(name, *value));
    let checked = server.store().command(["check-config"]);
    let checked =
        passed_over.iter().fold(checked, |checked, (name, value, _)| checked.env(name, value));
    let checked = checked.run().succeeded();
    let server = server.start().await;
    for (_, _, words) in passed_over {
        assert!(checked.stderr.contains(words), "{}", checked.stderr);
        assert!(server.log().contains(words), "{}", server.log());
    }
}
