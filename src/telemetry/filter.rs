//! Who hears what: the log on standard error, the log records that are sent, and the spans that are sent. Each has a
//! filter of its own, so that none decides what another hears.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tracing::callsite::Identifier;
use tracing::{Event, Level, Metadata};
use tracing_subscriber::filter::{EnvFilter, FilterFn, LevelFilter};
use tracing_subscriber::layer::{Context, Filter};

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

/// What the exporters themselves are made of. What it says is never sent: each message would make the next one.
const OF_EXPORTERS: [&str; 8] =
    ["h2", "hyper", "hyper_rustls", "hyper_util", "rustls", "tokio_util", "tonic", "tower"];

/// How SDK and exporters name themselves.
const SDK: &str = "opentelemetry";

/// How often the SDK may say the same. A collector that is not there would otherwise fill the log.
const SAME_AGAIN_AFTER: Duration = Duration::from_secs(60);

/// The spans that are sent, by target and level: calls of administration, other calls that their callers sample, and
/// statements. `middleware` and `store` name them.
const SENT: [(&str, Level); 3] = [
    ("countersign::middleware::trace", Level::INFO),
    ("countersign::middleware::trace::sampled", Level::DEBUG),
    (STATEMENTS, Level::DEBUG),
];

/// Spans of statements are for traces alone; lines of the log do not carry them.
const STATEMENTS: &str = "countersign::store::statement";

type Judge = fn(&Metadata<'_>) -> bool;

/// What an operator asked to hear, in the language of [`EnvFilter`].
pub(super) fn wanted(filter: &str) -> Result<EnvFilter, String> {
    EnvFilter::builder()
        .with_default_directive(LevelFilter::INFO.into())
        .parse(filter)
        .map_err(|error| error.to_string())
}

/// What may stand in the log at all.
pub(super) fn for_the_log() -> FilterFn {
    let is_fit: Judge =
        |metadata| metadata.target() != STATEMENTS && allowed(metadata.target(), *metadata.level());
    // Without a hint the level of the whole process would be TRACE, whatever is wanted.
    FilterFn::new(is_fit).with_max_level_hint(LevelFilter::TRACE)
}

/// What may be sent as a log record at all.
pub(super) fn for_sent_records() -> FilterFn {
    let is_fit: Judge = |metadata| {
        let target = metadata.target();
        metadata.is_event() && allowed(target, *metadata.level()) && !is_of_exporters(target)
    };
    FilterFn::new(is_fit).with_max_level_hint(LevelFilter::TRACE)
}

/// Which spans are sent.
pub(super) fn for_sent_spans() -> FilterFn {
    let is_sent: Judge =
        |metadata| metadata.is_span() && SENT.contains(&(metadata.target(), *metadata.level()));
    FilterFn::new(is_sent).with_max_level_hint(LevelFilter::DEBUG)
}

/// Whether a library may say something of that level.
fn allowed(target: &str, level: Level) -> bool {
    // Levels order by talkativeness: TRACE is the greatest.
    if target.starts_with(SDK) {
        return level <= Level::INFO;
    }
    let cap = CAPPED.iter().find(|(library, _)| *library == root(target));
    cap.is_none_or(|(_, most)| level <= *most)
}

fn is_of_exporters(target: &str) -> bool {
    target.starts_with(SDK) || OF_EXPORTERS.contains(&root(target))
}

fn root(target: &str) -> &str {
    target.split("::").next().unwrap_or(target)
}

/// Lets the SDK say the same once a minute, and everybody else whatever they like.
#[derive(Debug, Default)]
pub(super) struct Seldom(Mutex<HashMap<Identifier, Instant>>);

impl Seldom {
    fn is_due(&self, what: Identifier, now: Instant) -> bool {
        // As many entries as there are places in the SDK that say something.
        let mut said = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let due = said.get(&what).is_none_or(|last| now >= *last + SAME_AGAIN_AFTER);
        if due {
            said.insert(what, now);
        }
        due
    }
}

impl<S> Filter<S> for Seldom {
    fn enabled(&self, _: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        true
    }

    fn callsite_enabled(&self, _: &'static Metadata<'static>) -> tracing::subscriber::Interest {
        tracing::subscriber::Interest::always()
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(LevelFilter::TRACE)
    }

    fn event_enabled(&self, event: &Event<'_>, _: &Context<'_, S>) -> bool {
        let metadata = event.metadata();
        !metadata.target().starts_with(SDK) || self.is_due(metadata.callsite(), Instant::now())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_library_that_sees_credentials_never_traces() {
        assert!(!allowed("h2::codec::framed_read", Level::TRACE));
        assert!(!allowed("hyper::proto::h1::io", Level::TRACE));
        assert!(!allowed("sqlx::query", Level::DEBUG));
        assert!(!allowed("opentelemetry-otlp", Level::DEBUG));
        assert!(allowed("h2", Level::DEBUG) && allowed("countersign::log", Level::TRACE));
        assert!(allowed("h2_like", Level::TRACE));
    }

    #[test]
    fn what_the_exporters_say_is_not_sent() {
        assert!(is_of_exporters("h2::client") && is_of_exporters("opentelemetry_sdk"));
        assert!(!is_of_exporters("countersign::log") && !is_of_exporters("sqlx"));
    }

    #[test]
    fn the_same_is_said_once_a_minute() {
        let seldom = Seldom::default();
        let (one, other) = {
            let one = tracing::error_span!("one").metadata().map(Metadata::callsite);
            let other = tracing::error_span!("other").metadata().map(Metadata::callsite);
            (one.expect("it has"), other.expect("it has"))
        };
        let start = Instant::now();
        assert!(seldom.is_due(one.clone(), start) && seldom.is_due(other, start));
        assert!(!seldom.is_due(one.clone(), start + SAME_AGAIN_AFTER - Duration::from_millis(1)));
        assert!(seldom.is_due(one, start + SAME_AGAIN_AFTER));
    }
}
