//! Keys: what a caller asks for, and what it is shown.

use super::time;
use crate::control::{KeyPage, KeyView};
use crate::domain::Violation;
use crate::domain::audit::RevokeReason;
use crate::domain::draft::KeyDraft;
use crate::domain::ids::Environment;
use crate::domain::key::{Lifecycle, SecretVersion, State};
use crate::rpc::proto;

/// The draft in a `CreateKey` request, with what the message says wrongly.
pub(super) fn draft(key: proto::Key) -> (KeyDraft, Vec<Violation>) {
    let mut violations: Vec<Violation> = output_only(&key)
        .into_iter()
        .filter(|(_, is_set)| *is_set)
        .map(|(field, _)| Violation::new(format!("key.{field}"), "is output only"))
        .collect();
    let expire_time = match key.expire_time.map(|time| time::from_proto("key.expire_time", time)) {
        Some(Err(violation)) => {
            violations.push(violation);
            None
        }
        Some(Ok(time)) => Some(time),
        None => None,
    };
    let draft = KeyDraft {
        // An environment that is not said, or not known, is missing to the domain, which says so.
        environment: environment(key.environment).ok().flatten(),
        account_id: key.account_id,
        application_id: key.application_id,
        display_name: key.display_name,
        description: key.description,
        scopes: key.scopes,
        allowed_cidrs: key.allowed_cidrs,
        labels: key.labels,
        expire_time,
    };
    (draft, violations)
}

/// The fields that only the server sets, and whether the caller set them.
fn output_only(key: &proto::Key) -> [(&'static str, bool); 8] {
    [
        ("key_id", !key.key_id.is_empty()),
        ("state", key.state != 0),
        ("revoke_reason", key.revoke_reason != 0),
        ("create_time", key.create_time.is_some()),
        ("update_time", key.update_time.is_some()),
        ("creator", !key.creator.is_empty()),
        ("secrets", !key.secrets.is_empty()),
        ("etag", !key.etag.is_empty()),
    ]
}

/// An enum value that this release does not know.
pub(super) struct UnknownEnvironment;

/// The environment behind its number; `None` when it is not said.
pub(super) fn environment(number: i32) -> Result<Option<Environment>, UnknownEnvironment> {
    match proto::Environment::try_from(number) {
        Ok(proto::Environment::Unspecified) => Ok(None),
        Ok(proto::Environment::Live) => Ok(Some(Environment::Live)),
        Ok(proto::Environment::Test) => Ok(Some(Environment::Test)),
        Err(_) => Err(UnknownEnvironment),
    }
}

impl From<Environment> for proto::Environment {
    fn from(environment: Environment) -> Self {
        match environment {
            Environment::Live => Self::Live,
            Environment::Test => Self::Test,
        }
    }
}

/// The reason behind its number; `None` when it is not said.
pub(super) fn revoke_reason(number: i32) -> Result<Option<RevokeReason>, Violation> {
    let unknown =
        || Violation::new("reason", "must be a value of RevokeReason that this server knows");
    match proto::RevokeReason::try_from(number).map_err(|_| unknown())? {
        proto::RevokeReason::Unspecified => Ok(None),
        proto::RevokeReason::Compromised => Ok(Some(RevokeReason::Compromised)),
        proto::RevokeReason::Superseded => Ok(Some(RevokeReason::Superseded)),
        proto::RevokeReason::Unused => Ok(Some(RevokeReason::Unused)),
        proto::RevokeReason::OwnerLeft => Ok(Some(RevokeReason::OwnerLeft)),
        proto::RevokeReason::Abuse => Ok(Some(RevokeReason::Abuse)),
        proto::RevokeReason::Other => Ok(Some(RevokeReason::Other)),
    }
}

impl From<State> for proto::key::State {
    fn from(state: State) -> Self {
        match state {
            State::Active => Self::Active,
            State::Disabled => Self::Disabled,
            State::Revoked => Self::Revoked,
            State::Expired => Self::Expired,
        }
    }
}

impl From<KeyView> for proto::Key {
    fn from(KeyView { key, state }: KeyView) -> Self {
        Self {
            etag: key.etag(),
            key_id: key.key_id.to_string(),
            account_id: key.account_id.to_string(),
            application_id: key.application_id.to_string(),
            environment: proto::Environment::from(key.environment).into(),
            display_name: key.display_name,
            description: key.description,
            scopes: key.scopes.iter().map(ToString::to_string).collect(),
            allowed_cidrs: key.allowed_cidrs.iter().map(ToString::to_string).collect(),
            labels: key.labels,
            expire_time: key.expire_time.map(time::to_proto),
            state: proto::key::State::from(state).into(),
            revoke_reason: match key.lifecycle {
                // The numbers of the domain are those of the proto; a test holds them together.
                Lifecycle::Revoked(reason) => reason as i32,
                Lifecycle::Active | Lifecycle::Disabled => 0,
            },
            create_time: Some(time::to_proto(key.create_time)),
            update_time: Some(time::to_proto(key.update_time)),
            creator: key.creator,
            secrets: key.secrets.into_iter().map(proto::key::Secret::from).collect(),
        }
    }
}

impl From<SecretVersion> for proto::key::Secret {
    fn from(version: SecretVersion) -> Self {
        Self {
            number: number(version.number),
            create_time: Some(time::to_proto(version.create_time)),
            expire_time: version.expire_time.map(time::to_proto),
            hint: version.hint,
        }
    }
}

/// The number of a secret version. It counts rotations of one key and stays far below 2^31.
pub(in crate::rpc) fn number(number: u32) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

impl From<KeyView> for proto::GetKeyResponse {
    fn from(view: KeyView) -> Self {
        Self { key: Some(view.into()) }
    }
}

impl From<KeyPage> for proto::ListKeysResponse {
    fn from(KeyPage { keys, next_page_token }: KeyPage) -> Self {
        Self { keys: keys.into_iter().map(proto::Key::from).collect(), next_page_token }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_have_the_numbers_of_the_proto() {
        for reason in RevokeReason::ALL {
            assert_eq!(revoke_reason(reason as i32), Ok(Some(reason)));
        }
        assert_eq!(revoke_reason(0), Ok(None));
        assert!(revoke_reason(7).is_err() && revoke_reason(-1).is_err());
    }

    #[test]
    fn every_output_only_field_is_refused_by_name() {
        let key = proto::Key {
            key_id: "k".to_owned(),
            state: 1,
            revoke_reason: 1,
            create_time: Some(prost_types::Timestamp::default()),
            update_time: Some(prost_types::Timestamp::default()),
            creator: "c".to_owned(),
            secrets: vec![proto::key::Secret::default()],
            etag: "e".to_owned(),
            ..proto::Key::default()
        };
        let (_, violations) = draft(key);
        let fields: Vec<_> = violations.iter().map(|violation| violation.field.as_str()).collect();
        assert_eq!(
            fields,
            [
                "key.key_id",
                "key.state",
                "key.revoke_reason",
                "key.create_time",
                "key.update_time",
                "key.creator",
                "key.secrets",
                "key.etag"
            ]
        );
        assert!(violations.iter().all(|violation| violation.description == "is output only"));
    }
}
