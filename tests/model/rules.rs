//! The rules of the service, said once more, as plainly as possible: a list of keys in memory.

use countersign::rpc::proto::audit_event::Type;
use countersign::rpc::proto::key::State;
use countersign::rpc::proto::{DenialReason, RevokeReason};
use tonic::Code;

use super::steps::{Change, Etag, Grant, Overlap, Question, Spec, Step};

/// A key has at most so many secret versions.
const MOST_SECRETS: usize = 3;

#[derive(Debug, Clone, Default)]
pub struct Rules {
    keys: Vec<Key>,
    /// The answer to the last step.
    pub answer: Answer,
}

#[derive(Debug, Clone, Default, PartialEq)]
pub enum Answer {
    #[default]
    Nothing,
    Error(Code),
    Key(View),
    Deleted,
    /// Which keys, by their place in the list.
    Keys(Vec<usize>),
    /// With this version of the secret.
    Allowed(i32),
    Denied(DenialReason),
}

/// What a reply shows of a key.
#[derive(Debug, Clone, PartialEq)]
pub struct View {
    pub state: State,
    pub revoke_reason: RevokeReason,
    pub spec: Spec,
    /// Numbers of the versions that are kept, and whether they are live.
    pub secrets: Vec<(i32, bool)>,
}

#[derive(Debug, Clone)]
struct Key {
    spec: Spec,
    life: Life,
    secrets: Vec<(i32, bool)>,
    made: i32,
    log: Vec<Type>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Life {
    Active,
    Disabled,
    Revoked(RevokeReason),
    Deleted,
}

const INVALID: Answer = Answer::Error(Code::InvalidArgument);
const REFUSED: Answer = Answer::Error(Code::FailedPrecondition);

impl Rules {
    pub fn take(&mut self, step: &Step) {
        self.answer = match step {
            Step::Create(spec) => self.create(spec),
            Step::List(state) => self.list(*state),
            Step::Verify(question) => self.verify(question),
            Step::Update { change: Change::Name(name), .. } if name.is_empty() => INVALID,
            Step::Rotate { overlap: Overlap::Absent | Overlap::TooLong, .. } => INVALID,
            Step::ExpireSecret { number: ..=0, .. } => INVALID,
            Step::Revoke { reason: RevokeReason::Unspecified, .. } => INVALID,
            Step::Update { key, .. }
            | Step::Rotate { key, .. }
            | Step::ExpireSecret { key, .. }
            | Step::Disable(key)
            | Step::Enable(key)
            | Step::Revoke { key, .. }
            | Step::Delete(key)
            | Step::Get(key) => match self.keys.get_mut(*key) {
                None => Answer::Error(Code::NotFound),
                Some(found) => found.take(step),
            },
        };
    }

    /// The events of each key.
    pub fn log(&self) -> Vec<Vec<Type>> {
        self.keys.iter().map(|key| key.log.clone()).collect()
    }

    fn create(&mut self, spec: &Spec) -> Answer {
        if spec.name.is_empty() {
            return INVALID;
        }
        let (spec, life) = (spec.clone(), Life::Active);
        let key =
            Key { spec, life, secrets: vec![(1, true)], made: 1, log: vec![Type::KeyCreated] };
        let answer = key.view();
        self.keys.push(key);
        answer
    }

    fn list(&self, state: Option<State>) -> Answer {
        let there = self.keys.iter().enumerate().filter(|(_, key)| key.life != Life::Deleted);
        let asked = there.filter(|(_, key)| state.is_none_or(|state| key.state() == state));
        Answer::Keys(asked.map(|(place, _)| place).collect())
    }

    fn verify(&self, question: &Question) -> Answer {
        let key = self.keys.get(question.key).filter(|key| key.life != Life::Deleted);
        let Some(key) = key else { return Answer::Denied(DenialReason::InvalidCredential) };
        let version = key.secrets.iter().find(|(number, _)| *number == question.secret);
        let Some((number, is_live)) = version else {
            return Answer::Denied(DenialReason::InvalidCredential);
        };
        let checks = [
            (matches!(key.life, Life::Revoked(_)), DenialReason::Revoked),
            (key.life == Life::Disabled, DenialReason::Disabled),
            (!is_live, DenialReason::SecretExpired),
            (question.test != key.spec.test, DenialReason::EnvironmentMismatch),
            (question.other_account, DenialReason::AccountMismatch),
            (question.other_application, DenialReason::ApplicationMismatch),
            (key.spec.bound && !question.from.is_inside(), DenialReason::IpNotAllowed),
            (!key.covers(question), DenialReason::ScopeMissing),
        ];
        match checks.into_iter().find(|(fails, _)| *fails) {
            Some((_, reason)) => Answer::Denied(reason),
            None => Answer::Allowed(*number),
        }
    }
}

impl Key {
    fn take(&mut self, step: &Step) -> Answer {
        match (self.life, step) {
            (Life::Deleted, Step::Delete(_)) => Answer::Deleted,
            (Life::Deleted, _) => Answer::Error(Code::NotFound),
            (_, Step::Get(_)) => self.view(),
            (_, Step::Update { etag: Etag::Stale, .. }) => Answer::Error(Code::Aborted),

            (Life::Revoked(_), Step::Delete(_)) => {
                self.becomes(Life::Deleted, Type::KeyDeleted);
                Answer::Deleted
            }
            (_, Step::Delete(_)) => REFUSED,
            (_, Step::ExpireSecret { number, .. }) => self.expire(*number),
            (Life::Revoked(_), Step::Revoke { .. }) => self.view(),
            (Life::Revoked(_), _) => REFUSED,

            (_, Step::Revoke { reason, .. }) => {
                self.becomes(Life::Revoked(*reason), Type::KeyRevoked)
            }
            (Life::Disabled, Step::Disable(_)) | (Life::Active, Step::Enable(_)) => self.view(),
            (_, Step::Disable(_)) => self.becomes(Life::Disabled, Type::KeyDisabled),
            (_, Step::Enable(_)) => self.becomes(Life::Active, Type::KeyEnabled),
            (_, Step::Rotate { overlap, .. }) => self.rotate(*overlap == Overlap::Long),
            (_, Step::Update { change, .. }) => self.update(change),
            (_, Step::Create(_) | Step::List(_) | Step::Verify(_)) => {
                unreachable!("not about one key that is there")
            }
        }
    }

    fn becomes(&mut self, life: Life, event: Type) -> Answer {
        self.life = life;
        self.log.push(event);
        self.view()
    }

    fn update(&mut self, change: &Change) -> Answer {
        let before = self.spec.clone();
        match change {
            Change::Name(name) => self.spec.name.clone_from(name),
            Change::Grant(grant) => self.spec.grant = *grant,
            Change::Bound(bound) => self.spec.bound = *bound,
            Change::Expires(expires) => self.spec.expires = *expires,
        }
        if self.spec != before {
            self.log.push(Type::KeyUpdated);
        }
        self.view()
    }

    /// The new version takes the place of the oldest that is no longer live.
    fn rotate(&mut self, old_ones_live_on: bool) -> Answer {
        let mut secrets = self.secrets.clone();
        if !old_ones_live_on {
            secrets.iter_mut().for_each(|(_, is_live)| *is_live = false);
        }
        if secrets.len() == MOST_SECRETS {
            match secrets.iter().position(|(_, is_live)| !is_live) {
                Some(dead) => _ = secrets.remove(dead),
                None => return REFUSED,
            }
        }
        self.made += 1;
        secrets.push((self.made, true));
        self.secrets = secrets;
        self.log.push(Type::KeyRotated);
        self.view()
    }

    fn expire(&mut self, number: i32) -> Answer {
        let is_revoked = matches!(self.life, Life::Revoked(_));
        match self.secrets.iter_mut().find(|(kept, _)| *kept == number) {
            None => return Answer::Error(Code::NotFound),
            Some((_, false)) => {}
            Some(_) if is_revoked => return REFUSED,
            Some((_, is_live)) => {
                *is_live = false;
                self.log.push(Type::KeySecretExpired);
            }
        }
        self.view()
    }

    fn covers(&self, question: &Question) -> bool {
        let covered: &[&str] = match self.spec.grant {
            Grant::Nothing => &[],
            Grant::Read => &["transactions:read"],
            Grant::AllOfTransactions => &["transactions:read", "transactions:write:large"],
            Grant::ReadOfAnyAccount => &["accounts:7:read"],
            Grant::Everything => {
                &["transactions:read", "transactions:write:large", "accounts:7:read"]
            }
        };
        question.scopes.iter().all(|scope| covered.contains(scope))
    }

    fn state(&self) -> State {
        match self.life {
            Life::Active => State::Active,
            Life::Disabled => State::Disabled,
            Life::Revoked(_) | Life::Deleted => State::Revoked,
        }
    }

    fn view(&self) -> Answer {
        let revoke_reason = match self.life {
            Life::Revoked(reason) => reason,
            _ => RevokeReason::Unspecified,
        };
        let (spec, secrets) = (self.spec.clone(), self.secrets.clone());
        Answer::Key(View { state: self.state(), revoke_reason, spec, secrets })
    }
}
