//! A PostgreSQL cluster of one test's own, which it may stop, kill, follow and promote. Most tests need none: they get
//! a database on the cluster of the run.
//!
//! Everything a cluster is lies in the run folder, where it is searched for secrets; its server ends with this value.

use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::{DirBuilderExt as _, chown};
use std::path::{Path, PathBuf};
use std::time::Duration;

use sea_orm::{ConnectionTrait as _, Database, DatabaseConnection, Statement};

use super::process::User;
use super::{Program, Running, eventually, run, tools};

const START_LIMIT: Duration = Duration::from_secs(60);
const STOP_LIMIT: Duration = Duration::from_secs(30);
const START_TRIES: usize = 5;

/// As in tests/tooling/postgres.py, which says why.
const SETTINGS: &[(&str, &str)] = &[
    ("listen_addresses", "127.0.0.1"),
    ("unix_socket_directories", ""),
    ("max_connections", "200"),
    ("fsync", "off"),
    ("full_page_writes", "off"),
    ("log_statement", "all"),
    ("log_line_prefix", "%m [%p] %a "),
    ("wal_keep_size", "1GB"),
    // A standby that lost its primary, or was pointed elsewhere, looks for it soon again.
    ("wal_retrieve_retry_interval", "100ms"),
];

/// One PostgreSQL server and its files.
pub struct Cluster {
    name: String,
    user: Option<User>,
    folder: PathBuf,
    password: String,
    address: SocketAddr,
    server: Option<Running>,
}

impl Cluster {
    /// A new, empty cluster that is up.
    pub async fn start() -> Self {
        let mut cluster = Self::prepared("primary", new_password());
        let password_file = cluster.folder.join("password.allow-secrets");
        run::write_private(&password_file, &cluster.password);
        cluster.give(&password_file);
        let initdb = cluster
            .program("initdb")
            .args(["-U", "postgres", "--encoding=UTF8", "--locale=C.UTF-8"])
            .args(["--auth=scram-sha-256", "--no-sync", "--pwfile"])
            .arg(&password_file)
            .arg("-D")
            .arg(cluster.data());
        initdb.run().succeeded();
        cluster.configure(SETTINGS);
        cluster.up().await;
        cluster
    }

    /// A standby that streams from `primary`, which it reaches at that address: a proxy's, or the primary's own.
    pub async fn standby_of(primary: &Self, address: SocketAddr) -> Self {
        let mut standby = Self::prepared("standby", primary.password.clone());
        let copied = standby
            .program("pg_basebackup")
            .env("PGPASSWORD", &primary.password)
            .args(["-h", &address.ip().to_string(), "-p", &address.port().to_string()])
            .args(["-U", "postgres", "-X", "stream", "-c", "fast", "--no-sync", "-R", "-D"])
            .arg(standby.data());
        copied.run().succeeded();
        standby.up().await;
        eventually("the standby follows its primary", START_LIMIT, async || {
            primary
                .number("SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'")
                .await
                > 0
        })
        .await;
        standby
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The URL of a database of this cluster, as its superuser.
    pub fn url(&self, database: &str) -> String {
        format!("postgres://postgres:{}@{}/{database}", self.password, self.address)
    }

    pub fn password(&self) -> &str {
        &self.password
    }

    /// Makes an empty database and gives its URL.
    pub async fn new_database(&self) -> String {
        self.execute("CREATE DATABASE countersign TEMPLATE template0").await;
        self.url("countersign")
    }

    /// From now on a commit is acknowledged only when a standby has it too, or no longer.
    pub async fn wait_for_standbys(&self, wait: bool) {
        let names = if wait { "*" } else { "" };
        self.execute(&format!("ALTER SYSTEM SET synchronous_standby_names = '{names}'")).await;
        self.execute("SELECT pg_reload_conf()").await;
        let state = if wait { "sync" } else { "async" };
        let all = format!("SELECT count(*) FROM pg_stat_replication WHERE sync_state = '{state}'");
        eventually("the standby is what it shall be", START_LIMIT, async || {
            self.number(&all).await > 0
        })
        .await;
    }

    /// Makes of a standby a primary; on return it takes writes.
    pub async fn promote(&self) {
        self.execute("SELECT pg_promote(true, 60)").await;
        eventually("the promoted standby takes writes", START_LIMIT, async || {
            self.number("SELECT CASE WHEN pg_is_in_recovery() THEN 1 ELSE 0 END").await == 0
        })
        .await;
    }

    /// Ends the server as a crash would: nothing is finished, and standbys get no more.
    pub fn crash(&mut self) {
        self.end("QUIT");
    }

    /// Ends the server in good order (a fast shutdown): sessions are ended, everything is written.
    pub fn stop(&mut self) {
        self.end("INT");
    }

    fn end(&mut self, signal: &str) {
        let mut server = self.server.take().expect("the server runs");
        server.signal(signal);
        server.wait(STOP_LIMIT);
    }

    /// Starts a server that was stopped or crashed, at the same address.
    pub async fn restart(&mut self) {
        assert!(self.server.is_none(), "the server of {} still runs", self.name);
        eventually("the port is free again", START_LIMIT, async || {
            TcpListener::bind(self.address).is_ok()
        })
        .await;
        assert!(self.serve().await, "another program took the port of {}", self.name);
    }

    pub async fn execute(&self, sql: &str) {
        let connection = self.connect("postgres").await;
        connection.execute_unprepared(sql).await.expect("the statement works");
        connection.close().await.expect("closes");
    }

    /// The first column of the first row, a number.
    pub async fn number(&self, sql: &str) -> i64 {
        let connection = self.connect("postgres").await;
        let statement = Statement::from_string(connection.get_database_backend(), sql);
        let row = connection.query_one_raw(statement).await.expect("the query works");
        let row = row.expect("the query gives a row");
        let number = row
            .try_get_by_index::<i64>(0)
            .or_else(|_| row.try_get_by_index::<i32>(0).map(i64::from));
        connection.close().await.expect("closes");
        number.expect("the query gives a number")
    }

    pub async fn connect(&self, database: &str) -> DatabaseConnection {
        Database::connect(self.url(database)).await.expect("the cluster takes connections")
    }

    /// What the server has logged so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    fn prepared(role: &str, password: String) -> Self {
        let name = format!("{}-{role}", run::unique_name());
        let user = User::unprivileged();
        // Beside the data of others, which its user must not pass through.
        let folder = run::dir().join(format!("postgres-{name}"));
        std::fs::DirBuilder::new()
            .mode(0o700)
            .create(&folder)
            .expect("the run folder takes folders");
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        let cluster = Self { name, user, folder, password, address, server: None };
        cluster.give(&cluster.folder);
        cluster
    }

    /// Lets the server's user own it.
    fn give(&self, path: &Path) {
        if let Some(user) = &self.user {
            chown(path, Some(user.uid), Some(user.gid)).expect("root may give files away");
        }
    }

    fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    fn log_path(&self) -> PathBuf {
        run::dir().join("logs").join(format!("{}.log", self.name))
    }

    fn program(&self, name: &str) -> Program {
        let program = tools::of_postgres(name).with_a_clean_environment().env("LC_MESSAGES", "C");
        program.in_dir(&self.folder).owned_by(self.user)
    }

    fn configure(&self, settings: &[(&str, &str)]) {
        use std::io::Write as _;
        let path = self.data().join("postgresql.conf");
        let mut file = std::fs::OpenOptions::new().append(true).open(path).expect("initdb made it");
        for (name, value) in settings {
            writeln!(file, "{name} = '{value}'").expect("the disk has room");
        }
    }

    /// Serves at a free port.
    async fn up(&mut self) {
        for _ in 0..START_TRIES {
            let probe =
                TcpListener::bind("127.0.0.1:0").expect("the loopback address has free ports");
            self.address = probe.local_addr().expect("a bound listener has an address");
            drop(probe);
            if self.serve().await {
                return;
            }
        }
        panic!(
            "PostgreSQL did not start in {START_TRIES} tries:\n{}",
            run::tail(&self.log_path(), 15)
        );
    }

    /// True once it takes connections; false if the port was lost to somebody else.
    async fn serve(&mut self) -> bool {
        let (_, log) = run::log_file(&self.name);
        let program = self.program("postgres").args(["-p", &self.address.port().to_string(), "-D"]);
        let mut server = program.arg(self.data()).start(log);
        let pid_file = self.data().join("postmaster.pid");
        let came_up = eventually("PostgreSQL is ready or ends", START_LIMIT, async || {
            if server.has_ended() {
                return Some(false);
            }
            // Its eighth line is how pg_ctl knows it too.
            let text = std::fs::read_to_string(&pid_file).unwrap_or_default();
            text.lines().nth(7).is_some_and(|line| line.trim() == "ready").then_some(true)
        });
        if came_up.await {
            self.server = Some(server);
            return true;
        }
        let log = run::tail(&self.log_path(), 15);
        assert!(log.contains("could not bind"), "PostgreSQL ended while starting:\n{log}");
        false
    }
}

/// Its children end with it, at once.
impl Drop for Cluster {
    fn drop(&mut self) {
        let Some(mut server) = self.server.take() else { return };
        if server.has_ended() {
            return;
        }
        server.signal("QUIT");
        if !server.ends_within(Duration::from_secs(5)) {
            server.kill9();
        }
    }
}

fn new_password() -> String {
    format!("{:016x}", getrandom::u64().expect("the machine has randomness"))
}
