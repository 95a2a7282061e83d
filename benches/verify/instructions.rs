//! Instructions of a request, counted by callgrind: the steadiest figure on a machine with neighbours. Its processor
//! has no instructions for SHA-256, so an HMAC counts ten times what it takes.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::rc::Rc;
use std::time::Duration;

use crate::load::{Shape, Target, counted};
use crate::requests::Requests;
use crate::server::Server;
use crate::store::Sample;

/// Requests of the shorter of two runs; the longer has twice as many. Their difference has no start and no end.
const REQUESTS: usize = 2_000;

/// Counts the instructions of one request to a server that `command` starts. What callgrind wrote of the longer run
/// stays in the folder as `callgrind.out`.
pub(crate) fn of_one_request(
    command: impl Fn() -> Command,
    dir: &Path,
    requests: &Rc<Requests>,
    caller: Option<&Sample>,
) -> f64 {
    let [few, many] =
        [REQUESTS, 2 * REQUESTS].map(|count| of_so_many(&command(), dir, requests, caller, count));
    (many as f64 - few as f64) / REQUESTS as f64
}

fn of_so_many(
    program: &Command,
    dir: &Path,
    requests: &Rc<Requests>,
    caller: Option<&Sample>,
    count: usize,
) -> u64 {
    let out = dir.join("callgrind.out");
    let _ = fs::remove_file(&out);
    let mut command = Command::new("valgrind");
    command.args(["--tool=callgrind", "--instr-atstart=no"]);
    command.arg(format!("--callgrind-out-file={}", out.display()));
    command.arg(program.get_program()).args(program.get_args());
    let server = Server::started(command, &dir.join("callgrind.log"));
    let target = Target { address: server.address, pid: server.pid(), caller, sampled: false };
    let shape = Shape { connections: 8, streams: 10 };
    // Connections and caches before it counts; and what a server does for itself at its start.
    counted(target, shape, requests, 200);
    server.settle(Duration::from_secs(120));
    let control =
        Command::new("callgrind_control").args(["-i", "on", &server.pid().to_string()]).output();
    let control = control.expect("valgrind is missing: apt-get install valgrind");
    assert!(control.status.success(), "{}", String::from_utf8_lossy(&control.stderr));
    counted(target, shape, requests, count);
    server.terminate();
    let text = fs::read_to_string(&out).expect("callgrind wrote its figures");
    let totals = text.lines().find_map(|line| line.strip_prefix("totals: ")).expect("a total");
    totals.trim().parse().expect("a number")
}
