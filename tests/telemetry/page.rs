//! The page for Prometheus, read as text.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::harness::{eventually, tools};

const SOON: Duration = Duration::from_secs(30);

/// What a page says: the value of each series, by its name with its labels as they stand there.
#[derive(Debug, Clone, PartialEq)]
pub struct Page {
    pub text: String,
    series: BTreeMap<String, f64>,
}

/// An answer to a GET.
#[derive(Debug)]
pub struct Answer {
    pub status: String,
    pub content_type: String,
    pub body: String,
}

/// Asks with the real curl.
pub fn get(url: &str, args: &[&str]) -> Answer {
    const TRAILER: &str = "\n%{http_code} %{content_type}";
    let silent = ["--silent", "--show-error", "--max-time", "20", "--write-out", TRAILER];
    let output = tools::curl().args(silent).args(args).arg(url).run().succeeded();
    let (body, trailer) = output.stdout.rsplit_once('\n').expect("what curl was told to write");
    let (status, content_type) = trailer.split_once(' ').expect("two words");
    let own = str::to_owned;
    Answer { status: own(status), content_type: own(content_type), body: own(body) }
}

impl Page {
    /// That of the server whose pages are at this URL.
    pub fn of(http: &str) -> Self {
        let answer = get(&format!("{http}/metrics"), &[]);
        assert_eq!(answer.status, "200", "{answer:?}");
        assert_eq!(answer.content_type, "text/plain; version=0.0.4; charset=utf-8");
        let lines = answer.body.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
        let series = lines.map(|line| {
            let (name, value) = line.rsplit_once(' ').expect("a name and a value");
            (name.to_owned(), value.parse().unwrap_or_else(|_| panic!("no number: {line}")))
        });
        Self { series: series.collect(), text: answer.body }
    }

    /// Waits until the page says something.
    pub async fn that(http: &str, what: &str, says: impl Fn(&Self) -> bool) -> Self {
        eventually(what, SOON, async || Some(Self::of(http)).filter(|page| says(page))).await
    }

    /// The value of a series; panics where there is none.
    #[track_caller]
    pub fn value(&self, series: &str) -> f64 {
        self.find(series).unwrap_or_else(|| panic!("no {series} in\n{}", self.text))
    }

    pub fn find(&self, series: &str) -> Option<f64> {
        self.series.get(series).copied()
    }

    /// The names of all series, with their labels.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.series.keys().map(String::as_str)
    }
}
