//! P8: a change whose future is dropped at any point is done or not done, and nothing stays open.

use std::future::Future;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use super::bench::*;
use crate::harness::following::replica_row;
use crate::harness::{Database, eventually};
use crate::on_both_databases;

/// A future that is over after so many polls, whether or not it is done.
struct CutAfter<'f, F> {
    inner: Pin<&'f mut F>,
    polls_left: usize,
}

impl<F: Future> Future for CutAfter<'_, F> {
    type Output = Option<F::Output>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if self.polls_left == 0 {
            return Poll::Ready(None);
        }
        self.polls_left -= 1;
        self.inner.as_mut().poll(context).map(Some)
    }
}

async fn cut_after<F: Future>(polls: usize, future: F) -> Option<F::Output> {
    CutAfter { inner: pin!(future), polls_left: polls }.await
}

on_both_databases! {
    async fn a_dropped_change_leaves_no_transaction_open(db: Database) {
        let bench = Bench::new(db).await;
        let mut complete = 0;
        for polls in 0.. {
            let id = format!("k{polls}");
            let outcome = cut_after(polls, create(&bench.store, &id)).await;
            no_transaction_is_open(&bench).await;
            // Every write after it works, and what was acknowledged is there.
            let next = format!("next-{polls}");
            let acknowledged = tokio::time::timeout(Duration::from_secs(10), create(&bench.store, &next)).await;
            acknowledged.expect("no lock is left behind").expect("creates");
            let again = bench.open_again().await;
            assert!(again.get_key(&next).await.expect("reads").is_some(), "an acknowledged write is lost");
            again.close().await;
            if let Some(created) = outcome {
                created.expect("creates");
                complete += 1;
                // How often it is polled is not the same each time.
                if complete == 10 {
                    break;
                }
            }
            assert!(polls < 10_000, "it never gets done");
        }
        bench.assert_log_is_right().await;
    }

    async fn many_dropped_changes_at_once_leave_nothing_half_done(db: Database) {
        let bench = Bench::new(db).await;
        let mut running = tokio::task::JoinSet::new();
        for number in 0..200 {
            let store = bench.store.clone();
            running.spawn(async move {
                let wait = Duration::from_micros(number * 97 % 7_000);
                let id = format!("k{number}");
                (tokio::time::timeout(wait, create(&store, &id)).await.ok(), id)
            });
        }
        while let Some(ended) = running.join_next().await {
            let (outcome, id) = ended.expect("no panic");
            if let Some(Ok(_)) = outcome {
                assert!(bench.key(&id).await.is_some(), "an acknowledged write is lost");
            }
        }
        create(&bench.store, "last").await.expect("the next change works");
        no_transaction_is_open(&bench).await;
        bench.assert_log_is_right().await;
    }
}

#[tokio::test]
async fn a_dropped_beat_leaves_no_transaction_open_and_no_answer_behind() {
    let bench = Bench::new(Database::Postgres).await;
    let store = bench.store.for_follower();
    store.register(&replica_row(&store, "r1", Duration::from_secs(1))).await.expect("registers");
    let (mut beat, mut complete) = (1, 0);
    for polls in (1..40).cycle() {
        beat += 2;
        let beaten = cut_after(polls, store.beat("r1", beat, 0, None)).await;
        complete += usize::from(beaten.is_some());
        // The next answer is one to the next question.
        assert!(store.beat("r1", beat + 1, 0, None).await.expect("beats"));
        assert_eq!(store.poll("r1", 0).await.expect("polls").beat, Some(beat + 1));
        if complete == 10 {
            break;
        }
        assert!(beat < 10_000, "it never gets done");
    }
    no_transaction_is_open(&bench).await;
}

async fn no_transaction_is_open(bench: &Bench) {
    if bench.is_sqlite() {
        // An open write transaction would hold the lock.
        return bench.sql("BEGIN IMMEDIATE; ROLLBACK").await;
    }
    let open = "SELECT state || ': ' || query FROM pg_stat_activity \
                WHERE datname = current_database() AND pid <> pg_backend_pid() AND state <> 'idle'";
    eventually("no transaction is open", Duration::from_secs(10), async || {
        bench.texts(open).await.is_empty()
    })
    .await;
}
