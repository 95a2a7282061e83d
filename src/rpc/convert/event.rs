//! Audit events and the messages of a watch.

use super::time;
use crate::control::{CursoredEvent, EventPage, WatchMessage};
use crate::domain::audit::{Actor, FieldChange, RevokeReason};
use crate::domain::hex::unhex;
use crate::rpc::proto;
use proto::actor::Who;
use proto::watch_audit_events_response::{Heartbeat, Message};

impl From<CursoredEvent> for proto::AuditEvent {
    fn from(CursoredEvent { logged, cursor }: CursoredEvent) -> Self {
        let event = &logged.event;
        Self {
            revision: i64::try_from(event.revision).unwrap_or(i64::MAX),
            cursor,
            time: Some(time::to_proto(event.time)),
            // The numbers of the domain are those of the proto; a test holds them together.
            r#type: event.kind as i32,
            actor: Some((&event.actor).into()),
            account_id: event.account_id.clone(),
            application_id: event.application_id.clone(),
            key_id: event.key_id.clone(),
            changes: event.changes.iter().map(proto::audit_event::Change::from).collect(),
            revoke_reason: revoke_reason(&event.revoke_reason),
            comment: event.comment.clone(),
            request_id: event.request_id.clone(),
            trace_id: event.trace_id.clone(),
            key_seal: unhex(&event.key_seal).unwrap_or_default(),
            leaf_hash: logged.leaf_hash.to_vec(),
        }
    }
}

impl From<&Actor> for proto::Actor {
    fn from(actor: &Actor) -> Self {
        let who = if actor.key_id.is_empty() {
            Who::Identity(actor.identity.clone())
        } else {
            Who::KeyId(actor.key_id.clone())
        };
        Self {
            who: Some(who),
            address: actor.address.clone(),
            user_agent: actor.user_agent.clone(),
        }
    }
}

impl From<&FieldChange> for proto::audit_event::Change {
    fn from(FieldChange { after, before, field }: &FieldChange) -> Self {
        Self { field: field.clone(), before: before.clone(), after: after.clone() }
    }
}

impl From<EventPage> for proto::ListAuditEventsResponse {
    fn from(EventPage { events, next_page_token }: EventPage) -> Self {
        Self { events: events.into_iter().map(proto::AuditEvent::from).collect(), next_page_token }
    }
}

impl From<WatchMessage> for proto::WatchAuditEventsResponse {
    fn from(message: WatchMessage) -> Self {
        let message = match message {
            WatchMessage::Event(event) => Message::Event(Box::new(event.into())),
            WatchMessage::Heartbeat { cursor, time } => {
                Message::Heartbeat(Heartbeat { cursor, time: Some(time::to_proto(time)) })
            }
        };
        Self { message: Some(message) }
    }
}

fn revoke_reason(name: &str) -> i32 {
    let reason = RevokeReason::ALL.into_iter().find(|reason| reason.as_str() == name);
    reason.map_or(0, |reason| reason as i32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::audit::EventType;

    #[test]
    fn types_have_the_numbers_and_names_of_the_proto() {
        for kind in EventType::ALL {
            let number =
                proto::audit_event::Type::try_from(kind as i32).expect("a number of the proto");
            assert_eq!(number.as_str_name(), kind.as_str());
        }
    }

    #[test]
    fn a_type_of_a_later_release_is_unspecified() {
        let number = proto::audit_event::Type::try_from(EventType::Unknown as i32);
        let name = number.expect("a number of the proto").as_str_name();
        assert_eq!(name, EventType::Unknown.as_str());
    }

    #[test]
    fn reasons_have_the_numbers_and_names_of_the_proto() {
        for reason in RevokeReason::ALL {
            let number =
                proto::RevokeReason::try_from(revoke_reason(reason.as_str())).expect("a number");
            assert_eq!(number.as_str_name(), format!("REVOKE_REASON_{}", reason.as_str()));
        }
        assert_eq!(revoke_reason(""), 0);
    }
}
