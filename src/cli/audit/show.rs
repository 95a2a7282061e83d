//! Events for people.

use crate::cli::{output, table};
use crate::rpc::proto::AuditEvent;
use crate::rpc::proto::actor::Who;
use crate::rpc::proto::audit_event::Type;

/// The header of a list.
pub(super) const HEADER: [&str; 7] =
    ["REVISION", "TIME", "TYPE", "KEY ID", "ACCOUNT", "ACTOR", "CHANGED"];

/// A line of a list.
pub(super) fn row(event: &AuditEvent) -> Vec<String> {
    vec![
        event.revision.to_string(),
        table::time(event.time.as_ref()),
        kind(event),
        event.key_id.clone(),
        event.account_id.clone(),
        actor(event),
        changed(event),
    ]
}

/// The same as a line of its own, for a log that grows.
pub(super) fn line(event: &AuditEvent) -> String {
    output::on_one_line(row(event).join("  ").trim_end())
}

fn kind(event: &AuditEvent) -> String {
    table::word::<Type>(event.r#type, "TYPE_", |kind| kind.as_str_name())
}

fn actor(event: &AuditEvent) -> String {
    match event.actor.as_ref().and_then(|actor| actor.who.as_ref()) {
        Some(Who::KeyId(text) | Who::Identity(text)) => text.clone(),
        None => String::new(),
    }
}

fn changed(event: &AuditEvent) -> String {
    let fields: Vec<&str> = event.changes.iter().map(|change| change.field.as_str()).collect();
    fields.join(" ")
}
