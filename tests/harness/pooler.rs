//! pgbouncer in transaction mode in front of a database: each transaction may run on another connection to the server,
//! and nothing that belongs to a session is there for the next one.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::{DirBuilderExt as _, chown};
use std::time::Duration;

use super::process::User;
use super::{Running, eventually, postgres, run, tools};

const START_LIMIT: Duration = Duration::from_secs(20);
const START_TRIES: usize = 5;

/// A running pgbouncer. It ends with this value.
pub struct Pooler {
    url: String,
    running: Running,
}

impl Pooler {
    /// In front of the server of this database.
    pub async fn before(url: &str) -> Self {
        let name = format!("{}-pgbouncer", run::unique_name());
        let user = User::unprivileged();
        // It refuses to run as root, and that somebody else is let into no folder of ours.
        let folder = run::dir().join(&name);
        std::fs::DirBuilder::new()
            .mode(0o700)
            .create(&folder)
            .expect("the run folder takes folders");
        let file = folder.join("pgbouncer.ini.allow-secrets");
        for _ in 0..START_TRIES {
            let address = free_address();
            run::write_private(&file, &configuration(url, address));
            if let Some(User { uid, gid }) = user {
                for path in [&folder, &file] {
                    chown(path, Some(uid), Some(gid)).expect("root may give files away");
                }
            }
            let (log_path, log) = run::log_file(&name);
            let program = tools::pgbouncer().with_a_clean_environment().in_dir(&folder);
            let mut running = program.arg(&file).owned_by(user).start(log);
            let came_up = eventually("pgbouncer listens or ends", START_LIMIT, async || {
                let ended = running.has_ended().then_some(false);
                ended.or_else(|| TcpStream::connect(address).is_ok().then_some(true))
            });
            if came_up.await {
                let url = postgres::through(url, address);
                return Self { url: format!("{url}?statement-cache-capacity=0"), running };
            }
            let log = run::tail(&log_path, 15);
            assert!(log.contains("in use"), "pgbouncer ended while starting:\n{log}");
        }
        panic!("pgbouncer did not start in {START_TRIES} tries");
    }

    /// The same database, by way of the pool, as its users have to say it: nothing is kept in a session.
    pub fn url(&self) -> &str {
        &self.url
    }

    pub fn pid(&self) -> u32 {
        self.running.pid()
    }
}

fn free_address() -> SocketAddr {
    let probe = TcpListener::bind("127.0.0.1:0").expect("the loopback address has free ports");
    probe.local_addr().expect("a bound listener has an address")
}

/// Whoever may connect is nobody's concern here: `any` takes them all and logs in as the database's own user.
fn configuration(url: &str, at: SocketAddr) -> String {
    let server = postgres::address_of(url);
    let (user, password) = postgres::user_of(url);
    format!(
        "[databases]\n\
         * = host={} port={} user={user} password={password}\n\
         [pgbouncer]\n\
         listen_addr = {}\n\
         listen_port = {}\n\
         unix_socket_dir =\n\
         auth_type = any\n\
         pool_mode = transaction\n\
         default_pool_size = 8\n\
         max_client_conn = 400\n\
         ignore_startup_parameters = extra_float_digits,options\n\
         log_connections = 0\n\
         log_disconnections = 0\n",
        server.ip(),
        server.port(),
        at.ip(),
        at.port(),
    )
}
