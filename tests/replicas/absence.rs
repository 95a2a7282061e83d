//! Promise P2: without its database a replica answers for `max_staleness`, and not for longer.
//!
//! A lease begins with a poll or with a beat, whichever ends it earlier, and beats come every quarter of it: so three
//! quarters are certain at any moment, and the whole is the most.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::load::{Call, Load, Outcome};
use super::{SOON, mint};
use crate::harness::replicas::Told;
use crate::harness::{Proxy, Replicas};

const MAX_STALENESS: Duration = Duration::from_secs(10);
const SHORT: Duration = Duration::from_secs(4);
const LONG: Duration = Duration::from_secs(20);

type Take = fn(&Proxy);

/// How a database can be gone: one kind for each replica.
const KINDS: [(&str, Take); 3] =
    [("held up", Proxy::cut_off), ("refused", Proxy::refuse), ("thrown away", Proxy::go_silent)];

/// Calls between two moments, by when they were sent.
fn sent(calls: &[Call], replica: usize, from: Instant, to: Instant) -> impl Iterator<Item = &Call> {
    calls
        .iter()
        .filter(move |call| call.replica == replica && from <= call.sent && call.answered <= to)
}

/// Takes the database from all replicas for so long; gives the moments after it went and before it came back.
async fn gone(replicas: &Replicas, duration: Duration) -> (Instant, Instant) {
    for (replica, (_, take)) in replicas.each().zip(KINDS) {
        take(&replica.network);
    }
    let went = Instant::now();
    tokio::time::sleep(duration).await;
    let back = Instant::now();
    replicas.each().for_each(|replica| replica.network.heal());
    (went, back)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_rides_out_a_short_absence_and_is_silent_in_a_long_one() {
    let replicas = Replicas::start(KINDS.len(), Told::default().max_staleness("10s")).await;
    let replicas = Arc::new(replicas);
    let minted = mint(&replicas[0].caller(), 2).await;
    replicas.all_allow(&minted[1], SOON).await;
    let load = Load::on(&replicas, &minted[0]).await;
    let began = Instant::now();

    let (short_went, short_end) = gone(&replicas, SHORT).await;
    // Its leases are full again once each replica has beaten since.
    tokio::time::sleep(MAX_STALENESS / 2).await;
    let (went, back) = gone(&replicas, LONG).await;
    replicas.all_allow(&minted[1], SOON).await;
    let calls = load.stop().await;

    for (replica, (kind, _)) in KINDS.iter().enumerate() {
        let meanwhile = sent(&calls, replica, short_went, short_end).count();
        assert!(meanwhile > 100, "{kind}: only {meanwhile} calls while the database was gone");
        let failed: Vec<_> = sent(&calls, replica, began, went)
            .filter(|call| call.outcome != Outcome::Allowed)
            .collect();
        assert!(
            failed.is_empty(),
            "{kind}: calls failed in a short absence, or around it: {failed:#?}"
        );

        let certain = went + MAX_STALENESS * 3 / 4 - Duration::from_millis(500);
        let early =
            sent(&calls, replica, went, certain).find(|call| call.outcome != Outcome::Allowed);
        assert!(early.is_none(), "{kind}: silent too early: {early:?}");
        let late: Vec<_> = sent(&calls, replica, went + MAX_STALENESS, back).collect();
        assert!(late.len() > 100, "{kind}: only {} calls after the lease", late.len());
        let wrong = late.iter().find(|call| !call.outcome.is_unavailable());
        assert!(wrong.is_none(), "{kind}: after the lease nothing is known: {wrong:?}");

        let of_this = || calls.iter().filter(|call| call.replica == replica);
        let silent = of_this().find(|call| call.sent >= went && call.outcome.is_unavailable());
        let again = of_this().find(|call| call.sent >= back && call.outcome == Outcome::Allowed);
        let silent = silent.expect("the lease ended").sent - went;
        let again = again.expect("it serves again").answered - back;
        println!("{kind}: silent after {silent:?}, serving {again:?} after the database was back");
    }
    for replica in replicas.each() {
        replica.caller().mint(crate::harness::key("acme", "afterwards")).await;
    }
}
