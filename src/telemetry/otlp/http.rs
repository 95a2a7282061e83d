//! OTLP over HTTP: hyper, on the runtime of the exporters.

use std::error::Error;

use async_trait::async_trait;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use opentelemetry_http::hyper::HyperClient;
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use rustls::crypto::ring;
use rustls::{ClientConfig, RootCertStore};
use tokio::runtime::Handle;

use super::Destination;

const SDK: &str = "opentelemetry-http";

/// The SDK's threads, which wait for an export, belong to no runtime; hyper needs one.
#[derive(Debug)]
pub(super) struct Client {
    client: HyperClient<HttpsConnector<HttpConnector>>,
    runtime: Handle,
}

impl Client {
    pub(super) fn new(to: &Destination, runtime: Handle) -> Result<Self, String> {
        let builder = HttpsConnectorBuilder::new();
        let builder = match &to.certificates {
            None => builder
                .with_provider_and_webpki_roots(ring::default_provider())
                .map_err(|error| error.to_string())?,
            Some(certificates) => {
                let mut roots = RootCertStore::empty();
                for certificate in &certificates.parsed {
                    roots.add(certificate.clone()).map_err(|error| error.to_string())?;
                }
                let config = ClientConfig::builder_with_provider(ring::default_provider().into())
                    .with_safe_default_protocol_versions()
                    .map_err(|error| error.to_string())?;
                builder.with_tls_config(config.with_root_certificates(roots).with_no_client_auth())
            }
        };
        let connector = builder.https_or_http().enable_http1().build();
        Ok(Self { client: HyperClient::new(connector, to.timeout, None), runtime })
    }
}

#[async_trait]
impl HttpClient for Client {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let client = self.client.clone();
        let sent = self.runtime.spawn(async move { client.send_bytes(request).await }).await?;
        sent.inspect_err(|error| {
            // The exporter says no more than "network error". Under the SDK's name this is said as seldom as all that.
            tracing::warn!(target: SDK, cause = in_full(&**error), "no answer of a collector");
        })
    }
}

/// An error with all that led to it.
fn in_full(error: &dyn Error) -> String {
    let causes = std::iter::successors(error.source(), |&error| error.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}
