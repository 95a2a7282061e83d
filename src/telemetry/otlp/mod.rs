//! OTLP: what is sent where, as the standard `OTEL_*` variables say it.
//!
//! In: the variables. Out: exporters for the three signals, or the sentence that says what is wrong. A signal is sent
//! if an endpoint is given for it, or its exporter is `otlp` by name. Without either nothing is sent: the specification
//! would have it sent to localhost, where most servers have no collector.

mod certificates;
mod exporters;
mod http;
mod sampler;
mod says;
mod table;
mod variables;

use std::fmt;
use std::time::Duration;

use self::certificates::Certificates;
pub use self::exporters::{Exporters, Reader, end};
pub use self::says::Says;
pub use self::table::{HONOURED, PASSED_OVER, REFUSED, Variable};
pub use self::variables::Variables;

/// How long one message may take, unless a variable says otherwise.
const TIMEOUT: Duration = Duration::from_secs(10);

/// What is sent to collectors, each to where.
#[derive(Clone)]
pub struct Exports {
    is_disabled: bool,
    variables: Variables,
    traces: Option<Destination>,
    metrics: Option<Destination>,
    logs: Option<Destination>,
    /// What somebody should know who reads the log of the start.
    warnings: Vec<String>,
}

/// Where one signal goes. Some collectors are told a secret in the path.
#[derive(Clone)]
struct Destination {
    protocol: Protocol,
    endpoint: String,
    timeout: Duration,
    /// `None`: the usual ones.
    certificates: Option<Certificates>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Protocol {
    Grpc,
    Http,
}

impl fmt::Debug for Exports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exports").field("variables", &self.variables).finish_non_exhaustive()
    }
}

impl Exports {
    /// What the variables of this process ask for.
    ///
    /// # Errors
    ///
    /// One sentence that names the variable which can't be honoured, and says what it may be.
    pub fn of_this_process() -> Result<Self, String> {
        Self::of(Variables::of_this_process()?)
    }

    /// What these variables ask for; errors as above.
    pub fn of(variables: Variables) -> Result<Self, String> {
        if variables.is_disabled()? {
            return Ok(Self::none(variables, true));
        }
        let warnings = variables.check()?;
        let mut exports = Self { warnings, ..Self::none(variables, false) };
        exports.traces = exports.destination("TRACES_", "/v1/traces")?;
        exports.metrics = exports.destination("METRICS_", "/v1/metrics")?;
        exports.logs = exports.destination("LOGS_", "/v1/logs")?;
        Ok(exports)
    }

    fn none(variables: Variables, is_disabled: bool) -> Self {
        let (traces, metrics, logs) = (None, None, None);
        Self { is_disabled, variables, traces, metrics, logs, warnings: Vec::new() }
    }

    /// Whether OTEL_SDK_DISABLED says that there is to be no OpenTelemetry at all, `/metrics` included.
    pub fn is_disabled(&self) -> bool {
        self.is_disabled
    }

    /// What the operator should be told at the start, a sentence each.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// What `OTEL_RESOURCE_ATTRIBUTES` says.
    pub(super) fn resource_attributes(&self) -> Vec<(String, String)> {
        let said = self.variables.get("OTEL_RESOURCE_ATTRIBUTES").filter(|_| !self.is_disabled);
        said.and_then(says::pairs).unwrap_or_default()
    }

    /// What `OTEL_SERVICE_NAME` says.
    pub(super) fn service_name(&self) -> Option<&str> {
        self.variables.get("OTEL_SERVICE_NAME")
    }

    /// Whether anything is sent at all.
    fn any(&self) -> bool {
        self.traces.is_some() || self.metrics.is_some() || self.logs.is_some()
    }

    fn destination(&mut self, signal: &str, path: &str) -> Result<Option<Destination>, String> {
        let variables = &self.variables;
        let given = variables.for_signal("OTEL_EXPORTER_OTLP_*ENDPOINT", signal);
        let is_sent = match variables.get(&format!("OTEL_{signal}EXPORTER")) {
            Some(exporter) => exporter == "otlp",
            None => given.is_some(),
        };
        if !is_sent {
            return Ok(None);
        }
        let of = |what: &str| variables.for_signal(&format!("OTEL_EXPORTER_OTLP_*{what}"), signal);
        let (protocol, usual) = match of("PROTOCOL") {
            Some((_, "grpc")) => (Protocol::Grpc, "http://localhost:4317"),
            _ => (Protocol::Http, "http://localhost:4318"),
        };
        let (name, endpoint) = given.unwrap_or_else(|| (String::new(), usual));
        let endpoint = match protocol {
            Protocol::Grpc if has_a_path(endpoint) => {
                return Err(format!("{name} must have no path, since it is for gRPC"));
            }
            Protocol::Grpc => endpoint.to_owned(),
            // What is said for one signal is complete; what is said for all of them is where their paths begin.
            Protocol::Http if name.contains(signal) => endpoint.to_owned(),
            Protocol::Http => format!("{}{path}", endpoint.trim_end_matches('/')),
        };
        let timeout = of("TIMEOUT").and_then(|(_, millis)| millis.parse().ok());
        let certificates = of("CERTIFICATE").map(|(name, file)| {
            certificates::read(file).map_err(|error| format!("{name}: {error}"))
        });
        let certificates = certificates.transpose()?;
        let warning = unlikely_port(&name, protocol, &endpoint);
        self.warnings.extend(warning.filter(|warning| !self.warnings.contains(warning)));
        let timeout = timeout.map_or(TIMEOUT, Duration::from_millis);
        Ok(Some(Destination { protocol, endpoint, timeout, certificates }))
    }
}

fn has_a_path(endpoint: &str) -> bool {
    endpoint.parse::<::http::Uri>().is_ok_and(|uri| !matches!(uri.path(), "" | "/"))
}

/// The one mistake that everybody makes.
fn unlikely_port(name: &str, protocol: Protocol, endpoint: &str) -> Option<String> {
    let port = endpoint.parse::<::http::Uri>().ok()?.port_u16()?;
    match (protocol, port) {
        (Protocol::Http, 4317) => Some(format!(
            "{name} names port 4317, where collectors usually speak gRPC; OTEL_EXPORTER_OTLP_PROTOCOL=grpc says that"
        )),
        (Protocol::Grpc, 4318) => Some(format!(
            "{name} names port 4318, where collectors usually speak HTTP; OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf \
             says that"
        )),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exports(pairs: &[(&str, &str)]) -> Result<Exports, String> {
        let owned = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Exports::of(Variables::of(owned))
    }

    fn endpoint(destination: Option<Destination>) -> Option<String> {
        destination.map(|destination| destination.endpoint)
    }

    #[test]
    fn without_a_word_nothing_is_sent() {
        assert!(!exports(&[]).expect("nothing is wrong").any());
    }

    #[test]
    fn an_endpoint_for_all_is_where_their_paths_begin() {
        let sent = exports(&[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318/"),
            ("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", "http://logs:9/here"),
            ("OTEL_METRICS_EXPORTER", "none"),
        ]);
        let sent = sent.expect("nothing is wrong");
        assert_eq!(endpoint(sent.traces).as_deref(), Some("http://collector:4318/v1/traces"));
        assert_eq!(endpoint(sent.logs).as_deref(), Some("http://logs:9/here"));
        assert_eq!(endpoint(sent.metrics), None);
    }

    #[test]
    fn an_exporter_by_name_goes_to_the_usual_place() {
        let sent = exports(&[
            ("OTEL_TRACES_EXPORTER", "otlp"),
            ("OTEL_LOGS_EXPORTER", "otlp"),
            ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "grpc"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "70"),
        ]);
        let sent = sent.expect("nothing is wrong");
        let traces = sent.traces.expect("sent");
        assert_eq!((traces.protocol, traces.timeout), (Protocol::Grpc, Duration::from_millis(70)));
        assert_eq!(traces.endpoint, "http://localhost:4317");
        assert_eq!(endpoint(sent.logs).as_deref(), Some("http://localhost:4318/v1/logs"));
    }

    #[test]
    fn disabled_is_disabled_whatever_else_is_said() {
        let sent = exports(&[
            ("OTEL_SDK_DISABLED", "TRUE"),
            ("OTEL_TRACES_EXPORTER", "zipkin"),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318"),
        ]);
        let sent = sent.expect("nothing else is looked at");
        assert!(sent.is_disabled() && !sent.any());
    }

    #[test]
    fn grpc_has_no_paths_and_ports_have_a_custom() {
        let grpc = ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc");
        let with_path = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4317/v1");
        let error = exports(&[grpc, with_path]).expect_err("gRPC has no path");
        assert!(error.contains("OTEL_EXPORTER_OTLP_ENDPOINT must have no path"), "{error}");
        let at_4317 = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4317");
        assert_eq!(exports(&[grpc, at_4317]).expect("fine").warnings(), [] as [String; 0]);
        assert_eq!(exports(&[at_4317]).expect("fine").warnings().len(), 1);
    }
}
