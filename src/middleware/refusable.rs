//! A request that a layer hands on, or refuses by itself.

use std::pin::Pin;
use std::task::{Context, Poll};

use http::Response;
use pin_project_lite::pin_project;
use tonic::Status;

use crate::domain::Error;

pin_project! {
    /// The answer of the service behind a layer, or the layer's own refusal.
    #[derive(Debug)]
    #[project = Projected]
    pub enum Refusable<F> {
        /// What the service makes.
        Answer {
            // Its future.
            #[pin]
            answer: F,
        },
        /// What the layer said; taken when it is given.
        Refusal {
            // Why.
            status: Option<Status>,
        },
    }
}

impl<F> Refusable<F> {
    pub(super) fn answer(answer: F) -> Self {
        Self::Answer { answer }
    }

    pub(super) fn refusal(error: Error) -> Self {
        Self::Refusal { status: Some(error.into()) }
    }
}

impl<F, R, E> Future for Refusable<F>
where
    F: Future<Output = Result<Response<R>, E>>,
    R: Default,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        match self.project() {
            Projected::Answer { answer } => answer.poll(cx),
            // A future that has given its answer is not asked again.
            Projected::Refusal { status } => {
                status.take().map_or(Poll::Pending, |status| Poll::Ready(Ok(status.into_http())))
            }
        }
    }
}
