//! Where random bytes come from: the operating system in production, a seed in tests.

use super::Error;

/// A source of random bytes.
pub trait Random: Send + Sync {
    /// Fills the buffer.
    ///
    /// # Errors
    ///
    /// [`Error::Unavailable`] if the source has none to give.
    fn fill(&self, bytes: &mut [u8]) -> Result<(), Error>;
}

/// An array of random bytes.
pub fn draw<const N: usize>(random: &dyn Random) -> Result<[u8; N], Error> {
    let mut bytes = [0; N];
    random.fill(&mut bytes)?;
    Ok(bytes)
}

/// The operating system's cryptographically secure generator.
#[derive(Debug, Clone, Copy, Default)]
pub struct OsRandom;

impl Random for OsRandom {
    #[expect(clippy::disallowed_methods, reason = "this is the source that everybody else takes")]
    fn fill(&self, bytes: &mut [u8]) -> Result<(), Error> {
        getrandom::fill(bytes).map_err(|_| Error::Unavailable("the system has no random bytes"))
    }
}
