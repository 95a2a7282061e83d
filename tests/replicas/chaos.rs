//! Promise P1 under any fault: after a reply of `WAIT_ALL_REPLICAS` without PENDING, no Verify sent later is allowed.
//!
//! ```text
//!   faults     each replica in turn healthy, then frozen | cut off | cut off one way | killed | stopped and started
//!   revokers   key after key by way of one replica after the other, until a reply has no PENDING ──► settled
//!   verifiers  every replica, all the time, keys around those that are being revoked
//! ```

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use countersign::rpc::proto::replica_outcome::State;
use countersign::rpc::proto::{DenialReason, VerifyRequest, Wait};
use tokio::task::JoinSet;
use tonic::Code;

use super::load::Outcome;
use super::{SOON, count, mint};
use crate::durability::log::assert_log_is_right;
use crate::harness::proxy::Direction;
use crate::harness::replicas::Told;
use crate::harness::seeded::Random;
use crate::harness::{Credential, Replica, Replicas};

const REPLICAS: usize = 3;
const REVOCATIONS: usize = 200;
/// Many, since each mostly waits: for a lease to end, or for its deadline.
const REVOKERS: usize = 24;
/// Callers of each replica. Those of a frozen one wait until it goes on.
const VERIFIERS: usize = 2;
/// Short, so that leases run out while a replica is frozen.
const MAX_STALENESS: &str = "3s";
/// What a revocation gets. With the shortest a frozen replica is still PENDING, with the longest its lease ends before.
const DEADLINES_MS: [u64; 3] = [400, 1_500, 8_000];
/// How long a frozen replica is frozen: three times its lease.
const FROZEN: Duration = Duration::from_secs(10);

/// A key that is going to be revoked, and when what was known of it.
struct Subject {
    credential: Credential,
    /// Before the first request to revoke it was sent: until then it is good.
    asked: OnceLock<Instant>,
    /// After a reply without PENDING had come: from then on it is allowed nowhere.
    settled: OnceLock<Instant>,
}

#[derive(Default, Debug)]
struct Tally {
    /// Replicas in replies, by their state.
    states: BTreeMap<&'static str, usize>,
    faults: BTreeMap<&'static str, usize>,
    failed_revocations: BTreeMap<String, usize>,
    /// Calls by what they came to, that were sent before a key was settled, and after.
    before: BTreeMap<String, usize>,
    after: BTreeMap<String, usize>,
    wrong: Vec<String>,
}

struct Chaos {
    replicas: Replicas,
    subjects: Vec<Subject>,
    /// The next one to revoke.
    next: AtomicUsize,
    over: AtomicBool,
    /// Whether each replica is at fault at this moment.
    at_fault: [AtomicBool; REPLICAS],
    tally: Mutex<Tally>,
}

enum Fault {
    Freeze,
    CutOff,
    CutOffTowards(Direction),
    Kill,
    Stop,
}

impl Fault {
    fn drawn(random: &mut Random) -> Self {
        match random.below(6) {
            0 => Self::Freeze,
            1 => Self::CutOff,
            2 => Self::CutOffTowards(Direction::ToServer),
            3 => Self::CutOffTowards(Direction::ToClient),
            4 => Self::Kill,
            _ => Self::Stop,
        }
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Freeze => "frozen",
            Self::CutOff => "cut off",
            Self::CutOffTowards(_) => "cut off one way",
            Self::Kill => "killed",
            Self::Stop => "stopped",
        }
    }

    /// Lets it happen, and undoes it after a while.
    async fn happen(&self, replica: &Replica, random: &mut Random) {
        let a_while = Duration::from_millis(1_000 + random.below(5_000));
        match self {
            Self::Freeze => {
                replica.freeze();
                tokio::time::sleep(FROZEN).await;
                replica.thaw();
            }
            Self::CutOff => {
                replica.network.cut_off();
                tokio::time::sleep(a_while).await;
                replica.network.heal();
            }
            Self::CutOffTowards(direction) => {
                replica.network.cut_off_towards(*direction);
                tokio::time::sleep(a_while).await;
                replica.network.heal();
            }
            Self::Kill => {
                replica.kill9();
                tokio::time::sleep(a_while / 4).await;
                replica.start().await;
            }
            Self::Stop => {
                let (status, _) = replica.stop().await;
                assert!(status.success(), "a server that is asked to stop does so in order");
                tokio::time::sleep(a_while / 4).await;
                replica.start().await;
            }
        }
    }
}

impl Chaos {
    fn tally(&self, change: impl FnOnce(&mut Tally)) {
        change(&mut self.tally.lock().unwrap());
    }

    fn is_over(&self) -> bool {
        self.over.load(Ordering::SeqCst)
    }

    /// One replica's fate: what is planned for it, and then anything until all is revoked.
    async fn fate(self: Arc<Self>, number: usize, planned: [Fault; 2], mut random: Random) {
        let mut planned = planned.into_iter();
        loop {
            let fault = match planned.next() {
                Some(fault) => fault,
                None if self.is_over() => break,
                None => Fault::drawn(&mut random),
            };
            self.at_fault[number].store(true, Ordering::SeqCst);
            fault.happen(&self.replicas[number], &mut random).await;
            self.at_fault[number].store(false, Ordering::SeqCst);
            self.tally(|tally| *tally.faults.entry(fault.name()).or_default() += 1);
            tokio::time::sleep(Duration::from_millis(1_000 + random.below(4_000))).await;
        }
    }

    /// Revokes one key after the other, each until it is settled; at that very moment every replica is asked.
    async fn revoke(self: Arc<Self>, mut random: Random) {
        let mut checks = JoinSet::new();
        loop {
            let number = self.next.fetch_add(1, Ordering::SeqCst);
            if number >= REVOCATIONS {
                break;
            }
            let _ = self.subjects[number].asked.set(Instant::now());
            let mut turn = number;
            while !self.settle(number, self.willing(turn), &mut random).await {
                turn += 1;
            }
            for replica in 0..REPLICAS {
                let chaos = Arc::clone(&self);
                checks.spawn(async move { chaos.verify(replica, &chaos.subjects[number]).await });
            }
            tokio::time::sleep(Duration::from_millis(random.below(400))).await;
        }
        checks.join_all().await;
    }

    /// Each replica has its share. An administrator whose server does not answer takes another one; so here, or all
    /// would wait for those that are frozen. Faults that begin later are met all the same.
    fn willing(&self, turn: usize) -> usize {
        let mut candidates = (turn..turn + REPLICAS).map(|turn| turn % REPLICAS);
        let healthy = candidates.find(|replica| !self.at_fault[*replica].load(Ordering::SeqCst));
        healthy.unwrap_or(turn % REPLICAS)
    }

    /// Asks once, and says whether nothing is PENDING.
    async fn settle(&self, number: usize, by: usize, random: &mut Random) -> bool {
        let subject = &self.subjects[number];
        let deadline =
            Duration::from_millis(*random.one_of(&DEADLINES_MS).expect("there are some"));
        let revoked =
            self.replicas[by].revoke(&subject.credential.key_id, Wait::AllReplicas, deadline);
        let reply = match revoked.await {
            Ok(reply) => reply,
            Err(status) => {
                let why = format!("{:?}: {}", status.code(), status.message());
                self.tally(|tally| *tally.failed_revocations.entry(why).or_default() += 1);
                // All may be at fault at once; that is no reason to ask as fast as one can.
                tokio::time::sleep(Duration::from_millis(100)).await;
                return false;
            }
        };
        let pending = count(&reply.replicas, State::Pending);
        if pending == 0 {
            subject.settled.set(Instant::now()).expect("one revoker for each key");
        }
        self.tally(|tally| {
            for (name, state) in [
                ("CONFIRMED", State::Confirmed),
                ("LEASE_EXPIRED", State::LeaseExpired),
                ("PENDING", State::Pending),
            ] {
                *tally.states.entry(name).or_default() += count(&reply.replicas, state);
            }
            if reply.replicas.is_empty() || count(&reply.replicas, State::Unspecified) > 0 {
                tally.wrong.push(format!("a reply says nothing: {:?}", reply.replicas));
            }
        });
        pending == 0
    }

    /// Verifies keys around those that are being revoked, until all is over.
    async fn hammer(self: Arc<Self>, replica: usize, mut random: Random) {
        while !self.is_over() {
            let around = self.next.load(Ordering::SeqCst) as u64 + random.below(30);
            let number = usize::try_from(around.saturating_sub(24)).expect("few keys");
            let number = number.min(REVOCATIONS - 1);
            self.verify(replica, &self.subjects[number]).await;
            tokio::time::sleep(Duration::from_millis(8)).await;
        }
    }

    /// One call, held against what was known when it was sent. It waits for its answer as long as that takes: a frozen
    /// replica answers when it goes on.
    async fn verify(&self, replica: usize, subject: &Subject) {
        let caller = self.replicas[replica].caller().anonymous();
        let settled = subject.settled.get().is_some();
        let answer = caller.try_verify(&subject.credential, VerifyRequest::default()).await;
        let was_asked = subject.asked.get().is_some();
        let outcome = Outcome::of(answer);
        let wrong = match &outcome {
            Outcome::Allowed => settled,
            Outcome::Denied(DenialReason::Revoked) => !was_asked,
            Outcome::Denied(_) => true,
            Outcome::Failed(..) => false,
        };
        let name = match &outcome {
            Outcome::Failed(Code::Unavailable, _) => "Unavailable".to_owned(),
            Outcome::Failed(code, message) => format!("{code:?}: {message}"),
            other => format!("{other:?}"),
        };
        self.tally(|tally| {
            if wrong {
                let key_id = &subject.credential.key_id;
                let text = format!("replica {replica}, {key_id}, settled {settled}: {outcome:?}");
                tally.wrong.push(text);
            }
            let side = if settled { &mut tally.after } else { &mut tally.before };
            *side.entry(name).or_default() += 1;
        });
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_verify_that_is_sent_after_a_settled_revocation_is_allowed() {
    let mut random = Random::seeded();
    let replicas = Replicas::start(REPLICAS, Told::default().max_staleness(MAX_STALENESS)).await;
    let minted = mint(&replicas[0].caller(), REVOCATIONS + 1).await;
    let (control, minted) = minted.split_last().expect("there are keys");
    replicas.all_allow(control, SOON).await;
    let subjects = minted.iter().map(|credential| Subject {
        credential: credential.clone(),
        asked: OnceLock::new(),
        settled: OnceLock::new(),
    });
    let chaos = Arc::new(Chaos {
        replicas,
        subjects: subjects.collect(),
        next: AtomicUsize::new(0),
        over: AtomicBool::new(false),
        at_fault: Default::default(),
        tally: Mutex::default(),
    });

    let (mut revokers, mut others) = (JoinSet::new(), JoinSet::new());
    // Each kind at least once, whatever the seed.
    let planned = [
        [Fault::Freeze, Fault::Stop],
        [Fault::CutOff, Fault::Freeze],
        [Fault::Kill, Fault::CutOffTowards(Direction::ToServer)],
    ];
    for (number, planned) in planned.into_iter().enumerate() {
        others.spawn(Arc::clone(&chaos).fate(number, planned, random.fork()));
        for _ in 0..VERIFIERS {
            others.spawn(Arc::clone(&chaos).hammer(number, random.fork()));
        }
    }
    for _ in 0..REVOKERS {
        revokers.spawn(Arc::clone(&chaos).revoke(random.fork()));
    }
    let began = Instant::now();
    revokers.join_all().await;
    println!("{REVOCATIONS} revocations in {:?}", began.elapsed());
    chaos.over.store(true, Ordering::SeqCst);
    others.join_all().await;

    chaos.replicas.all_allow(control, SOON).await;
    for subject in &chaos.subjects {
        for answer in chaos.replicas.verify_everywhere(&subject.credential).await {
            let reason = answer.expect("every replica serves again").denial_reason();
            assert_eq!(reason, DenialReason::Revoked);
        }
    }
    assert_log_is_right(&chaos.replicas.store).await;
    let tally = chaos.tally.lock().unwrap();
    println!("{tally:#?}");
    assert!(tally.wrong.is_empty(), "wrong answers: {:#?}", tally.wrong);
    for kind in ["CONFIRMED", "LEASE_EXPIRED", "PENDING"] {
        assert!(tally.states.get(kind).is_some_and(|n| *n > 0), "no replica was ever {kind}");
    }
    for kind in ["frozen", "cut off", "cut off one way", "killed", "stopped"] {
        assert!(tally.faults.contains_key(kind), "no replica was ever {kind}");
    }
    assert!(tally.after.get("Unavailable").is_some_and(|n| *n > 0), "no lease ever ended");
    let after: usize = tally.after.values().sum();
    assert!(after > 5 * REVOCATIONS, "only {after} calls came after a settled revocation");
}
