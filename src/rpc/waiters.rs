//! The places of those whose reply waits for other replicas.

use std::sync::Arc;

use tokio::sync::Semaphore;

use crate::control::Wait;

/// The most changes whose replies wait at once. One more is answered with what is known, so that what waits is bounded
/// whatever becomes of the other replicas.
const MOST: usize = 1_000;

/// A handle on the places.
#[derive(Debug, Clone)]
pub(super) struct Waiters {
    places: Arc<Semaphore>,
    count: usize,
}

impl Default for Waiters {
    fn default() -> Self {
        Self::of(MOST)
    }
}

impl Waiters {
    fn of(places: usize) -> Self {
        Self { places: Arc::new(Semaphore::new(places)), count: places }
    }

    /// How many wait.
    pub(super) fn waiting(&self) -> usize {
        self.count.saturating_sub(self.places.available_permits())
    }

    /// Has `settle` wait as it was asked for if there is a place, and else not at all. The place is free again when
    /// this ends, or is dropped together with the RPC of a caller who is gone.
    pub(super) async fn settle<T>(&self, wait: Wait, settle: impl AsyncFnOnce(Wait) -> T) -> T {
        if wait == Wait::None {
            return settle(wait).await;
        }
        match self.places.try_acquire() {
            Ok(_place) => settle(wait).await,
            Err(_) => settle(Wait::None).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};
    use std::pin::pin;
    use std::task::{Context, Waker};

    use super::*;

    async fn seated(waiters: &Waiters, wait: Wait) -> Wait {
        waiters.settle(wait, ready).await
    }

    #[tokio::test]
    async fn one_too_many_does_not_wait_until_another_has_ended_or_is_gone() {
        let waiters = Waiters::of(1);
        assert_eq!(seated(&waiters, Wait::AllReplicas).await, Wait::AllReplicas);
        assert_eq!(seated(&waiters, Wait::Briefly).await, Wait::Briefly, "the place is free again");
        {
            let mut gone = pin!(waiters.settle(Wait::AllReplicas, |_| pending::<()>()));
            assert!(gone.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
            assert_eq!(seated(&waiters, Wait::AllReplicas).await, Wait::None);
            assert_eq!(seated(&waiters, Wait::Briefly).await, Wait::None);
            assert_eq!(waiters.waiting(), 1);
        }
        assert_eq!(waiters.waiting(), 0);
        assert_eq!(seated(&waiters, Wait::AllReplicas).await, Wait::AllReplicas, "it is gone");
    }

    #[tokio::test]
    async fn who_does_not_wait_needs_no_place() {
        let waiters = Waiters::of(1);
        let mut one = pin!(waiters.settle(Wait::None, |_| pending::<()>()));
        assert!(one.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        assert_eq!(seated(&waiters, Wait::AllReplicas).await, Wait::AllReplicas);
    }
}
