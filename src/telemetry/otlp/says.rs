//! What each kind of `OTEL_*` variable may say.

use http::{HeaderName, HeaderValue, Uri};
use percent_encoding::percent_decode_str;

use super::{certificates, sampler};

/// A queue sets its memory aside when it is made.
const MOST: u64 = 1_000_000;

/// What the specification has handed on besides the trace, by default. Nothing here reads it.
pub(super) const BAGGAGE: &str = "baggage";

/// What a variable may say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Says {
    /// Yes or no.
    Truth,
    /// Where a signal goes.
    Exporter,
    /// How OTLP is spoken.
    Protocol,
    /// Where a collector listens. May hold a secret: never quoted.
    Endpoint,
    /// What is said to a collector besides. Holds secrets: never quoted.
    Headers,
    /// How messages are made smaller.
    Compression,
    /// A file of certificates.
    Certificates,
    /// A time.
    Milliseconds,
    /// A number of things.
    Count,
    /// Any text.
    Text,
    /// Attributes.
    Attributes,
    /// How a trace context is handed on: a list.
    Propagator,
    /// What is sampled.
    Sampler,
    /// A part of one.
    Ratio,
    /// What a sum is a sum of.
    Temporality,
}

impl Says {
    /// What a variable must be, to be read after "must be".
    pub fn in_words(self) -> &'static str {
        match self {
            Self::Truth => "true or false",
            Self::Exporter => "otlp or none",
            Self::Protocol => "grpc or http/protobuf",
            Self::Endpoint => {
                "a URL such as http://collector:4318, without user, password, query or fragment"
            }
            Self::Headers => "name=value, separated by commas, with values in percent-encoding",
            Self::Compression => "none or gzip",
            Self::Certificates => "a file of PEM certificates",
            Self::Milliseconds => "a whole number of milliseconds, at least 1",
            Self::Count => "a whole number from 1 to 1000000",
            Self::Text => "a text",
            Self::Attributes => "name=value, separated by commas, with values in percent-encoding",
            Self::Propagator => "tracecontext, alone or in a list with baggage",
            Self::Sampler => {
                "always_on, always_off, traceidratio, parentbased_always_on, \
                 parentbased_always_off or parentbased_traceidratio"
            }
            Self::Ratio => "a number from 0 to 1",
            Self::Temporality => "cumulative, delta or lowmemory",
        }
    }

    pub(super) fn includes(self, value: &str) -> bool {
        match self {
            Self::Truth => ["true", "false"].iter().any(|one| value.eq_ignore_ascii_case(one)),
            Self::Exporter => ["otlp", "none"].contains(&value),
            Self::Protocol => ["grpc", "http/protobuf"].contains(&value),
            Self::Endpoint => is_endpoint(value),
            Self::Headers => pairs(value).is_some_and(|pairs| {
                pairs.iter().all(|(name, value)| {
                    HeaderName::try_from(name).is_ok() && HeaderValue::try_from(value).is_ok()
                })
            }),
            Self::Compression => ["none", "gzip"].contains(&value),
            Self::Certificates => certificates::read(value).is_ok(),
            Self::Milliseconds => value.parse().is_ok_and(|number: u64| number >= 1),
            Self::Count => value.parse().is_ok_and(|number: u64| (1..=MOST).contains(&number)),
            Self::Text => true,
            Self::Attributes => pairs(value).is_some(),
            Self::Propagator => {
                let named: Vec<_> = entries(value).collect();
                named.contains(&"tracecontext")
                    && named.iter().all(|name| ["tracecontext", BAGGAGE].contains(name))
            }
            Self::Sampler => sampler::of(value, 1.0).is_some(),
            Self::Ratio => value.parse().is_ok_and(|ratio: f64| (0.0..=1.0).contains(&ratio)),
            Self::Temporality => ["cumulative", "delta", "lowmemory"].contains(&value),
        }
    }
}

fn is_endpoint(value: &str) -> bool {
    // A fragment is cut off by the parser; user and password would be, later.
    let Ok(uri) = value.parse::<Uri>() else { return false };
    matches!(uri.scheme_str(), Some("http" | "https"))
        && uri.host().is_some_and(|host| !host.is_empty())
        && uri.authority().is_some_and(|authority| !authority.as_str().contains('@'))
        && uri.query().is_none()
        && !value.contains('#')
}

/// What stands between commas.
pub(super) fn entries(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|entry| !entry.is_empty())
}

/// `name=value` with commas between, and values in percent-encoding. `None` where one is none.
pub(super) fn pairs(text: &str) -> Option<Vec<(String, String)>> {
    let pairs = entries(text).map(|entry| {
        let (name, value) = entry.split_once('=')?;
        let (name, value) = (name.trim(), percent_decode_str(value.trim()).decode_utf8().ok()?);
        (!name.is_empty() && !value.is_empty()).then(|| (name.to_owned(), value.into_owned()))
    });
    pairs.collect()
}
