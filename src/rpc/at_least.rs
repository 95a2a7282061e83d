//! Answers that are not from before a state that the caller knows (`at_least`): what waits before the straight line of
//! a verification, and the only thing that does.

use std::collections::BTreeMap;
use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tokio::sync::Semaphore;

use super::time_left;
use super::turn::Turn;
use super::wire::VerifyRequest;
use crate::domain::Error;
use crate::domain::deadline::Deadline;
use crate::domain::token::{LogPosition, PositionKind};
use crate::log::{Feed, Log};

/// The longest that a verification waits. A replica that lives has come along long before.
const LONGEST: Duration = Duration::from_secs(1);
/// The most requests that wait at once.
const MOST_WAITING: usize = 1_000;
/// When to try again where too many wait.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Waits until this replica's answers are from a place in the log on, for so long at most.
type Reached = dyn Fn(LogPosition, Duration) -> Waits + Send + Sync;
type Waits = Pin<Box<dyn Future<Output = Result<(), Error>> + Send>>;

/// Where requests wait until this replica has come as far as they ask for.
#[derive(Clone)]
pub struct AtLeast {
    reached: Arc<Reached>,
    places: Arc<Semaphore>,
}

impl fmt::Debug for AtLeast {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AtLeast").field("places", &self.places).finish_non_exhaustive()
    }
}

impl AtLeast {
    /// Waits for what this log says.
    pub fn new<F: Feed>(log: Log<F>) -> Self {
        Self::by(move |place, patience| {
            let log = log.clone();
            Box::pin(async move { log.reached(&place, patience).await })
        })
    }

    fn by(reached: impl Fn(LogPosition, Duration) -> Waits + Send + Sync + 'static) -> Self {
        Self { reached: Arc::new(reached), places: Arc::new(Semaphore::new(MOST_WAITING)) }
    }

    /// How many requests wait.
    pub fn waiting(&self) -> usize {
        MOST_WAITING.saturating_sub(self.places.available_permits())
    }

    /// For services whose requests don't ask for a state.
    #[cfg(test)]
    pub(super) fn of_no_log() -> Self {
        Self::by(|_, _| Box::pin(std::future::ready(Err(Error::PositionLost))))
    }

    /// Waits for the state that a request asks for.
    pub(super) async fn of(
        &self,
        request: &VerifyRequest<'_>,
        deadline: Option<&Deadline>,
    ) -> Result<(), Error> {
        let place = place(request.at_least)?;
        match self.known(place).await {
            Known::Ahead => self.wait(place, deadline).await,
            Known::Told(outcome) => outcome,
        }
    }

    /// Waits once, for the newest state that any request of a batch asks for. Gives the errors of those whose own state
    /// is not reached by then, by their index.
    pub(super) async fn of_batch(
        &self,
        requests: &[VerifyRequest<'_>],
        deadline: Option<&Deadline>,
        turn: &mut Turn<'_>,
    ) -> BTreeMap<usize, Error> {
        let (mut errors, mut ahead) = (BTreeMap::new(), Vec::new());
        for (index, request) in requests.iter().enumerate() {
            if request.at_least.is_empty() {
                continue;
            }
            match place(request.at_least) {
                Err(malformed) => _ = errors.insert(index, malformed),
                Ok(place) => match self.known(place).await {
                    Known::Ahead => ahead.push((index, place)),
                    Known::Told(outcome) => {
                        errors.extend(outcome.err().map(|error| (index, error)))
                    }
                },
            }
            turn.give_way().await;
        }
        let newest = ahead.iter().map(|(_, place)| *place);
        let Some(newest) = newest.max_by_key(|place| (place.epoch, place.revision)) else {
            return errors;
        };
        let waited = self.wait(newest, deadline).await;
        for (index, place) in ahead {
            // An older one may be reached although the newest is not.
            let error = match self.known(place).await {
                Known::Told(outcome) => outcome.err(),
                Known::Ahead => Some(waited.clone().err().unwrap_or(Error::ReplicaBehind)),
            };
            errors.extend(error.map(|error| (index, error)));
            turn.give_way().await;
        }
        errors
    }

    /// What is known without waiting, not even for a timer that ends at once: a batch may ask a thousand times.
    async fn known(&self, place: LogPosition) -> Known {
        let mut reached = (self.reached)(place, Duration::ZERO);
        match poll_fn(|context| Poll::Ready(reached.as_mut().poll(context))).await {
            Poll::Pending | Poll::Ready(Err(Error::Unavailable(_))) => Known::Ahead,
            Poll::Ready(outcome) => Known::Told(outcome),
        }
    }

    async fn wait(&self, place: LogPosition, deadline: Option<&Deadline>) -> Result<(), Error> {
        let too_many =
            |_| Error::Overloaded { what: "too many requests wait", retry_after: RETRY_AFTER };
        let _place = self.places.try_acquire().map_err(too_many)?;
        // The other half of the time is for asking another replica.
        let patience = time_left(deadline).map_or(LONGEST, |left| LONGEST.min(left / 2));
        (self.reached)(place, patience).await.map_err(|error| match error {
            Error::Unavailable(_) => Error::ReplicaBehind,
            other => other,
        })
    }
}

/// What can be said of a place at once.
enum Known {
    /// This replica may come there yet.
    Ahead,
    /// It has, or never will.
    Told(Result<(), Error>),
}

fn place(at_least: &str) -> Result<LogPosition, Error> {
    LogPosition::decode(PositionKind::ConsistencyToken, at_least)
        .map_err(|_| Error::invalid("at_least", "must be a consistency_token, as replies carry it"))
}

#[cfg(test)]
#[path = "at_least_tests.rs"]
mod tests;
