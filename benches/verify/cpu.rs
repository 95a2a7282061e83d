//! What the kernel says of a process: processor time, writes, memory; and which core a thread may use.

use std::fs;
use std::path::Path;

use rustix::thread::{CpuSet, sched_setaffinity};

/// The core of all servers.
pub(crate) const SERVER: usize = 0;
/// The core of the load.
pub(crate) const LOAD: usize = 1;

/// Puts the calling thread, and whatever it starts from now on, on one core.
pub(crate) fn stay_on(core: usize) {
    let mut cores = CpuSet::new();
    cores.set(core);
    sched_setaffinity(None, &cores).expect("this machine has two cores");
}

/// The cores of this machine, also those that this process may not use.
pub(crate) fn cores() -> usize {
    let cpus = fs::read_to_string("/proc/cpuinfo").expect("Linux");
    cpus.lines().filter(|line| line.starts_with("processor")).count()
}

/// What a process has used so far.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Used {
    /// Nanoseconds on a core, of all its threads that still live.
    pub(crate) cpu_ns: u64,
    /// Calls of write and its like. Sends on sockets count only as far as the kernel counts them here.
    pub(crate) writes: u64,
}

impl std::ops::Sub for Used {
    type Output = Self;

    fn sub(self, before: Self) -> Self {
        Self {
            cpu_ns: self.cpu_ns.saturating_sub(before.cpu_ns),
            writes: self.writes.saturating_sub(before.writes),
        }
    }
}

/// What a process has used so far, by the scheduler's own accounting: time that it waited for a core is not in it.
pub(crate) fn used(pid: u32) -> Used {
    let process = Path::new("/proc").join(pid.to_string());
    let threads = fs::read_dir(process.join("task")).expect("the server runs");
    let mut cpu_ns = 0;
    for thread in threads {
        let schedstat = thread.expect("a thread").path().join("schedstat");
        // A thread may have ended in between; then its time was small.
        let Ok(text) = fs::read_to_string(schedstat) else { continue };
        cpu_ns += first_number(&text);
    }
    let io = fs::read_to_string(process.join("io")).expect("the server is ours");
    let writes =
        io.lines().find_map(|line| line.strip_prefix("syscw: ")).expect("it counts writes");
    Used { cpu_ns, writes: first_number(writes) }
}

/// Nanoseconds on a core of the calling thread.
pub(crate) fn used_by_this_thread() -> u64 {
    first_number(&fs::read_to_string("/proc/thread-self/schedstat").expect("this runs on Linux"))
}

/// Memory of a process that is in RAM, and the most that ever was, in KiB.
pub(crate) fn resident_kib(pid: u32) -> (u64, u64) {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("the server runs");
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        first_number(line.expect("a size"))
    };
    (field("VmRSS:"), field("VmHWM:"))
}

fn first_number(text: &str) -> u64 {
    let number = text.split_whitespace().next().expect("a number");
    number.parse().expect("a number")
}
