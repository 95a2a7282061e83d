//! Requests that are safe to repeat: what was asked, and the reply that is kept for it, sealed.

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::domain::Error;
use crate::domain::credential::{Brands, Secret};
use crate::domain::ids::RequestId;
use crate::domain::key::Key;
use crate::domain::keyring::DataKey;
use crate::domain::permission::{Principal, Verb};
use crate::domain::random::{Random, draw};
use crate::store::{Before, ReplySlot};

/// A request, as far as it matters for recognising it again.
pub(super) struct Request {
    /// `None` if the caller gave no `request_id`.
    slot: Option<ReplySlot>,
}

/// The reply of a request that made a secret: freshly made, or as remembered.
pub(super) struct Reply {
    /// The key after the change.
    pub key: Key,
    /// The secret, if the reply is a remembered one.
    pub secret: Option<Secret>,
}

impl Reply {
    /// The reply of a change that is being made now.
    pub(super) fn fresh(key: Key) -> Self {
        Self { key, secret: None }
    }
}

/// What is sealed. Lives only while it is.
#[derive(Serialize, Deserialize)]
struct Kept {
    key: Key,
    secret: KeptSecret,
}

#[derive(Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
struct KeptSecret(String);

impl Request {
    /// A request of this principal for this verb. `contents` is everything that it asks for.
    pub(super) fn new(
        principal: &Principal,
        verb: Verb,
        request_id: &str,
        contents: &impl Serialize,
    ) -> Result<Self, Error> {
        if request_id.is_empty() {
            return Ok(Self { slot: None });
        }
        let request_id = RequestId::parse(request_id)
            .map_err(|error| Error::invalid("request_id", error.to_string()))?;
        let contents =
            serde_json::to_vec(contents).map_err(|error| Error::Internal(error.to_string()))?;
        let verb = format!("{verb:?}");
        let who_and_what = [principal.key_id().as_str(), &verb, request_id.as_str()];
        let slot = hash(who_and_what.map(str::as_bytes));
        Ok(Self { slot: Some(ReplySlot { slot, request_hash: hash([contents.as_slice()]) }) })
    }

    /// Where its reply is kept.
    pub(super) fn slot(&self) -> Option<&ReplySlot> {
        self.slot.as_ref()
    }

    /// The reply that was given before, if there was one.
    pub(super) fn answered(
        &self,
        state: &Before,
        data_key: &DataKey,
        brands: &Brands,
    ) -> Result<Option<Reply>, Error> {
        let (Some(slot), Some(remembered)) = (&self.slot, &state.remembered) else {
            return Ok(None);
        };
        if !remembered.same_request {
            return Err(Error::RequestIdReused);
        }
        let Some(sealed) = &remembered.sealed_reply else {
            return Err(Error::ReplyForgotten { key_id: remembered.key_id.clone() });
        };
        let unreadable = || Error::Internal("a remembered reply does not open".to_owned());
        let opened = data_key.open_reply(&context(slot), sealed).map_err(|_| unreadable())?;
        let kept: Kept = serde_json::from_slice(&opened).map_err(|_| unreadable())?;
        let secret = Secret::parse(kept.secret.0.clone(), brands).map_err(|_| unreadable())?;
        Ok(Some(Reply { key: kept.key, secret: Some(secret) }))
    }

    /// The reply, sealed to be kept; `None` if the caller gave no `request_id`.
    pub(super) fn seal(
        &self,
        key: &Key,
        secret: &Secret,
        data_key: &DataKey,
        random: &dyn Random,
    ) -> Result<Option<Vec<u8>>, Error> {
        let Some(slot) = &self.slot else { return Ok(None) };
        let kept = Kept { key: key.clone(), secret: KeptSecret(secret.expose().to_owned()) };
        let plain =
            serde_json::to_vec(&kept).map_err(|error| Error::Internal(error.to_string()))?;
        let plain = Zeroizing::new(plain);
        // Drawn for each attempt: a transaction that runs again seals another text.
        let sealed = data_key.seal_reply(&context(slot), draw(random)?, &plain);
        sealed.map(Some).map_err(|error| Error::Internal(error.to_string()))
    }
}

/// What a sealed reply is bound to: who asked for what, under which id, in which words.
fn context(slot: &ReplySlot) -> [u8; 64] {
    let mut context = [0; 64];
    context[..32].copy_from_slice(&slot.slot);
    context[32..].copy_from_slice(&slot.request_hash);
    context
}

/// SHA-256 over parts, each preceded by its length.
fn hash<const N: usize>(parts: [&[u8]; N]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    hash.finalize().into()
}
