//! Which method a path names.

use crate::domain::permission::{Permission, VERBS, Verb};

/// What everything that we serve for others than probes and tools begins with.
const PACKAGES: [&str; 2] = ["/countersign.", "/envoy."];

/// Who may call a path at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Door {
    /// Anybody: reflection, health, and paths that lead nowhere.
    Open,
    /// Anybody, or only holders of a credential: a setting says so for `KeyVerifier`.
    Verifier(Verb),
    /// Only holders of a credential: all of our packages that does not verify, so that a method which
    /// nobody thought of here is shut.
    Admin,
}

/// The door of a request's path.
pub(super) fn door(path: &str) -> Door {
    if !PACKAGES.iter().any(|package| path.starts_with(package)) {
        return Door::Open;
    }
    match find(path) {
        Some((verb, _)) if verb.permission() == Permission::VerifyCall => Door::Verifier(verb),
        _ => Door::Admin,
    }
}

/// What we serve beside our own: for probes and tools.
const ALSO: [&str; 4] = [
    "grpc.health.v1.Health/Check",
    "grpc.health.v1.Health/Watch",
    "grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
    "grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
];

/// One of the methods that we know, or any other: a number, so that a caller can't make up new ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Method(usize);

impl Method {
    /// How many there are.
    pub(super) const COUNT: usize = VERBS.len() + ALSO.len() + 1;

    /// All that there are.
    pub(super) fn all() -> impl Iterator<Item = Self> {
        (0..Self::COUNT).map(Self)
    }

    /// That of a path.
    pub(super) fn of(path: &str) -> Self {
        let Some(name) = path.strip_prefix('/') else { return Self(Self::COUNT - 1) };
        // As in `find`.
        let ours = VERBS.iter().rposition(|(_, own, _)| *own == name);
        let also = || ALSO.iter().position(|own| *own == name).map(|place| VERBS.len() + place);
        Self(ours.or_else(also).unwrap_or(Self::COUNT - 1))
    }

    /// Less than [`Self::COUNT`].
    pub(super) fn number(self) -> usize {
        self.0
    }

    /// Whether it is one of our own services, or of a gateway.
    pub(super) fn is_ours(self) -> bool {
        self.0 < VERBS.len()
    }

    /// Service and method, or the word of the semantic conventions for what is unknown.
    pub(super) fn name(self) -> &'static str {
        let ours = VERBS.get(self.0).map(|(_, name, _)| *name);
        let also = || self.0.checked_sub(VERBS.len()).and_then(|place| ALSO.get(place).copied());
        ours.or_else(also).unwrap_or("_OTHER")
    }
}

/// Whether load shedding lets this pass: a health check that is shed makes an orchestrator restart a
/// server that is merely busy.
pub(super) fn is_health_check(path: &str) -> bool {
    path == "/grpc.health.v1.Health/Check"
}

/// Whether the caller sends one message and no more, so that it can be expected to come soon. Only
/// reflection takes many.
pub(super) fn takes_one_message(path: &str) -> bool {
    !path.starts_with("/grpc.reflection.")
}

/// Whether a path is one that answers from memory, thousands of times a second.
pub(super) fn is_verification(path: &str) -> bool {
    matches!(door(path), Door::Verifier(_))
}

fn find(path: &str) -> Option<(Verb, &'static str)> {
    let path = path.strip_prefix('/')?;
    // From the end: verifications stand there, and are almost all that is asked.
    VERBS.iter().rev().find(|(_, name, _)| *name == path).map(|(verb, name, _)| (*verb, *name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_method_of_the_table_has_its_door() {
        for (verb, name, permission) in VERBS {
            let expected = match permission {
                Permission::VerifyCall => Door::Verifier(verb),
                _ => Door::Admin,
            };
            assert_eq!(door(&format!("/{name}")), expected);
            assert_eq!(Method::of(&format!("/{name}")).name(), name);
        }
    }

    #[test]
    fn what_nobody_thought_of_is_shut() {
        assert_eq!(door("/countersign.v1.KeyAdmin/Later"), Door::Admin);
        assert_eq!(door("/countersign.v1.KeyVerifier/Later"), Door::Admin);
        assert_eq!(door("/countersign.v2.KeyVerifier/Verify"), Door::Admin);
        assert_eq!(door("/envoy.service.auth.v3.Authorization/Later"), Door::Admin);
        assert_eq!(door("/grpc.health.v1.Health/Check"), Door::Open);
        assert_eq!(door("/"), Door::Open);
    }

    #[test]
    fn only_reflection_takes_many_messages() {
        let pool = prost_reflect::DescriptorPool::decode(crate::rpc::proto::FILE_DESCRIPTOR_SET);
        for service in pool.expect("descriptors").services() {
            for method in service.methods() {
                let path = format!("/{}/{}", service.full_name(), method.name());
                assert_eq!(takes_one_message(&path), !method.is_client_streaming(), "{path}");
            }
        }
        assert!(takes_one_message("/grpc.health.v1.Health/Watch"));
        assert!(!takes_one_message("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"));
    }

    #[test]
    fn every_method_has_a_number_and_its_name_back() {
        let numbers: Vec<_> = Method::all().map(Method::number).collect();
        assert_eq!(numbers, (0..Method::COUNT).collect::<Vec<_>>());
        for method in Method::all().take(Method::COUNT - 1) {
            assert_eq!(Method::of(&format!("/{}", method.name())), method);
        }
        for unknown in
            ["", "/", "/countersign.v1.KeyAdmin/<script>", "countersign.v1.KeyVerifier/Verify"]
        {
            assert_eq!(Method::of(unknown).name(), "_OTHER", "{unknown}");
        }
    }
}
