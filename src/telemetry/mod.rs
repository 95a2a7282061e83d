//! What the operators see: the log on standard error, and [`metrics`].
//!
//! In: a filter and a form. Out: a [`Guard`] whose `shutdown` flushes. Everybody logs with `tracing`;
//! nobody logs a secret, and this room makes sure that the libraries don't either (`CAPPED`).

pub mod metrics;
mod panics;

use std::io;

use tracing::Level;
use tracing_subscriber::filter::{EnvFilter, FilterExt as _, FilterFn, LevelFilter};
use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;

/// Libraries that see credentials in plain, and the most that they may say whatever the filter says.
///
/// At TRACE h2 and hyper describe every frame and buffer. The releases in use leave header values and
/// bodies out (h2 0.4.20, a whole session searched for its secrets), but nothing promises that the next
/// one will. sqlx at DEBUG logs statements, and SeaORM at DEBUG their parameters: digests and sealed
/// replies.
const CAPPED: [(&str, Level); 9] = [
    ("h2", Level::DEBUG),
    ("hyper", Level::DEBUG),
    ("hyper_util", Level::DEBUG),
    ("rustls", Level::DEBUG),
    ("sqlx", Level::INFO),
    ("sqlx_core", Level::INFO),
    ("sqlx_postgres", Level::INFO),
    ("sqlx_sqlite", Level::INFO),
    ("sea_orm", Level::INFO),
];

/// What is logged, and how.
#[derive(Debug, Clone)]
pub struct Settings {
    filter: String,
    json: bool,
}

/// Keeps the log going; ends it in order.
#[must_use = "the log is flushed by its shutdown"]
#[derive(Debug)]
pub struct Guard(());

impl Settings {
    /// A filter in the language of `tracing_subscriber::EnvFilter`, e.g. `countersign=debug,warn`, and
    /// whether lines are JSON.
    pub fn new(filter: &str, json: bool) -> Result<Self, String> {
        EnvFilter::builder()
            .parse(filter)
            .map_err(|_| "must be a filter such as info or countersign=debug,warn".to_owned())?;
        Ok(Self { filter: filter.to_owned(), json })
    }

    /// The filter, as it was given.
    pub fn filter(&self) -> &str {
        &self.filter
    }

    /// Whether lines are JSON.
    pub fn is_json(&self) -> bool {
        self.json
    }
}

/// Starts the log on standard error, and has panics told there in one line.
///
/// # Errors
///
/// If this process has a log already.
pub fn start(settings: &Settings) -> Result<Guard, String> {
    let wanted = EnvFilter::builder()
        .with_default_directive(LevelFilter::INFO.into())
        .parse(&settings.filter)
        .map_err(|error| error.to_string())?;
    let filter =
        wanted.and(FilterFn::new(|metadata| allowed(metadata.target(), *metadata.level())));
    let lines = tracing_subscriber::fmt::layer().with_writer(io::stderr).with_ansi(false);
    let layer = if settings.json {
        lines.json().flatten_event(true).with_filter(filter).boxed()
    } else {
        lines.with_filter(filter).boxed()
    };
    tracing_subscriber::registry().with(layer).try_init().map_err(|error| error.to_string())?;
    panics::install();
    Ok(Guard(()))
}

impl Guard {
    /// Writes out what is still held back. Standard error is not buffered, so today that is nothing.
    pub fn shutdown(self) {
        let Self(()) = self;
    }
}

/// Whether a library may say something of that level.
fn allowed(target: &str, level: Level) -> bool {
    let root = target.split("::").next().unwrap_or(target);
    let cap = CAPPED.iter().find(|(library, _)| *library == root);
    // Levels order by talkativeness: TRACE is the greatest.
    cap.is_none_or(|(_, most)| level <= *most)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_library_that_sees_credentials_never_traces() {
        assert!(!allowed("h2::codec::framed_read", Level::TRACE));
        assert!(!allowed("hyper::proto::h1::io", Level::TRACE));
        assert!(!allowed("sqlx::query", Level::DEBUG));
        assert!(allowed("h2", Level::DEBUG) && allowed("countersign::log", Level::TRACE));
        assert!(allowed("h2_like", Level::TRACE));
    }

    #[test]
    fn a_filter_that_does_not_parse_is_refused() {
        assert!(Settings::new("countersign=debug,warn", false).is_ok());
        assert!(Settings::new("countersign=loud=er", true).is_err());
    }
}
