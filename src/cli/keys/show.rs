//! Keys for people.

use zeroize::Zeroizing;

use super::wait::Outcome;
use crate::cli::failure::Failure;
use crate::cli::{json, output, table};
use crate::rpc::proto::key::State;
use crate::rpc::proto::{Environment, Key, RevokeReason};

/// What a reply without its key means: a server that breaks the contract.
pub(super) fn key_of(key: Option<Key>) -> Result<Key, Failure> {
    key.ok_or_else(|| Failure::said("the server's reply holds no key"))
}

/// A key that was changed: as JSON the whole reply, else the key.
pub(super) fn changed(
    in_json: bool,
    name: &str,
    reply: &impl prost::Message,
    key: Option<Key>,
    outcome: &Outcome<'_>,
) -> Result<(), Failure> {
    outcome.told(|| {
        if in_json {
            return json::print(name, reply);
        }
        Ok(output::line(&details_and(&key_of(key)?, outcome))?)
    })
}

/// A new secret and its key. If they can't be written, it is said which secret is lost.
pub(super) fn minted(
    in_json: bool,
    name: &str,
    reply: &impl prost::Message,
    key: Option<Key>,
    secret: &str,
    outcome: &Outcome<'_>,
) -> Result<(), Failure> {
    outcome.told(|| {
        let key = key_of(key)?;
        let printed = if in_json {
            json::print(name, reply)
        } else {
            // In one piece, so that nobody reads half of it.
            let text = Zeroizing::new(format!(
                "key id  {}\nsecret  {secret}\nThe secret is shown this once: store it now.\n\n{}\n",
                key.key_id,
                details_and(&key, outcome)
            ));
            output::text(&text).map_err(Failure::from)
        };
        printed.map_err(|failure| failure.with_lost_secret(&key.key_id))
    })
}

/// All that is known of a key, and where that is in force.
fn details_and(key: &Key, outcome: &Outcome<'_>) -> String {
    let mut pairs = pairs(key);
    pairs.push(("in force on", outcome.shown()));
    table::pairs(&pairs)
}

/// The header of a list.
pub(super) const HEADER: [&str; 7] =
    ["KEY ID", "ACCOUNT", "APPLICATION", "ENVIRONMENT", "STATE", "EXPIRES", "NAME"];

/// A line of a list.
pub(super) fn row(key: &Key) -> Vec<String> {
    vec![
        key.key_id.clone(),
        key.account_id.clone(),
        key.application_id.clone(),
        environment(key.environment),
        state(key.state),
        table::time(key.expire_time.as_ref()),
        key.display_name.clone(),
    ]
}

/// All that is known of a key.
pub(super) fn details(key: &Key) -> String {
    table::pairs(&pairs(key))
}

fn pairs(key: &Key) -> Vec<(&'static str, String)> {
    let labels: Vec<String> = {
        let mut labels: Vec<_> = key.labels.iter().collect();
        labels.sort();
        labels.into_iter().map(|(name, value)| format!("{name}={value}")).collect()
    };
    let reason = if state(key.state) == "REVOKED" {
        table::word::<RevokeReason>(key.revoke_reason, "REVOKE_REASON_", |reason| {
            reason.as_str_name()
        })
    } else {
        String::new()
    };
    let mut pairs = vec![
        ("key id", key.key_id.clone()),
        ("account", key.account_id.clone()),
        ("application", key.application_id.clone()),
        ("environment", environment(key.environment)),
        ("state", state(key.state)),
        ("revoked because", reason),
        ("name", key.display_name.clone()),
        ("description", key.description.clone()),
        ("scopes", key.scopes.join(" ")),
        ("networks", key.allowed_cidrs.join(" ")),
        ("labels", labels.join(" ")),
        ("expires", table::time(key.expire_time.as_ref())),
        ("created", format!("{} by {}", table::time(key.create_time.as_ref()), key.creator)),
        ("changed", table::time(key.update_time.as_ref())),
    ];
    let secrets: Vec<String> = key.secrets.iter().map(secret_version).collect();
    pairs.extend(secrets.into_iter().map(|version| ("secret", version)));
    pairs.push(("etag", key.etag.clone()));
    pairs
}

fn secret_version(secret: &crate::rpc::proto::key::Secret) -> String {
    let mut text = format!("{} made {}", secret.number, table::time(secret.create_time.as_ref()));
    if !secret.hint.is_empty() {
        text.push_str(&format!(", ends in {}", secret.hint));
    }
    if let Some(time) = &secret.expire_time {
        text.push_str(&format!(", expires {}", table::time(Some(time))));
    }
    text
}

fn environment(value: i32) -> String {
    table::word::<Environment>(value, "ENVIRONMENT_", |environment| environment.as_str_name())
}

fn state(value: i32) -> String {
    table::word::<State>(value, "STATE_", |state| state.as_str_name())
}
