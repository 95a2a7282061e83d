//! `KeyVerifier`: reads the question, asks the verifier, writes the answer. Nothing here waits for anything but
//! `at_least`.
//!
//! The generated service would have each request as a message of its own strings, and each answer as well. These two
//! methods are most of what this server does, so they are served by hand, by the same parts of tonic.

use std::convert::Infallible;
use std::error::Error as StdError;
use std::sync::Arc;
use std::task::{Context, Poll};

use http_body::Body as HttpBody;
use prost::bytes::Bytes;
use tonic::body::Body;
use tonic::codegen::BoxFuture;
use tonic::server::{Grpc, UnaryService};
use tonic::{Request, Response, Status};
use tower::{Service, service_fn};

use super::at_least::AtLeast;
use super::codec::{Reply, VerificationCodec};
use super::convert::{Asked, presented};
use super::status::MAX_REQUEST_BYTES;
use super::wire::{VerifyRequest, VerifyResponse};
use crate::domain::Error;
use crate::domain::permission::Principal;
use crate::verify::{Answer, Query, Verifier};

/// Verifies credentials, from memory.
#[derive(Clone)]
pub struct KeyVerifierService(Arc<Verification>);

/// What all requests share.
pub(super) struct Verification {
    pub(super) verifier: Arc<Verifier>,
    pub(super) at_least: AtLeast,
}

impl KeyVerifierService {
    /// The service.
    pub fn new(verifier: Arc<Verifier>, at_least: AtLeast) -> Self {
        Self(Arc::new(Verification { verifier, at_least }))
    }
}

impl<B> Service<http::Request<B>> for KeyVerifierService
where
    B: HttpBody<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn StdError + Send + Sync>> + Send + 'static,
{
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        let service = Arc::clone(&self.0);
        match request.uri().path() {
            "/countersign.v1.KeyVerifier/Verify" => {
                let verify = service_fn(move |request| Arc::clone(&service).verify(request));
                Box::pin(unary(verify, request))
            }
            "/countersign.v1.KeyVerifier/BatchVerify" => {
                let batch_verify =
                    service_fn(move |request| Arc::clone(&service).batch_verify(request));
                Box::pin(unary(batch_verify, request))
            }
            _ => Box::pin(async { Ok(Status::unimplemented("").into_http()) }),
        }
    }
}

/// What the generated code does for an unary method.
async fn unary<R: Reply, B>(
    method: impl UnaryService<Bytes, Response = R>,
    request: http::Request<B>,
) -> Result<http::Response<Body>, Infallible>
where
    B: HttpBody + Send + 'static,
    B::Error: Into<Box<dyn StdError + Send + Sync>> + Send,
{
    let grpc = Grpc::new(VerificationCodec::default());
    Ok(grpc.max_decoding_message_size(MAX_REQUEST_BYTES).unary(method, request).await)
}

impl Verification {
    /// `Verify`.
    pub(super) async fn verify(
        self: Arc<Self>,
        request: Request<Bytes>,
    ) -> Result<Response<VerifyResponse>, Status> {
        let question = VerifyRequest::read(request.get_ref()).map_err(Error::from)?;
        if !question.at_least.is_empty() {
            // In a box of its own, so that those who wait for nothing pay nothing for it.
            let reached = Box::pin(self.at_least.of(&question, request.extensions().get())).await;
            reached.inspect_err(|error| self.note_unasked(error))?;
        }
        let caller = request.extensions().get::<Principal>();
        Ok(Response::new(self.answer(&question, caller)?.into()))
    }

    /// A question that can't be asked: it counts as one whose answer this replica does not know, unless nobody could
    /// read it.
    pub(super) fn note_unasked(&self, error: &Error) {
        if !matches!(error, Error::InvalidRequest(_)) {
            self.verifier.count_unasked();
        }
    }

    /// The answer to one question, be it alone or of a batch.
    pub(super) fn answer(
        &self,
        question: &VerifyRequest<'_>,
        caller: Option<&Principal>,
    ) -> Result<Answer, Error> {
        let asked = Asked::try_from(question)?;
        self.verifier.verify(&Query {
            presented: presented(question, self.verifier.brands()),
            question: asked.question(),
            caller,
            explain: question.explain,
        })
    }
}
