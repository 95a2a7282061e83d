//! Metrics: one table of them, one provider that both `/metrics` and whatever else is exported read from.
//!
//! In: closures that read counters which the rooms keep for themselves. Out: the page for Prometheus. Nobody who is
//! measured knows of it, and nothing here is on the way of a request: everything is read when somebody looks.

mod handover;
mod table;

use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, PoisonError, mpsc};
use std::thread;
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::metrics::{AsyncInstrument, Meter, MeterProvider as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::metrics::{
    Aggregation, Instrument, InstrumentKind, MeterProviderBuilder, SdkMeterProvider, Stream,
};
use prometheus::{Registry, TextEncoder};

use self::handover::{Handover, seconds};
pub use handover::{Held, Labels};
pub use table::*;

/// Series of one metric, of which one is made for what is above: more than all methods times all status codes.
const MOST_SERIES: usize = 500;

/// The metrics of this process.
pub struct Metrics {
    provider: SdkMeterProvider,
    meter: Meter,
    bounds: &'static [u64],
    registry: Registry,
    handovers: Mutex<Vec<Handover>>,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

impl Metrics {
    /// Metrics of that resource. `bounds` are those of all histograms' buckets, in nanoseconds; `more` adds readers
    /// beside the one for Prometheus.
    ///
    /// # Errors
    ///
    /// One line, if the readers can't be made.
    pub fn new(
        resource: Resource,
        bounds: &'static [u64],
        more: impl FnOnce(MeterProviderBuilder) -> MeterProviderBuilder,
    ) -> Result<Self, String> {
        let registry = Registry::new();
        #[cfg(target_os = "linux")]
        registry
            .register(Box::new(prometheus::process_collector::ProcessCollector::for_self()))
            .map_err(|error| error.to_string())?;
        let prometheus = opentelemetry_prometheus::exporter()
            .with_registry(registry.clone())
            // There is one scope, and its name on every line would say nothing.
            .scope_info_enabled(false)
            .build()
            .map_err(|error| error.to_string())?;
        let builder = SdkMeterProvider::builder().with_resource(resource).with_reader(prometheus);
        let provider = more(builder).with_view(move |of| stream(of, bounds)).build();
        let meter = provider.meter("countersign");
        Ok(Self { provider, meter, bounds, registry, handovers: Mutex::default() })
    }

    /// Has a counter or a gauge read whenever somebody looks: a value for each of its series.
    pub fn observe(
        &self,
        metric: &'static Metric,
        read: impl Fn() -> Vec<(Labels, f64)> + Send + Sync + 'static,
    ) {
        let observe = move |instrument: &dyn AsyncInstrument<f64>| {
            for (values, value) in read() {
                let labels = metric.labels.iter().zip(values);
                let labels: Vec<_> =
                    labels.map(|(name, value)| KeyValue::new(*name, value)).collect();
                instrument.observe(value, &labels);
            }
        };
        if metric.kind == Kind::Counter {
            let builder = self.meter.f64_observable_counter(metric.name);
            let builder = builder.with_unit(metric.unit).with_description(metric.meaning);
            builder.with_callback(observe).build();
        } else {
            let builder = self.meter.f64_observable_gauge(metric.name);
            let builder = builder.with_unit(metric.unit).with_description(metric.meaning);
            builder.with_callback(observe).build();
        }
    }

    /// The same for one that has no labels.
    pub fn observe_one(
        &self,
        metric: &'static Metric,
        read: impl Fn() -> f64 + Send + Sync + 'static,
    ) {
        self.observe(metric, move || vec![(Labels::new(), read())]);
    }

    /// Has a histogram filled from buckets with the bounds of [`Self::new`].
    pub fn fill(
        &self,
        metric: &'static Metric,
        read: impl Fn() -> Vec<(Labels, Vec<Held>)> + Send + Sync + 'static,
    ) {
        let builder = self.meter.f64_histogram(metric.name);
        let to = builder.with_unit(metric.unit).with_description(metric.meaning).build();
        let (labels, read, series) = (metric.labels, Box::new(read), HashMap::new());
        let handover = Handover { to, labels, bounds: self.bounds, read, series };
        self.handovers.lock().unwrap_or_else(PoisonError::into_inner).push(handover);
    }

    /// Brings the histograms up to date. The more often, the less there is to do at a time.
    pub fn hand_over(&self) {
        let mut handovers = self.handovers.lock().unwrap_or_else(PoisonError::into_inner);
        handovers.iter_mut().for_each(Handover::hand_over);
    }

    /// The page for Prometheus, in its text format.
    ///
    /// # Errors
    ///
    /// One line; none is known to happen.
    pub fn page(&self) -> Result<String, String> {
        self.hand_over();
        TextEncoder::new()
            .encode_to_string(&self.registry.gather())
            .map_err(|error| error.to_string())
    }

    /// Exports what is there once more, and nothing from then on. Takes so long at most.
    pub fn shutdown(&self, limit: Duration) {
        self.hand_over();
        let (provider, (done, ended)) = (self.provider.clone(), mpsc::sync_channel(1));
        // On a thread of its own: the provider takes a limit, and (0.33.1) waits for five seconds all the same.
        let exporting = thread::Builder::new().name("last metrics".to_owned());
        // Nobody listens any more to one that is late. One that can't be started never says anything.
        let started = exporting.spawn(move || _ = done.send(provider.shutdown()));
        match ended.recv_timeout(limit) {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "the last metrics were not exported"),
            Err(_) => {
                tracing::warn!(
                    started = started.is_ok(),
                    "the last metrics were not exported in time"
                );
            }
        }
    }
}

/// How an instrument is kept.
fn stream(of: &Instrument, bounds: &[u64]) -> Option<Stream> {
    let stream = Stream::builder().with_cardinality_limit(MOST_SERIES);
    let stream = if of.kind() == InstrumentKind::Histogram {
        stream.with_aggregation(Aggregation::ExplicitBucketHistogram {
            boundaries: bounds.iter().map(|bound| seconds(*bound)).collect(),
            // What is recorded are means: these two would be wrong.
            record_min_max: false,
        })
    } else {
        stream
    };
    // Only a bad name or bad boundaries could be refused.
    stream.build().ok()
}

#[cfg(test)]
mod tests;
