//! Calls a server, as any client of it does.

use std::error::Error as _;
use std::future::Future;
use std::time::Duration;

use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Response, Status};

use super::failure::Failure;
use crate::config::{ClientArgs, ClientSettings, Credential};
use crate::domain::random::{OsRandom, draw};
use crate::rpc::proto::key_admin_client::KeyAdminClient;
use crate::rpc::proto::key_verifier_client::KeyVerifierClient;

/// Waits before the second, third … attempt of a call that was UNAVAILABLE.
const BACK_OFF: [Duration; 4] = [
    Duration::from_millis(100),
    Duration::from_millis(200),
    Duration::from_millis(400),
    Duration::from_millis(800),
];

pub(super) type Admin = KeyAdminClient<InterceptedService<Channel, Presents>>;
pub(super) type Verifier = KeyVerifierClient<InterceptedService<Channel, Presents>>;

/// A server that calls go to.
pub(super) struct Server {
    endpoint: String,
    channel: Channel,
    presents: Presents,
    timeout: Duration,
}

/// Puts the credential, if there is one, into the two headers.
#[derive(Clone)]
pub(super) struct Presents(Option<(MetadataValue<Ascii>, MetadataValue<Ascii>)>);

impl Interceptor for Presents {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some((authorization, secret)) = &self.0 {
            request.metadata_mut().insert("authorization", authorization.clone());
            request.metadata_mut().insert("x-secret-key", secret.clone());
        }
        Ok(request)
    }
}

/// Runs a command that calls a server.
pub(super) fn with_server<F: Future<Output = Result<(), Failure>>>(
    args: ClientArgs,
    command: impl FnOnce(Server) -> F,
) -> Result<(), Failure> {
    let settings = args.resolve()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(Failure::said)?;
    runtime.block_on(async { command(Server::new(settings)?).await })
}

impl Server {
    /// Connects at the first call.
    fn new(settings: ClientSettings) -> Result<Self, Failure> {
        let ClientSettings { endpoint, credential, timeout } = settings;
        if endpoint.starts_with("https://") {
            return Err(Failure::said(
                "endpoint: https is not supported yet; use http://HOST:PORT",
            ));
        }
        let wrong = || Failure::said("endpoint: must be a URL such as http://127.0.0.1:50051");
        if !endpoint.starts_with("http://") {
            return Err(wrong());
        }
        let channel = Endpoint::from_shared(endpoint.clone())
            .and_then(|endpoint| {
                endpoint.user_agent(concat!("countersign/", env!("CARGO_PKG_VERSION")))
            })
            .map_err(|_| wrong())?
            // A watch may be silent for ten seconds, but a dead server must be noticed.
            .http2_keep_alive_interval(Duration::from_secs(30))
            .keep_alive_timeout(Duration::from_secs(10))
            .connect_timeout(timeout)
            .connect_lazy();
        Ok(Self { endpoint, channel, presents: presents(credential.as_ref())?, timeout })
    }

    pub(super) fn admin(&self) -> Admin {
        KeyAdminClient::with_interceptor(self.channel.clone(), self.presents.clone())
    }

    pub(super) fn verifier(&self) -> Verifier {
        KeyVerifierClient::with_interceptor(self.channel.clone(), self.presents.clone())
    }

    /// Makes a call of `KeyAdmin`, and makes it again when the server is UNAVAILABLE: repeating one is
    /// safe, for Create and Rotate because of their request id. Not so with an etag: see
    /// [`Self::ask_once`].
    pub(super) async fn ask<T, F>(&self, mut call: impl FnMut(Admin) -> F) -> Result<T, Failure>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        self.insist(|| call(self.admin())).await
    }

    /// Makes a call of `KeyAdmin` that can't be repeated. A change that was made and whose reply was lost
    /// no longer has its etag, so that a second attempt would say that it was not made.
    pub(super) async fn ask_once<T, F>(&self, call: impl FnOnce(Admin) -> F) -> Result<T, Failure>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        self.in_time(call(self.admin())).await
    }

    /// The same as [`Self::ask`] for a call of any service.
    pub(super) async fn insist<T, F>(&self, mut call: impl FnMut() -> F) -> Result<T, Failure>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        let attempts = async {
            for wait in BACK_OFF {
                match call().await {
                    Err(status) if status.code() == Code::Unavailable => {
                        tokio::time::sleep(wait).await;
                    }
                    answer => return answer,
                }
            }
            call().await
        };
        self.in_time(attempts).await
    }

    async fn in_time<T>(
        &self,
        answer: impl Future<Output = Result<Response<T>, Status>>,
    ) -> Result<T, Failure> {
        match tokio::time::timeout(self.timeout, answer).await {
            Ok(Ok(response)) => Ok(response.into_inner()),
            Ok(Err(status)) => Err(self.explained(status)),
            Err(_) => Err(Failure::Said(format!(
                "DEADLINE_EXCEEDED: no answer from {} within {} s; a change may have been made",
                self.endpoint,
                self.timeout.as_secs()
            ))),
        }
    }

    /// A status that the server sent, or in words that there is no server.
    pub(super) fn explained(&self, status: Status) -> Failure {
        // A status with a source was made here, from an error of the connection.
        if status.code() == Code::Unavailable && status.source().is_some() {
            return Failure::Said(format!(
                "UNAVAILABLE: no server answers at {}; start one with `countersign serve`, or name \
                 another with --endpoint",
                self.endpoint
            ));
        }
        status.into()
    }
}

/// A new request id, or the one that the caller chose.
pub(super) fn request_id(chosen: Option<String>) -> Result<String, Failure> {
    match chosen {
        Some(chosen) => Ok(chosen),
        None => {
            let random: u128 = u128::from_be_bytes(draw(&OsRandom).map_err(Failure::said)?);
            Ok(format!("{random:032x}"))
        }
    }
}

fn presents(credential: Option<&Credential>) -> Result<Presents, Failure> {
    let Some(credential) = credential else { return Ok(Presents(None)) };
    let header = |text: &str, what: &str| {
        let value: Result<MetadataValue<Ascii>, _> = text.parse();
        let mut value = value.map_err(|_| {
            Failure::Said(format!(
                "the {what} of the credential holds characters that no {what} has"
            ))
        })?;
        // Kept out of compression tables, and of anything that prints headers.
        value.set_sensitive(true);
        Ok::<_, Failure>(value)
    };
    let authorization = header(&format!("Bearer {}", credential.key_id), "key id")?;
    Ok(Presents(Some((authorization, header(&credential.secret, "secret")?))))
}
