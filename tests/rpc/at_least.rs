//! `VerifyRequest.at_least`: answers that are not from before a state that the caller knows.

use std::time::Duration;

use countersign::domain::token::{LogPosition, PositionKind};
use countersign::rpc::proto::batch_verify_response::result::Result as Entry;
use countersign::rpc::proto::{
    BatchVerifyRequest, DisableKeyRequest, EnableKeyRequest, VerifyRequest, VerifyResponse, Wait,
};
use tonic::{Code, Status};

use super::batch_verify::{about, status};
use super::refusal::{invalid, refused};
use crate::harness::replicas::Told;
use crate::harness::{Caller, Credential, Database, Minted, Replicas, Server, key};
use crate::on_both_databases;

async fn ask(
    caller: &Caller,
    credential: &Credential,
    at_least: &str,
) -> Result<VerifyResponse, Status> {
    let request = VerifyRequest { at_least: at_least.to_owned(), ..VerifyRequest::default() };
    caller.try_verify(credential, request).await
}

fn position(token: &str) -> LogPosition {
    LogPosition::decode(PositionKind::ConsistencyToken, token).expect("a token")
}

/// Another token than this one.
fn other(token: &str, change: impl FnOnce(&mut LogPosition)) -> String {
    let mut position = position(token);
    change(&mut position);
    position.encode(PositionKind::ConsistencyToken)
}

/// A revision that no log of these tests ever has.
pub fn of_the_future(token: &str) -> String {
    other(token, |position| position.revision += 1_000)
}

/// What that state is answered with: this replica has not come there.
pub async fn behind(caller: &Caller, minted: &Minted) -> Status {
    let token = caller.verify(&minted.credential).await.consistency_token;
    let answer = ask(caller, &minted.credential, &of_the_future(&token)).await;
    answer.expect_err("nobody has come there")
}

/// What a change is answered with that a later epoch went on without. A change that it kept is known.
pub async fn lost(database: Database) -> Status {
    let mut server = Server::start(database).await;
    let admin = server.as_admin().await;
    let minted = admin.mint(key("acme", "billing")).await;
    let kept = admin.verify(&minted.credential).await.consistency_token;
    assert!(server.sigterm().success());
    server.store().command(["store", "accept", "--yes"]).run().succeeded();
    let server = server.restart().await;
    let admin = server.as_admin().await;
    let answer = ask(&admin, &minted.credential, &kept).await.expect("it was kept");
    assert!(answer.allowed);
    let (before, after) = (position(&kept), position(&answer.consistency_token));
    assert_eq!((before.epoch, after.epoch), (1, 2));
    assert_eq!(before.revision + 1, after.revision, "an event begins the new epoch");
    let next = other(&kept, |position| position.revision += 1);
    refused(
        ask(&admin, &minted.credential, &next).await,
        Code::FailedPrecondition,
        "POSITION_LOST",
    );
    let beyond = of_the_future(&kept);
    ask(&admin, &minted.credential, &beyond).await.expect_err("it was lost")
}

on_both_databases! {
    async fn a_change_that_was_lost_is_said_to_be(db: Database) {
        refused::<()>(Err(lost(db).await), Code::FailedPrecondition, "POSITION_LOST");
    }

    async fn what_is_known_is_answered_at_once_and_what_can_never_be_is_refused(db: Database) {
        let server = Server::start(db).await;
        let admin = server.as_admin().await;
        let minted = admin.mint(key("acme", "billing")).await;
        let credential = &minted.credential;
        let token = admin.verify(credential).await.consistency_token;
        let answer = ask(&admin, credential, &token).await.expect("that is where we are");
        assert!(answer.allowed);
        assert_eq!(answer.consistency_token, token);
        let first = other(&token, |position| position.revision = 1);
        assert!(ask(&admin, credential, &first).await.expect("long ago").allowed);

        let elsewhere = other(&token, |position| position.store.0[0] ^= 1);
        invalid(ask(&admin, credential, &elsewhere).await, "at_least", "another store");
        let cursor = admin.events("").await.unwrap().remove(0).cursor;
        for malformed in ["x", "=", &token[1..], &cursor, &"A".repeat(10_000)] {
            invalid(ask(&admin, credential, malformed).await, "at_least", "a consistency_token");
        }

        for ahead in [of_the_future(&token), other(&token, |position| position.epoch += 1)] {
            let answer = ask(&admin, credential, &ahead).await;
            let refusal = refused(answer, Code::Unavailable, "REPLICA_BEHIND");
            assert!(refusal.retry_delay().is_some_and(|delay| delay > Duration::ZERO));
        }
    }

    async fn each_entry_of_a_batch_has_its_own(db: Database) {
        let server = Server::start(db).await;
        let admin = server.as_admin().await;
        let minted = admin.mint(key("acme", "billing")).await;
        let token = admin.verify(&minted.credential).await.consistency_token;
        let entry = |at_least: &str| {
            let presented = about(&minted.credential).presented;
            VerifyRequest { presented, at_least: at_least.to_owned(), ..VerifyRequest::default() }
        };
        let elsewhere = other(&token, |position| position.store.0[0] ^= 1);
        let tokens = [&token, &of_the_future(&token), "", "x", &elsewhere, &token];
        let requests = tokens.iter().map(|token| entry(token)).collect();
        let reply = admin.verifier().batch_verify(BatchVerifyRequest { requests }).await;
        let results = reply.expect("a batch is answered").into_inner().results;
        let results: Vec<Entry> = results.into_iter().filter_map(|one| one.result).collect();
        assert_eq!(results.len(), 6);
        for allowed in [0, 2, 5] {
            assert!(matches!(&results[allowed], Entry::Response(reply) if reply.allowed), "{allowed}");
        }
        refused::<()>(Err(status(&results[1])), Code::Unavailable, "REPLICA_BEHIND");
        invalid::<()>(Err(status(&results[3])), "at_least", "a consistency_token");
        invalid::<()>(Err(status(&results[4])), "at_least", "another store");
    }

    async fn a_state_that_comes_while_it_is_waited_for_is_answered(db: Database) {
        let server = Server::start(db).await;
        let admin = server.as_admin().await;
        let minted = admin.mint(key("acme", "billing")).await;
        // It waits for a second, which a busy machine may let pass.
        let comes = async || {
            let token = admin.verify(&minted.credential).await.consistency_token;
            let next = other(&token, |position| position.revision += 1);
            let one = minted.key.key_id.clone();
            let asked = ask(&admin, &minted.credential, &next);
            let (answer, changed) = tokio::join!(asked, async {
                if admin.get(&one).await.unwrap().state == 1 {
                    admin.disable(&one).await.map(drop)
                } else {
                    admin.enable(&one).await.map(drop)
                }
            });
            changed.expect("the change is made");
            answer.ok().map(|answer| {
                let reached = position(&answer.consistency_token).revision;
                assert!(reached >= position(&next).revision, "from before it: {reached}");
            })
        };
        crate::harness::eventually("it comes in time", Duration::from_secs(60), comes).await;
    }
}

/// Without the token, the other replica may know of a change or not. With it, it always does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_names_a_change_is_answered_from_it_everywhere() {
    // By looking alone, a change takes up to 200 ms to the other.
    let replicas = Replicas::start(2, Told::default().database_listen(false)).await;
    let (here, there) = (replicas[0].caller(), replicas[1].caller());
    let minted = here.mint(key("acme", "billing")).await;
    let (key_id, wait) = (&minted.key.key_id, Wait::None.into());
    for _ in 0..10 {
        let request = DisableKeyRequest { key_id: key_id.clone(), wait, ..Default::default() };
        let off = here.admin().disable_key(request).await.unwrap().into_inner().consistency_token;
        let answer = ask(&there, &minted.credential, &off).await.expect("it comes there");
        assert!(!answer.allowed, "from before the change");
        let request = EnableKeyRequest { key_id: key_id.clone(), wait, ..Default::default() };
        let on = here.admin().enable_key(request).await.unwrap().into_inner().consistency_token;
        let presented = about(&minted.credential).presented;
        let entry = VerifyRequest { presented, at_least: on, ..VerifyRequest::default() };
        let batch = BatchVerifyRequest { requests: vec![entry] };
        let results = there.verifier().batch_verify(batch).await.unwrap().into_inner().results;
        let allowed = matches!(&results[0].result, Some(Entry::Response(reply)) if reply.allowed);
        assert!(allowed, "{results:?}");
    }
}
