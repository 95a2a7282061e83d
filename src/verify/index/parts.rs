//! What records hold by number: the values that many keys share, each kept once, and what few keys have.
//!
//! A number is given out once. So a reader that holds a record finds the value that was meant, or none any
//! more: then the record was replaced, and its successor is to be looked up.

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::FixedState;

use crate::domain::cidr::CidrSet;
use crate::domain::ids::{AccountId, ApplicationId};
use crate::domain::scope::GrantedScopes;
use crate::domain::verdict::SecretSlot;

/// A value that keys share.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Shared {
    /// The account and the application that own a key.
    Owner(AccountId, ApplicationId),
    /// What a key may do.
    Scopes(GrantedScopes),
    /// Where it may be used from.
    Cidrs(CidrSet),
}

/// What a number stands for.
#[derive(Debug, Clone)]
pub(super) enum Part {
    /// For as long as any key has it.
    Shared(Shared),
    /// The secret slots of one key that has more than one, or any with times.
    Slots(Arc<[SecretSlot]>),
}

/// All parts, by number. Readers never wait.
pub(super) struct Parts {
    by_number: papaya::HashMap<u32, Part, FixedState>,
}

/// Parts as they are while somebody looks: what is removed meanwhile stays in memory.
pub(super) struct Pinned<'p>(papaya::HashMapRef<'p, u32, Part, FixedState, papaya::LocalGuard<'p>>);

impl Pinned<'_> {
    /// The shared value of a number.
    pub(super) fn shared(&self, number: u32) -> Option<&Shared> {
        match self.0.get(&number)? {
            Part::Shared(value) => Some(value),
            Part::Slots(_) => None,
        }
    }

    /// The secret slots of a number.
    pub(super) fn slots(&self, number: u32) -> Option<&[SecretSlot]> {
        match self.0.get(&number)? {
            Part::Slots(slots) => Some(slots),
            Part::Shared(_) => None,
        }
    }
}

/// The writer's side: the numbers of shared values, and how many keys have each.
#[derive(Default)]
pub(super) struct Uses {
    by_value: HashMap<Shared, (u32, u64)>,
    last: u32,
}

impl Parts {
    pub(super) fn new() -> Self {
        // The numbers are ours, one after another: no hash that resists attacks is needed.
        Self { by_number: papaya::HashMap::with_hasher(FixedState::default()) }
    }

    /// For looking at several parts.
    pub(super) fn pin(&self) -> Pinned<'_> {
        Pinned(self.by_number.pin())
    }

    fn get(&self, number: u32) -> Option<Part> {
        self.by_number.pin().get(&number).cloned()
    }
}

impl Uses {
    /// The number of a shared value, which one more key has.
    pub(super) fn share(&mut self, parts: &Parts, value: Shared) -> u32 {
        if let Some((number, count)) = self.by_value.get_mut(&value) {
            *count += 1;
            return *number;
        }
        let number = self.add(parts, Part::Shared(value.clone()));
        self.by_value.insert(value, (number, 1));
        number
    }

    /// The number of a part that is new.
    pub(super) fn add(&mut self, parts: &Parts, part: Part) -> u32 {
        // Zero stands for none. After four billion numbers the oldest come again, except those in use.
        loop {
            self.last = self.last.wrapping_add(1);
            if self.last != 0 && parts.get(self.last).is_none() {
                break;
            }
        }
        parts.by_number.pin().insert(self.last, part);
        self.last
    }

    /// One key less has the part of this number.
    pub(super) fn release(&mut self, parts: &Parts, number: u32) {
        if let Some(Part::Shared(value)) = parts.get(number)
            && let Some((_, count)) = self.by_value.get_mut(&value)
        {
            *count -= 1;
            if *count > 0 {
                return;
            }
            self.by_value.remove(&value);
        }
        parts.by_number.pin().remove(&number);
    }
}

#[cfg(test)]
impl Parts {
    /// How many shared values there are.
    pub(super) fn shared(&self) -> usize {
        let parts = self.by_number.pin();
        parts.values().filter(|part| matches!(part, Part::Shared(_))).count()
    }
}
