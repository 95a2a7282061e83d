//! The straight line of a verification: credential → index → one HMAC → verdict.
//!
//! In: what was presented and what it is needed for. Out: an answer, from memory. Never in here: a
//! database, a lock that a reader waits for (but see [`Index`]), an `async` function.

mod index;
mod tally;

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

pub use index::Index;
pub use tally::{Outcome, Tally};

use crate::domain::credential::{Brands, Presented};
use crate::domain::ids::{AccountId, ApplicationId, Environment, KeyId, StoreId};
use crate::domain::keyring::{DataKey, Digest};
use crate::domain::permission::{Origin, Permission, Principal};
use crate::domain::position::{Basis, Position};
use crate::domain::scope::GrantedScopes;
use crate::domain::time::Clock;
use crate::domain::token::LogPosition;
use crate::domain::verdict::{DenialReason, Question, VerifiableKey, explain, judge, prove};
use crate::domain::{Error, Timestamp};

/// A question about one credential.
#[derive(Debug)]
pub struct Query<'a> {
    /// What was presented.
    pub presented: Presented<'a>,
    /// What it is needed for.
    pub question: Question<'a>,
    /// The service that asks, if it presented a credential of its own.
    pub caller: Option<&'a Principal>,
    /// Whether to return the outcome of each check.
    pub explain: bool,
}

/// The answer. Only `denial: None` lets anybody in.
#[derive(Debug)]
pub struct Answer {
    /// Why not; `None` allows.
    pub denial: Option<DenialReason>,
    /// Set exactly when the secret is proven.
    pub proven: Option<Proven>,
    /// The required scopes that are not covered, when that is the reason.
    pub missing_scopes: Vec<String>,
    /// Each check after the proof and whether it passed, if asked for.
    pub checks: Vec<(DenialReason, bool)>,
    /// The state of the store that the answer is based on.
    pub based_on: LogPosition,
    /// How long ago this replica last knew that nothing newer existed.
    pub staleness: Duration,
}

/// What is told of a key whose secret was proven.
#[derive(Debug, Clone)]
pub struct Proven {
    /// The public id.
    pub key_id: KeyId,
    /// The account that owns the key.
    pub account_id: AccountId,
    /// The application that the key belongs to.
    pub application_id: ApplicationId,
    /// Live or test.
    pub environment: Environment,
    /// What the key may do.
    pub scopes: GrantedScopes,
    /// When it ends, if it does.
    pub expire_time: Option<Timestamp>,
    /// Which version of its secret was presented.
    pub secret_number: u32,
    /// When a newer version took that one's place.
    pub superseded_time: Option<Timestamp>,
}

impl Proven {
    /// Leaves behind what only decides: an answer is handed on several times, and the digests are most of a key.
    fn of(key: VerifiableKey, secret_number: u32, superseded_time: Option<Timestamp>) -> Self {
        let VerifiableKey { key_id, account_id, application_id, environment, .. } = key;
        Self {
            key_id,
            account_id,
            application_id,
            environment,
            scopes: key.scopes,
            expire_time: key.expire_time,
            secret_number,
            superseded_time,
        }
    }
}

/// Why a credential that was presented to this service itself admits nobody.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// It was checked and refused.
    Denied(DenialReason),
    /// This replica can't know whether it is good.
    Unknown(Error),
}

/// An answer before it is said what it is based on.
struct Decision {
    denial: Option<DenialReason>,
    proven: Option<Proven>,
    missing_scopes: Vec<String>,
    checks: Vec<(DenialReason, bool)>,
}

impl Decision {
    /// A denial that tells nothing about any key.
    fn unproven(reason: DenialReason) -> Self {
        Self { denial: Some(reason), proven: None, missing_scopes: Vec::new(), checks: Vec::new() }
    }
}

/// Answers verifications from memory. One for the process, shared by all verifying threads.
pub struct Verifier {
    index: Arc<Index>,
    data_key: Arc<DataKey>,
    position: Arc<Position>,
    clock: Arc<dyn Clock>,
    brands: Brands,
    store: StoreId,
    /// `None`: nobody wants to know.
    tally: Option<Arc<Tally>>,
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verifier").field("store", &self.store).finish_non_exhaustive()
    }
}

impl Verifier {
    /// A verifier over an index that a follower of that store keeps up to date, as `position` says.
    pub fn new(
        index: Arc<Index>,
        data_key: Arc<DataKey>,
        position: Arc<Position>,
        clock: Arc<dyn Clock>,
        brands: Brands,
        store: StoreId,
    ) -> Self {
        Self { index, data_key, position, clock, brands, store, tally: None }
    }

    /// The same, and what becomes of each question is counted there.
    #[must_use]
    pub fn counting(self, tally: Option<Arc<Tally>>) -> Self {
        Self { tally, ..self }
    }

    /// Counts a well-formed question that is not asked, since this replica can't know the answer.
    pub fn count_unasked(&self) {
        if let Some(tally) = &self.tally {
            tally.count(Outcome::Unknown);
        }
    }

    /// The brands that this service's own credentials bear.
    pub fn brands(&self) -> &Brands {
        &self.brands
    }

    /// The clock that staleness is measured with, for whoever asks many questions in a row.
    pub fn clock(&self) -> &dyn Clock {
        self.clock.as_ref()
    }

    /// How many key ids [`Self::prefetch`] takes.
    pub const PREFETCHED: usize = Index::PREFETCHED;

    /// Brings what the next verifications will read into the processor's cache, for up to [`Self::PREFETCHED`] key
    /// ids at once: their waits for the memory overlap instead of following each other.
    pub fn prefetch<'k>(&self, key_ids: impl Iterator<Item = &'k str>) {
        self.index.prefetch(key_ids);
    }

    /// Verifies a credential.
    ///
    /// # Errors
    ///
    /// [`Error::Unavailable`] if this replica has no lease: it has had no news of the log for too long.
    pub fn verify(&self, query: &Query<'_>) -> Result<Answer, Error> {
        // The order matters: the revision that the answer claims is read before the record that it
        // rests on, so the record is at least that new; and the lease is looked at when the answer is
        // complete, so an answer that took long can't outlive its basis.
        let basis = self.position.basis();
        let Decision { denial, proven, missing_scopes, checks } = self.decide(query);
        let based_on =
            LogPosition { store: self.store, epoch: basis.epoch, revision: basis.revision };
        let fresh = self.fresh(&basis);
        if let Some(tally) = &self.tally {
            tally.count(match (&fresh, denial) {
                (Err(_), _) => Outcome::Unknown,
                (Ok(_), None) => Outcome::Allowed,
                (Ok(_), Some(reason)) => Outcome::Denied(reason),
            });
        }
        let staleness = fresh?;
        Ok(Answer { denial, proven, missing_scopes, checks, based_on, staleness })
    }

    /// The principal behind a credential that was presented to this service itself.
    ///
    /// # Errors
    ///
    /// See [`Refusal`].
    pub fn authenticate(
        &self,
        presented: &Presented<'_>,
        peer: Option<IpAddr>,
        origin: Origin,
    ) -> Result<Principal, Refusal> {
        let basis = self.position.basis();
        let (key, digest) = self.look_up(presented).map_err(Refusal::Denied)?;
        let proof = prove(key.as_ref(), &digest);
        let proof = proof.ok_or(Refusal::Denied(DenialReason::InvalidCredential))?;
        let now = self.position.now(self.clock.as_ref());
        let principal = Principal::authenticate(&proof, peer, origin, now);
        self.fresh(&basis).map_err(Refusal::Unknown)?;
        principal.map_err(Refusal::Denied)
    }

    /// Checks again, for a call that lasts longer than a key may, whether the principal's key still is
    /// what it takes: not revoked, disabled, expired, or stripped of the permission since.
    ///
    /// # Errors
    ///
    /// [`Error::Unauthenticated`] or [`Error::PermissionDenied`] if it is not, [`Error::Unavailable`] if
    /// this replica can't know.
    pub fn recheck(&self, principal: &Principal, permission: Permission) -> Result<(), Error> {
        let basis = self.position.basis();
        let key = self.index.get(principal.key_id().as_str());
        let now = self.position.now(self.clock.as_ref());
        let outcome = principal.renewed(permission, key.as_ref(), now).map(drop);
        self.fresh(&basis)?;
        outcome
    }

    fn decide(&self, query: &Query<'_>) -> Decision {
        let (key, digest) = match self.look_up(&query.presented) {
            Ok(found) => found,
            Err(reason) => return Decision::unproven(reason),
        };
        let Some(proof) = prove(key.as_ref(), &digest) else {
            return Decision::unproven(DenialReason::InvalidCredential);
        };
        if query.caller.is_some_and(|caller| !caller.reach().covers(&proof.key().account_id)) {
            return Decision::unproven(DenialReason::InvalidCredential);
        }
        let now = self.position.now(self.clock.as_ref());
        // Held against the key's scopes once: the checks then see what is left, and its first decides.
        let missing = proof.key().scopes.missing(query.question.required_scopes);
        let question = Question { required_scopes: &missing, ..query.question.clone() };
        let denial = judge(&proof, &question, now).err();
        let checks =
            if query.explain { explain(&proof, &question, now).collect() } else { Vec::new() };
        let missing_scopes = if denial == Some(DenialReason::ScopeMissing) {
            missing.iter().map(ToString::to_string).collect()
        } else {
            Vec::new()
        };
        let (secret_number, superseded_time) = (proof.slot().number, proof.slot().superseded_time);
        let proven = key.map(|key| Proven::of(key, secret_number, superseded_time));
        Decision { denial, proven, missing_scopes, checks }
    }

    /// One look-up and one HMAC, always both, so that an unknown id costs what a wrong secret costs.
    fn look_up(
        &self,
        presented: &Presented<'_>,
    ) -> Result<(Option<VerifiableKey>, Digest), DenialReason> {
        match presented {
            Presented::Missing => Err(DenialReason::Missing),
            Presented::Malformed => Err(DenialReason::Malformed),
            Presented::Credential { key_id, secret } => {
                let key = self.index.get(key_id);
                Ok((key, self.data_key.digest(key_id, secret.expose())))
            }
        }
    }

    /// How stale an answer on that basis is, if it may be given.
    fn fresh(&self, basis: &Basis) -> Result<Duration, Error> {
        let staleness = self.position.staleness(basis, self.clock.as_ref());
        staleness.ok_or(Error::Unavailable("this replica has lost touch with the database"))
    }
}

#[cfg(test)]
mod tests;
