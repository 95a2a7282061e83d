//! The requests of `KeyAdmin`. For how long a change waits for other replicas is read in `wait`.

use super::{key, mask, time};
use crate::control::{
    CreateKey, DeleteKey, DisableKey, EnableKey, ExpireSecret, ListAuditEvents, ListKeys,
    ListReplicas, RevokeKey, RotateKey, UpdateKey, WatchAuditEvents, WatchStart,
};
use crate::domain::{Error, Timestamp, Violation};
use crate::rpc::proto;
use proto::watch_audit_events_request::Start;

impl TryFrom<proto::CreateKeyRequest> for CreateKey {
    type Error = Error;

    fn try_from(request: proto::CreateKeyRequest) -> Result<Self, Error> {
        let key = request.key.ok_or_else(|| Error::invalid("key", "must be given"))?;
        let (draft, violations) = key::draft(key);
        if !violations.is_empty() {
            // The caller learns everything at once: also what the domain would have found wrong. Only
            // that an expiry lies in the past is left for the day when there is a time to compare with.
            let rest = draft.check(Timestamp::MIN).err();
            return Err(all_violations(violations, rest));
        }
        Ok(Self { draft, request_id: request.request_id })
    }
}

impl TryFrom<proto::UpdateKeyRequest> for UpdateKey {
    type Error = Error;

    fn try_from(request: proto::UpdateKeyRequest) -> Result<Self, Error> {
        let key = request.key.ok_or_else(|| Error::invalid("key", "must be given"))?;
        let (patch, violations) = mask::patch(&key, request.update_mask.as_ref());
        if !violations.is_empty() {
            let rest = patch.check(Timestamp::MIN).err();
            return Err(all_violations(violations, rest));
        }
        Ok(Self { key_id: key.key_id, etag: key.etag, patch, force: request.force })
    }
}

/// The violations of the message, and those that the domain finds in what it says.
fn all_violations(mut violations: Vec<Violation>, rest: Option<Error>) -> Error {
    if let Some(Error::InvalidRequest(rest)) = rest {
        violations.extend(rest);
    }
    Error::InvalidRequest(violations)
}

impl TryFrom<proto::ListKeysRequest> for ListKeys {
    type Error = Error;

    fn try_from(request: proto::ListKeysRequest) -> Result<Self, Error> {
        let proto::ListKeysRequest { filter, order_by, page_size, page_token } = request;
        Ok(Self { filter, order_by, page_size, page_token })
    }
}

impl TryFrom<proto::RotateKeyRequest> for RotateKey {
    type Error = Error;

    fn try_from(request: proto::RotateKeyRequest) -> Result<Self, Error> {
        let proto::RotateKeyRequest { key_id, overlap, request_id, wait: _ } = request;
        let overlap =
            overlap.map(|overlap| time::duration_from_proto("overlap", overlap)).transpose();
        let overlap = overlap.map_err(|violation| Error::InvalidRequest(vec![violation]))?;
        Ok(Self { key_id, overlap, request_id })
    }
}

impl TryFrom<proto::ExpireSecretRequest> for ExpireSecret {
    type Error = Error;

    fn try_from(request: proto::ExpireSecretRequest) -> Result<Self, Error> {
        let proto::ExpireSecretRequest { key_id, number, force, wait: _ } = request;
        Ok(Self { key_id, number, force })
    }
}

impl TryFrom<proto::DisableKeyRequest> for DisableKey {
    type Error = Error;

    fn try_from(request: proto::DisableKeyRequest) -> Result<Self, Error> {
        let proto::DisableKeyRequest { key_id, comment, force, wait: _ } = request;
        Ok(Self { key_id, comment, force })
    }
}

impl TryFrom<proto::EnableKeyRequest> for EnableKey {
    type Error = Error;

    fn try_from(request: proto::EnableKeyRequest) -> Result<Self, Error> {
        let proto::EnableKeyRequest { key_id, comment, wait: _ } = request;
        Ok(Self { key_id, comment })
    }
}

impl TryFrom<proto::RevokeKeyRequest> for RevokeKey {
    type Error = Error;

    fn try_from(request: proto::RevokeKeyRequest) -> Result<Self, Error> {
        let proto::RevokeKeyRequest { key_id, reason, comment, force, wait: _ } = request;
        let reason = key::revoke_reason(reason)
            .map_err(|violation| Error::InvalidRequest(vec![violation]))?;
        Ok(Self { key_id, reason, comment, force })
    }
}

impl TryFrom<proto::DeleteKeyRequest> for DeleteKey {
    type Error = Error;

    fn try_from(request: proto::DeleteKeyRequest) -> Result<Self, Error> {
        let proto::DeleteKeyRequest { key_id, comment, wait: _ } = request;
        Ok(Self { key_id, comment })
    }
}

impl TryFrom<proto::ListAuditEventsRequest> for ListAuditEvents {
    type Error = Error;

    fn try_from(request: proto::ListAuditEventsRequest) -> Result<Self, Error> {
        let proto::ListAuditEventsRequest { filter, page_size, page_token } = request;
        Ok(Self { filter, page_size, page_token })
    }
}

impl TryFrom<proto::ListReplicasRequest> for ListReplicas {
    type Error = Error;

    fn try_from(proto::ListReplicasRequest {}: proto::ListReplicasRequest) -> Result<Self, Error> {
        Ok(Self)
    }
}

impl TryFrom<proto::WatchAuditEventsRequest> for WatchAuditEvents {
    type Error = Error;

    fn try_from(request: proto::WatchAuditEventsRequest) -> Result<Self, Error> {
        let start = match request.start {
            None => WatchStart::Now,
            Some(Start::Cursor(cursor)) => WatchStart::Cursor(cursor),
            Some(Start::AfterRevision(revision)) => WatchStart::AfterRevision(revision),
        };
        Ok(Self { start, filter: request.filter })
    }
}

#[cfg(test)]
#[path = "admin_tests.rs"]
mod tests;
