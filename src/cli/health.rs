//! `countersign health`: what a probe, or a person behind a Service, asks.

use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;

use super::call::with_server;
use super::failure::Failure;
use super::output;
use crate::config::ClientArgs;

/// The services that callers come for; a server may say of one that it does not serve, and of the other that it does.
const SERVICES: [&str; 2] = ["countersign.v1.KeyVerifier", "countersign.v1.KeyAdmin"];

/// Needs no credential: health is open to whoever reaches the server.
#[derive(clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    client: ClientArgs,
}

/// Asks by the gRPC health protocol. A server that does not answer is a failure; one that answers that it does not
/// serve is a no.
pub(super) fn run(Args { client }: Args) -> Result<(), Failure> {
    with_server(client, |server| async move {
        let mut healthy = true;
        for service in SERVICES {
            let ask = || {
                let mut health = server.health();
                let request = HealthCheckRequest { service: service.to_owned() };
                async move { health.check(request).await }
            };
            let answer = server.insist(ask).await.map_err(Failure::of_a_question)?;
            let serving = answer.status() == ServingStatus::Serving;
            healthy &= serving;
            let said = if serving { "serving" } else { "not serving" };
            output::line(&format!("{service}  {said}"))?;
        }
        if healthy { Ok(()) } else { Err(Failure::Unhealthy) }
    })
}
