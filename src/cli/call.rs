//! Calls a server, as any client of it does.

use std::error::Error;
use std::future::Future;
use std::time::Duration;

use tokio::time::Instant;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, ConnectError, Request, Response, Status, TimeoutExpired};
use tonic_health::pb::health_client::HealthClient;

use super::failure::Failure;
use crate::config::{ClientArgs, ClientSettings, Credential, DEFAULT_CREDENTIAL_FILE};
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

/// Puts the credential, if there is one, into the two headers, and says when we stop waiting.
#[derive(Clone)]
pub(super) struct Presents {
    credential: Option<(MetadataValue<Ascii>, MetadataValue<Ascii>)>,
    deadline: Option<Instant>,
}

impl Interceptor for Presents {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some((authorization, secret)) = &self.credential {
            request.metadata_mut().insert("authorization", authorization.clone());
            request.metadata_mut().insert("x-secret-key", secret.clone());
        }
        if let Some(deadline) = self.deadline {
            request.set_timeout(deadline.saturating_duration_since(Instant::now()));
        }
        Ok(request)
    }
}

/// Runs a command that calls a server which answers nobody without a credential.
pub(super) fn with_administration<F: Future<Output = Result<(), Failure>>>(
    args: ClientArgs,
    command: impl FnOnce(Server) -> F,
) -> Result<(), Failure> {
    with_server(args, |server| async move {
        if server.presents.credential.is_none() {
            return Err(Failure::Said(format!(
                "no credential: looked for {DEFAULT_CREDENTIAL_FILE}; use --credential-file, or COUNTERSIGN_KEY_ID and \
                 COUNTERSIGN_SECRET"
            )));
        }
        command(server).await
    })
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
        // It would be passed over, and shown whenever the server is named.
        if endpoint.contains('@') {
            return Err(Failure::said(
                "endpoint: must have no user and no password; the credential comes from --credential-file, or \
                 COUNTERSIGN_KEY_ID and COUNTERSIGN_SECRET",
            ));
        }
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

    /// Presents nothing.
    pub(super) fn health(&self) -> HealthClient<Channel> {
        HealthClient::new(self.channel.clone())
    }

    /// Calls that tell the server when we stop waiting, so that what waits for other replicas is answered before.
    fn admin_in_time(&self) -> Admin {
        let deadline = Instant::now().checked_add(self.timeout);
        let presents = Presents { deadline, ..self.presents.clone() };
        KeyAdminClient::with_interceptor(self.channel.clone(), presents)
    }

    /// Makes a call of `KeyAdmin`, and makes it again when the server is UNAVAILABLE or the connection is cut:
    /// repeating one is safe, for Create and Rotate because of their request id. Not so with an etag: see
    /// [`Self::ask_once`].
    pub(super) async fn ask<T, F>(&self, mut call: impl FnMut(Admin) -> F) -> Result<T, Failure>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        let admin = self.admin_in_time();
        self.insist(|| call(admin.clone())).await
    }

    /// The same as [`Self::ask`] for a call that changes nothing.
    pub(super) async fn read<T, F>(&self, call: impl FnMut(Admin) -> F) -> Result<T, Failure>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        self.ask(call).await.map_err(Failure::of_a_question)
    }

    /// Makes a call of `KeyAdmin` that can't be repeated. A change that was made and whose reply was lost
    /// no longer has its etag, so that a second attempt would say that it was not made.
    pub(super) async fn ask_once<T, F>(&self, call: impl FnOnce(Admin) -> F) -> Result<T, Failure>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        let answer = call(self.admin_in_time());
        let mut was_cut = false;
        let answer = async {
            let answer = answer.await;
            was_cut = answer.as_ref().is_err_and(is_cut);
            answer
        };
        let answer = tokio::time::timeout(self.timeout, answer).await.ok();
        self.outcome(answer, was_cut)
    }

    /// The same as [`Self::ask`] for a call of any service.
    pub(super) async fn insist<T, F>(&self, mut call: impl FnMut() -> F) -> Result<T, Failure>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        let mut was_cut = false;
        let attempts = async {
            let mut waits = BACK_OFF.into_iter();
            loop {
                let answer = call().await;
                was_cut |= answer.as_ref().is_err_and(is_cut);
                let again = |status: &Status| status.code() == Code::Unavailable || is_cut(status);
                match waits.next() {
                    Some(wait) if answer.as_ref().is_err_and(again) => {
                        tokio::time::sleep(wait).await;
                    }
                    _ => return answer,
                }
            }
        };
        let answer = tokio::time::timeout(self.timeout, attempts).await.ok();
        self.outcome(answer, was_cut)
    }

    /// What became of a call; `None`: no answer came in time. `was_cut`: an attempt may have done what was asked.
    fn outcome<T>(
        &self,
        answer: Option<Result<Response<T>, Status>>,
        was_cut: bool,
    ) -> Result<T, Failure> {
        match answer {
            Some(Ok(response)) => Ok(response.into_inner()),
            Some(Err(status)) if !is_timed_out(&status) => {
                // An attempt that came through to the server knows what became of the one before.
                let nobody_knows =
                    was_cut && (status.code() == Code::Unavailable || is_cut(&status));
                Err(match self.explained(status) {
                    Failure::Said(what) if nobody_knows => Failure::Unanswered(what),
                    Failure::Status(status) if nobody_knows => {
                        Failure::Unanswered(format!("UNAVAILABLE: {}", status.message()))
                    }
                    failure => failure,
                })
            }
            Some(Err(_)) | None => Err(Failure::Unanswered(format!(
                "DEADLINE_EXCEEDED: no answer from {} within {} s",
                self.endpoint,
                self.timeout.as_secs()
            ))),
        }
    }

    /// A status that the server sent, or in words that there is no server.
    pub(super) fn explained(&self, status: Status) -> Failure {
        if is_cut(&status) {
            let endpoint = &self.endpoint;
            return Failure::Said(format!(
                "UNAVAILABLE: the connection to {endpoint} was cut before the answer came"
            ));
        }
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

/// Whether the connection ended while the server may have been at work. A status with a source was made here, from
/// an error of the connection.
fn is_cut(status: &Status) -> bool {
    status.source().is_some() && !has_source::<ConnectError>(status) && !is_timed_out(status)
}

/// Whether the time for a call is over, by the server's clock or by ours.
fn is_timed_out(status: &Status) -> bool {
    status.code() == Code::DeadlineExceeded || has_source::<TimeoutExpired>(status)
}

fn has_source<E: Error + 'static>(status: &Status) -> bool {
    let mut source = status.source();
    while let Some(error) = source {
        if error.is::<E>() {
            return true;
        }
        source = error.source();
    }
    false
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

/// What to do about a request that may have made a secret, or not.
pub(super) fn repeat(request_id: &str) -> String {
    format!("run the same command again with --request-id {request_id}")
}

fn presents(credential: Option<&Credential>) -> Result<Presents, Failure> {
    let Some(credential) = credential else {
        return Ok(Presents { credential: None, deadline: None });
    };
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
    let credential = Some((authorization, header(&credential.secret, "secret")?));
    Ok(Presents { credential, deadline: None })
}
