//! The `OTEL_*` variables of this process.
//!
//! The SDK reads some of them by itself, and passes over in silence what it does not understand. So every one is looked
//! at here first, and the start ends at the first that could not be honoured as it is meant.

use std::collections::BTreeMap;
use std::fmt;

use super::says::{BAGGAGE, Says, entries};
use super::table::{HONOURED, PASSED_OVER, REFUSED, Variable};

/// The part of a variable's name that says of which signal it is; nothing: of all three.
const SIGNALS: [&str; 4] = ["", "TRACES_", "METRICS_", "LOGS_"];

/// What the environment says to OpenTelemetry. Among it may be what collectors ask for as a credential, so it prints
/// names alone.
#[derive(Clone, Default)]
pub struct Variables(BTreeMap<String, String>);

impl fmt::Debug for Variables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl Variables {
    /// Those of this process. One that is empty counts as not set, as the specification has it.
    ///
    /// # Errors
    ///
    /// If one is no text.
    #[expect(
        clippy::disallowed_methods,
        reason = "the OTEL_* variables belong to their SDK, which reads them where it runs"
    )]
    pub fn of_this_process() -> Result<Self, String> {
        let mut found = Vec::new();
        for (name, value) in std::env::vars_os() {
            let Some(name) = name.to_str().filter(|name| name.starts_with("OTEL_")) else {
                continue;
            };
            let value = value.into_string().map_err(|_| format!("{name} is not UTF-8"))?;
            found.push((name.to_owned(), value));
        }
        Ok(Self::of(found))
    }

    /// These.
    pub fn of(variables: impl IntoIterator<Item = (String, String)>) -> Self {
        Self(variables.into_iter().filter(|(_, value)| !value.is_empty()).collect())
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// The variable of a signal, otherwise that of all signals: its name and value. `name` has the `*`.
    pub(super) fn for_signal(&self, name: &str, signal: &str) -> Option<(String, &str)> {
        [signal, ""].into_iter().find_map(|signal| {
            let name = name.replace('*', signal);
            self.get(&name).map(|value| (name.clone(), value))
        })
    }

    pub(super) fn is_disabled(&self) -> Result<bool, String> {
        match self.get("OTEL_SDK_DISABLED") {
            Some(value) if !Says::Truth.includes(value) => {
                Err(wrong("OTEL_SDK_DISABLED", Says::Truth))
            }
            value => Ok(value.is_some_and(|value| value.eq_ignore_ascii_case("true"))),
        }
    }

    /// Demands that each can be honoured, and tells what is passed over, a sentence each.
    pub(super) fn check(&self) -> Result<Vec<String>, String> {
        let (mut warnings, mut unknown) = (Vec::new(), Vec::new());
        for (name, value) in &self.0 {
            let is = |pattern: &str| stands_for(pattern, name);
            if let Some((_, reason)) = REFUSED.iter().find(|(pattern, _)| is(pattern)) {
                return Err(format!("{name} is not supported: {reason}"));
            }
            if let Some((_, reason)) = PASSED_OVER.iter().find(|(pattern, _)| is(pattern)) {
                warnings.push(format!("{name} is passed over: {reason}"));
                continue;
            }
            match HONOURED.iter().find(|variable| is(variable.name)) {
                None => unknown.push(name.as_str()),
                Some(Variable { says, .. }) if !says.includes(value) => {
                    return Err(wrong(name, *says));
                }
                Some(Variable { says: Says::Propagator, .. })
                    if entries(value).any(|named| named == BAGGAGE) =>
                {
                    warnings.push(format!("{name}: {BAGGAGE} is passed over, nothing reads it"));
                }
                Some(_) => {}
            }
        }
        if !unknown.is_empty() {
            warnings.push(format!("not honoured, passed over: {}", unknown.join(", ")));
        }
        for kind in ["BSP", "BLRP"] {
            let count = |what: &str, default: u64| {
                let value = self.get(&format!("OTEL_{kind}_{what}"));
                value.and_then(|value| value.parse().ok()).unwrap_or(default)
            };
            if count("MAX_EXPORT_BATCH_SIZE", 1) > count("MAX_QUEUE_SIZE", 2048) {
                return Err(format!(
                    "OTEL_{kind}_MAX_EXPORT_BATCH_SIZE is more than OTEL_{kind}_MAX_QUEUE_SIZE, so \
                     that no message would ever be full"
                ));
            }
        }
        Ok(warnings)
    }
}

fn wrong(name: &str, says: Says) -> String {
    format!("{name} must be {}", says.in_words())
}

fn stands_for(pattern: &str, name: &str) -> bool {
    SIGNALS.iter().any(|signal| pattern.replace('*', signal) == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(pairs: &[(&str, &str)]) -> Result<Vec<String>, String> {
        let owned = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Variables::of(owned).check()
    }

    #[test]
    fn what_can_be_honoured_passes() {
        for (name, value) in [
            ("OTEL_TRACES_EXPORTER", "none"),
            ("OTEL_EXPORTER_OTLP_LOGS_PROTOCOL", "grpc"),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "https://collector.example:4318/otlp"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "api-key=a%20b, x-tenant=7"),
            ("OTEL_TRACES_SAMPLER", "parentbased_traceidratio"),
            ("OTEL_TRACES_SAMPLER_ARG", "0.25"),
            ("OTEL_BSP_MAX_QUEUE_SIZE", "600"),
            ("OTEL_PROPAGATORS", "tracecontext, tracecontext"),
            // As good as not set.
            ("OTEL_EXPORTER_OTLP_PROTOCOL", ""),
        ] {
            assert_eq!(checked(&[(name, value)]), Ok(vec![]), "{name}={value}");
        }
    }

    #[test]
    fn what_cannot_is_named_and_never_quoted() {
        for (name, value) in [
            ("OTEL_SDK_DISABLED", "yes"),
            ("OTEL_TRACES_EXPORTER", "zipkin"),
            ("OTEL_LOGS_EXPORTER", "otlp,console"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json"),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4317"),
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://"),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://user:hunter2@collector:4318"),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318/?key=hunter2"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "hunter2"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "api-key=hunter2%0a"),
            ("OTEL_EXPORTER_OTLP_COMPRESSION", "zstd"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "10s"),
            ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/no/such/file"),
            ("OTEL_METRIC_EXPORT_INTERVAL", "0"),
            ("OTEL_PROPAGATORS", "b3"),
            ("OTEL_PROPAGATORS", "baggage"),
            ("OTEL_PROPAGATORS", "tracecontext,b3"),
            ("OTEL_PROPAGATORS", "none"),
            ("OTEL_TRACES_SAMPLER", "jaeger_remote"),
            ("OTEL_TRACES_SAMPLER_ARG", "2"),
            ("OTEL_TRACES_SAMPLER_ARG", "NaN"),
            ("OTEL_BSP_MAX_QUEUE_SIZE", "-1"),
            ("OTEL_BSP_MAX_QUEUE_SIZE", "256"),
            ("OTEL_EXPORTER_OTLP_TRACES_INSECURE", "true"),
            ("OTEL_EXPORTER_OTLP_CLIENT_KEY", "/hunter2"),
        ] {
            let mut pairs = vec![(name, value)];
            if value == "256" {
                pairs.push(("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "257"));
            }
            let error = checked(&pairs).expect_err(value);
            assert!(error.contains("OTEL_"), "{error}");
            assert!(error.contains(name) || value == "256", "{error}");
            assert!(!error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn a_credential_of_a_collector_is_not_printed() {
        let headers = ("OTEL_EXPORTER_OTLP_HEADERS".to_owned(), "api-key=hunter2".to_owned());
        let printed = format!("{:?}", Variables::of([headers]));
        assert!(printed.contains("OTEL_EXPORTER_OTLP_HEADERS") && !printed.contains("hunter2"));
    }

    #[test]
    fn what_nobody_knows_is_told() {
        let unknown = checked(&[("OTEL_NODE_IP", "10.0.0.1"), ("OTEL_BSP_SCHEDULE_DELAY", "7")]);
        let told = "not honoured, passed over: OTEL_NODE_IP".to_owned();
        assert_eq!(unknown, Ok(vec![told]));
    }

    #[test]
    fn what_the_specification_has_by_default_is_no_error() {
        for (name, value) in [
            ("OTEL_PROPAGATORS", "tracecontext,baggage"),
            ("OTEL_PROPAGATORS", "baggage, tracecontext"),
            ("OTEL_BSP_EXPORT_TIMEOUT", "30000"),
            ("OTEL_BLRP_EXPORT_TIMEOUT", "30000"),
            ("OTEL_METRIC_EXPORT_TIMEOUT", "30000"),
        ] {
            let told = checked(&[(name, value)]).expect(name);
            let [told] = &told[..] else { panic!("{name}: {told:?}") };
            assert!(told.starts_with(name) && told.contains("is passed over"), "{told}");
        }
    }

    #[test]
    fn the_more_precise_name_decides() {
        let variables = Variables::of(
            [
                ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
                ("OTEL_EXPORTER_OTLP_LOGS_PROTOCOL", "http/protobuf"),
            ]
            .map(|(name, value)| (name.to_owned(), value.to_owned())),
        );
        let protocol = |signal| variables.for_signal("OTEL_EXPORTER_OTLP_*PROTOCOL", signal);
        assert_eq!(protocol("LOGS_").map(|(_, value)| value), Some("http/protobuf"));
        assert_eq!(protocol("TRACES_").map(|(_, value)| value), Some("grpc"));
    }
}
