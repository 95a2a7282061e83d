//! One run: three machines, an administrator, and what goes wrong, all of it drawn from the seed.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::database::Database;
use super::executor::Runner;
use super::oracle::{Oracle, Tally};
use super::replica::{Disk, Replica};
use super::world::{Call, Host, Server, World};
use crate::harness::seeded::Random;

/// For so long things go wrong.
const TROUBLE: Duration = Duration::from_secs(20);
/// After that they have so long to recover: the longest lease twice, for rows to be swept, and a little more.
const RECOVERY: Duration = Duration::from_secs(10);
/// Leases in milliseconds; each process draws its own.
const LEASES: [u64; 4] = [600, 1_000, 1_500, 3_000];
const LONGEST_LEASE: Duration = Duration::from_secs(3);
const MACHINES: usize = 3;
const HOUR: i64 = 3_600_000_000;

/// A machine and the process that runs on it.
struct Machine {
    disk: Disk,
    replica: Arc<Replica>,
}

struct Run {
    world: Arc<World>,
    oracle: Arc<Oracle>,
    machines: Vec<Machine>,
    processes: usize,
    keys: usize,
    /// The first server's database as it was, for a standby that lags behind.
    past: Vec<Database>,
    /// From when on an operator has accepted what was lost.
    accept_at: Option<Duration>,
}

/// Runs one seed; the error says what was broken.
pub fn run(seed: u64) -> Result<Tally, String> {
    let world = World::new(Random::from_seed(seed));
    let mut runner = Runner::of(world.executor.clone());
    let oracle = Arc::new(Oracle::default());
    let mut run = Run {
        world,
        oracle,
        machines: Vec::new(),
        processes: 0,
        keys: 0,
        past: Vec::new(),
        accept_at: None,
    };
    for number in 0..MACHINES {
        let disk = Disk::default();
        let replica = run.start(number, &disk);
        run.machines.push(Machine { disk, replica });
    }
    let mut now = Duration::ZERO;
    while now < TROUBLE {
        now += run.world.up_to_ms(120);
        runner.run_until(now);
        run.past.push(run.world.inner().servers[0].clone());
        run.revoke_one();
        if run.world.below(3) == 0 {
            run.trouble(now);
        }
        run.operate(now);
    }
    run.heal();
    for _ in 0..10 {
        now += RECOVERY / 10;
        runner.run_until(now);
        run.operate(now);
    }
    // A message can still be late, and the shortest lease be over for a moment.
    let mut recovered = run.recovered();
    for _ in 0..50 {
        if recovered.is_ok() {
            break;
        }
        now += Duration::from_millis(100);
        runner.run_until(now);
        recovered = run.recovered();
    }
    let tally = run.oracle.verdict()?;
    recovered.map(|()| tally)
}

impl Run {
    fn start(&mut self, number: usize, disk: &Disk) -> Arc<Replica> {
        self.processes += 1;
        let id = format!("{:032x}", self.processes);
        let index = usize::try_from(self.world.below(4)).expect("small");
        let lease = Duration::from_millis(LEASES[index]);
        let host = Host::new(&self.world, number);
        Replica::start(host, id, lease, disk.clone(), &self.oracle)
    }

    fn restart(&mut self, number: usize) {
        let disk = self.machines[number].disk.clone();
        self.machines[number].replica = self.start(number, &disk);
    }

    fn one(&self) -> usize {
        usize::try_from(self.world.below(MACHINES as u64)).expect("small")
    }

    /// Something through the administrator's door of one of them.
    fn revoke_one(&mut self) {
        let replica = Arc::clone(&self.machines[self.one()].replica);
        if replica.host.is_dead() {
            return;
        }
        self.keys += 1;
        let key_id = format!("key-{}", self.keys);
        self.oracle.announce(&key_id);
        let patience = Duration::from_millis([50, 300, 1_200, 5_000][self.keys % 4]);
        replica.host.spawn(Arc::clone(&replica).revoke(key_id, patience));
    }

    fn trouble(&mut self, now: Duration) {
        let number = self.one();
        let host = Arc::clone(&self.machines[number].replica.host);
        let (world, executor) = (Arc::clone(&self.world), self.world.executor.clone());
        let lasts = match self.world.below(3) {
            0 => self.world.up_to_ms(4_000),
            _ => self.world.up_to_ms(700),
        };
        match self.world.below(16) {
            0..=2 if !host.is_frozen() => {
                host.freeze(true);
                executor.clone().spawn(async move {
                    executor.sleep(lasts).await;
                    host.freeze(false);
                });
            }
            3 | 4 => world.inner().links.entry(number).or_default().cut_until = now + lasts,
            5 => {
                let loses = [0, 0, 3, 8][usize::try_from(self.world.below(4)).expect("small")];
                world.inner().links.entry(number).or_default().loses_one_in = loses;
            }
            6 => {
                host.kill();
                self.restart(number);
            }
            7 | 8 => {
                self.machines[number].replica.stop();
                self.restart(number);
            }
            9 => world.inner().silent_until = now + lasts.min(Duration::from_millis(1_500)),
            10 => {
                let off = [-HOUR, 0, HOUR][usize::try_from(self.world.below(3)).expect("small")];
                host.wall_clock.store(off, Ordering::Relaxed);
            }
            11 => {
                let off = [-HOUR, 0, HOUR][usize::try_from(self.world.below(3)).expect("small")];
                world.inner().database_clock = off;
            }
            12 => self.fail_over(now),
            13..=15 => self.lead(number),
            _ => {}
        }
    }

    /// The standby takes over, once. It has everything that was confirmed, or it lags behind. Some connections still
    /// lead to the old server for a while, which answers them as if nothing had happened.
    fn fail_over(&mut self, now: Duration) {
        if self.world.inner().primary == Server::Second {
            return;
        }
        let lags = self.world.below(2) == 0;
        let lag = usize::try_from(1 + self.world.below(6)).expect("small");
        let mut inner = self.world.inner();
        let present = inner.servers[0].clone();
        let standby = match lags {
            true => self.past.iter().rev().nth(lag).cloned().unwrap_or(present),
            false => present,
        };
        let kept: std::collections::HashSet<_> =
            standby.events.iter().map(|logged| logged.leaf_hash).collect();
        let lost = inner.servers[0].revision() > standby.revision();
        inner.servers[1] = standby;
        (inner.primary, inner.first_is_deposed) = (Server::Second, true);
        drop(inner);
        for number in 0..MACHINES {
            self.lead(number);
        }
        if lags {
            // A standby that lags may have lost rows too, so nothing is promised for one lease.
            self.oracle.lost(|leaf| kept.contains(leaf), now + LONGEST_LEASE);
        }
        if lost {
            self.accept_at = Some(now + self.world.up_to_ms(5_000));
        }
    }

    /// As long as the old server is not switched off, connections of a machine may still lead there, or again: none of
    /// them, all, or one kind but not another.
    fn lead(&self, number: usize) {
        let mixed = self.world.below(3);
        let to_first: [bool; Call::KINDS] = std::array::from_fn(|_| match mixed {
            0 => false,
            1 => true,
            _ => self.world.below(2) == 0,
        });
        let mut inner = self.world.inner();
        if inner.first_is_deposed && !inner.first_is_fenced {
            inner.links.entry(number).or_default().leads_to_first = to_first;
        }
    }

    /// What an operator does.
    fn operate(&mut self, now: Duration) {
        if self.accept_at.is_some_and(|at| now >= at) {
            self.accept_at = None;
            let clock = self.world.database_now();
            self.world.inner().servers[1].accept(clock);
        }
        // Or accepts though nothing was lost, which is no loss either: the log goes on in another epoch.
        if self.world.below(100) == 0 {
            let clock = self.world.database_now();
            let mut inner = self.world.inner();
            let primary = inner.primary as usize;
            inner.servers[primary].accept(clock);
        }
        // The old server is found and switched off.
        if self.world.below(60) == 0 {
            let mut inner = self.world.inner();
            inner.first_is_fenced = inner.first_is_deposed;
            for link in inner.links.values_mut() {
                link.leads_to_first = Default::default();
            }
        }
    }

    fn heal(&mut self) {
        {
            let mut inner = self.world.inner();
            inner.links.clear();
            inner.first_is_fenced = inner.first_is_deposed;
            inner.loads_fail_one_in = 0;
            inner.silent_until = Duration::ZERO;
        }
        for machine in &self.machines {
            machine.replica.host.freeze(false);
        }
        self.accept_at = self.accept_at.map(|_| Duration::ZERO);
    }

    /// Every process answers again, from the end of the log; no row is left but theirs.
    fn recovered(&self) -> Result<(), String> {
        let inner = self.world.inner();
        let database = &inner.servers[inner.primary as usize];
        for machine in &self.machines {
            let replica = &machine.replica;
            let (stands, end) = (replica.stands(), (true, database.epoch, database.revision()));
            if stands != end {
                let number = replica.host.number;
                return Err(format!(
                    "machine {number} does not answer from the end: {stands:?}, not {end:?}"
                ));
            }
        }
        if database.rows.len() != self.machines.len() {
            return Err(format!("rows were left behind: {:?}", database.rows.keys()));
        }
        Ok(())
    }
}
