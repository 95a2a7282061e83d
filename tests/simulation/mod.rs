//! The lease-and-feed protocol on machines that freeze, die, lose touch, have wrong clocks, and on a database that
//! fails over: the real follower and the real waiter, in virtual time. Each seed is one run, and replays.
//!
//! A change runs from its COMMIT through `Log::everywhere`, which is all of the waiting: for its own replica, then for the
//! others. What `control` adds, the time until a deadline, is a number here.
//!
//! `make simulate SEEDS=N` runs more of them; `CSTEST_SEED=n` replays one.
//!
//! Not turmoil: the protocol stands on what clocks may differ by, so each machine needs a clock of its own, fast or
//! slow; and tokio's virtual time would have to be compiled into the server.

mod database;
mod executor;
mod feed;
mod oracle;
mod plan;
mod replica;
mod world;

use oracle::Tally;

const SEEDS: u64 = 500;

fn from_environment(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} must be a number, is {text}")))
}

#[test]
fn no_seed_breaks_a_promise() {
    let seeds = match from_environment("CSTEST_SEED") {
        Some(seed) => seed..seed + 1,
        None => 1..from_environment("CSTEST_SEEDS").unwrap_or(SEEDS) + 1,
    };
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get) as u64;
    let tallies = std::thread::scope(|scope| {
        let share = |thread: u64| {
            let seeds = seeds.clone().filter(move |seed| seed % threads == thread);
            move || seeds.map(run_one).fold(Tally::default(), Tally::plus)
        };
        let running: Vec<_> = (0..threads).map(|thread| scope.spawn(share(thread))).collect();
        let ended = running.into_iter().map(|one| {
            one.join().unwrap_or_else(|panic| {
                std::panic::resume_unwind(panic);
            })
        });
        ended.fold(Tally::default(), Tally::plus)
    });
    println!("{tallies:?}");
    if seeds.end - seeds.start >= 100 {
        tallies.demand_everything();
    }
}

fn run_one(seed: u64) -> Tally {
    plan::run(seed).unwrap_or_else(|broken| panic!("CSTEST_SEED={seed} breaks a promise: {broken}"))
}

#[test]
fn a_seed_replays() {
    assert_eq!(plan::run(7).expect("holds"), plan::run(7).expect("holds"));
}
