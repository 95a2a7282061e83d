//! PostgreSQL's NOTIFY and LISTEN, which make the other replicas poll at once instead of at their next turn. They carry
//! nothing but a revision, decide nothing, and may be lost.
//!
//! What is sent is sent after the COMMIT: within the transaction it would have all commits of the cluster wait for each
//! other. It is not waited for, and of revisions that come faster than they can be sent only the newest is.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sea_orm::sqlx::{
    self, Executor as _, Row as _,
    pool::PoolOptions,
    postgres::{PgConnectOptions, PgListener, Postgres},
};

use super::Store;
use super::direct::Direct;
use crate::domain::Error;

/// The channel's name. Channels are of one database.
const CHANNEL: &str = "countersign";
/// How long sending may take, and connecting, and an answer on a connection that has been quiet.
const LIMIT: Duration = Duration::from_secs(5);
/// For how long a connection may be quiet before it is asked whether it still is one.
const QUIET: Duration = Duration::from_secs(30);

/// What is to be sent, and whether somebody is sending.
#[derive(Debug, Default)]
struct Outbox {
    newest: Option<u64>,
    sending: bool,
}

/// Sends wake-ups, one at a time.
#[derive(Default)]
pub(super) struct Announcer(Mutex<Outbox>);

impl Announcer {
    fn outbox(&self) -> std::sync::MutexGuard<'_, Outbox> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the caller is to send, since nobody does.
    fn put(&self, revision: u64) -> bool {
        let mut outbox = self.outbox();
        outbox.newest = outbox.newest.max(Some(revision));
        !std::mem::replace(&mut outbox.sending, true)
    }

    /// What to send next; `None`: nothing, and whoever comes next sends.
    fn take(&self) -> Option<u64> {
        let mut outbox = self.outbox();
        let next = outbox.newest.take();
        outbox.sending = next.is_some();
        next
    }

    async fn send_all(&self, direct: &Direct) {
        while let Some(revision) = self.take() {
            // Nothing is written, so nothing has to wait for a disk or a standby.
            let message = format!(
                "BEGIN; SET LOCAL synchronous_commit = off; SELECT pg_notify('{CHANNEL}', '{revision}'); COMMIT"
            );
            if let Err(fault) = direct.send(message, LIMIT, |_| Ok(())).await {
                let error = Error::from(fault);
                tracing::debug!(
                    ?error,
                    revision,
                    "the other replicas could not be woken; they poll"
                );
            }
        }
    }
}

impl Store {
    /// Wakes the other replicas, if that is wanted. Returns at once.
    pub(super) fn announce(&self, revision: u64) {
        let Some(announcer) = &self.inner.announcer else { return };
        if !announcer.put(revision) {
            return;
        }
        let (inner, announcer) = (Arc::clone(&self.inner), Arc::clone(announcer));
        tokio::spawn(async move {
            if let Some(direct) = inner.pools.direct(false) {
                announcer.send_all(direct).await;
            }
        });
    }

    /// What other replicas send when they have changed something; `None` where there is nothing to listen to: on
    /// SQLite, behind a transaction pooler, and where it is not wanted.
    pub fn wake_ups(&self) -> Option<WakeUps> {
        let options = self.inner.pools.listening()?;
        self.inner.announcer.as_ref().map(|_| WakeUps { options, listener: None })
    }
}

/// A connection that listens.
pub struct WakeUps {
    options: PgConnectOptions,
    listener: Option<PgListener>,
}

impl std::fmt::Debug for WakeUps {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("WakeUps")
    }
}

impl WakeUps {
    /// Waits for the next wake-up. Also returns when it has begun to listen, since there may have been some before.
    ///
    /// # Errors
    ///
    /// If the connection can't be made or is lost; the next call makes another. Best not at once.
    pub async fn next(&mut self) -> Result<(), Error> {
        let woken = self.try_next().await;
        if woken.is_err() {
            self.listener = None;
        }
        woken.map_err(|error| super::direct::fault(error).into())
    }

    async fn try_next(&mut self) -> Result<(), sqlx::Error> {
        let Some(listener) = &mut self.listener else {
            self.listener = Some(within(LIMIT, listen(self.options.clone())).await?);
            return Ok(());
        };
        loop {
            match tokio::time::timeout(QUIET, listener.try_recv()).await {
                Ok(Ok(Some(_))) => return Ok(()),
                Ok(Ok(None)) => return Err(sqlx::Error::PoolClosed),
                Ok(Err(error)) => return Err(error),
                // A connection that a partition has cut says nothing, not even that it is dead.
                Err(_) => {
                    let asked = listener.fetch_one("SHOW transaction_read_only");
                    let read_only: String = within(LIMIT, asked).await?.try_get(0)?;
                    if read_only != "off" {
                        return Err(sqlx::Error::PoolClosed);
                    }
                }
            }
        }
    }
}

async fn listen(options: PgConnectOptions) -> Result<PgListener, sqlx::Error> {
    let pool = PoolOptions::<Postgres>::new()
        .max_connections(1)
        .max_lifetime(None)
        .idle_timeout(None)
        .acquire_timeout(LIMIT)
        .connect_lazy_with(options);
    let mut listener = PgListener::connect_with(&pool).await?;
    listener.eager_reconnect(false);
    listener.listen(CHANNEL).await?;
    Ok(listener)
}

async fn within<T>(
    limit: Duration,
    work: impl Future<Output = Result<T, sqlx::Error>>,
) -> Result<T, sqlx::Error> {
    let late = || std::io::Error::from(std::io::ErrorKind::TimedOut);
    tokio::time::timeout(limit, work).await.unwrap_or_else(|_| Err(late().into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_sends_and_only_the_newest_is_sent() {
        let announcer = Announcer::default();
        assert!(announcer.put(3), "the first sends");
        assert_eq!(announcer.take(), Some(3));
        assert!(!announcer.put(5) && !announcer.put(4), "somebody sends already");
        assert_eq!(announcer.take(), Some(5));
        assert_eq!(announcer.take(), None);
        assert!(announcer.put(6), "nobody sends any more");
    }
}
