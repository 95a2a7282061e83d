//! `KeyVerifier`: converts, asks the verifier, converts back. Nothing here waits for anything but `at_least`.

use std::sync::Arc;

use prost::Message as _;
use tonic::{Request, Response, Status};

use super::at_least::AtLeast;
use super::convert::{Asked, presented};
use super::proto::batch_verify_response::Result as Outcome;
use super::proto::batch_verify_response::result::Result as Entry;
use super::proto::key_verifier_server::KeyVerifier;
use super::proto::verify_request::Presented;
use super::proto::{BatchVerifyRequest, BatchVerifyResponse, VerifyRequest, VerifyResponse};
use super::turn::Turn;
use crate::domain::Error;
use crate::domain::permission::Principal;
use crate::verify::{Query, Verifier};

/// The most entries of a batch.
const MAX_BATCH: usize = 1_000;

/// The most bytes of a batch's answers. gRPC clients read 4 MiB by default; the rest is for the
/// refusals of what did not fit.
const MAX_ANSWERS_BYTES: usize = 3_584 * 1_024;

/// Verifies credentials, from memory.
#[derive(Clone)]
pub struct KeyVerifierService {
    verifier: Arc<Verifier>,
    at_least: AtLeast,
}

impl KeyVerifierService {
    /// The service.
    pub fn new(verifier: Arc<Verifier>, at_least: AtLeast) -> Self {
        Self { verifier, at_least }
    }

    fn answer(
        &self,
        request: &VerifyRequest,
        caller: Option<&Principal>,
    ) -> Result<VerifyResponse, Error> {
        let asked = Asked::try_from(request)?;
        let query = Query {
            presented: presented(request, self.verifier.brands()),
            question: asked.question(),
            caller,
            explain: request.explain,
        };
        Ok(self.verifier.verify(&query)?.into())
    }
}

impl KeyVerifierService {
    /// Has the keys of the next entries at hand.
    fn prefetch(&self, requests: &[VerifyRequest]) {
        let key_ids = requests.iter().map(|request| match &request.presented {
            Some(Presented::Credential(credential)) => credential.key_id.as_str(),
            // As those of ours are split; another one is looked up all the same, only later.
            Some(Presented::Token(token)) => token.split('.').next().unwrap_or_default(),
            None => "",
        });
        self.verifier.prefetch(key_ids);
    }
}

#[tonic::async_trait]
impl KeyVerifier for KeyVerifierService {
    async fn verify(
        &self,
        request: Request<VerifyRequest>,
    ) -> Result<Response<VerifyResponse>, Status> {
        if !request.get_ref().at_least.is_empty() {
            // In a box of its own, so that those who wait for nothing pay nothing for it.
            Box::pin(self.at_least.of(request.get_ref(), request.extensions().get())).await?;
        }
        let caller = request.extensions().get::<Principal>();
        Ok(Response::new(self.answer(request.get_ref(), caller)?))
    }

    async fn batch_verify(
        &self,
        request: Request<BatchVerifyRequest>,
    ) -> Result<Response<BatchVerifyResponse>, Status> {
        let (_, mut extensions, BatchVerifyRequest { requests }) = request.into_parts();
        let caller = extensions.remove::<Principal>();
        if !(1..=MAX_BATCH).contains(&requests.len()) {
            let count = format!("must be 1 to {MAX_BATCH}, are {}", requests.len());
            return Err(Error::invalid("requests", count).into());
        }
        let (mut turn, mut left) = (Turn::begin(self.verifier.clock()), MAX_ANSWERS_BYTES);
        let unmet = self.at_least.of_batch(&requests, extensions.get(), &mut turn);
        let mut unmet = Box::pin(unmet).await;
        let mut results = Vec::with_capacity(requests.len());
        for (index, request) in requests.iter().enumerate() {
            if index % Verifier::PREFETCHED == 0 {
                self.prefetch(requests.get(index..).unwrap_or_default());
            }
            let answer = if left == 0 {
                Err(Error::ReplyTooLarge)
            } else if let Some(error) = unmet.remove(&index) {
                Err(error)
            } else {
                self.answer(request, caller.as_ref())
            };
            results.push(entry_within(&mut left, answer)?);
            turn.give_way().await;
        }
        Ok(Response::new(BatchVerifyResponse { results }))
    }
}

/// One entry of a batch, if so many bytes are left for it; otherwise none are for those after it.
fn entry_within(
    left: &mut usize,
    answer: Result<VerifyResponse, Error>,
) -> Result<Outcome, Status> {
    let outcome = entry(answer)?;
    if *left == 0 {
        return Ok(outcome);
    }
    match left.checked_sub(bytes_of(&outcome)) {
        Some(rest) => {
            *left = rest;
            Ok(outcome)
        }
        None => {
            *left = 0;
            entry(Err(Error::ReplyTooLarge))
        }
    }
}

/// What an entry takes in the reply: itself, its tag and its length.
fn bytes_of(outcome: &Outcome) -> usize {
    let bytes = outcome.encoded_len();
    1 + prost::length_delimiter_len(bytes) + bytes
}

/// One entry of a batch. A malformed request is an error in its own place, and so is one that nothing was left for,
/// or whose `at_least` is not reached. What is wrong with the replica ends the whole batch, so that clients try again
/// elsewhere as they would for one Verify.
fn entry(answer: Result<VerifyResponse, Error>) -> Result<Outcome, Status> {
    let entry = match answer {
        Ok(response) => Entry::Response(response),
        Err(
            error @ (Error::InvalidRequest(_)
            | Error::ReplyTooLarge
            | Error::ReplicaBehind
            | Error::PositionLost
            | Error::Overloaded { .. }),
        ) => Entry::Error(on_the_wire(&error.into())),
        Err(error) => return Err(error.into()),
    };
    Ok(Outcome { result: Some(entry) })
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
#[path = "key_verifier_tests.rs"]
mod tests;
