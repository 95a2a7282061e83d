//! Which calls are sampled, among those that may be.

use opentelemetry_sdk::trace::Sampler;

use super::variables::Variables;

/// The sampler of that name, as the specification has them; `None` if there is none.
pub(super) fn of(name: &str, ratio: f64) -> Option<Sampler> {
    let under_parent = |root| Sampler::ParentBased(Box::new(root));
    Some(match name {
        "always_on" => Sampler::AlwaysOn,
        "always_off" => Sampler::AlwaysOff,
        "traceidratio" => Sampler::TraceIdRatioBased(ratio),
        "parentbased_always_on" => under_parent(Sampler::AlwaysOn),
        "parentbased_always_off" => under_parent(Sampler::AlwaysOff),
        "parentbased_traceidratio" => under_parent(Sampler::TraceIdRatioBased(ratio)),
        _ => return None,
    })
}

/// What the variables say. They were checked.
pub(super) fn of_variables(variables: &Variables) -> Sampler {
    let ratio = variables.get("OTEL_TRACES_SAMPLER_ARG").and_then(|ratio| ratio.parse().ok());
    let named = variables.get("OTEL_TRACES_SAMPLER").unwrap_or("parentbased_always_on");
    of(named, ratio.unwrap_or(1.0)).unwrap_or(Sampler::AlwaysOff)
}
