//! Whose telemetry it is.

use opentelemetry::KeyValue;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::resource::TelemetryResourceDetector;

use super::otlp::Exports;

/// The resource of everything that this process sends: the service, its version, and which of its instances this is;
/// then what `OTEL_RESOURCE_ATTRIBUTES` and `OTEL_SERVICE_NAME` say, which wins.
pub fn resource(exports: &Exports, instance: &str) -> Resource {
    let attributes = exports.resource_attributes();
    let said = attributes.into_iter().map(|(name, value)| KeyValue::new(name, value));
    let ours = Resource::builder_empty()
        .with_detector(Box::new(TelemetryResourceDetector))
        .with_service_name("countersign")
        .with_attributes([
            KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
            KeyValue::new("service.instance.id", instance.to_owned()),
        ])
        .with_attributes(said);
    match exports.service_name() {
        Some(name) => ours.with_service_name(name.to_owned()).build(),
        None => ours.build(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::otlp::Variables;

    fn of(pairs: &[(&str, &str)], name: &str) -> Option<String> {
        let owned = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let exports = Exports::of(Variables::of(owned)).expect("the variables are right");
        let value = resource(&exports, "r1").get(&name.to_owned().into());
        value.map(|value| value.to_string())
    }

    #[test]
    fn the_variables_win_over_what_we_say_of_ourselves() {
        assert_eq!(of(&[], "service.name").as_deref(), Some("countersign"));
        assert_eq!(of(&[], "service.instance.id").as_deref(), Some("r1"));
        let said = (
            "OTEL_RESOURCE_ATTRIBUTES",
            "service.instance.id=pod%2C7,deployment.environment.name=lab",
        );
        assert_eq!(of(&[said], "service.instance.id").as_deref(), Some("pod,7"));
        assert_eq!(of(&[said], "deployment.environment.name").as_deref(), Some("lab"));
        let named =
            [("OTEL_SERVICE_NAME", "keys"), ("OTEL_RESOURCE_ATTRIBUTES", "service.name=other")];
        assert_eq!(of(&named, "service.name").as_deref(), Some("keys"));
    }
}
