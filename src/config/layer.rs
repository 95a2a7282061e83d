//! All settings of the server, each said once: its flag, its variable, its entry in the file, its
//! meaning. The same struct is the layer of flags and environment (clap) and that of the file (serde).

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::Deserialize;

use super::gateway::Gateway;

/// What one layer says; what it does not say is `None` and left to the next.
///
/// The text of a doc comment is the help of the flag and the meaning in [`super::reference`]. The
/// default at its end is held against [`super::Settings`] by a test.
#[derive(Debug, Clone, Default, clap::Args, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Layer {
    /// Where gRPC listens; port 0 takes a free one [default: 127.0.0.1:50051]
    #[arg(long, env = "COUNTERSIGN_LISTEN", hide_env_values = true, value_name = "ADDRESS", value_parser = address)]
    pub listen: Option<SocketAddr>,

    /// Where KeyAdmin listens, so that a network can keep those away who only verify; then it is not served where gRPC
    /// listens; port 0 takes a free one [default: with gRPC]
    #[arg(
        long,
        env = "COUNTERSIGN_ADMIN_LISTEN",
        hide_env_values = true,
        value_name = "ADDRESS",
        value_parser = address
    )]
    pub admin_listen: Option<SocketAddr>,

    /// Where the pages for probes listen; port 0 takes a free one [default: 127.0.0.1:8080]
    #[arg(long, env = "COUNTERSIGN_HTTP_LISTEN", hide_env_values = true, value_name = "ADDRESS", value_parser = address)]
    pub http_listen: Option<SocketAddr>,

    /// The folder of one server, which notes there how far it has followed the log; on SQLite also of the
    /// database, its root key and the first admin's credential [default: countersign-data]
    #[arg(long, env = "COUNTERSIGN_DATA_DIR", hide_env_values = true, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,

    /// The database: postgres://… or sqlite://… [default: SQLite in the data folder]
    #[arg(long, env = "COUNTERSIGN_DATABASE_URL", hide_env_values = true, value_name = "URL")]
    pub database_url: Option<String>,

    /// A file that holds the database URL, so that its password is in no argument and no variable
    #[arg(
        long,
        env = "COUNTERSIGN_DATABASE_URL_FILE",
        hide_env_values = true,
        value_name = "FILE"
    )]
    pub database_url_file: Option<PathBuf>,

    /// The most connections that read the database; writing, following the log, checking it and loading all keys have their own [default: 10]
    #[arg(
        long,
        env = "COUNTERSIGN_DATABASE_MAX_CONNECTIONS",
        hide_env_values = true,
        value_name = "N"
    )]
    pub database_max_connections: Option<u32>,

    /// Whether PostgreSQL's LISTEN and NOTIFY tell the other replicas of a change at once; without, they see it
    /// at their next poll [default: on]
    #[arg(
        long,
        env = "COUNTERSIGN_DATABASE_LISTEN",
        hide_env_values = true,
        value_name = "WHETHER",
        value_enum
    )]
    pub database_listen: Option<Switch>,

    /// For how long verifications are answered without news of the database, from 1s to 1h: no revocation takes
    /// longer, whatever fails [default: 30s]
    #[arg(
        long,
        env = "COUNTERSIGN_MAX_STALENESS",
        hide_env_values = true,
        value_name = "DURATION"
    )]
    pub max_staleness: Option<String>,

    /// The file of root keys; SQLite makes one at the first start [default: root-key in the data folder,
    /// on SQLite only]
    #[arg(long, env = "COUNTERSIGN_ROOT_KEY_FILE", hide_env_values = true, value_name = "FILE")]
    pub root_key_file: Option<PathBuf>,

    /// The brands of key ids and secrets: the first mints, all are accepted [default: cs]
    #[arg(
        long,
        env = "COUNTERSIGN_BRANDS",
        hide_env_values = true,
        value_name = "BRAND",
        value_delimiter = ','
    )]
    pub brands: Option<Vec<String>>,

    /// Whether callers of KeyVerifier, and Envoy, need a credential with countersign.verify:call; auto is off when
    /// gRPC listens on a loopback address, required otherwise [default: auto]
    #[arg(
        long,
        env = "COUNTERSIGN_VERIFY_AUTH",
        hide_env_values = true,
        value_name = "WHEN",
        value_enum
    )]
    pub verify_auth: Option<VerifyAuth>,

    /// Threads that verify; a client's connection lives on one of them [default: one per core]
    #[arg(long, env = "COUNTERSIGN_VERIFY_THREADS", hide_env_values = true, value_name = "N")]
    pub verify_threads: Option<usize>,

    /// The most gRPC connections at once; more are closed as they come [default: 10000]
    #[arg(long, env = "COUNTERSIGN_MAX_CONNECTIONS", hide_env_values = true, value_name = "N")]
    pub max_connections: Option<usize>,

    /// The most watchers of the audit log at once; one more is turned away [default: 1000]
    #[arg(long, env = "COUNTERSIGN_MAX_WATCHERS", hide_env_values = true, value_name = "N")]
    pub max_watchers: Option<usize>,

    /// The newest events that are kept in memory for watchers; one that falls behind them is told to
    /// resume later [default: 16384]
    #[arg(long, env = "COUNTERSIGN_WATCH_RING_EVENTS", hide_env_values = true, value_name = "N")]
    pub watch_ring_events: Option<usize>,

    /// Where gateways ask over plain HTTP (nginx auth_request, Traefik forwardAuth); whoever reaches it may ask,
    /// without a credential, so only gateways should; port 0 takes a free one [default: off]
    #[arg(
        long,
        env = "COUNTERSIGN_GATEWAY_LISTEN",
        hide_env_values = true,
        value_name = "ADDRESS",
        value_parser = address
    )]
    pub gateway_listen: Option<SocketAddr>,

    /// The most connections of gateways over plain HTTP at once; more are closed as they come [default: 1024]
    #[arg(
        long,
        env = "COUNTERSIGN_GATEWAY_MAX_CONNECTIONS",
        hide_env_values = true,
        value_name = "N"
    )]
    pub gateway_max_connections: Option<usize>,

    /// The header in which clients of gateways send the key id: after Bearer in authorization, by itself in any
    /// other [default: authorization]
    #[arg(
        long,
        env = "COUNTERSIGN_GATEWAY_KEY_HEADER",
        hide_env_values = true,
        value_name = "HEADER"
    )]
    pub gateway_key_header: Option<String>,

    /// The header in which clients of gateways send the secret [default: x-secret-key]
    #[arg(
        long,
        env = "COUNTERSIGN_GATEWAY_SECRET_HEADER",
        hide_env_values = true,
        value_name = "HEADER"
    )]
    pub gateway_secret_header: Option<String>,

    /// How many proxies in front of the gateway are believed in what they add to x-forwarded-for; with none the
    /// client is whoever connects to the gateway [default: 0]
    #[arg(
        long,
        env = "COUNTERSIGN_GATEWAY_TRUSTED_HOPS",
        hide_env_values = true,
        value_name = "N"
    )]
    pub gateway_trusted_hops: Option<usize>,

    /// What gateways are told of a request that no route is for: deny it, or verify that its key is good [default: deny]
    #[arg(
        long,
        env = "COUNTERSIGN_GATEWAY_UNKNOWN_ROUTES",
        hide_env_values = true,
        value_name = "WHAT",
        value_enum
    )]
    pub gateway_unknown_routes: Option<UnknownRoutes>,

    /// The route table, which only the file can hold.
    #[arg(skip)]
    pub gateway: Gateway,

    /// What is logged, e.g. info or countersign=debug,warn [default: info]
    #[arg(long, env = "COUNTERSIGN_LOG", hide_env_values = true, value_name = "FILTER")]
    pub log: Option<String>,

    /// How it is logged [default: text]
    #[arg(
        long,
        env = "COUNTERSIGN_LOG_FORMAT",
        hide_env_values = true,
        value_name = "FORMAT",
        value_enum
    )]
    pub log_format: Option<LogFormat>,
}

/// Whether something is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Switch {
    /// It is.
    On,
    /// It is not.
    Off,
}

/// When callers of `KeyVerifier` need a credential of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum VerifyAuth {
    /// Unless gRPC listens on a loopback address.
    Auto,
    /// Always.
    Required,
    /// Never.
    Off,
}

/// What is done with a request that no route is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum UnknownRoutes {
    /// It is denied.
    Deny,
    /// Any good live key passes.
    Verify,
}

/// The form of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// `clap` says what was wrong with a text; this says what would be right.
fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| "must be an IP address and a port, e.g. 127.0.0.1:50051".to_owned())
}

impl Layer {
    /// What this layer says, and where it is silent, what `under` says.
    pub fn over(self, under: Self) -> Self {
        // The two ways to name the database are one setting: a layer that says either says both.
        let says_database = self.database_url.is_some() || self.database_url_file.is_some();
        let (database_url, database_url_file) = if says_database {
            (self.database_url, self.database_url_file)
        } else {
            (under.database_url, under.database_url_file)
        };
        Self {
            listen: self.listen.or(under.listen),
            admin_listen: self.admin_listen.or(under.admin_listen),
            http_listen: self.http_listen.or(under.http_listen),
            data_dir: self.data_dir.or(under.data_dir),
            database_url,
            database_url_file,
            database_max_connections: self
                .database_max_connections
                .or(under.database_max_connections),
            database_listen: self.database_listen.or(under.database_listen),
            max_staleness: self.max_staleness.or(under.max_staleness),
            root_key_file: self.root_key_file.or(under.root_key_file),
            brands: self.brands.or(under.brands),
            verify_auth: self.verify_auth.or(under.verify_auth),
            verify_threads: self.verify_threads.or(under.verify_threads),
            max_connections: self.max_connections.or(under.max_connections),
            max_watchers: self.max_watchers.or(under.max_watchers),
            watch_ring_events: self.watch_ring_events.or(under.watch_ring_events),
            gateway_listen: self.gateway_listen.or(under.gateway_listen),
            gateway_max_connections: self.gateway_max_connections.or(under.gateway_max_connections),
            gateway_key_header: self.gateway_key_header.or(under.gateway_key_header),
            gateway_secret_header: self.gateway_secret_header.or(under.gateway_secret_header),
            gateway_trusted_hops: self.gateway_trusted_hops.or(under.gateway_trusted_hops),
            gateway_unknown_routes: self.gateway_unknown_routes.or(under.gateway_unknown_routes),
            gateway: under.gateway,
            log: self.log.or(under.log),
            log_format: self.log_format.or(under.log_format),
        }
    }
}
