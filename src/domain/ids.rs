//! Names of things: accounts, applications, keys, environments, requests. Each type proves its grammar.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::credential::Brands;

/// A text that is no valid account id, application id, environment or request id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be {0}")]
pub struct InvalidId(&'static str);

/// Why a text is no key id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MalformedKeyId {
    /// Empty, or longer than [`KeyId::MAX_LEN`].
    #[error("a key id must be 1 to 128 characters long")]
    Length,
    /// It holds a character that no key id can have.
    #[error("a key id must hold only letters, digits, '_', '.' and '-'")]
    Characters,
    /// It bears one of our brands, but not our grammar.
    #[error(
        "a key id of ours must be its prefix, 'live_' or 'test_', and 22 base62 digits of a 128-bit number"
    )]
    NotNative,
    /// It has the prefix of a secret.
    #[error("this is a secret, not a key id; secrets belong in the secret field only")]
    IsSecret,
}

/// What every textual id can do, so that all of them do it alike.
macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident, read: $read:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// The id as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_tuple(stringify!($name)).field(&&*self.0).finish()
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

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                let read = $read;
                read(text).map_err(D::Error::custom)
            }
        }
    };
}

text_id! {
    /// A business account, i.e. the tenant: `[A-Za-z0-9][A-Za-z0-9_.:-]{0,63}`. Cheap to clone.
    AccountId, read: |text: String| Self::parse(&text)
}

text_id! {
    /// An application of one account: `[A-Za-z0-9][A-Za-z0-9_.:-]{0,63}`. Cheap to clone.
    ApplicationId, read: |text: String| Self::parse(&text)
}

text_id! {
    /// The public half of a key, native or brought from elsewhere: 1 to 128 of `[A-Za-z0-9_.-]`.
    /// Cheap to clone. Deserialising checks what [`KeyId::from_stored`] checks.
    KeyId, read: Self::from_stored
}

text_id! {
    /// A caller's name for one request, so that repeating it does nothing twice: `[A-Za-z0-9_.:-]{1,64}`.
    RequestId, read: |text: String| Self::parse(&text)
}

impl AccountId {
    /// The account whose keys administer the service itself, on all accounts.
    pub const RESERVED: &str = "countersign";

    /// Reads an account id.
    pub fn parse(text: &str) -> Result<Self, InvalidId> {
        check_name(text)?;
        Ok(Self(text.into()))
    }

    /// Whether this is [`Self::RESERVED`].
    pub fn is_reserved(&self) -> bool {
        &*self.0 == Self::RESERVED
    }
}

impl ApplicationId {
    /// Reads an application id.
    pub fn parse(text: &str) -> Result<Self, InvalidId> {
        check_name(text)?;
        Ok(Self(text.into()))
    }
}

impl RequestId {
    /// Reads a request id.
    pub fn parse(text: &str) -> Result<Self, InvalidId> {
        let fits = (1..=64).contains(&text.len()) && text.bytes().all(is_name_byte);
        let expected = "1 to 64 letters, digits, '_', '.', ':' or '-'";
        if fits { Ok(Self(text.into())) } else { Err(InvalidId(expected)) }
    }
}

impl KeyId {
    /// The longest key id, in bytes.
    pub const MAX_LEN: usize = 128;

    /// Reads a key id that a caller gave: a string that bears one of our brands must have the native
    /// grammar, any other only the character set and the length of a key id.
    pub fn parse(text: &str, brands: &Brands) -> Result<Self, MalformedKeyId> {
        super::credential::check_key_id(text, brands)?;
        Ok(Self(text.into()))
    }

    /// Reads a key id that was accepted before, perhaps under a brand that is no longer configured:
    /// only character set and length are checked.
    pub fn from_stored(text: String) -> Result<Self, MalformedKeyId> {
        Self::check_shape(&text)?;
        Ok(Self(text.into()))
    }

    /// The id of a key that was found under it, and so needs no check.
    pub(crate) fn found(text: &str) -> Self {
        Self(text.into())
    }

    /// Length and character set, which native and foreign key ids share.
    pub(super) fn check_shape(text: &str) -> Result<(), MalformedKeyId> {
        if !(1..=Self::MAX_LEN).contains(&text.len()) {
            return Err(MalformedKeyId::Length);
        }
        if text.bytes().all(|byte| is_name_byte(byte) && byte != b':') {
            Ok(())
        } else {
            Err(MalformedKeyId::Characters)
        }
    }

    /// A key id that was just minted, and so needs no check.
    pub(super) fn minted(text: String) -> Self {
        Self(text.into())
    }
}

/// Which of an application's two worlds a key works in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Environment {
    /// Production.
    Live,
    /// Everything else; a test key never passes where live is asked for.
    Test,
}

impl Environment {
    /// `live` or `test`, as it stands in key ids and secrets.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Test => "test",
        }
    }
}

impl fmt::Display for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Environment {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        match text {
            "live" => Ok(Self::Live),
            "test" => Ok(Self::Test),
            _ => Err(InvalidId("live or test")),
        }
    }
}

/// The grammar that account and application ids share.
fn check_name(text: &str) -> Result<(), InvalidId> {
    let starts_well = text.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
    if starts_well && text.len() <= 64 && text.bytes().all(is_name_byte) {
        Ok(())
    } else {
        Err(InvalidId("a letter or digit and up to 63 more letters, digits, '_', '.', ':' or '-'"))
    }
}

fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b':' | b'-')
}

/// Identifies a store: random, made with its first migration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct StoreId(pub [u8; 16]);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn account_ids_keep_their_grammar() {
        for good in ["a", "Z9", "acct_1", "org:42", "a.b-c", &"x".repeat(64)] {
            assert_eq!(AccountId::parse(good).map(|id| id.to_string()), Ok(good.to_owned()));
        }
        for bad in ["", "_a", ".a", ":a", "-a", "a b", "a/b", "ä", "a\n", "a\0", &"x".repeat(65)] {
            assert!(AccountId::parse(bad).is_err(), "{bad:?} passed as an account id");
            assert!(ApplicationId::parse(bad).is_err(), "{bad:?} passed as an application id");
        }
    }

    #[test]
    fn only_the_exact_word_is_the_reserved_account() {
        let reserved = |text| AccountId::parse(text).expect("valid").is_reserved();
        assert!(reserved("countersign"));
        assert!(!reserved("Countersign") && !reserved("countersign.") && !reserved("countersig"));
    }

    #[test]
    fn request_ids_may_begin_with_any_of_their_characters() {
        assert!(RequestId::parse("-_.:").is_ok() && RequestId::parse(&"r".repeat(64)).is_ok());
        for bad in ["", " ", "a b", "é", &"r".repeat(65)] {
            assert!(RequestId::parse(bad).is_err(), "{bad:?} passed as a request id");
        }
    }

    #[test]
    fn stored_key_ids_may_bear_a_brand_that_was_dropped() {
        assert!(KeyId::from_stored("oldk_live_x".into()).is_ok());
        assert_eq!(KeyId::from_stored(String::new()), Err(MalformedKeyId::Length));
        assert_eq!(KeyId::from_stored("k".repeat(129)), Err(MalformedKeyId::Length));
        assert_eq!(KeyId::from_stored("a:b".into()), Err(MalformedKeyId::Characters));
    }

    #[test]
    fn json_is_checked_on_the_way_in() {
        let id: AccountId = serde_json::from_str("\"acct-1\"").expect("valid");
        assert_eq!(serde_json::to_string(&id).expect("text"), "\"acct-1\"");
        assert!(serde_json::from_str::<AccountId>("\"a b\"").is_err());
        assert!(serde_json::from_str::<KeyId>("\"a b\"").is_err());
        assert_eq!(serde_json::from_str::<Environment>("\"test\"").ok(), Some(Environment::Test));
    }

    #[test]
    fn environments_print_and_parse_back() {
        for environment in [Environment::Live, Environment::Test] {
            assert_eq!(environment.as_str().parse(), Ok(environment));
        }
        assert!("Live".parse::<Environment>().is_err() && "".parse::<Environment>().is_err());
    }

    proptest! {
        #[test]
        fn no_text_makes_a_parser_panic(text in ".*") {
            let _ = (AccountId::parse(&text), RequestId::parse(&text), KeyId::from_stored(text.clone()));
            let _ = KeyId::parse(&text, &Brands::default());
        }
    }
}
