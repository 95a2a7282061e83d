//! Promise P6 with a standby that lacks what was acknowledged: every replica that knew of it notices, answers nothing
//! more, and says what was lost, until somebody accepts the loss.
//!
//! ```text
//!   revisions   1 … before ─┬─ lost, lost, lost          known to the replicas, and to nobody else
//!                           └─ others, others, …, tip    what the new primary says; beyond the lost ones in the end
//! ```

use countersign::rpc::proto::watch_audit_events_request::Start;
use countersign::rpc::proto::{
    DenialReason, ListAuditEventsRequest, VerifyRequest, Wait, WatchAuditEventsRequest,
};
use tonic::Code;

use super::load::Outcome;
use super::{SOON, mint};
use crate::durability::log::assert_log_is_right;
use crate::harness::failover::Pair;
use crate::harness::proxy::Direction;
use crate::harness::replicas::Told;
use crate::harness::server::Starting;
use crate::harness::{Caller, Credential, Replica, Replicas, eventually};
use crate::telemetry::page::Page;

const REPLICAS: usize = 3;
/// More than were lost, so that the new log has a revision wherever the old one had.
const WRITTEN_AFTER: usize = 12;

/// What is known of the log at one moment.
struct Known {
    revision: i64,
    cursor: String,
    consistency_token: String,
}

async fn known(caller: &Caller, good: &Credential) -> Known {
    let request = ListAuditEventsRequest { page_size: 1_000, ..Default::default() };
    let events = caller.admin().list_audit_events(request).await.expect("readable").into_inner();
    let newest = events.events.last().expect("there are events");
    let answer = caller.verify(good).await;
    Known {
        revision: newest.revision,
        cursor: newest.cursor.clone(),
        consistency_token: answer.consistency_token,
    }
}

async fn asked(replica: &Replica, credential: &Credential, at_least: &str) -> Outcome {
    let request = VerifyRequest { at_least: at_least.to_owned(), ..Default::default() };
    Outcome::of(replica.caller().anonymous().try_verify(credential, request).await)
}

/// What a watch that starts there says; it must say no.
async fn watch_from(replica: &Replica, cursor: &str) -> Code {
    let start = Some(Start::Cursor(cursor.to_owned()));
    let request = WatchAuditEventsRequest { start, ..Default::default() };
    let watch = replica.caller().admin().watch_audit_events(request).await;
    let said = match watch {
        Err(status) => Err(status),
        Ok(stream) => {
            let message = tokio::time::timeout(SOON, stream.into_inner().message()).await;
            message.expect("a watch says something")
        }
    };
    said.expect_err("the cursor is of a log that is no more").code()
}

async fn nothing_is_known(replica: &Replica, credential: &Credential) {
    eventually("a replica that knew what was lost answers nothing more", SOON, async || {
        asked(replica, credential, "").await.is_unavailable()
    })
    .await;
}

/// What whoever watches the metrics is told.
async fn says_forked(replica: &Replica, forked: bool, epoch: f64) {
    let wanted = (f64::from(u8::from(forked)), f64::from(u8::from(!forked)), epoch);
    Page::that(&replica.http(), "its page says how it stands", |page| {
        let forked = page.value("countersign_log_forked");
        (forked, page.value("countersign_ready"), page.value("countersign_log_epoch")) == wanted
    })
    .await;
}

/// That the alarm names each of these revisions.
async fn alarm_names(replica: &Replica, lost: std::ops::RangeInclusive<i64>) {
    eventually("the alarm names what was lost", SOON, async || {
        let log = replica.log();
        let alarms: Vec<&str> = log.lines().filter(|line| line.contains("ALARM")).collect();
        lost.clone().all(|revision| alarms.iter().any(|alarm| names(alarm, revision, &lost)))
    })
    .await;
}

/// One by one, or as the ends of a range.
fn names(alarm: &str, revision: i64, lost: &std::ops::RangeInclusive<i64>) -> bool {
    let numbers: Vec<i64> = alarm
        .split(|c: char| !c.is_ascii_digit())
        .filter_map(|digits| digits.parse().ok())
        .collect();
    numbers.contains(&revision) || (numbers.contains(lost.start()) && numbers.contains(lost.end()))
}

/// The bytes that the database has sent it.
fn polls_of(replica: &Replica) -> u64 {
    replica.network.carried(Direction::ToClient)
}

/// Starts it anew. It remembers what it knew before, so it answers nothing and does not call itself ready; whether it
/// ends over that, or waits until the loss is accepted, is its own affair.
async fn remembers(replica: &Replica) -> Starting {
    let said = || replica.log().matches("not ready: ").count();
    let said_before = said();
    let alarms = || replica.log().matches("ALARM").count();
    let before = alarms();
    let mut starting = replica.builder().begin();
    eventually("a replica that starts anew finds the fork", SOON, async || alarms() > before).await;
    let polls = polls_of(replica);
    eventually("it looks again, or has ended", SOON, async || {
        polls_of(replica) > polls || starting.has_ended()
    })
    .await;
    eventually("it says that it is not ready, or has ended", SOON, async || {
        said() > said_before || starting.has_ended()
    })
    .await;
    assert!(!starting.is_ready(), "it knows nothing and says that it is ready");
    starting
}

/// Accepts the loss, which takes a word of its own.
async fn accept(replica: &Replica, lost_from: i64) {
    let tip = |said: &str| said.to_lowercase().contains("epoch");
    let asked = replica.command(["store", "accept"]).run().failed();
    assert!(tip(&asked.stdout) || tip(&asked.stderr), "it says what it would do: {asked:?}");
    assert!(asked.stderr.contains("--yes"), "{asked:?}");
    let lost_from = lost_from.to_string();
    let accept = ["store", "accept", "--yes", "--lost-from", &lost_from];
    replica.command(accept).run().succeeded();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn lost_changes_are_noticed_by_every_replica_that_knew_of_them_until_they_are_given_up() {
    let mut pair = Pair::asynchronous().await;
    let told = Told::default().max_staleness("5s");
    let mut replicas = Replicas::on(pair.store().await, REPLICAS, told.clone()).await;
    let minted = mint(&replicas[0].caller(), 3).await;
    let [good, revoked_in_vain, revoked_before] = &minted[..] else { panic!("three keys") };
    replicas[0].revoke(&revoked_before.key_id, Wait::AllReplicas, SOON).await.expect("revokes");
    let before = known(&replicas[1].caller(), good).await;
    pair.standby_has_all().await;

    // From here on nothing reaches the standby.
    pair.replication.cut_off();
    let lost = mint(&replicas[1].caller(), 3).await;
    let reply = replicas[2].revoke(&revoked_in_vain.key_id, Wait::AllReplicas, SOON).await;
    reply.expect("acknowledged, as far as the primary knows");
    replicas.all_allow(&lost[2], SOON).await;
    let after = known(&replicas[0].caller(), good).await;
    let lost_revisions = before.revision + 1..=after.revision;

    pair.fail_over().await;
    for replica in replicas.each() {
        nothing_is_known(replica, good).await;
        alarm_names(replica, lost_revisions.clone()).await;
        let advice = format!("--lost-from {}`", lost_revisions.start());
        assert!(replica.log().contains(&advice), "the alarm says another number");
        says_forked(replica, true, 1.0).await;
    }

    // A server that never knew of the lost changes can't miss them: it is how the new log grows past the old one.
    let ignorant = replicas.add(&told).await;
    ignorant.start().await;
    let written = mint(&ignorant.caller(), WRITTEN_AFTER).await;
    let tip = known(&ignorant.caller(), good).await;
    assert!(tip.revision > after.revision + 1, "the numbers have caught up");
    // What is not there can't be waited for: each has polled since.
    for number in 0..REPLICAS {
        let replica = &replicas[number];
        let polls = polls_of(replica);
        eventually("it polls on", SOON, async || polls_of(replica) > polls).await;
        for credential in [good, &lost[0], &written[0], revoked_in_vain] {
            let outcome = asked(replica, credential, "").await;
            assert!(outcome.is_unavailable(), "replica {number} answers {outcome:?}");
        }
    }

    // Nor does it forget by being started anew.
    replicas[0].kill9();
    assert!(replicas[1].stop().await.0.success());
    let mut restarted = Vec::new();
    for number in 0..2 {
        restarted.push(remembers(&replicas[number]).await);
    }

    accept(&replicas[2], *lost_revisions.start()).await;
    for (number, mut starting) in restarted.into_iter().enumerate() {
        if starting.has_ended() {
            replicas[number].start().await;
        } else {
            eventually("it serves now", SOON, async || starting.is_ready()).await;
            replicas[number].take(starting.into_server());
        }
    }
    replicas.all_allow(good, SOON).await;
    for (number, replica) in replicas.each().enumerate() {
        says_forked(replica, false, 2.0).await;
        let of = |credential| asked(replica, credential, "");
        assert_eq!(
            of(&lost[0]).await,
            Outcome::Denied(DenialReason::InvalidCredential),
            "{number}"
        );
        assert_eq!(of(&written[0]).await, Outcome::Allowed, "{number}");
        assert_eq!(of(revoked_before).await, Outcome::Denied(DenialReason::Revoked), "{number}");
        assert_eq!(
            of(revoked_in_vain).await,
            Outcome::Allowed,
            "its revocation was lost: {number}"
        );

        let token = &before.consistency_token;
        assert_eq!(asked(replica, good, token).await, Outcome::Allowed, "known before the fork");
        let beyond = asked(replica, good, &after.consistency_token).await;
        assert!(matches!(beyond, Outcome::Failed(Code::FailedPrecondition, _)), "{beyond:?}");
        for cursor in [&before.cursor, &after.cursor] {
            assert_eq!(watch_from(replica, cursor).await, Code::OutOfRange, "{number}");
        }
        let newer = known(&replica.caller(), good).await;
        assert_eq!(asked(replica, good, &newer.consistency_token).await, Outcome::Allowed);
    }
    // Once accepted, it stays accepted.
    replicas[2].kill9();
    replicas[2].start().await;
    let reply = replicas[2].revoke(&revoked_in_vain.key_id, Wait::AllReplicas, SOON).await;
    reply.expect("changes are made in the new epoch");
    assert_log_is_right(&replicas.store).await;
}
