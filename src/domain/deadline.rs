//! When a caller stops waiting.

use std::time::Instant;

/// The moment at which the caller of a request stops waiting for its answer. The middleware puts it into the
/// extensions of each request that has one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deadline(pub Instant);
