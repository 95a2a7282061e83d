//! The exporters of the three signals, with the runtime on which they speak to collectors.

use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use opentelemetry_otlp::tonic_types::transport::{Certificate, ClientTlsConfig};
use opentelemetry_otlp::{
    ExporterBuildError, LogExporter, MetricExporter, Protocol as OtlpProtocol, SpanExporter,
    WithExportConfig, WithHttpConfig, WithTonicConfig,
};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::logs::SdkLoggerProvider;
use opentelemetry_sdk::metrics::PeriodicReader;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tokio::runtime::{Builder, Handle, Runtime};

use super::http::Client;
use super::{Destination, Exports, Protocol, sampler};

/// How long everything that is still held back may take to be sent at the end.
const FLUSHED_WITHIN: Duration = Duration::from_secs(1);

/// What gives a meter provider's metrics to a collector, from time to time.
pub type Reader = PeriodicReader<MetricExporter>;

/// What sends, and what it needs to. Must be [ended](end).
pub struct Exporters {
    /// Speaks to collectors. The SDK's own threads only wait for it.
    runtime: Runtime,
    pub(in crate::telemetry) traces: Option<SdkTracerProvider>,
    pub(in crate::telemetry) logs: Option<SdkLoggerProvider>,
    metrics: Option<Destination>,
}

impl Exporters {
    /// Those that are asked for; `None` if nothing is sent. Nobody is called yet: a collector that is not there is
    /// tried again and again.
    ///
    /// # Errors
    ///
    /// In a sentence, if one can't be made.
    pub fn start(exports: &Exports, resource: &Resource) -> Result<Option<Self>, String> {
        if !exports.any() {
            return Ok(None);
        }
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("telemetry")
            .enable_all()
            .build()
            .map_err(|error| format!("can't start the thread of telemetry: {error}"))?;
        // gRPC channels belong to the runtime within which they are made.
        let entered = runtime.enter();
        let handle = runtime.handle();
        let traces = exports.traces.as_ref().map(|to| spans(exports, to, resource, handle));
        let logs = exports.logs.as_ref().map(|to| records(to, resource, handle));
        let (traces, logs) = (traces.transpose()?, logs.transpose()?);
        drop(entered);
        Ok(Some(Self { runtime, traces, logs, metrics: exports.metrics.clone() }))
    }

    /// What a meter provider is to be given, if metrics are sent. It must end before these exporters do.
    ///
    /// # Errors
    ///
    /// As those of [`Self::start`].
    pub fn metric_reader(&self) -> Result<Option<Reader>, String> {
        let _entered = self.runtime.enter();
        self.metrics.as_ref().map(|to| reader(to, self.runtime.handle())).transpose()
    }
}

/// Sends what is still held back, within a second; what takes longer is given up. `also` is done meanwhile, within the
/// same second.
pub fn end(exporters: Option<Exporters>, also: Vec<Box<dyn FnOnce() + Send>>) {
    let mut work = also;
    let Some(Exporters { runtime, traces, logs, metrics: _ }) = exporters else {
        return all_within(FLUSHED_WITHIN, work);
    };
    if let Some(traces) = traces {
        work.push(Box::new(move || _ = traces.shutdown_with_timeout(FLUSHED_WITHIN)));
    }
    if let Some(logs) = logs {
        work.push(Box::new(move || _ = logs.shutdown_with_timeout(FLUSHED_WITHIN)));
    }
    all_within(FLUSHED_WITHIN, work);
    runtime.shutdown_background();
}

/// Does all at once, and waits so long and no longer.
fn all_within(limit: Duration, work: Vec<Box<dyn FnOnce() + Send>>) {
    let (done, ends) = mpsc::sync_channel(work.len());
    for piece in work {
        let done = done.clone();
        // Without a thread it is not done: there is nothing better to do about it at the end.
        let _ = thread::Builder::new().name("telemetry end".to_owned()).spawn(move || {
            piece();
            let _ = done.send(());
        });
    }
    drop(done);
    let end = tokio::time::Instant::now() + limit;
    let left = || end.saturating_duration_since(tokio::time::Instant::now());
    // Ends when all have ended, too: then nobody is left who could send.
    while ends.recv_timeout(left()).is_ok() {}
}

fn spans(
    exports: &Exports,
    to: &Destination,
    resource: &Resource,
    runtime: &Handle,
) -> Result<SdkTracerProvider, String> {
    let exporter = match to.protocol {
        Protocol::Grpc => grpc(SpanExporter::builder().with_tonic(), to).build(),
        Protocol::Http => http(SpanExporter::builder().with_http(), to, runtime)?.build(),
    };
    Ok(SdkTracerProvider::builder()
        .with_resource(resource.clone())
        .with_sampler(sampler::of_variables(&exports.variables))
        .with_batch_exporter(exporter.map_err(in_words)?)
        .build())
}

fn records(
    to: &Destination,
    resource: &Resource,
    runtime: &Handle,
) -> Result<SdkLoggerProvider, String> {
    let exporter = match to.protocol {
        Protocol::Grpc => grpc(LogExporter::builder().with_tonic(), to).build(),
        Protocol::Http => http(LogExporter::builder().with_http(), to, runtime)?.build(),
    };
    let builder = SdkLoggerProvider::builder().with_resource(resource.clone());
    Ok(builder.with_batch_exporter(exporter.map_err(in_words)?).build())
}

fn reader(to: &Destination, runtime: &Handle) -> Result<Reader, String> {
    let exporter = match to.protocol {
        Protocol::Grpc => grpc(MetricExporter::builder().with_tonic(), to).build(),
        Protocol::Http => http(MetricExporter::builder().with_http(), to, runtime)?.build(),
    };
    Ok(PeriodicReader::builder(exporter.map_err(in_words)?).build())
}

fn grpc<B: WithExportConfig + WithTonicConfig>(builder: B, to: &Destination) -> B {
    let builder = builder.with_endpoint(to.endpoint.clone()).with_timeout(to.timeout);
    if !to.endpoint.get(..6).is_some_and(|scheme| scheme.eq_ignore_ascii_case("https:")) {
        return builder;
    }
    let tls = ClientTlsConfig::new();
    builder.with_tls_config(match &to.certificates {
        Some(certificates) => tls.ca_certificate(Certificate::from_pem(&certificates.pem)),
        None => tls.with_webpki_roots(),
    })
}

fn http<B: WithExportConfig + WithHttpConfig>(
    builder: B,
    to: &Destination,
    runtime: &Handle,
) -> Result<B, String> {
    let client = Client::new(to, runtime.clone())?;
    let builder = builder.with_protocol(OtlpProtocol::HttpBinary).with_http_client(client);
    Ok(builder.with_endpoint(to.endpoint.clone()).with_timeout(to.timeout))
}

/// The endpoint was checked, and is not quoted.
fn in_words(error: ExporterBuildError) -> String {
    match error {
        ExporterBuildError::InvalidConfiguration(_) => {
            "an OTEL_EXPORTER_OTLP_* variable can't be honoured".to_owned()
        }
        ExporterBuildError::InternalFailure(text) => format!("OTLP: {text}"),
    }
}
