//! Reading the credential that a caller presents. On the path of every Verify: it allocates nothing.

use super::base62;
use super::brands::{Branded, Brands};
use super::secret::{self, PresentedSecret};
use crate::domain::ids::{KeyId, MalformedKeyId};

/// The longest secret from elsewhere, in bytes.
const MAX_SECRET_LEN: usize = 512;

/// What a caller presented, judged by its form alone.
#[derive(Debug, Clone, Copy)]
pub enum Presented<'a> {
    /// No credential, or only half of one.
    Missing,
    /// No key can have this key id or this secret; no look-up is worth making.
    Malformed,
    /// A pair that may exist.
    Credential {
        /// The public half.
        key_id: &'a str,
        /// The private half.
        secret: PresentedSecret<'a>,
    },
}

/// Reads a key id and a secret that came in two fields.
///
/// A string with one of our prefixes must keep our grammar and stand in the right field. A pair from
/// elsewhere, and a mixed one (an imported key gets a secret of ours when it is rotated), is left for
/// the look-up to decide.
pub fn from_pair<'a>(key_id: &'a str, secret: &'a str, brands: &Brands) -> Presented<'a> {
    if key_id.is_empty() || secret.is_empty() {
        return Presented::Missing;
    }
    if check_key_id(key_id, brands).is_err() || !is_secret(secret, brands) {
        return Presented::Malformed;
    }
    Presented::Credential { key_id, secret: PresentedSecret::new(secret) }
}

/// Reads a credential that came as one string, `<key id>.<secret>`.
///
/// A key id of ours holds no `.`, so a string of our brand is split at the first one. A key id from
/// elsewhere may hold some; it is split at the last one, so a secret from elsewhere that holds a `.`
/// can be presented in two fields only.
pub fn from_token<'a>(token: &'a str, brands: &Brands) -> Presented<'a> {
    if token.is_empty() {
        return Presented::Missing;
    }
    let halves = match brands.strip(token) {
        Some(_) => token.split_once('.'),
        None => token.rsplit_once('.'),
    };
    match halves {
        Some((key_id, secret)) => from_pair(key_id, secret, brands),
        None => Presented::Malformed,
    }
}

/// Whether a key can have this id; see [`KeyId::parse`].
pub(in crate::domain) fn check_key_id(text: &str, brands: &Brands) -> Result<(), MalformedKeyId> {
    let branded = brands.strip(text);
    if let Some(Branded::KeyId(rest)) = &branded {
        let digits = rest.strip_prefix("live_").or_else(|| rest.strip_prefix("test_"));
        // The common case first: its grammar is narrower than the shape of all ids.
        if digits.is_some_and(|digits| base62::is_128(digits.as_bytes())) {
            return Ok(());
        }
    }
    KeyId::check_shape(text)?;
    match branded {
        None => Ok(()),
        Some(Branded::Secret(_)) => Err(MalformedKeyId::IsSecret),
        Some(Branded::KeyId(_)) => Err(MalformedKeyId::NotNative),
    }
}

/// Whether a key can have this secret.
pub(super) fn is_secret(text: &str, brands: &Brands) -> bool {
    match brands.strip(text) {
        None => text.len() <= MAX_SECRET_LEN && text.bytes().all(|byte| byte.is_ascii_graphic()),
        Some(Branded::KeyId(_)) => false,
        Some(Branded::Secret(rest)) => secret::is_native(text, rest),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Secret, mint_key_id, mint_secret};
    use super::*;
    use crate::domain::ids::Environment;
    use proptest::prelude::*;

    /// The answer in one word, for comparing.
    fn word(presented: Presented<'_>) -> &'static str {
        match presented {
            Presented::Missing => "missing",
            Presented::Malformed => "malformed",
            Presented::Credential { .. } => "credential",
        }
    }

    fn pair(key_id: &str, secret: &str) -> &'static str {
        word(from_pair(key_id, secret, &Brands::default()))
    }

    fn token(token: &str) -> &'static str {
        word(from_token(token, &Brands::default()))
    }

    fn minted() -> (KeyId, Secret) {
        let brands = Brands::default();
        let key_id = mint_key_id(&brands, Environment::Live, [1; 16]);
        (key_id, mint_secret(&brands, Environment::Live, [2; 32]))
    }

    #[test]
    fn key_ids_have_known_vectors() {
        let minted = |environment, byte| mint_key_id(&Brands::default(), environment, [byte; 16]);
        assert_eq!(minted(Environment::Live, 0x00).as_str(), "csk_live_0000000000000000000000");
        assert_eq!(minted(Environment::Test, 0xff).as_str(), "csk_test_7n42DGM5Tflk9n8mt7Fhc7");
    }

    #[test]
    fn half_a_credential_is_none() {
        let (key_id, secret) = minted();
        assert_eq!(pair("", ""), "missing");
        assert_eq!(pair(key_id.as_str(), ""), "missing");
        assert_eq!(pair("", secret.expose()), "missing");
        assert_eq!(token(""), "missing");
        assert_eq!(token(&format!("{key_id}.")), "missing");
        assert_eq!(token(&format!(".{}", secret.expose())), "missing");
    }

    #[test]
    fn swapped_fields_are_malformed() {
        let (key_id, secret) = minted();
        assert_eq!(pair(secret.expose(), key_id.as_str()), "malformed");
        assert_eq!(pair(secret.expose(), secret.expose()), "malformed");
        assert_eq!(pair(key_id.as_str(), key_id.as_str()), "malformed");
        assert_eq!(token(&format!("{}.{key_id}", secret.expose())), "malformed");
    }

    #[test]
    fn a_key_id_of_our_brand_keeps_our_grammar() {
        let (_, secret) = minted();
        for bad in [
            "csk_live_7n42DGM5Tflk9n8mt7Fhc8",  // 2^128
            "csk_live_zzzzzzzzzzzzzzzzzzzzzz",  // above the range
            "csk_live_000000000000000000000",   // 21 digits
            "csk_live_00000000000000000000000", // 23 digits
            "csk_live_000000000000000000000-",
            "csk_prod_0000000000000000000000",
            "csk_LIVE_0000000000000000000000",
            "csk_live",
            "csk_",
        ] {
            assert_eq!(pair(bad, secret.expose()), "malformed", "{bad}");
            assert_eq!(
                KeyId::parse(bad, &Brands::default()),
                Err(MalformedKeyId::NotNative),
                "{bad}"
            );
        }
        let in_wrong_field = KeyId::parse("css_live_x", &Brands::default());
        assert_eq!(in_wrong_field, Err(MalformedKeyId::IsSecret));
    }

    #[test]
    fn what_no_key_can_have_is_malformed() {
        let (key_id, secret) = minted();
        for bad in ["a b", "a:b", "schlüssel", "a\0", &"k".repeat(129)] {
            assert_eq!(pair(bad, secret.expose()), "malformed", "{bad:?}");
        }
        for bad in ["a b", "a\n", "\u{7f}", "é", &"s".repeat(513)] {
            assert_eq!(pair(key_id.as_str(), bad), "malformed", "{bad:?}");
            assert_eq!(pair("foreign", bad), "malformed", "{bad:?}");
        }
    }

    #[test]
    fn keys_from_elsewhere_are_looked_up() {
        let (key_id, secret) = minted();
        assert_eq!(pair("AKIA.123", &"s".repeat(512)), "credential");
        assert_eq!(pair(&"k".repeat(128), "!~\""), "credential");
        assert_eq!(pair("imported", secret.expose()), "credential");
        assert_eq!(pair(key_id.as_str(), "not-of-our-brand"), "credential");
        assert_eq!(pair("CSK_live_1", "cs_live_1"), "credential");
    }

    #[test]
    fn a_token_is_split_where_its_key_id_ends() {
        let (key_id, secret) = minted();
        assert_eq!(token(&format!("{key_id}.{}", secret.expose())), "credential");
        assert_eq!(token(&format!("{key_id}{}", secret.expose())), "malformed");
        assert_eq!(token("no-dot"), "malformed");
        match from_token("id.with.dots.secret", &Brands::default()) {
            Presented::Credential { key_id, secret } => {
                assert_eq!((key_id, secret.expose()), ("id.with.dots", "secret"));
            }
            other => panic!("{other:?}"),
        }
        let dotted = format!("{key_id}.a.b");
        match from_token(&dotted, &Brands::default()) {
            Presented::Credential { secret, .. } => assert_eq!(secret.expose(), "a.b"),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn every_configured_brand_is_accepted_and_no_other_is_bound() {
        let (key_id, secret) = minted();
        let both = Brands::new(vec!["acme".into(), "cs".into()]).expect("valid");
        assert_eq!(word(from_pair(key_id.as_str(), secret.expose(), &both)), "credential");
        assert_eq!(word(from_pair("acmek_live_1", secret.expose(), &both)), "malformed");
        assert_eq!(pair("acmek_live_1", secret.expose()), "credential");
    }

    proptest! {
        #[test]
        fn what_is_minted_is_a_credential(id: [u8; 16], entropy: [u8; 32]) {
            let brands = Brands::default();
            let key_id = mint_key_id(&brands, Environment::Test, id);
            let secret = mint_secret(&brands, Environment::Test, entropy);
            prop_assert_eq!(pair(key_id.as_str(), secret.expose()), "credential");
            prop_assert_eq!(token(&format!("{}.{}", key_id, secret.expose())), "credential");
            prop_assert_eq!(KeyId::parse(key_id.as_str(), &brands), Ok(key_id));
        }

        #[test]
        fn no_text_makes_a_reader_panic(one in ".*", two in ".*", rest in "[0-9A-Za-z_é.]{0,70}") {
            pair(&one, &two);
            token(&one);
            pair(&format!("csk_{rest}"), &format!("css_{rest}"));
            token(&format!("csk_live_{rest}.css_test_{rest}"));
        }
    }
}
