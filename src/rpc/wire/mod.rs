//! The messages of verifications, read and written where they lie: a request borrows from the bytes that it came in,
//! an answer is written from the parts that the index shares.
//!
//! In: bytes of the wire. Out: the same as `prost` makes of them, which the tests hold this against in both directions;
//! its helpers read and write the varints. Never in here: any other message. They are rare, and go through `prost`.

mod request;
mod response;

pub(super) use request::{Batch, Presented, VerifyRequest};
pub(super) use response::{BatchResult, VerifyResponse, Written};
