//! The scopes of one key.

use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{GrantedScope, InvalidScope, RequiredScope};

/// All scopes of a key: sorted, each once. Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub struct GrantedScopes(Arc<[GrantedScope]>);

impl GrantedScopes {
    /// The most scopes that a key can have.
    pub const MAX_LEN: usize = 1_000;
    /// The most that they can hold in total, in bytes.
    pub const MAX_BYTES: usize = 32 * 1024;

    /// Reads a list of scopes in any order, repetitions included. On failure: every bad entry with its
    /// index. Both limits count the list as it was given; the first entry beyond one ends the reading.
    pub fn parse<'a>(
        scopes: impl IntoIterator<Item = &'a str>,
    ) -> Result<Self, Vec<(usize, InvalidScope)>> {
        let (mut parsed, mut bad, mut bytes) = (BTreeSet::new(), Vec::new(), 0);
        for (index, text) in scopes.into_iter().enumerate() {
            bytes += text.len();
            if index >= Self::MAX_LEN {
                bad.push((index, InvalidScope::TooMany));
                break;
            }
            if bytes > Self::MAX_BYTES {
                bad.push((index, InvalidScope::TooLarge));
                break;
            }
            match GrantedScope::parse(text) {
                Ok(scope) => _ = parsed.insert(scope),
                Err(why) => bad.push((index, why)),
            }
        }
        if bad.is_empty() { Ok(Self(parsed.into_iter().collect())) } else { Err(bad) }
    }

    /// Whether any of the scopes covers `required`. A few binary searches, so that a key with many
    /// scopes costs hardly more than one with few.
    pub fn covers(&self, required: &RequiredScope<'_>) -> bool {
        covered(&self.0, required)
    }

    /// Those of `required` that no scope covers, in their order.
    pub fn missing<'q>(&self, required: &[RequiredScope<'q>]) -> Vec<RequiredScope<'q>> {
        required.iter().filter(|scope| !self.covers(scope)).copied().collect()
    }

    /// The scopes that let the holder administer or call this service.
    pub fn reserved(&self) -> impl Iterator<Item = &GrantedScope> {
        self.iter().filter(|scope| scope.is_reserved())
    }

    /// All scopes, sorted.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &GrantedScope> {
        self.0.iter()
    }

    /// How many scopes there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is no scope at all.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Whether one of `scopes`, which are sorted, covers `required`.
pub(super) fn covered(scopes: &[GrantedScope], required: &RequiredScope<'_>) -> bool {
    // Most are granted as they are asked for. No reserved scope is met on the way of wildcards: nobody else's begins
    // with its first segment.
    has(scopes, 0, required.as_str())
        || (!required.is_reserved() && any_covers(scopes, 0, required.as_str()))
}

/// Whether one of `scopes` covers what is still `asked`. They are sorted and agree in their first `done`
/// bytes, whose segments match. Those that go on with one certain segment stand side by side.
fn any_covers(scopes: &[GrantedScope], done: usize, asked: &str) -> bool {
    let (segment, rest) =
        asked.split_once(':').map_or((asked, None), |(first, rest)| (first, Some(rest)));
    // A last wildcard matches all that is left.
    if has(scopes, done, "*") || (rest.is_none() && has(scopes, done, segment)) {
        return true;
    }
    let Some(rest) = rest else { return false };
    ["*", segment].into_iter().any(|segment| {
        let further = going_on(scopes, done, segment);
        !further.is_empty() && any_covers(further, done + segment.len() + 1, rest)
    })
}

/// Whether there is a scope whose text ends with `last` after the first `done` bytes.
fn has(scopes: &[GrantedScope], done: usize, last: &str) -> bool {
    scopes.binary_search_by(|scope| after(scope, done).cmp(last.as_bytes())).is_ok()
}

/// The scopes whose text goes on with `segment` and `:` after the first `done` bytes.
fn going_on<'s>(scopes: &'s [GrantedScope], done: usize, segment: &str) -> &'s [GrantedScope] {
    // How a text is ordered against every text that begins with `segment:`.
    let order = |scope: &GrantedScope| {
        let text = after(scope, done);
        match text.split_at_checked(segment.len()) {
            None => text.cmp(segment.as_bytes()),
            Some((head, tail)) => head
                .cmp(segment.as_bytes())
                .then_with(|| tail.first().map_or(Ordering::Less, |byte| byte.cmp(&b':'))),
        }
    };
    let from = scopes.partition_point(|scope| order(scope) == Ordering::Less);
    let scopes = scopes.get(from..).unwrap_or_default();
    let to = scopes.partition_point(|scope| order(scope) == Ordering::Equal);
    scopes.get(..to).unwrap_or_default()
}

fn after(scope: &GrantedScope, done: usize) -> &[u8] {
    scope.as_str().as_bytes().get(done..).unwrap_or_default()
}

impl fmt::Debug for GrantedScopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

/// As the sorted list of texts.
impl Serialize for GrantedScopes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter().map(GrantedScope::as_str))
    }
}

/// Checked as by [`GrantedScopes::parse`].
impl<'de> Deserialize<'de> for GrantedScopes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let list = Vec::<String>::deserialize(deserializer)?;
        Self::parse(list.iter().map(String::as_str)).map_err(|bad| {
            let reasons: Vec<_> =
                bad.iter().map(|(at, why)| format!("scope {at}: {why}")).collect();
            D::Error::custom(reasons.join("; "))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_list_names_every_bad_entry() {
        let bad = GrantedScopes::parse(["a", "B", "c", "countersign.keys:*"]);
        assert_eq!(bad, Err(vec![(1, InvalidScope::Segment(1)), (3, InvalidScope::Reserved)]));
    }

    #[test]
    fn json_is_a_list_that_is_checked_on_the_way_in() {
        let scopes = GrantedScopes::parse(["b", "a:*"]).expect("valid");
        assert_eq!(serde_json::to_string(&scopes).expect("text"), r#"["a:*","b"]"#);
        assert_eq!(serde_json::from_str::<GrantedScopes>(r#"["b","a:*"]"#).expect("valid"), scopes);
        let error = serde_json::from_str::<GrantedScopes>(r#"["a","B"]"#).expect_err("a bad entry");
        assert!(error.to_string().starts_with("scope 1: segment 1 must be"), "{error}");
    }

    #[test]
    fn a_list_keeps_its_limits() {
        let many: Vec<String> = (0..1_001).map(|n| format!("s{n}")).collect();
        let parse = |list: &[String]| GrantedScopes::parse(list.iter().map(String::as_str));
        assert_eq!(parse(&many[..1_000]).map(|scopes| scopes.len()), Ok(1_000));
        assert_eq!(parse(&many), Err(vec![(1_000, InvalidScope::TooMany)]));
        let long = vec!["x".repeat(63); 521]; // 32,823 bytes
        assert_eq!(parse(&long), Err(vec![(520, InvalidScope::TooLarge)]));
        assert_eq!(parse(&long[..520]).map(|scopes| scopes.len()), Ok(1));
    }

    #[test]
    fn missing_scopes_keep_their_order() {
        let granted = GrantedScopes::parse(["a:*", "b"]).expect("valid");
        let required: Vec<_> =
            ["z", "a:x", "c", "b"].map(|text| RequiredScope::parse(text).expect("valid")).into();
        assert_eq!(granted.missing(&required), [required[0], required[2]]);
        assert_eq!(GrantedScopes::default().missing(&required).len(), 4);
    }

    proptest! {
        #[test]
        fn a_set_covers_what_any_of_its_scopes_covers(
            list in prop::collection::vec(
                "[abc*](:[ab*]){0,7}|(a|a-|ab|a0|a_)(:(a|a\\.|ab|\\*)){0,3}|countersign\\.keys:(read|write)", 0..24
            ),
            required in "[abc](:[ab]){0,7}|(a|a-|ab|a0|a_)(:(a|a\\.|ab)){0,3}|countersign\\.keys:(read|write|x)",
        ) {
            let set = GrantedScopes::parse(list.iter().map(String::as_str)).expect("valid");
            let reversed = GrantedScopes::parse(list.iter().rev().map(String::as_str)).expect("valid");
            prop_assert_eq!(&set, &reversed);
            prop_assert!(set.iter().zip(set.iter().skip(1)).all(|(one, next)| one < next));
            let required = RequiredScope::parse(&required).expect("valid");
            let any = list.iter().any(|text| GrantedScope::parse(text).expect("valid").covers(&required));
            prop_assert_eq!(set.covers(&required), any);
        }
    }
}
