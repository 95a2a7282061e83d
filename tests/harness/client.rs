//! A caller of the service: the generated client and a credential in its two headers.

use std::fmt;
use std::path::Path;

use countersign::rpc::proto::key_admin_client::KeyAdminClient;
use countersign::rpc::proto::key_verifier_client::KeyVerifierClient;
use countersign::rpc::proto::{
    CreateKeyRequest, Environment, Key, VerifyRequest, VerifyResponse, verify_request,
};
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};

use super::canary;

type Authenticated = InterceptedService<Channel, Presents>;

/// Key id and secret.
#[derive(Clone)]
pub struct Credential {
    pub key_id: String,
    pub secret: String,
}

/// A key that was just made, with the one sight of its secret.
#[derive(Debug)]
pub struct Minted {
    pub key: Key,
    pub credential: Credential,
}

/// Somebody who calls the service, with a credential or without.
#[derive(Clone)]
pub struct Caller {
    channel: Channel,
    presents: Presents,
}

/// Puts the credential, if there is one, into the two headers.
#[derive(Clone)]
pub struct Presents(Option<Credential>);

impl Credential {
    /// From the two lines of `admin.env`.
    pub fn from_admin_env(path: &Path) -> Self {
        let text = std::fs::read_to_string(path)
            .unwrap_or_else(|error| panic!("{} is not there: {error}", path.display()));
        let value = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
            line.unwrap_or_else(|| panic!("{} has no line {name}=…", path.display())).to_owned()
        };
        Self { key_id: value("COUNTERSIGN_KEY_ID"), secret: value("COUNTERSIGN_SECRET") }
    }

    /// From what `bootstrap --json` and `keys mint --json` print.
    pub fn from_json(json: &serde_json::Value) -> Self {
        let value = |name: &str| {
            json[name]
                .as_str()
                .unwrap_or_else(|| panic!("the JSON has no text {name:?}"))
                .to_owned()
        };
        Self { key_id: value("key_id"), secret: value("secret") }
    }

    /// The same as one string, `<key id>.<secret>`.
    pub fn token(&self) -> String {
        format!("{}.{}", self.key_id, self.secret)
    }
}

/// A failing test prints no secret either.
impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Credential({})", self.key_id)
    }
}

impl Interceptor for Presents {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(credential) = &self.0 {
            let metadata = request.metadata_mut();
            metadata.insert("authorization", header(&format!("Bearer {}", credential.key_id)));
            metadata.insert("x-secret-key", header(&credential.secret));
        }
        Ok(request)
    }
}

fn header(text: &str) -> MetadataValue<Ascii> {
    text.parse().expect("a credential is printable ASCII")
}

/// The least that CreateKey takes: a live key of that application, without scopes.
pub fn key(account: &str, application: &str) -> Key {
    Key {
        account_id: account.to_owned(),
        application_id: application.to_owned(),
        environment: Environment::Live.into(),
        display_name: format!("a key of {application}"),
        ..Key::default()
    }
}

impl Caller {
    pub async fn connect(endpoint: &str, credential: Option<Credential>) -> Self {
        let endpoint = Endpoint::from_shared(endpoint.to_owned()).expect("the endpoint is a URL");
        let channel = endpoint.connect().await.expect("the server takes connections");
        Self { channel, presents: Presents(credential) }
    }

    /// Connects when it is first used, and anew whenever the connection was lost.
    pub fn lazily(endpoint: &str, credential: Option<Credential>) -> Self {
        let endpoint = Endpoint::from_shared(endpoint.to_owned()).expect("the endpoint is a URL");
        Self { channel: endpoint.connect_lazy(), presents: Presents(credential) }
    }

    /// The same connection with another credential.
    pub fn with(&self, credential: Credential) -> Self {
        Self { presents: Presents(Some(credential)), ..self.clone() }
    }

    /// The same connection without a credential.
    pub fn anonymous(&self) -> Self {
        Self { presents: Presents(None), ..self.clone() }
    }

    pub fn admin(&self) -> KeyAdminClient<Authenticated> {
        KeyAdminClient::with_interceptor(self.channel.clone(), self.presents.clone())
    }

    pub fn verifier(&self) -> KeyVerifierClient<Authenticated> {
        KeyVerifierClient::with_interceptor(self.channel.clone(), self.presents.clone())
    }

    /// Creates a key and notes its secret as a canary.
    pub async fn mint(&self, key: Key) -> Minted {
        self.try_mint(key).await.expect("the key can be created")
    }

    /// Asks for a key, and notes its secret as a canary if it is granted.
    pub async fn try_mint(&self, key: Key) -> Result<Minted, Status> {
        let request = CreateKeyRequest { key: Some(key), ..CreateKeyRequest::default() };
        let reply = self.admin().create_key(request).await?.into_inner();
        canary::record_secret(&reply.secret);
        let key = reply.key.expect("CreateKey returns the key");
        let credential = Credential { key_id: key.key_id.clone(), secret: reply.secret };
        Ok(Minted { key, credential })
    }

    /// Verifies a credential, asking for nothing but that it is good.
    pub async fn verify(&self, credential: &Credential) -> VerifyResponse {
        self.verify_with(credential, VerifyRequest::default()).await
    }

    /// Verifies a credential against what else the request says.
    pub async fn verify_with(
        &self,
        credential: &Credential,
        request: VerifyRequest,
    ) -> VerifyResponse {
        self.try_verify(credential, request).await.expect("Verify answers")
    }

    /// The same where an error may be the right answer.
    pub async fn try_verify(
        &self,
        credential: &Credential,
        request: VerifyRequest,
    ) -> Result<VerifyResponse, Status> {
        let presented = countersign::rpc::proto::Credential {
            key_id: credential.key_id.clone(),
            secret: credential.secret.clone(),
        };
        let presented = Some(verify_request::Presented::Credential(presented));
        let reply = self.verifier().verify(VerifyRequest { presented, ..request }).await;
        reply.map(tonic::Response::into_inner)
    }
}
