//! The server's own secrets: root keys from a file, and the data key that they wrap.
//!
//! ```text
//! root key file ──► RootKey v1, v2 … ──HKDF──► seal keys        (one per version; see `seal`)
//!                        │
//!                        └── AEAD wraps ──► DataKey (one per store, random)
//!                                              ├──► HMAC of every credential (`digest`)
//!                                              ├──HKDF──► key that MACs page tokens
//!                                              └──HKDF──► key that seals remembered replies
//! ```

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use chacha20poly1305::aead::{Aead as _, Payload};
use chacha20poly1305::{KeyInit as _, XChaCha20Poly1305};
use hkdf::Hkdf;
use hmac::{Hmac, Mac as _};
use sha2::Sha256;
use subtle::{Choice, ConstantTimeEq};
use zeroize::Zeroizing;

use super::ids::StoreId;

/// Bytes of a nonce of XChaCha20-Poly1305: long enough to be drawn at random for ever.
pub const NONCE_LEN: usize = 24;

/// One version of the server's root key.
pub struct RootKey {
    version: u32,
    bytes: Zeroizing<[u8; 32]>,
}

impl fmt::Debug for RootKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RootKey(version {}, redacted)", self.version)
    }
}

impl RootKey {
    /// A root key of 32 random bytes.
    pub fn new(version: u32, bytes: [u8; 32]) -> Self {
        Self { version, bytes: Zeroizing::new(bytes) }
    }

    /// The version, from 1.
    pub fn version(&self) -> u32 {
        self.version
    }

    /// The line of a root key file that holds this key: `version:base64`.
    pub fn to_line(&self) -> Zeroizing<String> {
        Zeroizing::new(format!("{}:{}", self.version, BASE64.encode(self.bytes.as_slice())))
    }

    /// HKDF-SHA256 (RFC 5869) of this key for one purpose.
    pub(super) fn derive(&self, purpose: &str) -> Zeroizing<[u8; 32]> {
        derive(self.bytes.as_slice(), purpose)
    }
}

/// Why a root key file was refused. Never holds a part of the file's contents.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidKeyring {
    /// Nothing but blank lines and comments.
    #[error("holds no root key; write one with `countersign root-key generate`")]
    Empty,
    /// A line that is not `version:base64-of-32-bytes`.
    #[error("line {0} is not `version:base64-of-32-bytes`")]
    Line(usize),
    /// A key that everybody knows: a placeholder, or a file that was zeroed.
    #[error("line {0}: the root key is all zeros; make one with `countersign root-key generate`")]
    Zeros(usize),
    /// Versions must rise from line to line.
    #[error("line {0}: versions must rise from line to line, newest last")]
    Order(usize),
}

/// All root key versions in use, newest last. New things are made with the newest.
#[derive(Debug)]
pub struct RootKeyring {
    older: Vec<RootKey>,
    newest: RootKey,
}

impl RootKeyring {
    /// A keyring of one key.
    pub fn of(key: RootKey) -> Self {
        Self { older: Vec::new(), newest: key }
    }

    /// Reads the text of a root key file: one `version:base64-of-32-bytes` a line, versions rising;
    /// blank lines and lines that begin with `#` are passed over.
    pub fn parse(text: &str) -> Result<Self, InvalidKeyring> {
        let mut older: Vec<RootKey> = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let (line, number) = (line.trim(), index + 1);
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let key = parse_line(line).ok_or(InvalidKeyring::Line(number))?;
            if bool::from(key.bytes.ct_eq(&[0; 32])) {
                return Err(InvalidKeyring::Zeros(number));
            }
            if older.last().is_some_and(|last| last.version >= key.version) {
                return Err(InvalidKeyring::Order(number));
            }
            older.push(key);
        }
        let newest = older.pop().ok_or(InvalidKeyring::Empty)?;
        Ok(Self { older, newest })
    }

    /// The key that new things are made with.
    pub fn newest(&self) -> &RootKey {
        &self.newest
    }

    /// The key of a version, if it is in use.
    pub fn get(&self, version: u32) -> Option<&RootKey> {
        self.iter().find(|key| key.version == version)
    }

    /// All keys, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = &RootKey> {
        self.older.iter().chain([&self.newest])
    }
}

fn parse_line(line: &str) -> Option<RootKey> {
    let (version, encoded) = line.split_once(':')?;
    let version: u32 = version.parse().ok().filter(|version| *version > 0)?;
    let bytes = Zeroizing::new(BASE64.decode(encoded).ok()?);
    Some(RootKey::new(version, bytes.as_slice().try_into().ok()?))
}

/// What is stored of a secret: HMAC-SHA256 under the data key. Compared in constant time only.
#[derive(Clone, Copy)]
pub struct Digest([u8; 32]);

impl Digest {
    /// A digest as it was stored.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// What stands in a slot that holds no secret. [`super::verdict::prove`] never accepts it.
    pub const fn absent() -> Self {
        Self([0; 32])
    }

    /// The bytes to store.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The same bits as four numbers.
    pub fn words(&self) -> [u64; 4] {
        let mut words = [0; 4];
        for (word, bytes) in words.iter_mut().zip(self.0.as_chunks().0) {
            *word = u64::from_ne_bytes(*bytes);
        }
        words
    }
}

/// Word by word: byte by byte takes five times as long, and a verification compares three times.
impl ConstantTimeEq for Digest {
    fn ct_eq(&self, other: &Self) -> Choice {
        let pairs = self.words().into_iter().zip(other.words());
        pairs.fold(Choice::from(1), |equal, (one, other)| equal & one.ct_eq(&other))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Digest(redacted)")
    }
}

/// A sealed text did not open: it was changed, belongs elsewhere, or was sealed under another key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("does not open under the keys at hand")]
pub struct DoesNotOpen;

/// The store's data key, unwrapped. Made once per store; the HMAC key of every digest.
pub struct DataKey {
    bytes: Zeroizing<[u8; 32]>,
    /// HMAC states with the key already absorbed, so that a digest starts two blocks ahead.
    credentials: Hmac<Sha256>,
    page_tokens: Hmac<Sha256>,
    replies: XChaCha20Poly1305,
}

impl fmt::Debug for DataKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DataKey(redacted)")
    }
}

impl DataKey {
    /// A data key of 32 random bytes.
    pub fn new(bytes: [u8; 32]) -> Self {
        let bytes = Zeroizing::new(bytes);
        let page_tokens = derive(bytes.as_slice(), "countersign page token v1");
        let replies = derive(bytes.as_slice(), "countersign reply v1");
        Self {
            credentials: mac_keyed_with(&bytes),
            page_tokens: mac_keyed_with(&page_tokens),
            replies: XChaCha20Poly1305::new(&(*replies).into()),
            bytes,
        }
    }

    /// HMAC-SHA256(data key, "v1" ‖ key id ‖ secret), each part preceded by its length, so that no
    /// two credentials share an input.
    pub fn digest(&self, key_id: &str, secret: &str) -> Digest {
        let mut mac = self.credentials.clone();
        for part in ["v1", key_id, secret] {
            mac.update(&(part.len() as u64).to_be_bytes());
            mac.update(part.as_bytes());
        }
        Digest(mac.finalize().into_bytes().into())
    }

    /// The first 16 bytes of a MAC over a page token's contents.
    pub fn page_token_mac(&self, contents: &[u8]) -> [u8; 16] {
        let full: [u8; 32] =
            self.page_tokens.clone().chain_update(contents).finalize().into_bytes().into();
        let mut mac = [0; 16];
        mac.copy_from_slice(&full[..16]);
        mac
    }

    /// Seals a reply that may have to be given again; `slot` says which request it answers.
    pub fn seal_reply(
        &self,
        slot: &[u8],
        nonce: [u8; NONCE_LEN],
        reply: &[u8],
    ) -> Result<Vec<u8>, DoesNotOpen> {
        seal(&self.replies, slot, nonce, reply)
    }

    /// Opens what [`Self::seal_reply`] made for the same slot.
    pub fn open_reply(
        &self,
        slot: &[u8],
        sealed: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, DoesNotOpen> {
        open(&self.replies, slot, sealed)
    }

    /// Wraps this key under a root key, for the database. Only the same store's wrap will open.
    pub fn wrap(
        &self,
        root: &RootKey,
        store: StoreId,
        nonce: [u8; NONCE_LEN],
    ) -> Result<Vec<u8>, DoesNotOpen> {
        seal(&wrapping(root), &wrap_context(root, store), nonce, self.bytes.as_slice())
    }

    /// Opens what [`Self::wrap`] made.
    pub fn unwrap(root: &RootKey, store: StoreId, wrapped: &[u8]) -> Result<Self, DoesNotOpen> {
        let bytes = open(&wrapping(root), &wrap_context(root, store), wrapped)?;
        Ok(Self::new(bytes.as_slice().try_into().map_err(|_| DoesNotOpen)?))
    }
}

fn wrapping(root: &RootKey) -> XChaCha20Poly1305 {
    let key = root.derive("countersign data key wrap v1");
    XChaCha20Poly1305::new(&(*key).into())
}

fn wrap_context(root: &RootKey, store: StoreId) -> Vec<u8> {
    [b"countersign data key v1".as_slice(), &store.0, &root.version.to_be_bytes()].concat()
}

/// nonce ‖ ciphertext ‖ tag, bound to `context`.
fn seal(
    cipher: &XChaCha20Poly1305,
    context: &[u8],
    nonce: [u8; NONCE_LEN],
    plain: &[u8],
) -> Result<Vec<u8>, DoesNotOpen> {
    let payload = Payload { msg: plain, aad: context };
    let sealed = cipher.encrypt(&nonce.into(), payload).map_err(|_| DoesNotOpen)?;
    Ok([nonce.as_slice(), &sealed].concat())
}

fn open(
    cipher: &XChaCha20Poly1305,
    context: &[u8],
    sealed: &[u8],
) -> Result<Zeroizing<Vec<u8>>, DoesNotOpen> {
    let (nonce, sealed) = sealed.split_first_chunk::<NONCE_LEN>().ok_or(DoesNotOpen)?;
    let payload = Payload { msg: sealed, aad: context };
    cipher.decrypt(&(*nonce).into(), payload).map(Zeroizing::new).map_err(|_| DoesNotOpen)
}

/// HKDF-SHA256 without salt: the input is a uniformly random key already (RFC 5869, section 3.1).
fn derive(key: &[u8], purpose: &str) -> Zeroizing<[u8; 32]> {
    let mut out = Zeroizing::new([0; 32]);
    // 32 bytes is one block of SHA-256; the only error is asking for more than 255 blocks.
    let result = Hkdf::<Sha256>::new(None, key).expand(purpose.as_bytes(), out.as_mut_slice());
    debug_assert!(result.is_ok());
    out
}

/// An HMAC that has absorbed its key.
pub(super) fn mac_keyed_with(key: &[u8; 32]) -> Hmac<Sha256> {
    <Hmac<Sha256> as hmac::KeyInit>::new(&{
        // HMAC pads short keys with zeros to the block length of 64 (RFC 2104, section 2).
        let mut block = [0; 64];
        block[..32].copy_from_slice(key);
        block.into()
    })
}

#[cfg(test)]
#[path = "keyring_tests.rs"]
mod tests;
