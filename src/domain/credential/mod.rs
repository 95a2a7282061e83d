//! Credentials as text: how key ids and secrets are minted, written and read.
//!
//! In: brands, random bytes, and the strings that callers present. Out: a [`KeyId`](super::ids::KeyId),
//! a [`Secret`] that is shown once, or a [`Presented`] credential that is at least well formed. Nothing
//! in here knows which keys exist. A plain-text secret leaves its type only by `expose`.
//!
//! ```text
//! csk_live_ 22 base62 digits of 128 bits                       key id
//! css_live_ 43 base62 digits of 256 bits, 6 of their CRC32     secret
//! ^^ brand
//! ```

mod base62;
mod brands;
mod found;
mod presented;
mod secret;

pub use brands::{Brands, InvalidBrands};
pub use found::{holds_secret, without_secrets};
pub(super) use presented::check_key_id;
pub use presented::{Presented, from_pair, from_token};
pub use secret::{MalformedSecret, PresentedSecret, Secret, mint_secret};

use super::ids::{Environment, KeyId};

/// Mints a key id of the first brand from 128 random bits.
pub fn mint_key_id(brands: &Brands, environment: Environment, entropy: [u8; 16]) -> KeyId {
    let mut text = format!("{}k_{environment}_", brands.minting());
    text.extend(base62::encode_128(entropy).map(char::from));
    KeyId::minted(text)
}
