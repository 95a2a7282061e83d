//! The steps, taken through a real gRPC client, and the answers in the words of the model.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::SystemTime;

use countersign::rpc::proto::audit_event::Type;
use countersign::rpc::proto::key::State;
use countersign::rpc::proto::{
    self, CreateKeyRequest, DeleteKeyRequest, DisableKeyRequest, EnableKeyRequest, Environment,
    ExpireSecretRequest, GetKeyRequest, Key, ListAuditEventsRequest, ListKeysRequest,
    RevokeKeyRequest, RotateKeyRequest, UpdateKeyRequest, VerifyRequest, verify_request,
};
use tonic::{Response, Status};

use super::rules::{Answer, View};
use super::steps::{Change, Etag, Grant, Overlap, Question, Spec, Step};
use crate::harness::{Caller, canary};

/// Well formed, and never minted.
const NO_KEY: &str = "csk_live_0000000000000000000000";
const NETWORK: &str = "10.0.0.0/8";
const YEAR_2200: i64 = 7_258_118_400;

/// The keys of one case.
pub struct Account {
    name: String,
    admin: Caller,
    /// A secret that is well formed, and of another key.
    wrong: String,
    keys: Vec<Known>,
}

/// What a client knows of a key.
struct Known {
    key_id: String,
    /// Every secret that it ever had, by number.
    secrets: BTreeMap<i32, String>,
    etag: String,
    /// The etag before.
    stale: String,
}

impl Account {
    pub fn new_name() -> String {
        static NEXT: AtomicUsize = AtomicUsize::new(1);
        format!("case-{}", NEXT.fetch_add(1, Ordering::Relaxed))
    }

    pub fn new(name: &str, admin: Caller, wrong: String) -> Self {
        Self { name: name.to_owned(), admin, wrong, keys: Vec::new() }
    }

    pub async fn take(&mut self, step: &Step) -> Answer {
        self.call(step).await.unwrap_or_else(|status| Answer::Error(status.code()))
    }

    /// The events of each key, in order.
    pub async fn log(&self) -> Vec<Vec<Type>> {
        let mut log = Vec::new();
        for key in &self.keys {
            let filter = format!("key_id = \"{}\"", key.key_id);
            let request = ListAuditEventsRequest { filter, page_size: 1_000, ..Default::default() };
            let page = self.admin.admin().list_audit_events(request).await;
            let events = page.expect("the log can be read").into_inner().events;
            log.push(events.iter().map(proto::AuditEvent::r#type).collect());
        }
        log
    }

    async fn call(&mut self, step: &Step) -> Result<Answer, Status> {
        let mut admin = self.admin.admin();
        match step {
            Step::Create(spec) => {
                let key = Some(key_of(spec, &self.name));
                let request = CreateKeyRequest { key, ..Default::default() };
                let reply = admin.create_key(request).await?.into_inner();
                let key_id = reply.key.as_ref().expect("a key").key_id.clone();
                let (secrets, etag, stale) = (BTreeMap::new(), "never".to_owned(), String::new());
                self.keys.push(Known { key_id, secrets, etag, stale });
                self.with_secret(self.keys.len() - 1, reply.key, reply.secret)
            }
            Step::Rotate { key, overlap } => {
                let request = RotateKeyRequest {
                    key_id: self.id(*key),
                    overlap: length(*overlap),
                    ..Default::default()
                };
                let reply = admin.rotate_key(request).await?.into_inner();
                self.with_secret(*key, reply.key, reply.secret)
            }
            Step::Update { key, change, etag } => {
                let request = self.update(*key, change, *etag);
                self.seen(*key, admin.update_key(request).await, |reply| reply.key)
            }
            Step::ExpireSecret { key, number } => {
                let (key_id, number) = (self.id(*key), *number);
                let request = ExpireSecretRequest { key_id, number, ..Default::default() };
                self.seen(*key, admin.expire_secret(request).await, |reply| reply.key)
            }
            Step::Disable(key) => {
                let request = DisableKeyRequest { key_id: self.id(*key), ..Default::default() };
                self.seen(*key, admin.disable_key(request).await, |reply| reply.key)
            }
            Step::Enable(key) => {
                let request = EnableKeyRequest { key_id: self.id(*key), ..Default::default() };
                self.seen(*key, admin.enable_key(request).await, |reply| reply.key)
            }
            Step::Revoke { key, reason } => {
                let (key_id, reason) = (self.id(*key), (*reason).into());
                let request = RevokeKeyRequest { key_id, reason, ..Default::default() };
                self.seen(*key, admin.revoke_key(request).await, |reply| reply.key)
            }
            Step::Delete(key) => {
                let request = DeleteKeyRequest { key_id: self.id(*key), ..Default::default() };
                admin.delete_key(request).await.map(|_| Answer::Deleted)
            }
            Step::Get(key) => {
                let request = GetKeyRequest { key_id: self.id(*key) };
                self.seen(*key, admin.get_key(request).await, |reply| reply.key)
            }
            Step::List(state) => self.list(*state).await,
            Step::Verify(question) => self.verify(question).await,
        }
    }

    fn id(&self, key: usize) -> String {
        self.keys.get(key).map_or(NO_KEY, |known| known.key_id.as_str()).to_owned()
    }

    fn with_secret(
        &mut self,
        place: usize,
        key: Option<Key>,
        secret: String,
    ) -> Result<Answer, Status> {
        canary::record_secret(&secret);
        let newest =
            key.as_ref().and_then(|key| key.secrets.last()).expect("it has a secret").number;
        self.keys[place].secrets.insert(newest, secret);
        self.seen(place, Ok(Response::new(key)), |key| key)
    }

    /// The answer, after noting its etag.
    fn seen<T>(
        &mut self,
        place: usize,
        reply: Result<Response<T>, Status>,
        key: impl Fn(T) -> Option<Key>,
    ) -> Result<Answer, Status> {
        let key = key(reply?.into_inner()).expect("the reply has a key");
        let known = &mut self.keys[place];
        assert_eq!(key.key_id, known.key_id, "the reply is about another key");
        if key.etag != known.etag {
            known.stale = std::mem::replace(&mut known.etag, key.etag.clone());
        }
        Ok(Answer::Key(view(&key)))
    }

    fn update(&self, key: usize, change: &Change, etag: Etag) -> UpdateKeyRequest {
        let etag = match (self.keys.get(key), etag) {
            (None, _) | (_, Etag::None) => String::new(),
            (Some(known), Etag::Current) => known.etag.clone(),
            (Some(known), Etag::Stale) => known.stale.clone(),
        };
        let mut key = Key { key_id: self.id(key), etag, ..Key::default() };
        let path = match change {
            Change::Name(name) => {
                key.display_name.clone_from(name);
                "display_name"
            }
            Change::Grant(grant) => {
                key.scopes = grant.scopes();
                "scopes"
            }
            Change::Bound(bound) => {
                key.allowed_cidrs = networks(*bound);
                "allowed_cidrs"
            }
            Change::Expires(expires) => {
                key.expire_time = far_future(*expires);
                "expire_time"
            }
        };
        let update_mask = Some(prost_types::FieldMask { paths: vec![path.to_owned()] });
        UpdateKeyRequest { key: Some(key), update_mask, ..Default::default() }
    }

    async fn list(&self, state: Option<State>) -> Result<Answer, Status> {
        let mut filter = format!("account_id = \"{}\"", self.name);
        if let Some(state) = state {
            filter = format!("{filter} AND state = {}", state.as_str_name());
        }
        let request = ListKeysRequest { filter, page_size: 1_000, ..Default::default() };
        let listed = self.admin.admin().list_keys(request).await?.into_inner().keys;
        let place = |key: &Key| self.keys.iter().position(|known| known.key_id == key.key_id);
        let mut places: Vec<usize> =
            listed.iter().map(|key| place(key).expect("a key of this case")).collect();
        places.sort_unstable();
        Ok(Answer::Keys(places))
    }

    async fn verify(&self, question: &Question) -> Result<Answer, Status> {
        let known = self.keys.get(question.key);
        let secret = known.and_then(|known| known.secrets.get(&question.secret));
        let secret = secret.unwrap_or(&self.wrong).clone();
        let credential = proto::Credential { key_id: self.id(question.key), secret };
        let unless = |other: bool, right: &str| if other { "another" } else { right }.to_owned();
        let request = VerifyRequest {
            presented: Some(verify_request::Presented::Credential(credential)),
            required_scopes: question.scopes.iter().map(ToString::to_string).collect(),
            client_ip: question.from.address().to_owned(),
            account_id: unless(question.other_account, &self.name),
            application_id: unless(question.other_application, "billing"),
            environment: environment(question.test).into(),
            ..VerifyRequest::default()
        };
        let answer = self.admin.verifier().verify(request).await?.into_inner();
        Ok(match answer.key {
            Some(key) if answer.allowed => Answer::Allowed(key.secret_number),
            _ => Answer::Denied(answer.denial_reason()),
        })
    }
}

fn key_of(spec: &Spec, account: &str) -> Key {
    Key {
        account_id: account.to_owned(),
        application_id: "billing".to_owned(),
        environment: environment(spec.test).into(),
        display_name: spec.name.clone(),
        scopes: spec.grant.scopes(),
        allowed_cidrs: networks(spec.bound),
        expire_time: far_future(spec.expires),
        ..Key::default()
    }
}

fn view(key: &Key) -> View {
    let now = SystemTime::now();
    let is_live = |end: prost_types::Timestamp| SystemTime::try_from(end).expect("a time") > now;
    let grant = Grant::ALL.into_iter().find(|grant| grant.scopes() == key.scopes);
    let spec = Spec {
        name: key.display_name.clone(),
        grant: grant.unwrap_or_else(|| panic!("unknown scopes {:?}", key.scopes)),
        bound: key.allowed_cidrs == [NETWORK],
        test: key.environment() == Environment::Test,
        expires: key.expire_time == far_future(true),
    };
    let secrets = key.secrets.iter();
    let secrets = secrets.map(|secret| (secret.number, secret.expire_time.is_none_or(is_live)));
    let (state, revoke_reason) = (key.state(), key.revoke_reason());
    View { state, revoke_reason, spec, secrets: secrets.collect() }
}

fn environment(test: bool) -> Environment {
    if test { Environment::Test } else { Environment::Live }
}

fn networks(bound: bool) -> Vec<String> {
    if bound { vec![NETWORK.to_owned()] } else { Vec::new() }
}

fn far_future(expires: bool) -> Option<prost_types::Timestamp> {
    expires.then_some(prost_types::Timestamp { seconds: YEAR_2200, nanos: 0 })
}

fn length(overlap: Overlap) -> Option<prost_types::Duration> {
    let seconds = match overlap {
        Overlap::None => 0,
        Overlap::Long => 60 * 60,
        Overlap::Absent => return None,
        Overlap::TooLong => 367 * 24 * 60 * 60,
    };
    Some(prost_types::Duration { seconds, nanos: 0 })
}
