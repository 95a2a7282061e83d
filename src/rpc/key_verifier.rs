//! `KeyVerifier`: converts, asks the verifier, converts back. Nothing here waits for anything.

use std::sync::Arc;

use prost::Message as _;
use tonic::{Request, Response, Status};

use super::convert::{Asked, presented};
use super::proto::batch_verify_response::Result as Outcome;
use super::proto::batch_verify_response::result::Result as Entry;
use super::proto::key_verifier_server::KeyVerifier;
use super::proto::{BatchVerifyRequest, BatchVerifyResponse, VerifyRequest, VerifyResponse};
use crate::domain::Error;
use crate::domain::permission::Principal;
use crate::verify::{Query, Verifier};

/// The most entries of a batch.
const MAX_BATCH: usize = 1_000;

/// After so many entries, about half a millisecond, others on the same core get their turn.
const ENTRIES_PER_TURN: usize = 64;

/// Verifies credentials, from memory.
#[derive(Clone)]
pub struct KeyVerifierService {
    verifier: Arc<Verifier>,
}

impl KeyVerifierService {
    /// The service.
    pub fn new(verifier: Arc<Verifier>) -> Self {
        Self { verifier }
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

#[tonic::async_trait]
impl KeyVerifier for KeyVerifierService {
    async fn verify(
        &self,
        request: Request<VerifyRequest>,
    ) -> Result<Response<VerifyResponse>, Status> {
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
        let mut results = Vec::with_capacity(requests.len());
        for turn in requests.chunks(ENTRIES_PER_TURN) {
            for request in turn {
                results.push(entry(self.answer(request, caller.as_ref()))?);
            }
            tokio::task::yield_now().await;
        }
        Ok(Response::new(BatchVerifyResponse { results }))
    }
}

/// One entry of a batch. A malformed request is an error in its own place. What is wrong with the
/// replica ends the whole batch, so that clients try again elsewhere as they would for one Verify.
fn entry(answer: Result<VerifyResponse, Error>) -> Result<Outcome, Status> {
    let entry = match answer {
        Ok(response) => Entry::Response(response),
        Err(error @ Error::InvalidRequest(_)) => Entry::Error(on_the_wire(&error.into())),
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
mod tests {
    use super::*;
    use tonic::Code;
    use tonic_types::StatusExt as _;

    #[test]
    fn a_malformed_entry_carries_its_violations_in_its_place() {
        let outcome =
            entry(Err(Error::invalid("client_ip", "must be an address"))).expect("an entry");
        let Some(Entry::Error(status)) = outcome.result else { panic!("{outcome:?} is no error") };
        assert_eq!(status.code, Code::InvalidArgument as i32);
        assert_eq!(status.message, "invalid request: client_ip: must be an address");
        let status = Status::with_details(Code::InvalidArgument, "", status.encode_to_vec().into());
        let violations = status.get_details_bad_request().expect("a BadRequest").field_violations;
        assert_eq!(violations[0].field, "client_ip");
    }

    #[test]
    fn a_replica_that_cannot_know_ends_the_batch() {
        let status = entry(Err(Error::Unavailable("still starting"))).expect_err("the whole batch");
        assert_eq!(status.code(), Code::Unavailable);
    }
}
