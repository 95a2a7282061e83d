//! The verdict on a credential: proof first, then every check in its order.

use std::net::IpAddr;
use std::sync::Arc;

use arrayvec::ArrayVec;
use subtle::{Choice, ConditionallySelectable as _, ConstantTimeEq as _};

use super::Timestamp;
use super::cidr::CidrSet;
use super::ids::{AccountId, ApplicationId, Environment, KeyId};
use super::keyring::Digest;
use super::scope::{GrantedScopes, RequiredScope};

/// How many secret versions of a key are kept.
pub const MAX_SECRETS: usize = 3;

/// Where a key stands, apart from time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Standing {
    /// Usable.
    Active = 1,
    /// Switched off, reversibly.
    Disabled = 2,
    /// Dead for ever.
    Revoked = 3,
}

/// All of a key that decides a verification, and nothing else. It is what the index holds and what
/// the seal covers.
#[derive(Debug, Clone)]
pub struct VerifiableKey {
    /// The public id.
    pub key_id: KeyId,
    /// The account that owns the key.
    pub account_id: AccountId,
    /// The application that the key belongs to.
    pub application_id: ApplicationId,
    /// Live or test.
    pub environment: Environment,
    /// Active, disabled or revoked.
    pub standing: Standing,
    /// What the key may do.
    pub scopes: GrantedScopes,
    /// Where it may be used from; empty: anywhere.
    pub allowed_cidrs: CidrSet,
    /// From when on it is refused.
    pub expire_time: Option<Timestamp>,
    /// The revision of the key's last change.
    pub revision: u64,
    /// The versions of its secret that are kept, oldest first.
    pub slots: ArrayVec<SecretSlot, MAX_SECRETS>,
}

/// What decides on one version of a secret.
#[derive(Debug, Clone, Copy)]
pub struct SecretSlot {
    /// The version's number, from 1.
    pub number: u32,
    /// HMAC of the credential.
    pub digest: Digest,
    /// From when on this version is refused.
    pub expire_time: Option<Timestamp>,
    /// When a newer version took its place.
    pub superseded_time: Option<Timestamp>,
}

/// A change to the set of keys that verifications are answered from.
#[derive(Debug, Clone)]
pub enum IndexChange {
    /// This is what the key is now.
    Put(Arc<VerifiableKey>),
    /// There is no such key, or none that may be served.
    Remove(KeyId),
    /// About so many keys will be put, one after another.
    Expect(u64),
    /// Nothing that was said before holds: the log is another one.
    Clear,
}

/// Why a credential is refused, in the order of the checks. The numbers are those of the proto.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(i32)]
pub enum DenialReason {
    /// No credential, or only half of one.
    Missing = 1,
    /// It bears our brand but can't be one of ours.
    Malformed = 2,
    /// Unknown id or wrong secret.
    InvalidCredential = 3,
    /// The key is revoked.
    Revoked = 4,
    /// The key is disabled.
    Disabled = 5,
    /// The key has expired.
    Expired = 6,
    /// This version of the secret has expired.
    SecretExpired = 7,
    /// The key is of another environment.
    EnvironmentMismatch = 8,
    /// The key is of another account.
    AccountMismatch = 9,
    /// The key is of another application.
    ApplicationMismatch = 10,
    /// The client's address is not allowed, or not known.
    IpNotAllowed = 11,
    /// A required scope is not covered.
    ScopeMissing = 12,
}

impl DenialReason {
    /// All of them, in their order.
    pub const ALL: [Self; 12] = [
        Self::Missing,
        Self::Malformed,
        Self::InvalidCredential,
        Self::Revoked,
        Self::Disabled,
        Self::Expired,
        Self::SecretExpired,
        Self::EnvironmentMismatch,
        Self::AccountMismatch,
        Self::ApplicationMismatch,
        Self::IpNotAllowed,
        Self::ScopeMissing,
    ];

    /// Its name in the contract, in small letters and without what all of them begin with.
    pub fn name(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Malformed => "malformed",
            Self::InvalidCredential => "invalid_credential",
            Self::Revoked => "revoked",
            Self::Disabled => "disabled",
            Self::Expired => "expired",
            Self::SecretExpired => "secret_expired",
            Self::EnvironmentMismatch => "environment_mismatch",
            Self::AccountMismatch => "account_mismatch",
            Self::ApplicationMismatch => "application_mismatch",
            Self::IpNotAllowed => "ip_not_allowed",
            Self::ScopeMissing => "scope_missing",
        }
    }
}

/// What a credential is needed for.
#[derive(Debug, Clone)]
pub struct Question<'q> {
    /// Scopes that must all be covered.
    pub required_scopes: &'q [RequiredScope<'q>],
    /// Where the request came from, if known.
    pub client_ip: Option<IpAddr>,
    /// The account that the request is about; `None` compares nothing.
    pub account_id: Option<&'q AccountId>,
    /// The application that the request is about; `None` compares nothing.
    pub application_id: Option<&'q ApplicationId>,
    /// The environment that the request is about.
    pub environment: Environment,
}

/// A key whose secret was proven to be known. Only [`prove`] makes one.
#[derive(Debug, Clone, Copy)]
pub struct Proof<'k> {
    key: &'k VerifiableKey,
    slot: &'k SecretSlot,
}

impl<'k> Proof<'k> {
    /// A proof made earlier, of the same version of the key's secret, held against the key as it is
    /// now; `None` if that version is no longer kept.
    pub(super) fn renewed(key: &'k VerifiableKey, secret_number: u32) -> Option<Self> {
        let slot = key.slots.iter().find(|slot| slot.number == secret_number)?;
        Some(Self { key, slot })
    }

    /// The proven key.
    pub fn key(&self) -> &'k VerifiableKey {
        self.key
    }

    /// The version of the secret that was presented.
    pub fn slot(&self) -> &'k SecretSlot {
        self.slot
    }
}

/// Compares a presented digest with all slots of the key that was found, in constant time. An absent
/// key or slot costs the same three comparisons and never matches.
pub fn prove<'k>(key: Option<&'k VerifiableKey>, presented: &Digest) -> Option<Proof<'k>> {
    const NOWHERE: u8 = MAX_SECRETS as u8;
    static ABSENT: Digest = Digest::absent();

    let mut matching = NOWHERE;
    for index in 0..NOWHERE {
        let stored = key.and_then(|key| key.slots.get(usize::from(index)));
        let digest = stored.map_or(&ABSENT, |slot| &slot.digest);
        let matches = digest.ct_eq(presented) & Choice::from(u8::from(stored.is_some()));
        matching.conditional_assign(&index, matches);
    }
    let key = key?;
    Some(Proof { key, slot: key.slots.get(usize::from(matching))? })
}

type Check = (DenialReason, fn(&Proof<'_>, &Question<'_>, Timestamp) -> bool);

/// Every check after the proof, in the order in which they are made, and what each asks to pass.
const CHECKS: [Check; 9] = [
    (DenialReason::Revoked, |proof, _, _| proof.key.standing != Standing::Revoked),
    (DenialReason::Disabled, |proof, _, _| proof.key.standing != Standing::Disabled),
    (DenialReason::Expired, |proof, _, now| is_before(now, proof.key.expire_time)),
    (DenialReason::SecretExpired, |proof, _, now| is_before(now, proof.slot.expire_time)),
    (DenialReason::EnvironmentMismatch, |proof, asked, _| {
        proof.key.environment == asked.environment
    }),
    (DenialReason::AccountMismatch, |proof, asked, _| {
        asked.account_id.is_none_or(|account| *account == proof.key.account_id)
    }),
    (DenialReason::ApplicationMismatch, |proof, asked, _| {
        asked.application_id.is_none_or(|application| *application == proof.key.application_id)
    }),
    (DenialReason::IpNotAllowed, |proof, asked, _| {
        let allowed = &proof.key.allowed_cidrs;
        allowed.is_empty() || asked.client_ip.is_some_and(|ip| allowed.contains(ip))
    }),
    (DenialReason::ScopeMissing, |proof, asked, _| {
        asked.required_scopes.iter().all(|scope| proof.key.scopes.covers(scope))
    }),
];

fn is_before(now: Timestamp, end: Option<Timestamp>) -> bool {
    end.is_none_or(|end| now < end)
}

/// Decides on a proven credential: `Ok` allows, `Err` names the first check that fails.
pub fn judge(proof: &Proof<'_>, asked: &Question<'_>, now: Timestamp) -> Result<(), DenialReason> {
    let failed = CHECKS.iter().find(|(_, passes)| !passes(proof, asked, now));
    failed.map_or(Ok(()), |(reason, _)| Err(*reason))
}

/// The outcome of every check after the proof, in order, also of those after the first that fails.
pub fn explain(
    proof: &Proof<'_>,
    asked: &Question<'_>,
    now: Timestamp,
) -> impl Iterator<Item = (DenialReason, bool)> {
    CHECKS.iter().map(move |(reason, passes)| (*reason, passes(proof, asked, now)))
}

#[cfg(test)]
#[path = "verdict_tests.rs"]
mod tests;
