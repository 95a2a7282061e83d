//! What a machine's wall clock shows plays no part: not in when a key expires, nor in for how long a replica answers,
//! nor in when a revocation holds everywhere.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use countersign::domain::Timestamp;
use countersign::rpc::proto::replica_outcome::State;
use countersign::rpc::proto::{DenialReason, Key, Wait};

use super::load::{Load, Outcome};
use super::{SOON, count, mint};
use crate::harness::replicas::Told;
use crate::harness::{Database, Replica, Replicas, Store, eventually, key, run};

const HOUR: i64 = 3_600;

/// What each replica's clock shows, in seconds from the right time. One begins right and jumps later.
const OFFSETS: [i64; 3] = [HOUR, -HOUR, 0];

fn in_seconds(seconds: i64) -> prost_types::Timestamp {
    let shifted = SystemTime::now() + Duration::from_secs(seconds.unsigned_abs());
    shifted.into()
}

/// The file that says how far a clock is off.
fn clock(folder: &Path, number: usize) -> PathBuf {
    folder.join(format!("clock-{number}"))
}

/// Written beside and renamed: a clock is never read half.
fn set(clock: &Path, offset: i64) {
    let new = clock.with_extension("new");
    std::fs::write(&new, format!("{offset:+}\n")).expect("the run folder takes files");
    std::fs::rename(&new, clock).expect("the run folder takes files");
}

/// How far off the replica's clock was when it wrote the newest line of its log, in seconds.
fn shown(replica: &Replica) -> i64 {
    let log = replica.log();
    let mut times = log.lines().filter_map(|line| {
        let time = line.split_whitespace().next()?;
        Timestamp::parse_rfc3339(time).ok()
    });
    let newest = times.next_back().expect("the log has times").seconds_and_nanos().0;
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970");
    newest - i64::try_from(now.as_secs()).expect("before the end of time")
}

fn is_near(shown: i64, offset: i64) -> bool {
    (shown - offset).abs() < HOUR / 4
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clocks_that_are_an_hour_off_or_jump_by_one_change_nothing() {
    let folder = run::new_data_dir(&run::unique_name());
    let mut replicas = Replicas::none(Store::fresh(Database::Postgres).await);
    for (number, offset) in OFFSETS.into_iter().enumerate() {
        let clock = clock(&folder, number);
        set(&clock, offset);
        let told = Told::default().max_staleness("3s").wall_clock(&clock);
        replicas.add(&told).await.start().await;
        assert!(is_near(shown(&replicas[number]), offset), "its clock is what the test says");
    }
    let replicas = Arc::new(replicas);
    let good = mint(&replicas[0].caller(), 1).await.remove(0);
    replicas.all_allow(&good, SOON).await;
    let load = Load::on(&replicas, &good).await;

    // By each of them: one that ends in half an hour is good everywhere, one that ends now ends everywhere.
    for replica in replicas.each() {
        let until =
            |seconds| Key { expire_time: Some(in_seconds(seconds)), ..key("acme", "billing") };
        let lasting = replica.caller().mint(until(HOUR / 2)).await.credential;
        let ending = replica.caller().mint(until(2)).await.credential;
        replicas.all_allow(&lasting, SOON).await;
        eventually("a key that has expired is denied everywhere", SOON, async || {
            let answers = replicas.verify_everywhere(&ending).await;
            answers
                .into_iter()
                .all(|answer| Outcome::of(answer) == Outcome::Denied(DenialReason::Expired))
        })
        .await;
    }

    for jump in [HOUR, -HOUR, 0] {
        let jumping = &replicas[2];
        set(&clock(&folder, 2), jump);
        eventually("the clock has jumped", SOON, async || {
            // Something to log.
            let _ = jumping.rows().await;
            is_near(shown(jumping), jump)
        })
        .await;
        let revoked = mint(&jumping.caller(), 1).await.remove(0);
        let reply =
            jumping.revoke(&revoked.key_id, Wait::AllReplicas, SOON).await.expect("revokes");
        assert_eq!(count(&reply.replicas, State::Confirmed), OFFSETS.len(), "{:?}", reply.replicas);
        for answer in replicas.verify_everywhere(&revoked).await {
            assert_eq!(Outcome::of(answer), Outcome::Denied(DenialReason::Revoked));
        }
    }
    let calls = load.stop().await;
    let wrong: Vec<_> = calls.iter().filter(|call| call.outcome != Outcome::Allowed).collect();
    assert!(wrong.is_empty(), "{} of {} calls: {:?}", wrong.len(), calls.len(), wrong.first());
}
