//! Promise P1 on the replica that serves: once the reply is there, no Verify that is sent after it
//! lets the key in. Eight tasks ask about the keys that are being ended, the whole time.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use countersign::rpc::proto::{DenialReason, VerifyResponse};
use futures::{StreamExt as _, stream};

use super::writes::Write;
use crate::harness::{Caller, Credential, Database, Minted, Server, key};
use crate::on_both_databases;

const KEYS: usize = 200;
const TASKS: usize = 8;
/// Asked about again and again: the one that is being ended, and so many that just were.
const JUST_ENDED: usize = 3;

on_both_databases! {
    async fn no_verify_after_the_reply_lets_a_revoked_key_in(db: Database) {
        let revoke = |key_id: String| Write::Revoke { key_id };
        end_one_after_another(db, revoke, DenialReason::Revoked).await;
    }

    async fn no_verify_after_the_reply_lets_a_disabled_key_in(db: Database) {
        let disable = |key_id: String| Write::Disable { key_id };
        end_one_after_another(db, disable, DenialReason::Disabled).await;
    }

    async fn no_verify_after_the_reply_lets_an_expired_secret_in(db: Database) {
        let expire = |key_id: String| Write::ExpireSecret { key_id, number: 1 };
        end_one_after_another(db, expire, DenialReason::SecretExpired).await;
    }

    async fn no_verify_after_the_reply_lets_a_secret_in_that_was_rotated_without_overlap(db: Database) {
        let rotate = |key_id: String| {
            Write::Rotate { key_id, overlap: Duration::ZERO, request_id: String::new() }
        };
        end_one_after_another(db, rotate, DenialReason::SecretExpired).await;
    }
}

/// What the tasks share: all keys, how many of them have ended, and what was seen of that.
struct Ending {
    credentials: Vec<Credential>,
    reason: DenialReason,
    /// Grows only after the reply.
    ended: AtomicUsize,
    over: AtomicBool,
    allowed: AtomicUsize,
    denied: AtomicUsize,
}

async fn end_one_after_another(db: Database, end: fn(String) -> Write, reason: DenialReason) {
    // Without tracing every request, there are more of them.
    let server = Server::on(db).await.with_env("COUNTERSIGN_LOG", "info").start().await;
    let admin = server.as_admin().await;
    let minting = stream::iter(0..KEYS).map(|_| admin.mint(key("acme", "billing")));
    let minted: Vec<Minted> = minting.buffered(TASKS).collect().await;
    let credentials = minted.into_iter().map(|minted| minted.credential).collect();
    let ending = Arc::new(Ending {
        credentials,
        reason,
        ended: AtomicUsize::new(0),
        over: AtomicBool::new(false),
        allowed: AtomicUsize::new(0),
        denied: AtomicUsize::new(0),
    });
    let mut tasks = Vec::new();
    for _ in 0..TASKS {
        let caller = server.caller(None).await;
        tasks.push(tokio::spawn(Arc::clone(&ending).ask(caller)));
    }
    for (number, credential) in ending.credentials.iter().enumerate() {
        assert!(admin.verify(credential).await.allowed, "key {number} has not ended yet");
        let write = end(credential.key_id.clone());
        let reply = write.send(&admin).await;
        reply.unwrap_or_else(|status| panic!("{write:?}: {status}"));
        ending.ended.store(number + 1, Ordering::SeqCst);
    }
    ending.over.store(true, Ordering::SeqCst);
    for task in tasks {
        task.await.expect("no key is let in after its end");
    }
    let (allowed, denied) =
        (ending.allowed.load(Ordering::SeqCst), ending.denied.load(Ordering::SeqCst));
    assert!(denied >= KEYS, "the tasks asked after the end only {denied} times");
    assert!(allowed > 0, "the tasks never asked before the end");
}

impl Ending {
    async fn ask(self: Arc<Self>, caller: Caller) {
        while !self.over.load(Ordering::SeqCst) {
            let frontier = self.ended.load(Ordering::SeqCst);
            let first = frontier.saturating_sub(JUST_ENDED);
            for number in (first..=frontier).rev().filter(|number| *number < KEYS) {
                // Read before the question is sent.
                let has_ended = number < self.ended.load(Ordering::SeqCst);
                let answer = caller.verify(&self.credentials[number]).await;
                self.judge(number, has_ended, &answer);
            }
        }
    }

    fn judge(&self, number: usize, has_ended: bool, answer: &VerifyResponse) {
        let counted = if answer.allowed { &self.allowed } else { &self.denied };
        counted.fetch_add(1, Ordering::SeqCst);
        if has_ended {
            assert!(!answer.allowed, "key {number} was let in after its end was acknowledged");
        }
        let reason = if answer.allowed { DenialReason::Unspecified } else { self.reason };
        assert_eq!(answer.denial_reason(), reason, "key {number}");
    }
}
