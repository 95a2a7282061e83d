//! Waiting for the other replicas: what the request of a change asks for, and what its reply says of them.

use super::time;
use crate::control::{
    Changed, CreateKey, DeleteKey, DisableKey, EnableKey, ExpireSecret, Minted, ReplicaList,
    ReplicaView, RevokeKey, RotateKey, UpdateKey, Wait,
};
use crate::domain::replica::ReplicaState;
use crate::domain::{Error, Violation};
use crate::log::Propagation;
use crate::rpc::proto;
use proto::replica_outcome::State;

/// A request for a change, and for how long its reply is to wait.
pub(in crate::rpc) struct Change<R> {
    pub request: R,
    pub wait: Wait,
}

/// What came of a change, here and on the other replicas.
pub(in crate::rpc) struct Settled<T> {
    pub reply: T,
    pub propagation: Propagation,
    /// The replica that makes the reply.
    pub served_by: String,
}

/// Each request for a change, and for how long its reply waits if it does not say.
macro_rules! changes {
    ($($request:ident => $change:ty, $unsaid:expr;)*) => {$(
        impl TryFrom<proto::$request> for Change<$change> {
            type Error = Error;

            fn try_from(request: proto::$request) -> Result<Self, Error> {
                let wait = wait(request.wait, $unsaid);
                with(wait, <$change>::try_from(request))
            }
        }
    )*};
}

changes! {
    // What these hand out should work everywhere when their reply is there.
    CreateKeyRequest => CreateKey, Wait::Briefly;
    RotateKeyRequest => RotateKey, Wait::Briefly;
    EnableKeyRequest => EnableKey, Wait::Briefly;
    UpdateKeyRequest => UpdateKey, Wait::None;
    ExpireSecretRequest => ExpireSecret, Wait::None;
    DisableKeyRequest => DisableKey, Wait::None;
    RevokeKeyRequest => RevokeKey, Wait::None;
    DeleteKeyRequest => DeleteKey, Wait::None;
}

/// The wait behind its number.
fn wait(number: i32, unsaid: Wait) -> Result<Wait, Violation> {
    match proto::Wait::try_from(number) {
        Ok(proto::Wait::Unspecified) => Ok(unsaid),
        Ok(proto::Wait::None) => Ok(Wait::None),
        Ok(proto::Wait::AllReplicas) => Ok(Wait::AllReplicas),
        Err(_) => Err(Violation::new("wait", "must be a value of Wait that this server knows")),
    }
}

/// Both, or all that is wrong with both.
fn with<R>(wait: Result<Wait, Violation>, request: Result<R, Error>) -> Result<Change<R>, Error> {
    match (wait, request) {
        (Ok(wait), Ok(request)) => Ok(Change { request, wait }),
        (Err(violation), Err(Error::InvalidRequest(mut violations))) => {
            violations.push(violation);
            Err(Error::InvalidRequest(violations))
        }
        (_, Err(error)) => Err(error),
        (Err(violation), Ok(_)) => Err(Error::InvalidRequest(vec![violation])),
    }
}

/// The outcome as two fields of a reply.
fn outcome(
    Propagation { replicas, effective_everywhere_by }: Propagation,
    served_by: &str,
) -> (Vec<proto::ReplicaOutcome>, Option<prost_types::Timestamp>) {
    let replicas = replicas.into_iter().map(|(replica_id, state)| proto::ReplicaOutcome {
        self_: replica_id == served_by,
        replica_id,
        state: State::from(state).into(),
    });
    (replicas.collect(), Some(time::to_proto(effective_everywhere_by)))
}

impl From<ReplicaState> for State {
    fn from(state: ReplicaState) -> Self {
        match state {
            ReplicaState::Confirmed => Self::Confirmed,
            ReplicaState::LeaseExpired => Self::LeaseExpired,
            ReplicaState::Pending => Self::Pending,
        }
    }
}

/// The two replies that a secret leaves in.
macro_rules! shows_the_secret {
    ($($reply:ident),*) => {$(
        impl From<Settled<Minted>> for proto::$reply {
            fn from(Settled { reply, propagation, served_by }: Settled<Minted>) -> Self {
                let Minted { view, secret, consistency_token } = reply;
                let (replicas, effective_everywhere_by) = outcome(propagation, &served_by);
                Self {
                    key: Some(view.into()),
                    secret: secret.expose().to_owned(),
                    consistency_token,
                    replicas,
                    effective_everywhere_by,
                }
            }
        }
    )*};
}

shows_the_secret!(CreateKeyResponse, RotateKeyResponse);

macro_rules! shows_the_changed_key {
    ($($reply:ident),*) => {$(
        impl From<Settled<Changed>> for proto::$reply {
            fn from(Settled { reply, propagation, served_by }: Settled<Changed>) -> Self {
                let Changed { view, consistency_token } = reply;
                let (replicas, effective_everywhere_by) = outcome(propagation, &served_by);
                Self { key: Some(view.into()), consistency_token, replicas, effective_everywhere_by }
            }
        }
    )*};
}

shows_the_changed_key!(
    UpdateKeyResponse,
    ExpireSecretResponse,
    DisableKeyResponse,
    EnableKeyResponse,
    RevokeKeyResponse
);

/// What is left of a deleted key is the state of the store without it.
impl From<Settled<String>> for proto::DeleteKeyResponse {
    fn from(Settled { reply: consistency_token, propagation, served_by }: Settled<String>) -> Self {
        let (replicas, effective_everywhere_by) = outcome(propagation, &served_by);
        Self { consistency_token, replicas, effective_everywhere_by }
    }
}

impl From<ReplicaList> for proto::ListReplicasResponse {
    fn from(ReplicaList { replicas }: ReplicaList) -> Self {
        Self { replicas: replicas.into_iter().map(proto::Replica::from).collect() }
    }
}

impl From<ReplicaView> for proto::Replica {
    fn from(ReplicaView { row, is_self }: ReplicaView) -> Self {
        Self {
            replica_id: row.id,
            revision: i64::try_from(row.applied).unwrap_or(i64::MAX),
            lease_duration: Some(time::duration_to_proto(std::time::Duration::from_millis(
                row.lease_ms,
            ))),
            staleness: Some(time::duration_to_proto(row.beat_age)),
            version: row.version,
            self_: is_self,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_does_not_say_waits_where_something_is_handed_out() {
        let unsaid = |change: Result<Change<EnableKey>, Error>| change.map(|change| change.wait);
        let enable = proto::EnableKeyRequest::default();
        assert_eq!(unsaid(enable.try_into()), Ok(Wait::Briefly));
        let revoke = Change::<RevokeKey>::try_from(proto::RevokeKeyRequest::default());
        assert_eq!(revoke.map(|change| change.wait), Ok(Wait::None));
        let said = [(1, Wait::None), (2, Wait::AllReplicas)];
        for (number, said) in said {
            assert_eq!(
                (wait(number, Wait::Briefly), wait(number, Wait::None)),
                (Ok(said), Ok(said))
            );
        }
    }

    #[test]
    fn an_unknown_wait_is_named_beside_what_else_is_wrong() {
        for unknown in [3, -1] {
            let request =
                proto::RevokeKeyRequest { wait: unknown, reason: 99, ..Default::default() };
            let Err(Error::InvalidRequest(violations)) = Change::<RevokeKey>::try_from(request)
            else {
                panic!("{unknown} is a wait");
            };
            let fields: Vec<_> = violations.iter().map(|violation| &*violation.field).collect();
            assert_eq!(fields, ["reason", "wait"]);
            let request = proto::DeleteKeyRequest { wait: unknown, ..Default::default() };
            assert!(Change::<DeleteKey>::try_from(request).is_err());
        }
    }
}
