//! The background loops of a server, one file each, and who watches over them.
//!
//! In: loops that never end by themselves. Out: the name of the first that did. A server with a dead
//! loop would go on with stale answers or a growing database, so it stops instead.

pub mod check_log;
pub mod follow;
pub mod forget_replies;
pub mod listen;

use std::fmt::Display;
use std::future::Future;

use tokio::task::JoinSet;

/// The running loops. Dropping it ends them all.
#[derive(Debug, Default)]
pub struct Tasks(JoinSet<Ended>);

/// A loop that ended, which none should.
#[derive(Debug, thiserror::Error)]
#[error("the background task {name} ended: {why}")]
pub struct Ended {
    /// Which one.
    pub name: &'static str,
    /// What it gave as its reason, in one line.
    pub why: String,
}

impl Tasks {
    /// Starts a loop on the present runtime. What it returns is the reason for which it could not go on.
    pub fn start<W: Display + Send + 'static>(
        &mut self,
        name: &'static str,
        task: impl Future<Output = W> + Send + 'static,
    ) {
        // Within a task of its own, so that a panic is an answer like any other.
        let task = tokio::spawn(async move { task.await.to_string() });
        let abort = AbortOnDrop(task.abort_handle());
        self.0.spawn(async move {
            let _abort = abort;
            let why = task.await.unwrap_or_else(|error| {
                if error.is_panic() {
                    "it panicked".to_owned()
                } else {
                    "it was cancelled".to_owned()
                }
            });
            Ended { name, why }
        });
    }

    /// Waits for the first loop that ends.
    pub async fn first_ended(&mut self) -> Ended {
        match self.0.join_next().await {
            Some(Ok(ended)) => ended,
            Some(Err(error)) => Ended { name: "supervisor", why: error.to_string() },
            None => std::future::pending().await,
        }
    }
}

struct AbortOnDrop(tokio::task::AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_loop_that_returns_is_named_with_its_reason() {
        let mut tasks = Tasks::default();
        tasks.start("steady", std::future::pending::<String>());
        tasks.start("brittle", async { "the store is gone" });
        assert_eq!(
            tasks.first_ended().await.to_string(),
            "the background task brittle ended: the store is gone"
        );
    }

    #[tokio::test]
    async fn a_loop_that_panics_is_named_without_its_message() {
        let mut tasks = Tasks::default();
        tasks.start("loud", async {
            assert!(std::hint::black_box(false), "css_live_secret");
            "never"
        });
        let ended = tasks.first_ended().await.to_string();
        assert_eq!(ended, "the background task loud ended: it panicked");
    }

    #[tokio::test]
    async fn dropping_the_set_ends_the_loops() {
        let (alive, mut gone) = tokio::sync::oneshot::channel::<()>();
        let mut tasks = Tasks::default();
        tasks.start("steady", async move {
            let _alive = alive;
            std::future::pending::<String>().await
        });
        drop(tasks);
        assert!((&mut gone).await.is_err());
    }
}
