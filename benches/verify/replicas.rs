//! What replicas on one PostgreSQL cost and how fast they hear of each other: `--postgres URL`, or
//! `make bench-postgres`, which starts a throwaway cluster.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use sea_orm::{ConnectionTrait as _, Database, DbBackend, Statement};

use crate::admin;
use crate::cpu;
use crate::server::Server;
use crate::store::{self, Filled};

/// Replicas that run at once.
const REPLICAS: usize = 3;
/// Keys that are revoked, each time.
const REVOCATIONS: usize = 200;
/// How long an idle replica is watched.
const IDLE: Duration = Duration::from_secs(20);

/// Fills the database, which must be empty, and measures. Start-up first, then replicas with and without wake-ups.
pub(crate) fn measure(
    runtime: &tokio::runtime::Runtime,
    url: &str,
    keys: usize,
    named: &str,
    figures: &mut BTreeMap<String, f64>,
) {
    let dir = Path::new("target/bench-data/postgres");
    let filled = store::at_url(runtime, dir, url, keys);
    let server = start(&filled, url, 0, "on");
    figures.insert(format!("seconds to ready, PostgreSQL, {named}"), server.ready.as_secs_f64());
    let (resident, _) = cpu::resident_kib(server.pid());
    figures
        .insert(format!("MiB resident when ready, PostgreSQL, {named}"), resident as f64 / 1_024.0);
    // The check of the log reads everything; an idle replica is one that has it behind it.
    server.settle(Duration::from_secs(1_800));
    let statements = runtime.block_on(statements_of_an_idle_replica(url));
    figures.insert("statements a second of an idle replica".to_owned(), statements);
    server.terminate();

    let mut unused = filled.sample.chunks(REVOCATIONS);
    for (wake_ups, called) in [("on", "NOTIFY"), ("off", "polling")] {
        let keys = unused.next().expect("a sample");
        let servers: Vec<_> =
            (0..REPLICAS).map(|number| start(&filled, url, number, wake_ups)).collect();
        servers.iter().for_each(|server| server.settle(Duration::from_secs(1_800)));
        let addresses: Vec<_> = servers.iter().map(|server| server.address).collect();
        eprint!("\r\x1b[2Krevoking keys, {called}");
        let lags = admin::revocation_lags(&addresses, &filled.admin, keys);
        let mut lags = runtime.block_on(lags);
        eprint!("\r\x1b[2K");
        lags.sort_unstable();
        let mut record = |named: &str, part: f64| {
            let place = ((lags.len() - 1) as f64 * part).round();
            let lag = lags[place as usize].as_secs_f64() * 1_000.0;
            figures.insert(format!("ms to be revoked elsewhere, {called}, {named}"), lag);
        };
        record("p50", 0.5);
        record("p99", 0.99);
        servers.into_iter().for_each(Server::terminate);
    }
}

fn start(filled: &Filled, url: &str, number: usize, wake_ups: &str) -> Server {
    let dir = filled.dir.join(format!("replica-{number}"));
    std::fs::create_dir_all(&dir).expect("a folder");
    let root_key = filled.dir.join("root-key");
    let root_key = root_key.to_str().expect("a printable path");
    let more = ["--database-url", url, "--root-key-file", root_key, "--database-listen", wake_ups];
    Server::ours(&dir, &more)
}

/// How many statements a second one replica sends, with each BEGIN and COMMIT, less what counting them takes.
async fn statements_of_an_idle_replica(url: &str) -> f64 {
    let database = Database::connect(url).await.expect("connects");
    let counts = "CREATE EXTENSION IF NOT EXISTS pg_stat_statements";
    database.execute_unprepared(counts).await.expect("the extension of Debian's postgresql");
    let count = async || {
        let ask = "SELECT sum(calls)::int8 FROM pg_stat_statements \
                   WHERE query NOT LIKE '%pg_stat_statements%'";
        let ask = Statement::from_string(DbBackend::Postgres, ask);
        let row = database.query_one_raw(ask).await;
        let row = row.expect("shared_preload_libraries = 'pg_stat_statements'").expect("a row");
        row.try_get_by::<i64, _>(0).expect("a number")
    };
    let before = count().await;
    tokio::time::sleep(IDLE).await;
    (count().await - before) as f64 / IDLE.as_secs_f64()
}
