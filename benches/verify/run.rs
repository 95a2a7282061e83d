//! One run: stores, servers, rounds, table.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::rc::Rc;
use std::time::Duration;

use clap::Args;

use crate::admin;
use crate::cpu;
use crate::empty::Runtime;
use crate::grid::{self, Item, Load};
use crate::instructions;
use crate::load::{Shape, Target};
use crate::redis;
use crate::replicas;
use crate::report::{Results, machine};
use crate::requests::{Kind, Requests};
use crate::server::Server;
use crate::store::{self, Filled};
use crate::telemetry::{Candidate, Candidates};

/// The number of keys that most figures are about.
const MANY: usize = 1_000_000;
/// The number of keys that fits into every cache.
const FEW: usize = 1_000;
/// Where the bars are measured.
const EIGHT_BY_TEN: Shape = Shape { connections: 8, streams: 10 };
/// What else is tried.
const SHAPES: [Shape; 3] = [
    Shape { connections: 1, streams: 1 },
    Shape { connections: 1, streams: 100 },
    Shape { connections: 64, streams: 10 },
];
/// The most time that a server gets to become quiet: at its start ours holds the log of all keys against itself.
const SETTLES_WITHIN: Duration = Duration::from_secs(1_800);
/// How often a server is started, one start after another, for the median: the first may find its file on the disk alone.
const STARTS: usize = 3;

/// How to measure.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Another number of keys beside 1,000 and the main one.
    #[arg(long)]
    keys: Option<usize>,
    /// The number of keys that most figures are about. The bars are meant for the default.
    #[arg(long, default_value_t = MANY)]
    main_keys: usize,
    /// How often each measurement is taken.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Seconds of one measurement.
    #[arg(long, default_value_t = 0.5)]
    seconds: f64,
    /// Only at 8 connections × 10 streams, and without what does not depend on the serving path.
    #[arg(long)]
    short: bool,
    /// Only measurements whose name contains this; for whoever looks for a fault.
    #[arg(long)]
    only: Option<String>,
    /// Only memory and start-up time.
    #[arg(long)]
    capacity: bool,
    /// An empty PostgreSQL database, for what replicas on one cost.
    #[arg(long)]
    postgres: Option<String>,
    /// Where the results go.
    #[arg(long, default_value = "target/bench/latest.json")]
    save: PathBuf,
}

/// Measures, saves and prints.
pub(crate) fn run(options: &Options) {
    let data = Path::new("target/bench-data");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let fill = |keys| store::sqlite(&runtime, data, keys);
    let (few, many, more) = (fill(FEW), fill(options.main_keys), options.keys.map(fill));
    cpu::stay_on(cpu::LOAD);

    let mut results = Results {
        machine: machine(),
        date: jiff::Timestamp::now().strftime("%Y-%m-%d %H:%M UTC").to_string(),
        rounds: options.rounds,
        costs: BTreeMap::new(),
        latencies: BTreeMap::new(),
        figures: BTreeMap::new(),
    };
    let mut start = |filled: &Filled, keys: usize| {
        eprint!("\r\x1b[2Kstarting the server with {} keys", called(keys));
        let mut times = Vec::new();
        let server = loop {
            let server = Server::ours(&filled.dir, &[]);
            times.push(server.ready.as_secs_f64());
            if times.len() == STARTS {
                break server;
            }
            server.terminate();
        };
        times.sort_by(f64::total_cmp);
        let ready = times[STARTS / 2];
        results.figures.insert(format!("seconds to ready, SQLite, {}", called(keys)), ready);
        eprint!("\r\x1b[2Kwaiting until the server with {} keys is quiet", called(keys));
        let (_, most) = cpu::resident_kib(server.pid());
        server.settle(SETTLES_WITHIN);
        eprint!("\r\x1b[2K");
        capacity(&mut results.figures, &server, most, keys);
        server
    };
    let few_server = start(&few, FEW);
    let many_server = start(&many, options.main_keys);
    let more_server = more.as_ref().zip(options.keys).map(|(filled, keys)| start(filled, keys));
    if !options.capacity {
        let scratch = tempfile::tempdir().expect("a temporary folder");
        let servers = Servers {
            current: Server::empty(Runtime::Current, scratch.path()),
            multi: Server::empty(Runtime::Multi, scratch.path()),
            multi_of_one: Server::empty(Runtime::MultiOfOne, scratch.path()),
            redis: redis::start(scratch.path(), options.main_keys),
            telemetry: Candidates::start(&runtime, data, FEW),
            few: (few_server, &few, FEW),
            many: (many_server, &many, options.main_keys),
            more: more_server.zip(more.as_ref()).zip(options.keys).map(|((s, f), k)| (s, f, k)),
        };
        servers.measure(options, &mut results);
        if !options.short {
            let (server, filled, _) = &servers.few;
            let writes = admin::writes_per_bare_commit(
                server.address,
                filled,
                options.rounds,
                Duration::from_secs(2),
            );
            let (ours, bare) = runtime.block_on(writes);
            let figures = &mut results.figures;
            figures.insert("admin writes a second, SQLite".to_owned(), ours);
            figures.insert("bare commits a second, SQLite".to_owned(), bare);
            figures.insert("admin writes per bare commit, SQLite".to_owned(), ours / bare);
        }
        if !options.short {
            count_instructions(servers, &mut results.figures);
        }
    }
    if let Some(url) = &options.postgres {
        let (keys, figures) = (options.main_keys, &mut results.figures);
        replicas::measure(&runtime, url, keys, &called(keys), figures);
    }
    results.write(&options.save);
    results.print();
}

/// Memory and start-up time of a server that has become quiet; `most` is what it had needed, in KiB, when it was ready.
fn capacity(figures: &mut BTreeMap<String, f64>, server: &Server, most: u64, keys: usize) {
    let name = called(keys);
    let (resident, _) = cpu::resident_kib(server.pid());
    figures.insert(format!("MiB resident when quiet, {name}"), resident as f64 / 1_024.0);
    figures.insert(format!("MiB resident at most until ready, {name}"), most as f64 / 1_024.0);
    // What a server with next to no keys has, it has for other reasons.
    if let Some(least) = figures.get(&format!("MiB resident when quiet, {}", called(FEW)))
        && keys > FEW
    {
        let bytes = resident as f64 * 1_024.0 - least * 1_024.0 * 1_024.0;
        figures.insert(format!("bytes per key, {name}"), bytes / (keys - FEW) as f64);
    }
}

struct Servers<'f> {
    current: Server,
    multi: Server,
    multi_of_one: Server,
    redis: Server,
    telemetry: Candidates,
    few: (Server, &'f Filled, usize),
    many: (Server, &'f Filled, usize),
    more: Option<(Server, &'f Filled, usize)>,
}

impl Servers<'_> {
    fn measure(&self, options: &Options, results: &mut Results) {
        let mut items = self.items(options.short);
        items.retain(|item| options.only.as_ref().is_none_or(|only| item.name.contains(only)));
        let duration = Duration::from_secs_f64(options.seconds);
        results.costs = grid::costs(&items, options.rounds, duration);
        let wanted = [
            "empty current-thread, 8×10",
            "empty multi-thread, 8×10",
            "ours, valid, 8×10",
            "ours, authenticated caller, 8×10",
        ];
        let chosen: Vec<_> =
            items.iter().filter(|item| wanted.contains(&item.name.as_str())).collect();
        results.latencies =
            grid::latencies(&chosen, &results.costs, 0.5, options.rounds, 3 * duration);
    }

    fn items(&self, short: bool) -> Vec<Item<'_>> {
        let (many, filled, main_keys) = &self.many;
        let valid = Rc::new(Requests::unary(filled, Kind::Valid));
        let for_empty = Rc::new(Requests::unary(filled, Kind::Valid).for_the_empty());
        let batch = Rc::new(Requests::batches(filled, Kind::Valid, 64).for_the_empty());
        let mut items = Vec::new();
        let shapes = if short { &[][..] } else { &SHAPES[..] };
        for shape in [EIGHT_BY_TEN].iter().chain(shapes) {
            let named = format!("{}×{}", shape.connections, shape.streams);
            let mut add = |name: String, server: &Server, requests: &Rc<Requests>, caller| {
                let target =
                    Target { address: server.address, pid: server.pid(), caller, sampled: false };
                items.push(Item { name, target, load: Load::Closed(*shape, Rc::clone(requests)) });
            };
            add(format!("empty current-thread, {named}"), &self.current, &for_empty, None);
            add(format!("ours, valid, {named}"), many, &valid, None);
            add(format!("empty multi-thread, {named}"), &self.multi, &for_empty, None);
            let one = format!("empty multi-thread of one worker, {named}");
            add(one, &self.multi_of_one, &for_empty, None);
            let caller = Some(&filled.caller);
            add(format!("ours, authenticated caller, {named}"), many, &valid, caller);
        }
        let mut add = |name: String, server: &Server, requests: Requests| {
            let target = unknown(server);
            items.push(Item { name, target, load: Load::Closed(EIGHT_BY_TEN, Rc::new(requests)) });
        };
        for (kind, called) in [
            (Kind::WrongSecret, "wrong secret"),
            (Kind::UnknownId, "unknown id"),
            (Kind::Malformed, "malformed"),
        ] {
            add(format!("ours, {called}, 8×10"), many, Requests::unary(filled, kind));
        }
        for (server, filled, keys) in
            [Some(&self.few), Some(&self.many), self.more.as_ref()].into_iter().flatten()
        {
            let named = called(*keys);
            let suffix = if keys == main_keys { String::new() } else { format!(", {named}") };
            if keys != main_keys {
                let valid = Requests::unary(filled, Kind::Valid);
                add(format!("ours, valid, 8×10{suffix}"), server, valid);
            }
            let batches = Requests::batches(filled, Kind::Valid, 64);
            add(format!("ours, batch of 64, 8×10{suffix}"), server, batches);
        }
        for Candidate { name, sampled, server, filled } in &self.telemetry.all {
            let requests = Rc::new(Requests::unary(filled, Kind::Valid));
            let named = [(Some(name), false), (sampled.as_ref(), true)];
            for (name, sampled) in named.into_iter().filter_map(|(name, how)| Some((name?, how))) {
                let target = Target { sampled, ..unknown(server) };
                let load = Load::Closed(EIGHT_BY_TEN, Rc::clone(&requests));
                items.push(Item { name: (*name).to_owned(), target, load });
            }
        }
        items.push(Item {
            name: "empty current-thread, batch of 64, 8×10".to_owned(),
            target: unknown(&self.current),
            load: Load::Closed(EIGHT_BY_TEN, batch),
        });
        items.push(Item {
            name: "redis-server GET, 80 clients".to_owned(),
            target: unknown(&self.redis),
            load: Load::Redis(80, *main_keys),
        });
        items
    }
}

/// A server as a caller without a credential asks it.
fn unknown(server: &Server) -> Target<'static> {
    Target { address: server.address, pid: server.pid(), caller: None, sampled: false }
}

/// On the small store: under callgrind a server takes fifty times as long.
fn count_instructions(servers: Servers<'_>, figures: &mut BTreeMap<String, f64>) {
    let (server, filled, _) = servers.few;
    server.terminate();
    let ours = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_countersign"));
        command.args(["serve", "--listen", "127.0.0.1:0", "--http-listen", "127.0.0.1:0"]);
        command.arg("--data-dir").arg(&filled.dir);
        command
    };
    let empty = || {
        let mut command = Command::new(std::env::current_exe().expect("our own path"));
        command.args(["empty", "--runtime", "current"]);
        command
    };
    let valid = Rc::new(Requests::unary(filled, Kind::Valid));
    let for_empty = Rc::new(Requests::unary(filled, Kind::Valid).for_the_empty());
    let mut count = |name: &str, command: &dyn Fn() -> Command, requests, caller| {
        eprint!("\r\x1b[2Kcounting instructions: {name}");
        let dir = Path::new("target/bench/callgrind").join(name.replace([' ', ','], "-"));
        std::fs::create_dir_all(&dir).expect("a folder");
        let count = instructions::of_one_request(command, &dir, requests, caller);
        figures.insert(format!("instructions, {name}, 8×10, 1k"), count);
    };
    count("ours, valid", &ours, &valid, None);
    count("ours, authenticated caller", &ours, &valid, Some(&filled.caller));
    count("empty current-thread", &empty, &for_empty, None);
    eprint!("\r\x1b[2K");
}

/// A number of keys as people say it.
fn called(keys: usize) -> String {
    match keys {
        keys if keys.is_multiple_of(1_000_000) => format!("{}M", keys / 1_000_000),
        keys if keys.is_multiple_of(1_000) => format!("{}k", keys / 1_000),
        keys => keys.to_string(),
    }
}
