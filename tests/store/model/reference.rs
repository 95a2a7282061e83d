//! The store as a few maps: what each operation should come to.

use std::collections::{BTreeMap, BTreeSet};

use countersign::domain::Error;
use countersign::domain::audit::{EventType, RevokeReason};
use countersign::domain::key::Lifecycle;
use proptest::prelude::*;
use proptest_state_machine::ReferenceStateMachine;

pub const IDS: [&str; 5] = ["a", "B", "b", "_", "c.1"];
pub const SCOPES: [&str; 3] = ["read", "write:*", "admin"];

#[derive(Debug, Clone)]
pub enum Operation {
    Create { id: usize, request: Option<(u8, u8)> },
    Rename { id: usize, name: String },
    Grant { id: usize, scopes: BTreeSet<usize> },
    Label { id: usize, value: Option<String> },
    Rotate { id: usize, kill: bool },
    Switch { id: usize, on: bool },
    Revoke { id: usize },
    Delete { id: usize },
    Reopen,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    Changed(u64),
    Unchanged(u64),
    Refused(Error),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelKey {
    pub name: String,
    pub scopes: BTreeSet<String>,
    pub label: Option<String>,
    pub lifecycle: Lifecycle,
    /// Number, and whether it lives.
    pub secrets: Vec<(u32, bool)>,
    pub revision: u64,
}

#[derive(Debug, Clone, Default)]
pub struct Model {
    pub keys: BTreeMap<String, ModelKey>,
    pub deleted: BTreeSet<String>,
    pub log: Vec<(EventType, String)>,
    /// By slot: what was asked.
    pub remembered: BTreeMap<u8, u8>,
    /// What the last operation came to.
    pub outcome: Option<Outcome>,
}

impl Model {
    fn run(&mut self, operation: &Operation) -> Result<Option<EventType>, Error> {
        let revision = self.log.len() as u64 + 1;
        let id = match operation {
            Operation::Reopen => return Ok(None),
            Operation::Create { id, request } => {
                let id = IDS[*id].to_owned();
                match request.and_then(|(slot, body)| Some((*self.remembered.get(&slot)?, body))) {
                    Some((before, now)) if before == now => return Ok(None),
                    Some(_) => return Err(Error::RequestIdReused),
                    None if self.keys.contains_key(&id) => return Ok(None),
                    None if self.deleted.contains(&id) => {
                        return Err(Error::KeyNotFound { key_id: id });
                    }
                    None => {}
                }
                self.remembered.extend(*request);
                let (name, label) = ("Billing".to_owned(), Some("payments".to_owned()));
                let scopes = ["transactions:read", "transactions:write"].map(str::to_owned).into();
                let secrets = vec![(1, true)];
                let key = ModelKey {
                    name,
                    scopes,
                    label,
                    lifecycle: Lifecycle::Active,
                    secrets,
                    revision,
                };
                self.keys.insert(id.clone(), key);
                self.log.push((EventType::KeyCreated, id));
                return Ok(Some(EventType::KeyCreated));
            }
            Operation::Delete { id } if self.deleted.contains(IDS[*id]) => return Ok(None),
            Operation::Rename { id, .. }
            | Operation::Grant { id, .. }
            | Operation::Label { id, .. }
            | Operation::Rotate { id, .. }
            | Operation::Switch { id, .. }
            | Operation::Revoke { id }
            | Operation::Delete { id } => IDS[*id].to_owned(),
        };
        let key =
            self.keys.get_mut(&id).ok_or_else(|| Error::KeyNotFound { key_id: id.clone() })?;
        let deletes = matches!(operation, Operation::Delete { .. });
        if !deletes && matches!(key.lifecycle, Lifecycle::Revoked(_)) {
            return Err(Error::KeyRevoked);
        }
        let kind = match operation {
            Operation::Rename { name, .. } => {
                key.name.clone_from(name);
                EventType::KeyUpdated
            }
            Operation::Grant { scopes, .. } => {
                key.scopes = scopes.iter().map(|scope| SCOPES[*scope].to_owned()).collect();
                EventType::KeyUpdated
            }
            Operation::Label { value, .. } => {
                key.label.clone_from(value);
                EventType::KeyUpdated
            }
            Operation::Rotate { kill, .. } => {
                let mut secrets = key.secrets.clone();
                secrets.iter_mut().for_each(|(_, lives)| *lives &= !kill);
                if secrets.len() == 3 {
                    let dead = secrets.iter().position(|(_, lives)| !lives);
                    secrets.remove(dead.ok_or(Error::TooManySecrets)?);
                }
                let newest = key.secrets.last().map_or(0, |(number, _)| *number);
                secrets.push((newest + 1, true));
                key.secrets = secrets;
                EventType::KeyRotated
            }
            Operation::Switch { on, .. } => {
                key.lifecycle = if *on { Lifecycle::Active } else { Lifecycle::Disabled };
                if *on { EventType::KeyEnabled } else { EventType::KeyDisabled }
            }
            Operation::Revoke { .. } => {
                key.lifecycle = Lifecycle::Revoked(RevokeReason::Compromised);
                EventType::KeyRevoked
            }
            _ => EventType::KeyDeleted,
        };
        key.revision = revision;
        if kind == EventType::KeyDeleted {
            self.keys.remove(&id);
            self.deleted.insert(id.clone());
        }
        self.log.push((kind, id));
        Ok(Some(kind))
    }
}

pub struct Histories;

impl ReferenceStateMachine for Histories {
    type State = Model;
    type Transition = Operation;

    fn init_state() -> BoxedStrategy<Model> {
        Just(Model::default()).boxed()
    }

    fn transitions(_: &Model) -> BoxedStrategy<Operation> {
        let id = || 0..IDS.len();
        let request = prop::option::of((0_u8..3, 0_u8..2));
        let name = "[a-zäß%_' ]{1,12}".prop_map(|text| format!("n{text}"));
        let value = || prop::option::of("[a-zA-Zé]{0,5}");
        prop_oneof![
            4 => (id(), request).prop_map(|(id, request)| Operation::Create { id, request }),
            2 => (id(), name).prop_map(|(id, name)| Operation::Rename { id, name }),
            2 => (id(), prop::collection::btree_set(0..SCOPES.len(), 0..3))
                .prop_map(|(id, scopes)| Operation::Grant { id, scopes }),
            2 => (id(), value()).prop_map(|(id, value)| Operation::Label { id, value }),
            3 => (id(), any::<bool>()).prop_map(|(id, kill)| Operation::Rotate { id, kill }),
            2 => (id(), any::<bool>()).prop_map(|(id, on)| Operation::Switch { id, on }),
            1 => id().prop_map(|id| Operation::Revoke { id }),
            1 => id().prop_map(|id| Operation::Delete { id }),
            1 => Just(Operation::Reopen),
        ]
        .boxed()
    }

    fn apply(mut model: Model, operation: &Operation) -> Model {
        let outcome = match model.run(operation) {
            Ok(Some(_)) => Outcome::Changed(model.log.len() as u64),
            Ok(None) => Outcome::Unchanged(model.log.len() as u64),
            Err(error) => Outcome::Refused(error),
        };
        model.outcome = Some(outcome);
        model
    }
}
