//! What one client was told by the server, and whether the server still says the same.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use countersign::rpc::proto::audit_event::Type;
use countersign::rpc::proto::key::{Secret, State};
use countersign::rpc::proto::{
    AuditEvent, BatchVerifyRequest, DenialReason, GetKeyRequest, Key, VerifyRequest,
    batch_verify_response, verify_request,
};
use tonic::Code;

use super::log::{events, keys_of};
use super::writes::{Reply, Write};
use crate::harness::seeded::Random;
use crate::harness::{Caller, Credential};

const LONG: Duration = Duration::from_secs(60 * 60);
/// The most that BatchVerify takes.
const BATCH: usize = 1_000;

/// All keys of an account that one client alone writes to.
pub struct Ledger {
    account: String,
    keys: BTreeMap<String, Told>,
    asked: usize,
}

/// What was acknowledged about one key.
#[derive(Default)]
struct Told {
    /// The key after its last acknowledged change; `None` once it is deleted.
    key: Option<Key>,
    /// Every secret that it ever had, with its number.
    secrets: Vec<(i32, String)>,
    history: Vec<Type>,
}

impl Ledger {
    pub fn of(account: impl Into<String>) -> Self {
        Self { account: account.into(), keys: BTreeMap::new(), asked: 0 }
    }

    /// A write that will change something.
    pub fn next(&mut self, random: &mut Random) -> Write {
        let roll = random.below(100);
        let living: Vec<&Key> = self.keys.values().filter_map(|told| told.key.as_ref()).collect();
        let chosen = random.one_of(&living).copied().cloned();
        let Some(key) = chosen.filter(|_| roll >= 30) else {
            return self.next_create();
        };
        let live: Vec<i32> = key.secrets.iter().filter(|s| is_live(s)).map(|s| s.number).collect();
        let (state, key_id) = (key.state(), key.key_id);
        match roll {
            _ if state == State::Revoked => Write::Delete { key_id },
            30..55 => self.next_rename(key_id),
            55..70 => {
                let overlap = if live.len() < 3 && roll < 64 { LONG } else { Duration::ZERO };
                self.next_rotate(key_id, overlap)
            }
            70..76 if live.len() > 1 => Write::ExpireSecret { key_id, number: live[0] },
            70..76 => self.next_rename(key_id),
            76..88 if state == State::Disabled => Write::Enable { key_id },
            76..88 => Write::Disable { key_id },
            _ => Write::Revoke { key_id },
        }
    }

    pub fn next_create(&mut self) -> Write {
        let number = self.number();
        let (name, request_id) = (format!("key {number}"), format!("{}-{number}", self.account));
        Write::Create { account: self.account.clone(), name, request_id }
    }

    pub fn next_rotate(&mut self, key_id: String, overlap: Duration) -> Write {
        let number = self.number();
        let request_id = format!("{}-{number}", self.account);
        Write::Rotate { key_id, overlap, request_id }
    }

    fn next_rename(&mut self, key_id: String) -> Write {
        Write::Rename { key_id, name: format!("name {}", self.number()) }
    }

    fn number(&mut self) -> usize {
        self.asked += 1;
        self.asked
    }

    /// Takes down what was acknowledged; gives the key's id.
    pub fn book(&mut self, write: &Write, reply: Reply) -> String {
        let key_id = match (&reply.key, write.key_id()) {
            (Some(key), _) => key.key_id.clone(),
            (None, key_id) => key_id.expect("only a deletion returns no key").to_owned(),
        };
        let told = self.keys.entry(key_id.clone()).or_default();
        let makes_sense = write.made(told.key.as_ref(), reply.key.as_ref());
        assert!(makes_sense, "{write:?} was acknowledged with {:?}", reply.key);
        if let (Some(key), Some(secret)) = (&reply.key, reply.secret) {
            let newest = key.secrets.last().expect("a key that got a secret has one").number;
            told.secrets.push((newest, secret));
        }
        told.key = reply.key;
        told.history.push(write.event());
        key_id
    }

    /// Sends again what got no answer, and books it. Whether it had been made is for the server to
    /// find out.
    pub async fn repeat(&mut self, caller: &Caller, write: &Write) {
        let reply = write.send(caller).await;
        let reply = reply.unwrap_or_else(|status| panic!("repeating {write:?}: {status}"));
        self.book(write, reply);
    }

    /// A write that got no answer, and is not being worked on any more, was made whole or not at
    /// all: the key, the log and, once it is repeated, the reply agree on which. Says which.
    pub async fn settle(&mut self, caller: &Caller, write: &Write) -> bool {
        let logged = match write.request_id() {
            Some(request_id) => events(caller, &format!("request_id = \"{request_id}\"")).await,
            None => Vec::new(),
        };
        let key_id = write.key_id().or(logged.first().map(|event| event.key_id.as_str()));
        let Some(key_id) = key_id else {
            self.repeat(caller, write).await;
            return false;
        };
        let nothing = Told::default();
        let told = self.keys.get(key_id).unwrap_or(&nothing);
        let found = get(caller, key_id).await;
        let was_made = found != told.key;
        if was_made {
            let whole = write.made(told.key.as_ref(), found.as_ref());
            assert!(whole, "{write:?} was made in part: {found:?}");
        }
        let history = events(caller, &format!("key_id = \"{key_id}\"")).await;
        let expected = told.history.iter().copied().chain(was_made.then(|| write.event()));
        assert_eq!(types(&history), expected.collect::<Vec<_>>(), "the log of {write:?}");
        if write.request_id().is_some() {
            assert_eq!(logged.len(), usize::from(was_made), "events of {write:?}");
        }
        let reply = write.send(caller).await;
        let reply = reply.unwrap_or_else(|status| panic!("repeating {write:?}: {status}"));
        assert!(!was_made || reply.key == found, "repeating {write:?} changed the key");
        self.book(write, reply);
        was_made
    }

    /// Demands that the server says of every key, and of every secret that it ever had, what
    /// follows from the last acknowledged change.
    pub async fn holds_at(&self, caller: &Caller) {
        let mut found = keys_of(caller, &self.account).await;
        for (key_id, told) in &self.keys {
            assert_eq!(found.remove(key_id), told.key, "key {key_id} of {}", self.account);
        }
        assert!(found.is_empty(), "keys that nobody was told of: {found:?}");
        let all: Vec<_> = self.keys.iter().flat_map(|(id, told)| expected(id, told)).collect();
        answers(caller, &all).await;
    }

    /// The same for one key's secrets.
    pub async fn is_visible_at(&self, caller: &Caller, key_id: &str) {
        answers(caller, &expected(key_id, &self.keys[key_id])).await;
    }

    /// Demands that each key's events in the whole log are its acknowledged changes, in order.
    pub fn is_the_history_in(&self, log: &[AuditEvent]) {
        let mut logged: BTreeMap<&str, Vec<Type>> = BTreeMap::new();
        for event in log.iter().filter(|event| event.account_id == self.account) {
            logged.entry(&event.key_id).or_default().push(event.r#type());
        }
        for (key_id, told) in &self.keys {
            let history = logged.remove(key_id.as_str()).unwrap_or_default();
            assert_eq!(history, told.history, "the log of key {key_id} of {}", self.account);
        }
        assert!(logged.is_empty(), "events that nobody was told of: {logged:?}");
    }
}

fn types(events: &[AuditEvent]) -> Vec<Type> {
    events.iter().map(AuditEvent::r#type).collect()
}

fn is_live(secret: &Secret) -> bool {
    let now = SystemTime::now();
    secret.expire_time.is_none_or(|end| SystemTime::try_from(end).expect("a time") > now)
}

async fn get(caller: &Caller, key_id: &str) -> Option<Key> {
    match caller.admin().get_key(GetKeyRequest { key_id: key_id.to_owned() }).await {
        Ok(reply) => reply.into_inner().key,
        Err(status) if status.code() == Code::NotFound => None,
        Err(status) => panic!("GetKey: {status}"),
    }
}

/// Each secret that the key ever had, and the answer that it deserves.
fn expected(key_id: &str, told: &Told) -> Vec<(Credential, DenialReason)> {
    let of_secret = |(number, secret): &(i32, String)| {
        let reason = match &told.key {
            None => DenialReason::InvalidCredential,
            Some(key) => reason(key, *number),
        };
        (Credential { key_id: key_id.to_owned(), secret: secret.clone() }, reason)
    };
    told.secrets.iter().map(of_secret).collect()
}

fn reason(key: &Key, number: i32) -> DenialReason {
    let secret = key.secrets.iter().find(|secret| secret.number == number);
    match (secret, key.state()) {
        (None, _) => DenialReason::InvalidCredential,
        (_, State::Revoked) => DenialReason::Revoked,
        (_, State::Disabled) => DenialReason::Disabled,
        (Some(secret), _) if !is_live(secret) => DenialReason::SecretExpired,
        _ => DenialReason::Unspecified,
    }
}

async fn answers(caller: &Caller, credentials: &[(Credential, DenialReason)]) {
    for batch in credentials.chunks(BATCH) {
        let requests = batch.iter().map(|(credential, _)| {
            let presented = Some(verify_request::Presented::Token(credential.token()));
            VerifyRequest { presented, ..VerifyRequest::default() }
        });
        let request = BatchVerifyRequest { requests: requests.collect() };
        let reply = caller.verifier().batch_verify(request).await.expect("BatchVerify answers");
        let results = reply.into_inner().results;
        assert_eq!(results.len(), batch.len());
        for (result, (credential, reason)) in results.into_iter().zip(batch) {
            let Some(batch_verify_response::result::Result::Response(answer)) = result.result
            else {
                panic!("no answer about {credential:?}");
            };
            assert_eq!(answer.denial_reason(), *reason, "{credential:?}");
            assert_eq!(answer.allowed, *reason == DenialReason::Unspecified, "{credential:?}");
        }
    }
}
