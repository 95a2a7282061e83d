//! What the operators see: the log on standard error, [`metrics`], and what is sent to collectors.
//!
//! In: a filter and a form, and what the `OTEL_*` variables ask for. Out: a [`Guard`] whose `shutdown` flushes.
//! Everybody logs with `tracing`; nobody logs a secret, and this room makes sure that the libraries don't either
//! (`filter`). A collector that is slow or gone costs what it would have been told, and nothing else: what can't be sent
//! in time is dropped.

mod filter;
pub mod metrics;
pub mod otlp;
mod panics;
mod resource;

use std::io;

use opentelemetry::InstrumentationScope;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_appender_tracing::layer::OpenTelemetryTracingBridge;
use tracing_subscriber::Registry;
use tracing_subscriber::filter::{EnvFilter, FilterExt as _};
use tracing_subscriber::layer::{Layer, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;

use self::filter::Seldom;
use self::otlp::{Exporters, Exports, Reader};
pub use self::resource::resource;

/// The semantic conventions that our spans follow.
const CONVENTIONS: &str = "https://opentelemetry.io/schemas/1.42.0";

/// What is logged, and how.
#[derive(Debug, Clone)]
pub struct Settings {
    filter: String,
    json: bool,
}

/// Keeps log and exporters going; ends them in order.
#[must_use = "what is held back is sent by its shutdown"]
pub struct Guard {
    exporters: Option<Exporters>,
    at_the_end: Vec<Box<dyn FnOnce() + Send>>,
}

impl Settings {
    /// A filter in the language of `tracing_subscriber::EnvFilter`, e.g. `countersign=debug,warn`, and
    /// whether lines are JSON.
    pub fn new(filter: &str, json: bool) -> Result<Self, String> {
        EnvFilter::builder()
            .parse(filter)
            .map_err(|_| "must be a filter such as info or countersign=debug,warn".to_owned())?;
        Ok(Self { filter: filter.to_owned(), json })
    }

    /// The filter, as it was given.
    pub fn filter(&self) -> &str {
        &self.filter
    }

    /// Whether lines are JSON.
    pub fn is_json(&self) -> bool {
        self.json
    }
}

/// Starts the log on standard error, has panics told there in one line, and starts to send what is to be sent.
/// `instance` names this process among all that serve the same.
///
/// # Errors
///
/// If this process has a log already, or something that is to be sent can't be.
pub fn start(settings: &Settings, exports: &Exports, instance: &str) -> Result<Guard, String> {
    let exporters = Exporters::start(exports, &resource(exports, instance))?;
    let mut layers = vec![lines(settings)?];
    if let Some(traces) = exporters.as_ref().and_then(|exporters| exporters.traces.as_ref()) {
        let scope = InstrumentationScope::builder("countersign")
            .with_version(env!("CARGO_PKG_VERSION"))
            .with_schema_url(CONVENTIONS)
            .build();
        let spans = tracing_opentelemetry::layer()
            .with_tracer(traces.tracer_with_scope(scope))
            .with_location(false)
            .with_threads(false)
            .with_tracked_inactivity(false)
            .with_target(false);
        layers.push(spans.with_filter(filter::for_sent_spans()).boxed());
    }
    if let Some(logs) = exporters.as_ref().and_then(|exporters| exporters.logs.as_ref()) {
        let records = OpenTelemetryTracingBridge::new(logs);
        let filter = filter::wanted(&settings.filter)?.and(filter::for_sent_records());
        layers.push(records.with_filter(filter).boxed());
    }
    tracing_subscriber::registry().with(layers).try_init().map_err(|error| error.to_string())?;
    panics::install();
    for warning in exports.warnings() {
        tracing::warn!("{warning}");
    }
    Ok(Guard { exporters, at_the_end: Vec::new() })
}

/// The log on standard error.
fn lines(settings: &Settings) -> Result<Box<dyn Layer<Registry> + Send + Sync>, String> {
    let filter = filter::wanted(&settings.filter)?;
    let filter = filter.and(filter::for_the_log()).and(Seldom::default());
    let lines = tracing_subscriber::fmt::layer().with_writer(io::stderr).with_ansi(false);
    Ok(if settings.json {
        lines.json().flatten_event(true).with_filter(filter).boxed()
    } else {
        lines.with_filter(filter).boxed()
    })
}

impl Guard {
    /// What a meter provider is to be given as a further reader, if metrics are sent. Its end belongs to
    /// [`Self::at_the_end`].
    ///
    /// # Errors
    ///
    /// In a sentence, if it can't be made.
    pub fn metric_reader(&self) -> Result<Option<Reader>, String> {
        self.exporters.as_ref().map_or(Ok(None), Exporters::metric_reader)
    }

    /// Has something more flushed at the end, together with all else, within the same second.
    pub fn at_the_end(&mut self, flush: impl FnOnce() + Send + 'static) {
        self.at_the_end.push(Box::new(flush));
    }

    /// Sends what is still held back, for a second at most. Standard error is not buffered.
    pub fn shutdown(self) {
        drop(self);
    }
}

/// However a process comes to its end.
impl Drop for Guard {
    fn drop(&mut self) {
        let also = std::mem::take(&mut self.at_the_end);
        otlp::end(self.exporters.take(), also);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_that_does_not_parse_is_refused() {
        assert!(Settings::new("countersign=debug,warn", false).is_ok());
        assert!(Settings::new("countersign=loud=er", true).is_err());
    }
}
