//! Scopes: what a key may do, as it is granted and as a service requires it.
//!
//! A scope is 1 to 8 segments joined by `:`, e.g. `transactions:read`. In a granted scope `*` as a
//! segment matches any one segment, and a last `*` matches one or more. Scopes that begin with
//! `countersign.` are reserved: they are granted and matched literally, and no wildcard covers them.

mod set;

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

pub use set::GrantedScopes;

/// Segments of the longest scope.
const MAX_SEGMENTS: usize = 8;
/// What every reserved scope begins with.
const RESERVED_PREFIX: &str = "countersign.";
/// The reserved scopes that can be granted.
const RESERVED: [&str; 5] = [
    "countersign.audit:read",
    "countersign.keys:read",
    "countersign.keys:revoke",
    "countersign.keys:write",
    "countersign.verify:call",
];

/// Why a scope, or a list of them, is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidScope {
    /// The empty text.
    #[error("scope must not be empty")]
    Empty,
    /// More than 8 segments.
    #[error("scope must have at most 8 segments joined by ':'")]
    TooManySegments,
    /// A segment that breaks the grammar.
    #[error(
        "segment {0} must be 1 to 63 of a-z, 0-9, '.', '_' and '-', the first a letter or digit"
    )]
    Segment(
        /// Which one, counted from 1.
        usize,
    ),
    /// A `*` beside other characters.
    #[error("segment {0} must be '*' alone or hold no '*'")]
    PartialWildcard(
        /// Which one, counted from 1.
        usize,
    ),
    /// A `*` in a required scope.
    #[error("a required scope must hold no '*'")]
    Wildcard,
    /// A scope in our name that does not exist.
    #[error("scopes that begin with 'countersign.' are reserved; those that exist are {}", RESERVED.join(", "))]
    Reserved,
    /// More than [`GrantedScopes::MAX_LEN`] scopes.
    #[error("at most {} scopes can be granted", GrantedScopes::MAX_LEN)]
    TooMany,
    /// More than [`GrantedScopes::MAX_BYTES`] in total.
    #[error("granted scopes must not be longer than {} bytes in total", GrantedScopes::MAX_BYTES)]
    TooLarge,
}

/// A scope that a service asks for; it holds no `*`. It lies in the request that asks for it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequiredScope<'q>(&'q str);

/// A required scope that is kept for later requests, as in a table of routes. Cheap to clone.
#[derive(Clone, PartialEq, Eq)]
pub struct KeptScope(Arc<str>);

/// A scope that a key was granted. Cheap to clone, ordered as text.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GrantedScope(Arc<str>);

impl<'q> RequiredScope<'q> {
    /// Reads a required scope. One in our name may be unknown: it is then granted to nobody.
    pub fn parse(text: &'q str) -> Result<Self, InvalidScope> {
        check_segments(text)?;
        if text.contains('*') {
            return Err(InvalidScope::Wildcard);
        }
        Ok(Self(text))
    }

    /// The scope as text.
    pub fn as_str(&self) -> &'q str {
        self.0
    }

    /// Whether only the very same scope covers it.
    pub fn is_reserved(&self) -> bool {
        self.0.starts_with(RESERVED_PREFIX)
    }
}

impl KeptScope {
    /// Reads a required scope.
    pub fn parse(text: &str) -> Result<Self, InvalidScope> {
        RequiredScope::parse(text).map(|scope| Self(scope.as_str().into()))
    }

    /// The scope as a request asks for it.
    pub fn required(&self) -> RequiredScope<'_> {
        RequiredScope(&self.0)
    }

    /// The scope as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl GrantedScope {
    /// Reads a scope to be granted.
    pub fn parse(text: &str) -> Result<Self, InvalidScope> {
        check_segments(text)?;
        if text.starts_with(RESERVED_PREFIX) && !RESERVED.contains(&text) {
            return Err(InvalidScope::Reserved);
        }
        Ok(Self(text.into()))
    }

    /// The scope as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it lets its holder administer or call this service.
    pub fn is_reserved(&self) -> bool {
        self.0.starts_with(RESERVED_PREFIX)
    }

    /// Whether whoever was granted this may do what `required` names.
    pub fn covers(&self, required: &RequiredScope<'_>) -> bool {
        set::covered(std::slice::from_ref(self), required)
    }
}

macro_rules! prints_as_text {
    ($($name:ty),*) => {$(
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&*self.0, f)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
    )*};
}

prints_as_text!(RequiredScope<'_>, KeptScope, GrantedScope);

/// The grammar of a scope in which `*` may stand for a segment.
fn check_segments(text: &str) -> Result<(), InvalidScope> {
    if text.is_empty() {
        return Err(InvalidScope::Empty);
    }
    for (segment, number) in text.split(':').zip(1..) {
        if number > MAX_SEGMENTS {
            return Err(InvalidScope::TooManySegments);
        }
        if segment != "*" && !is_segment(segment) {
            let partial = segment.contains('*');
            return Err(if partial {
                InvalidScope::PartialWildcard(number)
            } else {
                InvalidScope::Segment(number)
            });
        }
    }
    Ok(())
}

/// `[a-z0-9][a-z0-9._-]{0,62}`
fn is_segment(text: &str) -> bool {
    let alphanumeric = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let in_set = |byte: u8| alphanumeric(byte) || matches!(byte, b'.' | b'_' | b'-');
    text.len() <= 63 && text.bytes().next().is_some_and(alphanumeric) && text.bytes().all(in_set)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn covers(granted: &str, required: &str) -> bool {
        let granted = GrantedScope::parse(granted).expect("a valid granted scope");
        granted.covers(&RequiredScope::parse(required).expect("a valid required scope"))
    }

    #[test]
    fn the_grammar_is_kept() {
        for good in
            ["a", "0", "a:b", "transactions:read", "a.b_c-d:e", "1:2:3:4:5:6:7:8", &"x".repeat(63)]
        {
            assert!(RequiredScope::parse(good).is_ok(), "{good} was refused");
            assert!(GrantedScope::parse(good).is_ok(), "{good} was refused");
        }
        for (bad, why) in [
            ("", InvalidScope::Empty),
            (":", InvalidScope::Segment(1)),
            ("a:", InvalidScope::Segment(2)),
            ("a::b", InvalidScope::Segment(2)),
            ("A", InvalidScope::Segment(1)),
            ("a b", InvalidScope::Segment(1)),
            ("a:.b", InvalidScope::Segment(2)),
            ("é", InvalidScope::Segment(1)),
            ("a:b*", InvalidScope::PartialWildcard(2)),
            ("**", InvalidScope::PartialWildcard(1)),
            ("1:2:3:4:5:6:7:8:9", InvalidScope::TooManySegments),
            (&"x".repeat(64), InvalidScope::Segment(1)),
        ] {
            assert_eq!(RequiredScope::parse(bad), Err(why), "{bad:?}");
            assert_eq!(GrantedScope::parse(bad), Err(why), "{bad:?}");
        }
        assert_eq!(RequiredScope::parse("a:*"), Err(InvalidScope::Wildcard));
    }

    #[test]
    fn a_last_wildcard_matches_one_or_more_and_any_other_exactly_one() {
        assert!(covers("*", "a") && covers("*", "a:b:c"));
        assert!(covers("a:*", "a:b") && covers("a:*", "a:b:c") && !covers("a:*", "a"));
        assert!(
            covers("*:read", "a:read")
                && !covers("*:read", "a:b:read")
                && !covers("*:read", "read")
        );
        assert!(covers("a:*:c", "a:b:c") && !covers("a:*:c", "a:c") && !covers("a:*:c", "a:b:b:c"));
        assert!(covers("*:*", "a:b:c") && !covers("*:*", "a"));
        assert!(!covers("a", "a:b") && !covers("a:b", "a") && !covers("a", "ab"));
    }

    #[test]
    fn reserved_scopes_are_literal() {
        for known in RESERVED {
            assert!(covers(known, known));
            for wide in ["*", "*:*", "*:read", "*:write", "*:revoke", "*:call", "countersign:*"] {
                assert!(!covers(wide, known), "{wide} covered {known}");
            }
        }
        for unknown in [
            "countersign.keys:*",
            "countersign.keys",
            "countersign.x:read",
            "countersign.keys:read:x",
        ] {
            assert_eq!(GrantedScope::parse(unknown), Err(InvalidScope::Reserved), "{unknown}");
        }
        assert!(covers("countersign:*", "countersign:read") && covers("*", "countersignx:read"));
        assert!(!covers("*", "countersign.unknown:thing"));
    }

    /// The matcher as the sentence in the module's comment says it, by recursion.
    fn reference(granted: &[&str], required: &[&str]) -> bool {
        match (granted, required) {
            (["*"], [_, ..]) => true,
            ([one, granted @ ..], [other, required @ ..]) => {
                (*one == "*" || one == other) && reference(granted, required)
            }
            (rest, other) => rest.is_empty() && other.is_empty(),
        }
    }

    proptest! {
        #[test]
        fn agrees_with_the_reference(
            granted in prop::collection::vec("[ab*]", 1..=4),
            required in prop::collection::vec("[ab]", 1..=5),
        ) {
            let (granted, required) = (granted.join(":"), required.join(":"));
            let (one, other): (Vec<_>, Vec<_>) = (granted.split(':').collect(), required.split(':').collect());
            prop_assert_eq!(covers(&granted, &required), reference(&one, &other));
        }

        #[test]
        fn no_text_makes_a_parser_panic(text in ".*", near in "[a*:.]{0,24}") {
            let _ = (GrantedScope::parse(&text), RequiredScope::parse(&text));
            let _ = (GrantedScope::parse(&near), RequiredScope::parse(&near));
        }
    }
}
