//! Callers who verify without pause, and what became of each call.

use std::sync::Arc;
use std::time::{Duration, Instant};

use countersign::rpc::proto::{DenialReason, VerifyRequest, VerifyResponse};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status};

use crate::harness::{Credential, Replicas};

/// Callers of each replica. Each has one call at a time.
const CALLERS: usize = 3;
/// How often each calls, if it is answered in time.
const PACE: Duration = Duration::from_millis(5);

/// What one call came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    Allowed,
    Denied(DenialReason),
    Failed(Code, String),
}

/// One call of one replica.
#[derive(Debug, Clone)]
pub struct Call {
    pub replica: usize,
    pub sent: Instant,
    pub answered: Instant,
    pub outcome: Outcome,
}

/// Calls that go on until they are stopped, or the test ends.
pub struct Load {
    stop: CancellationToken,
    callers: JoinSet<Vec<Call>>,
}

impl Outcome {
    pub fn of(answer: Result<VerifyResponse, Status>) -> Self {
        match answer {
            Ok(reply) if reply.allowed => Self::Allowed,
            Ok(reply) => Self::Denied(reply.denial_reason()),
            Err(status) => Self::Failed(status.code(), status.message().to_owned()),
        }
    }

    pub fn is_unavailable(&self) -> bool {
        matches!(self, Self::Failed(Code::Unavailable, _))
    }
}

impl Load {
    /// Verifies this credential at each replica. On return each replica has answered once.
    pub async fn on(replicas: &Arc<Replicas>, credential: &Credential) -> Self {
        let stop = CancellationToken::new();
        let mut callers = JoinSet::new();
        for replica in 0..replicas.len() {
            let first = call(replicas, replica, credential).await;
            assert_eq!(first.outcome, Outcome::Allowed, "the load begins in good order");
            for _ in 0..CALLERS {
                let (replicas, credential) = (Arc::clone(replicas), credential.clone());
                callers.spawn(keep_calling(replicas, replica, credential, stop.clone()));
            }
        }
        Self { stop, callers }
    }

    /// Ends it, and gives every call in the order in which they were sent.
    pub async fn stop(self) -> Vec<Call> {
        self.stop.cancel();
        let mut calls = self.callers.join_all().await.concat();
        calls.sort_by_key(|call| call.sent);
        calls
    }
}

async fn keep_calling(
    replicas: Arc<Replicas>,
    replica: usize,
    credential: Credential,
    stop: CancellationToken,
) -> Vec<Call> {
    let mut calls = Vec::new();
    let mut pace = interval(PACE);
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while !stop.is_cancelled() {
        pace.tick().await;
        calls.push(call(&replicas, replica, &credential).await);
    }
    calls
}

async fn call(replicas: &Replicas, replica: usize, credential: &Credential) -> Call {
    let caller = replicas[replica].caller().anonymous();
    let sent = Instant::now();
    let answer = caller.try_verify(credential, VerifyRequest::default()).await;
    Call { replica, sent, answered: Instant::now(), outcome: Outcome::of(answer) }
}
