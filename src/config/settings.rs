//! All settings of a server, checked and composed of those of its rooms.

use std::fmt::Display;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::gateway;
use super::{Layer, LogFormat, SettingsError, Switch, VerifyAuth, file, private_file};
use crate::domain::credential::Brands;
use crate::domain::replica::LONGEST_LEASE;
use crate::store::{DatabaseUrl, Following};
use crate::{log, middleware, rpc, store, telemetry, transport};

/// A pool sets places aside for all its connections. PostgreSQL itself gives 100 by default.
const MAX_DATABASE_CONNECTIONS: u32 = 1_000;
/// Each has a runtime of its own. Far more than cores only take turns.
const MAX_VERIFY_THREADS: usize = 1_024;
/// The most events kept in memory for watchers; their bytes are bounded besides.
const MAX_RING_EVENTS: usize = 1_000_000;

/// The flags of the commands that work on a store: all settings, and the file that says more of them.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "Settings")]
pub struct SettingsArgs {
    /// A TOML file of settings; its entries are named like the flags, without the dashes in front
    #[arg(long, env = "COUNTERSIGN_CONFIG", hide_env_values = true, value_name = "FILE")]
    config: Option<PathBuf>,

    #[command(flatten)]
    layer: Layer,
}

impl SettingsArgs {
    /// The settings after flags, environment, file and defaults.
    pub fn resolve(self) -> Result<Settings, SettingsError> {
        let under = self.config.as_deref().map(file::read).transpose()?.unwrap_or_default();
        Settings::from_layer(self.layer.over(under))
    }
}

/// Everything that a server is told.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where gRPC listens.
    pub listen: SocketAddr,
    /// Where `KeyAdmin` listens, if not with the rest of gRPC.
    pub admin_listen: Option<SocketAddr>,
    /// Where the pages for probes listen.
    pub http_listen: SocketAddr,
    /// Where gateways ask over plain HTTP, if they may.
    pub gateway_listen: Option<SocketAddr>,
    /// What gateways are told.
    pub gateway: rpc::gateway::Settings,
    /// The folder of what a server on SQLite keeps.
    pub data_dir: PathBuf,
    /// The file of root keys, if it was named; see [`Settings::root_key_file`].
    root_key_file: Option<PathBuf>,
    /// The brands of our own key ids and secrets.
    pub brands: Brands,
    /// What every request passes, and whether callers of `KeyVerifier` need a credential.
    pub middleware: middleware::Settings,
    /// The database.
    pub store: store::Settings,
    /// The follower.
    pub log: log::Settings,
    /// The services.
    pub rpc: rpc::Settings,
    /// Sockets and verifying threads.
    pub transport: transport::Settings,
    /// What is logged, and how.
    pub telemetry: telemetry::Settings,
}

impl Settings {
    /// Checks what the layers say together, and fills in the defaults.
    pub fn from_layer(layer: Layer) -> Result<Self, SettingsError> {
        let listen = layer.listen.unwrap_or(SocketAddr::from(([127, 0, 0, 1], 50051)));
        let http_listen = layer.http_listen.unwrap_or(SocketAddr::from(([127, 0, 0, 1], 8080)));
        each_has_its_own(&[
            ("listen", Some(listen)),
            ("http-listen", Some(http_listen)),
            ("admin-listen", layer.admin_listen),
            ("gateway-listen", layer.gateway_listen),
        ])?;
        let gateway = gateway::settings(&layer)?;
        let data_dir = layer.data_dir.unwrap_or_else(|| PathBuf::from("countersign-data"));
        let url = database_url(layer.database_url, layer.database_url_file.as_deref(), &data_dir)?;
        let brands = layer.brands.map_or_else(|| Ok(Brands::default()), Brands::new);
        let brands = brands.map_err(|error| SettingsError(error.to_string()))?;
        let require_verify_credential = match layer.verify_auth.unwrap_or(VerifyAuth::Auto) {
            VerifyAuth::Auto => !listen.ip().is_loopback(),
            VerifyAuth::Required => true,
            VerifyAuth::Off => false,
        };
        let mut store = store::Settings::new(url);
        if let Some(connections) = layer.database_max_connections {
            store.max_connections =
                one_to(MAX_DATABASE_CONNECTIONS, "database-max-connections", connections)?;
        }
        store.wake_ups = layer.database_listen != Some(Switch::Off);
        let mut log = log::Settings::default();
        if let Some(text) = layer.max_staleness {
            log.max_staleness = staleness(&text)?;
        }
        store.following = Following::within(log.max_staleness);
        let mut transport = transport::Settings::default();
        if let Some(threads) = layer.verify_threads {
            transport.verify_threads = one_to(MAX_VERIFY_THREADS, "verify-threads", threads)?;
        }
        if let Some(connections) = layer.max_connections {
            transport.max_connections = at_least_one("max-connections", connections)?;
        }
        if let Some(connections) = layer.gateway_max_connections {
            transport.gateway_max_connections =
                at_least_one("gateway-max-connections", connections)?;
        }
        let mut rpc = rpc::Settings::default();
        if let Some(watchers) = layer.max_watchers {
            rpc.max_watchers = at_least_one("max-watchers", watchers)?;
        }
        if let Some(events) = layer.watch_ring_events {
            log.ring_events = one_to(MAX_RING_EVENTS, "watch-ring-events", events)?;
        }
        let telemetry = telemetry::Settings::new(
            layer.log.as_deref().unwrap_or("info"),
            layer.log_format.unwrap_or(LogFormat::Text) == LogFormat::Json,
        )
        .map_err(|error| SettingsError(format!("log: {error}")))?;
        Ok(Self {
            listen,
            admin_listen: layer.admin_listen,
            http_listen,
            gateway_listen: layer.gateway_listen,
            gateway,
            data_dir,
            root_key_file: layer.root_key_file,
            brands,
            middleware: middleware::Settings {
                require_verify_credential,
                ..middleware::Settings::default()
            },
            store,
            log,
            rpc,
            transport,
            telemetry,
        })
    }

    /// The file of root keys: the one that was named, on SQLite otherwise the one in the data folder.
    ///
    /// # Errors
    ///
    /// With PostgreSQL, if none was named: several replicas need the same, so nothing is made up.
    pub fn root_key_file(&self) -> Result<PathBuf, SettingsError> {
        match &self.root_key_file {
            Some(file) => Ok(file.clone()),
            None if self.store.url.is_sqlite() => Ok(self.data_dir.join("root-key")),
            None => Err(SettingsError(
                "root-key-file is not given, and with PostgreSQL nothing is generated: make one with \
                 `countersign root-key generate --out FILE` and name it with --root-key-file"
                    .to_owned(),
            )),
        }
    }

    /// Whether a root key file that is not there is made: on SQLite, if it is in its own place. One that
    /// was named but is missing is more likely a mistake.
    pub fn makes_root_key(&self) -> bool {
        self.root_key_file.is_none() && self.store.url.is_sqlite()
    }

    /// Name and value of every setting in effect, in the order of `--help`; no secrets.
    pub fn describe(&self) -> Vec<(&'static str, String)> {
        let verify_auth =
            if self.middleware.require_verify_credential { "required" } else { "off" };
        let unknown_routes = match self.gateway.unknown_routes {
            rpc::gateway::UnknownRoutes::Deny => "deny",
            rpc::gateway::UnknownRoutes::Verify => "verify",
        };
        let brands: Vec<&str> = self.brands.iter().collect();
        let root_key_file = self.root_key_file().map(|file| file.display().to_string());
        vec![
            ("listen", self.listen.to_string()),
            (
                "admin-listen",
                self.admin_listen.map_or("with gRPC".to_owned(), |address| address.to_string()),
            ),
            ("http-listen", self.http_listen.to_string()),
            ("data-dir", self.data_dir.display().to_string()),
            ("database-url", self.store.url.to_string()),
            ("database-max-connections", self.store.max_connections.to_string()),
            ("database-listen", if self.store.wake_ups { "on" } else { "off" }.to_owned()),
            ("max-staleness", format!("{:#}", duration(self.log.max_staleness))),
            ("root-key-file", root_key_file.unwrap_or_default()),
            ("brands", brands.join(",")),
            ("verify-auth", verify_auth.to_owned()),
            ("verify-threads", self.transport.verify_threads.to_string()),
            ("max-connections", self.transport.max_connections.to_string()),
            ("max-watchers", self.rpc.max_watchers.to_string()),
            ("watch-ring-events", self.log.ring_events.to_string()),
            (
                "gateway-listen",
                self.gateway_listen.map_or("off".to_owned(), |address| address.to_string()),
            ),
            ("gateway-max-connections", self.transport.gateway_max_connections.to_string()),
            ("gateway-key-header", self.gateway.key_header.to_string()),
            ("gateway-secret-header", self.gateway.secret_header.to_string()),
            ("gateway-trusted-hops", self.gateway.trusted_hops.to_string()),
            ("gateway-unknown-routes", unknown_routes.to_owned()),
            ("log", self.telemetry.filter().to_owned()),
            ("log-format", if self.telemetry.is_json() { "json" } else { "text" }.to_owned()),
        ]
    }
}

/// Two listeners can't share an address. Port 0 is another one each time.
fn each_has_its_own(listeners: &[(&str, Option<SocketAddr>)]) -> Result<(), SettingsError> {
    let said = listeners.iter().filter_map(|(name, address)| Some((name, (*address)?)));
    let said: Vec<_> = said.filter(|(_, address)| address.port() != 0).collect();
    for (index, (name, address)) in said.iter().enumerate() {
        let before = said.iter().take(index).find(|(_, other)| other == address);
        if let Some((other, _)) = before {
            return Err(SettingsError(format!(
                "{other} and {name} are both {address}; each needs a port of its own"
            )));
        }
    }
    Ok(())
}

fn database_url(
    url: Option<String>,
    file: Option<&Path>,
    data_dir: &Path,
) -> Result<DatabaseUrl, SettingsError> {
    // Not quoted, nor is what is wrong with it in anybody else's words: both may hold the password.
    let parse = |url: &str| {
        DatabaseUrl::parse(url).map_err(|error| SettingsError(format!("database-url: {error}")))
    };
    match (url, file) {
        (Some(_), Some(_)) => Err(SettingsError(
            "database-url and database-url-file are both given; give one of them".to_owned(),
        )),
        (Some(url), None) => parse(&url),
        (None, Some(file)) => parse(private_file::read("database URL file", file)?.trim()),
        (None, None) => Ok(DatabaseUrl::sqlite_file(&data_dir.join("countersign.db"))),
    }
}

/// Longer than a second, so that a poll that failed can be tried again.
const STALENESS: std::ops::RangeInclusive<Duration> = Duration::from_secs(1)..=LONGEST_LEASE;

fn staleness(text: &str) -> Result<Duration, SettingsError> {
    let parsed: Option<jiff::SignedDuration> = text.parse().ok();
    let parsed = parsed.and_then(|duration| Duration::try_from(duration).ok());
    parsed.filter(|duration| STALENESS.contains(duration)).ok_or_else(|| {
        SettingsError("max-staleness must be a duration from 1s to 1h, e.g. 30s".to_owned())
    })
}

/// For people: `30s`.
fn duration(duration: Duration) -> jiff::SignedDuration {
    jiff::SignedDuration::try_from(duration).unwrap_or(jiff::SignedDuration::MAX)
}

/// For what is taken from the system at the start, where a slip of the finger would take all of it.
fn one_to<T>(most: T, name: &str, value: T) -> Result<T, SettingsError>
where
    T: PartialOrd + From<u8> + Display,
{
    if value < T::from(1) || value > most {
        return Err(SettingsError(format!("{name} must be at least 1 and at most {most}")));
    }
    Ok(value)
}

fn at_least_one<T: PartialEq + From<u8>>(name: &str, value: T) -> Result<T, SettingsError> {
    if value == T::from(0) {
        return Err(SettingsError(format!("{name} must be at least 1")));
    }
    Ok(value)
}
