//! `KeyAdmin`: each method converts, delegates to `control`, and converts back.
//!
//! The work runs in a task of its own on the administration runtime. A deadline or a lost connection
//! ends the RPC, never the task, so no transaction is dropped half-way (DESIGN: sqlx 0.9 can then leave
//! a pooled connection inside it); the task keeps its admission permit until it is really done.

use std::future::Future;
use std::sync::Arc;

use tokio::runtime::Handle;
use tokio::task::JoinError;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};
use tracing::Instrument as _;

use super::convert::{Change, Settled};
use super::places::{AdminLoad, Places};
use super::proto::key_admin_server::KeyAdmin;
use super::waiters::Waiters;
use super::watch::{Watcher, WatcherStream};
use super::{Settings, proto, time_left};
use crate::control::{
    Control, CreateKey, DeleteKey, DisableKey, EnableKey, ExpireSecret, ListAuditEvents, ListKeys,
    ListReplicas, Made, RevokeKey, RotateKey, UpdateKey, WatchAuditEvents,
};
use crate::domain::Error;
use crate::domain::deadline::Deadline;
use crate::domain::permission::{Principal, Verb};
use crate::verify::Verifier;

/// Manages keys and reads the audit log.
#[derive(Clone)]
pub struct KeyAdminService {
    control: Control,
    verifier: Arc<Verifier>,
    runtime: Handle,
    admission: Places,
    watchers: Places,
    waiters: Waiters,
    shutdown: CancellationToken,
}

impl KeyAdminService {
    /// The service. `runtime` is the administration runtime; `shutdown` ends every watch, and
    /// all waiting for other replicas.
    pub fn new(
        settings: Settings,
        control: Control,
        verifier: Arc<Verifier>,
        runtime: Handle,
        shutdown: CancellationToken,
    ) -> Self {
        Self {
            control,
            verifier,
            runtime,
            admission: Places::new(settings.max_admin_in_flight),
            watchers: Places::new(settings.max_watchers),
            waiters: Waiters::default(),
            shutdown,
        }
    }

    /// What it carries, for whoever looks on.
    pub fn load(&self) -> AdminLoad {
        let Self { admission, watchers, waiters, .. } = self.clone();
        AdminLoad { admission, watchers, waiters }
    }

    /// One RPC: from its message to a request of `control` and from the outcome to its reply.
    async fn perform<M, R, F, O, T>(
        &self,
        verb: Verb,
        request: Request<M>,
        call: impl FnOnce(Control, Principal, R) -> F,
    ) -> Result<Response<T>, Status>
    where
        R: TryFrom<M, Error = Error>,
        F: Future<Output = Result<O, Error>> + Send + 'static,
        O: Send + 'static,
        T: From<O>,
    {
        let (principal, request) = read(verb, request)?;
        let outcome = self.run(call(self.control.clone(), principal, request)).await?;
        Ok(Response::new(outcome.into()))
    }

    /// One RPC that changes something: as [`Self::perform`], and then its reply waits for the other replicas.
    ///
    /// By then the change is made and its place among the requests in work is free. The waiting belongs to the RPC
    /// alone: it needs no place in the database's pool, and whoever hangs up ends it.
    async fn change<M, R, F, O, T>(
        &self,
        verb: Verb,
        request: Request<M>,
        call: impl FnOnce(Control, Principal, R) -> F,
    ) -> Result<Response<T>, Status>
    where
        Change<R>: TryFrom<M, Error = Error>,
        F: Future<Output = Result<Made<O>, Error>> + Send + 'static,
        O: Send + 'static,
        T: From<Settled<O>>,
    {
        let deadline = request.extensions().get::<Deadline>().copied();
        let (principal, Change { request, wait }) = read::<_, Change<R>>(verb, request)?;
        let made = self.run(call(self.control.clone(), principal, request)).await?;
        let (committed, time_left) = (made.committed(), time_left(deadline.as_ref()));
        let stop = self.shutdown.cancelled();
        let settle = async |wait| self.control.everywhere(committed, wait, time_left, stop).await;
        let propagation = self.waiters.settle(wait, settle).await;
        let served_by = self.control.replica_id().to_owned();
        Ok(Response::new(Settled { reply: made.reply, propagation, served_by }.into()))
    }

    /// Runs one piece of work to its end, whatever becomes of the RPC that waits for it.
    async fn run<O: Send + 'static>(
        &self,
        work: impl Future<Output = Result<O, Error>> + Send + 'static,
    ) -> Result<O, Error> {
        let permit = self.admission.take("too many administration requests in work")?;
        let task = async move {
            let outcome = work.await;
            drop(permit);
            outcome
        };
        let task = self.runtime.spawn(task.in_current_span());
        task.await.unwrap_or_else(|died| Err(unfinished(&died)))
    }
}

/// Why a task gave no outcome. Nothing cancels one but the end of its runtime.
fn unfinished(died: &JoinError) -> Error {
    if died.is_cancelled() {
        Error::Unavailable("the server stopped before it was done")
    } else {
        Error::Internal(format!("an administration task died: {died}"))
    }
}

/// The caller and what it asks for.
fn read<M, R: TryFrom<M, Error = Error>>(
    verb: Verb,
    request: Request<M>,
) -> Result<(Principal, R), Error> {
    let (_, mut extensions, message) = request.into_parts();
    let principal = extensions.remove::<Principal>();
    let principal =
        principal.ok_or(Error::Unauthenticated("the authorization header is missing"))?;
    match R::try_from(message) {
        Ok(request) => Ok((principal, request)),
        // Whoever may not call the method at all learns that, and nothing about its message. For a
        // message that is well formed `control` says it.
        Err(invalid) => Err(principal.require(verb).err().unwrap_or(invalid)),
    }
}

#[tonic::async_trait]
impl KeyAdmin for KeyAdminService {
    async fn create_key(
        &self,
        request: Request<proto::CreateKeyRequest>,
    ) -> Result<Response<proto::CreateKeyResponse>, Status> {
        self.change(Verb::CreateKey, request, |control, principal, request: CreateKey| async move {
            control.create_key(&principal, request).await
        })
        .await
    }

    async fn get_key(
        &self,
        request: Request<proto::GetKeyRequest>,
    ) -> Result<Response<proto::GetKeyResponse>, Status> {
        self.perform(Verb::GetKey, request, |control, principal, request: GetKey| async move {
            control.get_key(&principal, &request.key_id).await
        })
        .await
    }

    async fn list_keys(
        &self,
        request: Request<proto::ListKeysRequest>,
    ) -> Result<Response<proto::ListKeysResponse>, Status> {
        self.perform(Verb::ListKeys, request, |control, principal, request: ListKeys| async move {
            control.list_keys(&principal, request).await
        })
        .await
    }

    async fn update_key(
        &self,
        request: Request<proto::UpdateKeyRequest>,
    ) -> Result<Response<proto::UpdateKeyResponse>, Status> {
        self.change(Verb::UpdateKey, request, |control, principal, request: UpdateKey| async move {
            control.update_key(&principal, request).await
        })
        .await
    }

    async fn rotate_key(
        &self,
        request: Request<proto::RotateKeyRequest>,
    ) -> Result<Response<proto::RotateKeyResponse>, Status> {
        self.change(Verb::RotateKey, request, |control, principal, request: RotateKey| async move {
            control.rotate_key(&principal, request).await
        })
        .await
    }

    async fn expire_secret(
        &self,
        request: Request<proto::ExpireSecretRequest>,
    ) -> Result<Response<proto::ExpireSecretResponse>, Status> {
        self.change(
            Verb::ExpireSecret,
            request,
            |control, principal, request: ExpireSecret| async move {
                control.expire_secret(&principal, request).await
            },
        )
        .await
    }

    async fn disable_key(
        &self,
        request: Request<proto::DisableKeyRequest>,
    ) -> Result<Response<proto::DisableKeyResponse>, Status> {
        self.change(
            Verb::DisableKey,
            request,
            |control, principal, request: DisableKey| async move {
                control.disable_key(&principal, request).await
            },
        )
        .await
    }

    async fn enable_key(
        &self,
        request: Request<proto::EnableKeyRequest>,
    ) -> Result<Response<proto::EnableKeyResponse>, Status> {
        self.change(Verb::EnableKey, request, |control, principal, request: EnableKey| async move {
            control.enable_key(&principal, request).await
        })
        .await
    }

    async fn revoke_key(
        &self,
        request: Request<proto::RevokeKeyRequest>,
    ) -> Result<Response<proto::RevokeKeyResponse>, Status> {
        self.change(Verb::RevokeKey, request, |control, principal, request: RevokeKey| async move {
            control.revoke_key(&principal, request).await
        })
        .await
    }

    async fn delete_key(
        &self,
        request: Request<proto::DeleteKeyRequest>,
    ) -> Result<Response<proto::DeleteKeyResponse>, Status> {
        self.change(Verb::DeleteKey, request, |control, principal, request: DeleteKey| async move {
            control.delete_key(&principal, request).await
        })
        .await
    }

    async fn list_audit_events(
        &self,
        request: Request<proto::ListAuditEventsRequest>,
    ) -> Result<Response<proto::ListAuditEventsResponse>, Status> {
        let call = |control: Control, principal, request: ListAuditEvents| async move {
            control.list_audit_events(&principal, request).await
        };
        self.perform(Verb::ListAuditEvents, request, call).await
    }

    async fn list_replicas(
        &self,
        request: Request<proto::ListReplicasRequest>,
    ) -> Result<Response<proto::ListReplicasResponse>, Status> {
        let call = |control: Control, principal, request: ListReplicas| async move {
            control.list_replicas(&principal, request).await
        };
        self.perform(Verb::ListReplicas, request, call).await
    }

    type WatchAuditEventsStream = WatcherStream;

    async fn watch_audit_events(
        &self,
        request: Request<proto::WatchAuditEventsRequest>,
    ) -> Result<Response<WatcherStream>, Status> {
        let (principal, request) = read::<_, WatchAuditEvents>(Verb::WatchAuditEvents, request)?;
        let place = self.watchers.take("too many watchers")?;
        let (control, opener) = (self.control.clone(), principal.clone());
        let watch =
            self.run(async move { control.watch_audit_events(&opener, request).await }).await?;
        let watcher = Watcher {
            watch,
            principal,
            verifier: Arc::clone(&self.verifier),
            shutdown: self.shutdown.clone(),
            place,
        };
        Ok(Response::new(watcher.spawn_on(&self.runtime)))
    }
}

/// The request of `GetKey`, which `control` takes as the bare id.
struct GetKey {
    key_id: String,
}

impl TryFrom<proto::GetKeyRequest> for GetKey {
    type Error = Error;

    fn try_from(request: proto::GetKeyRequest) -> Result<Self, Error> {
        Ok(Self { key_id: request.key_id })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn work_that_shutdown_ended_may_be_tried_elsewhere_and_a_panic_is_a_fault() {
        let cancelled = tokio::spawn(std::future::pending::<()>());
        cancelled.abort();
        let cancelled = unfinished(&cancelled.await.expect_err("it was cancelled"));
        assert!(matches!(cancelled, Error::Unavailable(_)), "{cancelled:?}");
        let panicked = tokio::spawn(async { panic!("on purpose") });
        let panicked = unfinished(&panicked.await.expect_err("it panicked"));
        assert!(matches!(panicked, Error::Internal(_)), "{panicked:?}");
    }
}
