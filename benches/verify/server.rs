//! Servers as child processes on the servers' core.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::cpu::{self, stay_on};
use crate::empty::Runtime;

/// How long a server may take to be ready, with ten million keys.
const READY_WITHIN: Duration = Duration::from_secs(900);

/// A running server; dropping it ends it.
pub(crate) struct Server {
    process: Child,
    /// Where it speaks gRPC, or its own protocol.
    pub(crate) address: SocketAddr,
    /// From its start to its word that it is ready.
    pub(crate) ready: Duration,
}

impl Server {
    /// Our server on a folder, as a user starts it.
    pub(crate) fn ours(dir: &Path, more: &[&str]) -> Self {
        Self::ours_with(dir, more, &[])
    }

    /// The same, with some variables of the environment.
    pub(crate) fn ours_with(dir: &Path, more: &[&str], variables: &[(&str, String)]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_countersign"));
        command.arg("serve").args(["--listen", "127.0.0.1:0", "--http-listen", "127.0.0.1:0"]);
        command.arg("--data-dir").arg(dir).args(more);
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("OTEL_")) {
            command.env_remove(name);
        }
        command.envs(variables.iter().map(|(name, value)| (name, value)));
        Self::started(command, &dir.join("server.log"))
    }

    /// The empty handler.
    pub(crate) fn empty(runtime: Runtime, dir: &Path) -> Self {
        let mut command = Command::new(std::env::current_exe().expect("our own path"));
        command.args(["empty", "--runtime"]);
        command.arg(match runtime {
            Runtime::Current => "current",
            Runtime::Multi => "multi",
            Runtime::MultiOfOne => "multi-of-one",
        });
        Self::started(command, &dir.join("empty.log"))
    }

    /// A program that prints `gRPC <address>` and then `ready`; it inherits the servers' core.
    pub(crate) fn started(mut command: Command, log: &Path) -> Self {
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("COUNTERSIGN_")) {
            command.env_remove(name);
        }
        let log = File::create(log).expect("a log");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log);
        let began = Instant::now();
        let mut process = on_the_servers_core(|| command.spawn()).expect("starts");
        let mut lines = BufReader::new(process.stdout.take().expect("piped")).lines();
        let mut address = None;
        loop {
            assert!(began.elapsed() < READY_WITHIN, "the server is not ready");
            let line = lines.next().expect("the server ended before it was ready").expect("text");
            if let Some(text) = line.trim().strip_prefix("gRPC") {
                address = Some(text.trim().parse().expect("an address"));
            }
            if line.trim() == "ready" {
                break;
            }
        }
        let ready = began.elapsed();
        // Reads on, so that the server never meets a closed pipe.
        std::thread::spawn(move || lines.for_each(drop));
        Self { process, address: address.expect("it says where it is"), ready }
    }

    /// One that says nothing, once it takes connections.
    pub(crate) fn silent(mut command: Command, address: SocketAddr) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::null());
        let began = Instant::now();
        let process = on_the_servers_core(|| command.spawn()).expect("starts");
        while std::net::TcpStream::connect(address).is_err() {
            assert!(began.elapsed() < Duration::from_secs(20), "nobody listens on {address}");
            std::thread::sleep(Duration::from_millis(5));
        }
        Self { process, address, ready: began.elapsed() }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Waits until it does next to nothing by itself any more: at its start our server holds the whole log against
    /// itself.
    pub(crate) fn settle(&self, limit: Duration) {
        let began = Instant::now();
        let slice = Duration::from_millis(500);
        let mut quiet = 0;
        while quiet < 3 {
            assert!(began.elapsed() < limit, "the server still works on its own after {limit:?}");
            let before = cpu::used(self.pid()).cpu_ns;
            std::thread::sleep(slice);
            let busy = cpu::used(self.pid()).cpu_ns - before;
            quiet = if Duration::from_nanos(busy) < slice / 50 { quiet + 1 } else { 0 };
        }
    }

    /// Ends it in order, as an operator would.
    pub(crate) fn terminate(mut self) {
        let pid = rustix::process::Pid::from_child(&self.process);
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let _ = self.process.wait();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Runs something, usually the start of a process, on the servers' core.
pub(crate) fn on_the_servers_core<T>(work: impl FnOnce() -> T) -> T {
    stay_on(cpu::SERVER);
    let done = work();
    stay_on(cpu::LOAD);
    done
}
