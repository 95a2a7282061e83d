//! The private half of a key.

use std::fmt;

use zeroize::{Zeroize, Zeroizing};

use super::brands::Brands;
use super::{base62, presented};
use crate::domain::ids::Environment;

/// Digits of the 256 random bits in a secret of ours.
const RANDOM_DIGITS: usize = 43;
/// Digits of the checksum at its end.
const CHECKSUM_DIGITS: usize = 6;
/// A secret from elsewhere shows its last characters only if it is at least this long.
const SHORTEST_HINTED: usize = 20;

/// A secret in plain text, on its way to the one who is shown it. It is zeroized when dropped, can be
/// neither compared nor printed nor serialised, and its text leaves only by [`Secret::expose`].
pub struct Secret(Zeroizing<String>);

/// The text cannot be a secret: too long, not printable ASCII, or of our brand but not of our grammar.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a secret: wrong length, character or checksum")]
pub struct MalformedSecret;

/// A secret that a caller presented and that nothing is known of but its form.
#[derive(Clone, Copy)]
pub struct PresentedSecret<'a>(&'a str);

/// Mints a secret of the first brand from 256 random bits.
///
/// The checksum is CRC-32 (IEEE 802.3) over everything before it. It lets scanners and typing errors
/// be told from secrets; it guards nothing.
pub fn mint_secret(brands: &Brands, environment: Environment, mut entropy: [u8; 32]) -> Secret {
    let prefix = format!("{}s_{environment}_", brands.minting());
    // Sized at once: a string that grows would leave a copy behind that nobody zeroizes.
    let len = prefix.len() + RANDOM_DIGITS + CHECKSUM_DIGITS;
    let mut text = Zeroizing::new(String::with_capacity(len));
    text.push_str(&prefix);
    let digits = Zeroizing::new(base62::encode_256(entropy));
    text.extend(digits.iter().copied().map(char::from));
    let checksum = base62::encode_32(crc32fast::hash(text.as_bytes()));
    text.extend(checksum.map(char::from));
    entropy.zeroize();
    Secret(text)
}

impl Secret {
    /// Takes a secret that was minted elsewhere or kept in a file or a sealed reply, in the form that
    /// [`from_pair`](super::from_pair) accepts.
    pub fn parse(text: String, brands: &Brands) -> Result<Self, MalformedSecret> {
        let text = Zeroizing::new(text);
        if text.is_empty() || !presented::is_secret(&text, brands) {
            return Err(MalformedSecret);
        }
        Ok(Self(text))
    }

    /// The plain text. Every caller of this is on a list that a test keeps.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// The same secret as a caller would present it.
    pub fn presented(&self) -> PresentedSecret<'_> {
        PresentedSecret(&self.0)
    }

    /// The last four characters, by which people tell secrets apart.
    ///
    /// In a secret of ours they are digits of the checksum: knowing them rules out all but one in
    /// 62^4 (under 24 bits), which leaves more than 2^232 secrets to try. A secret from elsewhere
    /// has a hint only if it is long enough to spare four characters; otherwise this is empty.
    pub fn hint(&self) -> String {
        let text = self.0.as_str();
        let tail = text.len().checked_sub(4).filter(|_| text.len() >= SHORTEST_HINTED);
        tail.and_then(|at| text.get(at..)).unwrap_or_default().to_owned()
    }
}

impl<'a> PresentedSecret<'a> {
    /// Wraps a secret that [`presented`] found well formed.
    pub(super) fn new(text: &'a str) -> Self {
        Self(text)
    }

    /// The plain text. Every caller of this is on a list that a test keeps.
    pub fn expose(&self) -> &'a str {
        self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(redacted)")
    }
}

impl fmt::Debug for PresentedSecret<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PresentedSecret(redacted)")
    }
}

/// Whether `text`, which bears one of our brands and then `rest`, keeps the grammar of our secrets.
///
/// Where it returns early says something only about the text that the caller sent, never about a
/// secret that we know.
pub(super) fn is_native(text: &str, rest: &str) -> bool {
    let Some(digits) = rest.strip_prefix("live_").or_else(|| rest.strip_prefix("test_")) else {
        return false;
    };
    let Some((random, checksum)) = digits.as_bytes().split_at_checked(RANDOM_DIGITS) else {
        return false;
    };
    let summed = &text.as_bytes()[..text.len() - checksum.len()];
    base62::is_256(random) && *checksum == base62::encode_32(crc32fast::hash(summed))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::credential::brands::Branded;
    use proptest::prelude::*;

    fn is_ours(text: &str, brands: &Brands) -> bool {
        match brands.strip(text) {
            Some(Branded::Secret(rest)) => is_native(text, rest),
            _ => false,
        }
    }

    #[test]
    fn known_vectors() {
        // Computed with Python's integers and zlib.crc32.
        let minted = |environment, byte| {
            mint_secret(&Brands::default(), environment, [byte; 32]).expose().to_owned()
        };
        assert_eq!(
            minted(Environment::Live, 0x00),
            "css_live_00000000000000000000000000000000000000000000gEBBN"
        );
        assert_eq!(
            minted(Environment::Live, 0xff),
            "css_live_yhjskwdA6OZ1AL1YmHWZWm8LLG7HjnuCA2j5rOw8Xp12c4UIP"
        );
        assert_eq!(
            minted(Environment::Test, 0x5a),
            "css_test_LQNUGZHT5u543eF8cvF8tKdPlcVkNSYQAq1KIqZ6f740EFCyu"
        );
    }

    #[test]
    fn nothing_prints_it() {
        let secret = mint_secret(&Brands::default(), Environment::Live, [7; 32]);
        assert_eq!(
            format!("{secret:?} {:#?}", secret.presented()),
            "Secret(redacted) PresentedSecret(redacted)"
        );
    }

    #[test]
    fn a_hint_is_four_digits_of_the_checksum() {
        let secret = mint_secret(&Brands::default(), Environment::Live, [7; 32]);
        assert!(secret.expose().ends_with(&secret.hint()) && secret.hint().len() == 4);
    }

    #[test]
    fn a_short_secret_from_elsewhere_has_no_hint() {
        let hint =
            |text: &str| Secret::parse(text.into(), &Brands::default()).expect("valid").hint();
        assert_eq!(hint("hunter2"), "");
        assert_eq!(hint("a-nineteen-char-one"), "");
        assert_eq!(hint("a-twenty-char-secret"), "cret");
    }

    #[test]
    fn every_change_of_one_character_is_noticed() {
        const ALL: &str = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_-.";
        for seed in [0x00, 0x01, 0x7f, 0xa5, 0xff] {
            let secret = mint_secret(&Brands::default(), Environment::Live, [seed; 32]);
            let text = secret.expose();
            for at in "css_".len()..text.len() {
                for other in ALL.chars().filter(|&other| !text[at..].starts_with(other)) {
                    let changed = format!("{}{other}{}", &text[..at], &text[at + 1..]);
                    assert!(!is_ours(&changed, &Brands::default()), "{changed} passed for {text}");
                }
            }
        }
    }

    #[test]
    fn every_swap_of_neighbours_cut_and_extension_is_noticed() {
        let secret = mint_secret(&Brands::default(), Environment::Test, [0x3c; 32]);
        let text = secret.expose();
        for at in "css_".len()..text.len() - 1 {
            let mut swapped = text.as_bytes().to_vec();
            swapped.swap(at, at + 1);
            let swapped = String::from_utf8(swapped).expect("ASCII");
            assert!(swapped == text || !is_ours(&swapped, &Brands::default()), "{swapped} passed");
        }
        for end in 0..text.len() {
            assert!(!is_ours(&text[..end], &Brands::default()));
        }
        assert!(!is_ours(&format!("{text}0"), &Brands::default()));
    }

    #[test]
    fn a_number_above_256_bits_is_refused_even_with_its_right_checksum() {
        let body = format!("css_live_{}", "z".repeat(RANDOM_DIGITS));
        let checksum = base62::encode_32(crc32fast::hash(body.as_bytes()));
        let text = format!("{body}{}", String::from_utf8_lossy(&checksum));
        assert!(!is_ours(&text, &Brands::default()));
    }

    proptest! {
        #[test]
        fn what_is_minted_parses(entropy: [u8; 32], test: bool) {
            let environment = if test { Environment::Test } else { Environment::Live };
            let brands = Brands::new(vec!["acme".into(), "cs".into()]).expect("valid");
            let secret = mint_secret(&brands, environment, entropy);
            let prefix = format!("acmes_{environment}_");
            prop_assert!(secret.expose().starts_with(&prefix));
            prop_assert_eq!(secret.expose().len(), prefix.len() + 49);
            prop_assert!(is_ours(secret.expose(), &brands));
            prop_assert!(Secret::parse(secret.expose().to_owned(), &brands).is_ok());
        }
    }
}
