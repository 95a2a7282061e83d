//! The brands that key ids and secrets of ours bear.

use std::sync::Arc;

/// The brands in use: the first one mints, all are accepted. Cheap to clone. Default: `cs`.
///
/// No two brands can be mistaken for each other. A brand holds no `_`, so what stands before the first
/// `_` of a string is a brand and one letter, `k` or `s`; that is one brand and one kind, or none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Brands(Arc<[Box<str>]>);

/// Why a list of brands is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidBrands {
    /// There is none to mint with.
    #[error("brands must hold at least one brand")]
    Empty,
    /// More than [`Brands::MAX`].
    #[error("brands must hold at most {} brands", Brands::MAX)]
    TooMany,
    /// A brand that breaks the grammar.
    #[error(
        "brand {0:?} must be a lower-case letter and up to 7 more lower-case letters or digits"
    )]
    Grammar(String),
    /// A brand that is listed twice.
    #[error("brand {0:?} is listed twice")]
    Duplicate(String),
}

/// What a string with one of our prefixes claims to be, and what follows the prefix.
pub(super) enum Branded<'a> {
    KeyId(&'a str),
    Secret(&'a str),
}

impl Brands {
    /// The longest list.
    pub const MAX: usize = 16;

    /// Takes brands of `[a-z][a-z0-9]{0,7}`, the minting one first.
    pub fn new(brands: Vec<String>) -> Result<Self, InvalidBrands> {
        if brands.is_empty() {
            return Err(InvalidBrands::Empty);
        }
        if brands.len() > Self::MAX {
            return Err(InvalidBrands::TooMany);
        }
        for (at, brand) in brands.iter().enumerate() {
            if !is_brand(brand) {
                return Err(InvalidBrands::Grammar(brand.clone()));
            }
            if brands[..at].contains(brand) {
                return Err(InvalidBrands::Duplicate(brand.clone()));
            }
        }
        Ok(Self(brands.into_iter().map(String::into_boxed_str).collect()))
    }

    /// The brand of new keys.
    pub fn minting(&self) -> &str {
        self.0.first().map_or("cs", |brand| brand)
    }

    /// All brands, the minting one first.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|brand| &**brand)
    }

    /// What `text` claims to be if it begins with `{brand}k_` or `{brand}s_`.
    pub(super) fn strip<'a>(&self, text: &'a str) -> Option<Branded<'a>> {
        self.iter().find_map(|brand| {
            let rest = text.strip_prefix(brand)?;
            let key_id = rest.strip_prefix("k_").map(Branded::KeyId);
            key_id.or_else(|| rest.strip_prefix("s_").map(Branded::Secret))
        })
    }
}

impl Default for Brands {
    fn default() -> Self {
        Self(Arc::new(["cs".into()]))
    }
}

fn is_brand(text: &str) -> bool {
    let starts_well = text.bytes().next().is_some_and(|byte| byte.is_ascii_lowercase());
    let in_set = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    starts_well && text.len() <= 8 && text.bytes().all(in_set)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn brands(list: &[&str]) -> Result<Brands, InvalidBrands> {
        Brands::new(list.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn the_first_brand_mints() {
        assert_eq!(brands(&["acme", "cs"]).expect("valid").minting(), "acme");
        assert_eq!(brands(&["cs"]), Ok(Brands::default()));
    }

    #[test]
    fn bad_lists_are_refused() {
        assert_eq!(brands(&[]), Err(InvalidBrands::Empty));
        assert_eq!(brands(&["a", "b", "a"]), Err(InvalidBrands::Duplicate("a".into())));
        for bad in ["", "1a", "A", "a_b", "a-b", "ninechars", "ä"] {
            assert_eq!(brands(&["cs", bad]), Err(InvalidBrands::Grammar(bad.into())));
        }
        let many: Vec<String> = (0..17).map(|n| format!("b{n}")).collect();
        assert_eq!(Brands::new(many), Err(InvalidBrands::TooMany));
    }

    proptest! {
        /// The letters are chosen to make look-alikes such as `c`, `ck`, `cs`, `csk`.
        #[test]
        fn no_string_bears_two_brands(one in "c[cks]{0,3}", two in "c[cks]{0,3}", kind in "[ks]") {
            prop_assume!(one != two);
            let text = format!("{one}{kind}_rest");
            let other = Brands::new(vec![two]).expect("valid");
            prop_assert!(other.strip(&text).is_none());
        }
    }
}
