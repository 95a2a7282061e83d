//! The opaque strings that callers keep and send back: consistency tokens, cursors, page tokens.

use arrayvec::ArrayString;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use sha2::{Digest as _, Sha256};

use super::ids::StoreId;
use super::keyring::DataKey;

/// A position in the log of one store: what consistency tokens and cursors say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct LogPosition {
    /// The store whose log it is.
    pub store: StoreId,
    /// The epoch of that log: 1, and one more each time an operator accepts a fork.
    pub epoch: u32,
    /// Everything up to and including this revision.
    pub revision: u64,
}

/// What kind of string a [`LogPosition`] was written as; they are not interchangeable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum PositionKind {
    /// A consistency token, as in every reply of a change.
    ConsistencyToken = 1,
    /// A cursor of an event stream.
    Cursor = 2,
}

/// The string is not one that this service made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("was not made by this service, or not for this purpose")]
pub struct InvalidToken;

impl LogPosition {
    /// Characters of the opaque string: of 29 bytes, in base64 without padding.
    pub const TEXT_LEN: usize = 39;

    /// The opaque string.
    pub fn encode(&self, kind: PositionKind) -> String {
        self.text(kind).as_str().to_owned()
    }

    /// The opaque string, for where it is made thousands of times a second: it allocates nothing.
    pub fn text(&self, kind: PositionKind) -> ArrayString<{ Self::TEXT_LEN }> {
        let mut bytes = [0; 29];
        bytes[0] = kind as u8;
        bytes[1..17].copy_from_slice(&self.store.0);
        bytes[17..21].copy_from_slice(&self.epoch.to_be_bytes());
        bytes[21..].copy_from_slice(&self.revision.to_be_bytes());
        let mut text = [0; Self::TEXT_LEN];
        // It fits, and is ASCII; a test reads it back.
        let _ = BASE64.encode_slice(bytes, &mut text);
        ArrayString::from_byte_string(&text).unwrap_or_default()
    }

    /// Reads a string of that kind. Whether store and epoch are the right ones is the caller's question.
    pub fn decode(kind: PositionKind, text: &str) -> Result<Self, InvalidToken> {
        let bytes = BASE64.decode(text).map_err(|_| InvalidToken)?;
        let (first, rest) = bytes.split_first().ok_or(InvalidToken)?;
        let (store, rest) = rest.split_first_chunk::<16>().ok_or(InvalidToken)?;
        let (epoch, rest) = rest.split_first_chunk::<4>().ok_or(InvalidToken)?;
        let revision: [u8; 8] = rest.try_into().map_err(|_| InvalidToken)?;
        if *first != kind as u8 {
            return Err(InvalidToken);
        }
        Ok(Self {
            store: StoreId(*store),
            epoch: u32::from_be_bytes(*epoch),
            revision: u64::from_be_bytes(revision),
        })
    }
}

/// Where a page ended: bound to the query it belongs to by a MAC, so that it can't be used with
/// another query, nor be made or changed by a caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PageToken {
    /// The sort value of the page's last row: a time in microseconds, or a revision. Zero where the
    /// order is by id alone.
    pub sort_value: i64,
    /// The id of the page's last row; empty where the sort value alone says it.
    pub last_id: String,
}

impl PageToken {
    /// The opaque string. `query` is everything that must be the same for the next page.
    pub fn encode(&self, key: &DataKey, query: &[&str]) -> String {
        let mut bytes = self.sort_value.to_be_bytes().to_vec();
        bytes.extend(self.last_id.as_bytes());
        let mac = key.page_token_mac(&bound(query, &bytes));
        bytes.splice(0..0, mac);
        BASE64.encode(bytes)
    }

    /// Reads a page token made by [`Self::encode`] for the same query.
    pub fn decode(text: &str, key: &DataKey, query: &[&str]) -> Result<Self, InvalidToken> {
        use subtle::ConstantTimeEq as _;

        if text.len() > 512 {
            return Err(InvalidToken);
        }
        let bytes = BASE64.decode(text).map_err(|_| InvalidToken)?;
        let (mac, rest) = bytes.split_first_chunk::<16>().ok_or(InvalidToken)?;
        if !bool::from(key.page_token_mac(&bound(query, rest)).ct_eq(mac)) {
            return Err(InvalidToken);
        }
        let (sort_value, id) = rest.split_first_chunk::<8>().ok_or(InvalidToken)?;
        Ok(Self {
            sort_value: i64::from_be_bytes(*sort_value),
            last_id: String::from_utf8(id.to_vec()).map_err(|_| InvalidToken)?,
        })
    }
}

/// SHA-256 of the query's parts, each preceded by its length, then the token's contents.
fn bound(query: &[&str], contents: &[u8]) -> Vec<u8> {
    let mut hash = Sha256::new();
    for part in query {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part.as_bytes());
    }
    let mut out = hash.finalize().to_vec();
    out.extend(contents);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_position_is_read_back_only_as_its_own_kind(store: [u8; 16], epoch: u32, revision: u64) {
            let position = LogPosition { store: StoreId(store), epoch, revision };
            let text = position.encode(PositionKind::Cursor);
            prop_assert_eq!(LogPosition::decode(PositionKind::Cursor, &text), Ok(position));
            prop_assert!(LogPosition::decode(PositionKind::ConsistencyToken, &text).is_err());
        }

        #[test]
        fn a_page_token_is_bound_to_its_query(sort_value: i64, last_id in "[a-z_]{0,40}", at in 0usize..60) {
            let key = DataKey::new([1; 32]);
            let page = PageToken { sort_value, last_id };
            let text = page.encode(&key, &["keys", "filter"]);
            prop_assert_eq!(PageToken::decode(&text, &key, &["keys", "filter"]), Ok(page));
            prop_assert!(PageToken::decode(&text, &key, &["keysf", "ilter"]).is_err());
            prop_assert!(PageToken::decode(&text, &DataKey::new([2; 32]), &["keys", "filter"]).is_err());
            let mut changed = text.clone().into_bytes();
            let at = at % changed.len();
            changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8_lossy(&changed).into_owned();
            prop_assert!(PageToken::decode(&changed, &key, &["keys", "filter"]).is_err());
        }

        #[test]
        fn no_string_panics(text in ".{0,80}") {
            let _ = LogPosition::decode(PositionKind::Cursor, &text);
            let _ = PageToken::decode(&text, &DataKey::new([1; 32]), &[]);
        }
    }
}
