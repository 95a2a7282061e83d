//! `KeyVerifier.BatchVerify`: many questions, each answered as `Verify` would, in their order.

use std::sync::Arc;

use prost::Message as _;
use prost::bytes::Bytes;
use tonic::{Request, Response, Status};

use super::key_verifier::Verification;
use super::turn::Turn;
use super::wire::{Batch, BatchResult, Presented, VerifyRequest};
use crate::domain::Error;
use crate::domain::permission::Principal;
use crate::verify::{Answer, Verifier};

/// The most entries of a batch.
const MAX_BATCH: usize = 1_000;

/// So many entries are read before others on the same core may have their turn: those of a usual batch take less than
/// a turn.
const READ_AT_ONCE: usize = 256;

/// The most bytes of a batch's answers. gRPC clients read 4 MiB by default; the rest is for the
/// refusals of what did not fit.
const MAX_ANSWERS_BYTES: usize = 3_584 * 1_024;

/// What an entry takes in a reply, about: the reply begins with room for so many.
const USUAL_ENTRY_BYTES: usize = 256;

impl Verification {
    /// `BatchVerify`. The reply is written entry by entry, so that no answer is kept.
    pub(super) async fn batch_verify(
        self: Arc<Self>,
        request: Request<Bytes>,
    ) -> Result<Response<Vec<u8>>, Status> {
        let (_, mut extensions, message) = request.into_parts();
        let caller = extensions.remove::<Principal>();
        let (mut turn, mut left) = (Turn::begin(self.verifier.clock()), MAX_ANSWERS_BYTES);
        let Entries { requests, count } = Entries::read(&message, &mut turn).await?;
        if !(1..=MAX_BATCH).contains(&count) {
            let count = format!("must be 1 to {MAX_BATCH}, are {count}");
            return Err(Error::invalid("requests", count).into());
        }
        let unmet = self.at_least.of_batch(&requests, extensions.get(), &mut turn);
        let mut unmet = Box::pin(unmet).await;
        let mut reply = Vec::with_capacity(requests.len() * USUAL_ENTRY_BYTES);
        for (index, request) in requests.iter().enumerate() {
            if index % Verifier::PREFETCHED == 0 {
                self.prefetch(requests.get(index..).unwrap_or_default());
            }
            let unasked = if left == 0 { Some(Error::ReplyTooLarge) } else { unmet.remove(&index) };
            let answer = match unasked {
                Some(error) => {
                    self.note_unasked(&error);
                    Err(error)
                }
                None => self.answer(request, caller.as_ref()),
            };
            entry_within(&mut left, answer)?.append_to(&mut reply);
            turn.give_way().await;
        }
        Ok(Response::new(reply))
    }

    /// Has the keys of the next entries at hand.
    fn prefetch(&self, requests: &[VerifyRequest<'_>]) {
        let key_ids = requests.iter().map(|request| match request.presented {
            Some(Presented::Credential { key_id, .. }) => key_id,
            // As those of ours are split; another one is looked up all the same, only later.
            Some(Presented::Token(token)) => token.split('.').next().unwrap_or_default(),
            None => "",
        });
        self.verifier.prefetch(key_ids);
    }
}

/// The entries of one message.
struct Entries<'m> {
    /// Those that may be answered.
    requests: Vec<VerifyRequest<'m>>,
    /// How many there are.
    count: usize,
}

impl<'m> Entries<'m> {
    /// Reads all, so that a message is refused wherever it can't be read, but keeps no more than may be answered: a
    /// message of a few megabytes may hold millions.
    async fn read(message: &'m [u8], turn: &mut Turn<'_>) -> Result<Self, Error> {
        let mut entries = Self { requests: Vec::new(), count: 0 };
        for request in Batch::read(message) {
            entries.keep(request?);
            if entries.count.is_multiple_of(READ_AT_ONCE) {
                turn.give_way().await;
            }
        }
        Ok(entries)
    }

    fn keep(&mut self, request: VerifyRequest<'m>) {
        self.count += 1;
        if self.count <= MAX_BATCH {
            self.requests.push(request);
        }
    }
}

/// One entry of a batch, if so many bytes are left for it; otherwise none are for those after it.
fn entry_within(left: &mut usize, answer: Result<Answer, Error>) -> Result<BatchResult, Status> {
    let result = entry(answer)?;
    if *left == 0 {
        return Ok(result);
    }
    match left.checked_sub(result.len_in_reply()) {
        Some(rest) => {
            *left = rest;
            Ok(result)
        }
        None => {
            *left = 0;
            entry(Err(Error::ReplyTooLarge))
        }
    }
}

/// One entry of a batch. A malformed request is an error in its own place, and so is one that nothing was left for,
/// or whose `at_least` is not reached. What is wrong with the replica ends the whole batch, so that clients try again
/// elsewhere as they would for one Verify.
fn entry(answer: Result<Answer, Error>) -> Result<BatchResult, Status> {
    match answer {
        Ok(answer) => Ok(BatchResult::Response(answer.into())),
        Err(
            error @ (Error::InvalidRequest(_)
            | Error::ReplyTooLarge
            | Error::ReplicaBehind
            | Error::PositionLost
            | Error::Overloaded { .. }),
        ) => Ok(BatchResult::Error(on_the_wire(&error.into()))),
        Err(error) => Err(error.into()),
    }
}

/// The status as the message that its details travel in.
fn on_the_wire(status: &Status) -> tonic_types::Status {
    let detailed = tonic_types::Status::decode(status.details()).ok();
    detailed.unwrap_or_else(|| tonic_types::Status {
        code: status.code().into(),
        message: status.message().to_owned(),
        details: Vec::new(),
    })
}

#[cfg(test)]
#[path = "batch_verify_tests.rs"]
mod tests;
