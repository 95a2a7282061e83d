//! What a listener serves: our services, reflection and health, behind their paths.

use std::convert::Infallible;
use std::error::Error as StdError;
use std::pin::Pin;
use std::task::{Context, Poll};

use http::{Request, Response};
use http_body::Body as HttpBody;
use pin_project_lite::pin_project;
use prost::bytes::Bytes;
use tonic::body::Body;
use tonic::codegen::BoxFuture;
use tonic::service::{Routes, RoutesBuilder};
use tonic_health::ServingStatus;
use tonic_health::pb::health_server::HealthServer;
use tonic_health::server::{HealthReporter, HealthService};
use tower::Service;

use super::proto::FILE_DESCRIPTOR_SET;
use super::proto::gateway::envoy::service::auth::v3::authorization_server::{
    AuthorizationServer, SERVICE_NAME as AUTHORIZATION,
};
use super::proto::key_admin_server::{KeyAdminServer, SERVICE_NAME as KEY_ADMIN};
use super::proto::key_verifier_server::SERVICE_NAME as KEY_VERIFIER;
use super::status::MAX_REQUEST_BYTES;
use super::{Gateway, KeyAdminService, KeyVerifierService};
use crate::domain::Error;

/// What the health service says of the whole server (the empty name) and of each service. All listeners
/// share it. It begins as not serving.
#[derive(Clone)]
pub struct Health(HealthReporter);

impl Health {
    /// Not serving yet.
    pub async fn starting() -> Self {
        let health = Self(HealthReporter::new());
        health.set(ServingStatus::NotServing).await;
        health
    }

    /// From now on, requests are welcome.
    pub async fn serving(&self) {
        self.set(ServingStatus::Serving).await;
    }

    /// From now on, clients better go elsewhere.
    pub async fn not_serving(&self) {
        self.set(ServingStatus::NotServing).await;
    }

    /// What it says of the whole server.
    #[cfg(test)]
    pub(crate) async fn is_serving(&self) -> bool {
        use tonic_health::pb::health_server::Health as _;
        let request = tonic::Request::new(tonic_health::pb::HealthCheckRequest::default());
        let service = HealthService::from_health_reporter(self.0.clone());
        let said = service.check(request).await.expect("it is registered").into_inner();
        said.status == i32::from(tonic_health::pb::health_check_response::ServingStatus::Serving)
    }

    async fn set(&self, status: ServingStatus) {
        for service in ["", KEY_ADMIN, KEY_VERIFIER, AUTHORIZATION] {
            self.0.set_service_status(service, status).await;
        }
    }
}

/// What one listener serves.
///
/// Verifications are looked at first and go straight to their service. Everything else finds its way through
/// [`Routes`], where a request costs a dozen allocations more.
#[derive(Clone)]
pub struct Services {
    verifier: Option<KeyVerifierService>,
    gateway: Option<AuthorizationServer<Gateway>>,
    routes: Routes,
}

/// The services of one listener. With a listener of its own for administration, each serves one of the
/// two; otherwise one serves both. Reflection describes what the listener serves.
///
/// # Errors
/// [`Error::Internal`] if the descriptors can't be read, which a test rules out.
pub fn services(
    admin: Option<KeyAdminService>,
    verifier: Option<KeyVerifierService>,
    gateway: Option<Gateway>,
    health: &Health,
) -> Result<Services, Error> {
    let mut names = vec![
        "grpc.health.v1.Health",
        "grpc.reflection.v1.ServerReflection",
        "grpc.reflection.v1alpha.ServerReflection",
    ];
    names.extend(admin.is_some().then_some(KEY_ADMIN));
    names.extend(verifier.is_some().then_some(KEY_VERIFIER));
    names.extend(gateway.is_some().then_some(AUTHORIZATION));
    let reflection = || {
        let builder = tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
            // The details of errors, so that grpcurl shows them as text instead of bytes.
            .register_encoded_file_descriptor_set(tonic_types::pb::FILE_DESCRIPTOR_SET);
        names.iter().fold(builder, |builder, name| builder.with_service_name(*name))
    };
    let unreadable = |error: tonic_reflection::server::Error| Error::Internal(error.to_string());

    let mut routes = RoutesBuilder::default();
    if let Some(admin) = admin {
        routes.add_service(KeyAdminServer::new(admin).max_decoding_message_size(MAX_REQUEST_BYTES));
    }
    let gateway = gateway.map(|gateway| {
        AuthorizationServer::new(gateway).max_decoding_message_size(MAX_REQUEST_BYTES)
    });
    routes.add_service(HealthServer::new(HealthService::from_health_reporter(health.0.clone())));
    routes.add_service(reflection().build_v1().map_err(unreadable)?);
    // What grpcurl up to 1.8 speaks.
    routes.add_service(reflection().build_v1alpha().map_err(unreadable)?);
    Ok(Services { verifier, gateway, routes: routes.routes().prepare() })
}

impl<B> Service<Request<B>> for Services
where
    B: HttpBody<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn StdError + Send + Sync>> + Send + 'static,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Serving<<Routes as Service<Request<B>>>::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        // The verifier always is.
        Service::<Request<B>>::poll_ready(&mut self.routes, cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let service = request.uri().path().split('/').nth(1);
        let way = match (&mut self.verifier, &mut self.gateway) {
            (Some(verifier), _) if service == Some(KEY_VERIFIER) => {
                Way::Verification { answer: verifier.call(request) }
            }
            (_, Some(gateway)) if service == Some(AUTHORIZATION) => {
                Way::Verification { answer: gateway.call(request) }
            }
            _ => Way::Routed { answer: self.routes.call(request) },
        };
        Serving { way }
    }
}

pin_project! {
    /// An answer of one of the [`Services`].
    pub struct Serving<F> {
        #[pin]
        way: Way<F>,
    }
}

pin_project! {
    #[project = ProjectedWay]
    enum Way<F> {
        // Of what tonic's async functions make of it, which has no name.
        Verification { answer: BoxFuture<Response<Body>, Infallible> },
        Routed { #[pin] answer: F },
    }
}

impl<F: Future<Output = Result<Response<Body>, Infallible>>> Future for Serving<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        match self.project().way.project() {
            ProjectedWay::Verification { answer } => answer.as_mut().poll(cx),
            ProjectedWay::Routed { answer } => answer.poll(cx),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::permission::VERBS;

    #[tokio::test]
    async fn reflection_reads_all_descriptors() {
        assert!(services(None, None, None, &Health::starting().await).is_ok());
    }

    #[test]
    fn the_table_of_verbs_is_the_contracts() {
        let pool = prost_reflect::DescriptorPool::decode(FILE_DESCRIPTOR_SET).expect("descriptors");
        let methods = pool.services().flat_map(|service| {
            let methods = service.methods().map(|method| method.name().to_owned());
            let service = service.full_name().to_owned();
            methods.map(move |method| format!("{service}/{method}")).collect::<Vec<_>>()
        });
        let mut contract: Vec<String> = methods.collect();
        let mut table: Vec<String> = VERBS.iter().map(|(_, name, _)| (*name).to_owned()).collect();
        contract.sort_unstable();
        table.sort_unstable();
        assert_eq!(contract, table);
    }
}
