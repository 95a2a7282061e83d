//! `docs/METRICS.md` says what the code says.

use std::fs;

use countersign::domain::durations::BOUNDS;
use countersign::telemetry::metrics::{METRICS, Metric, OF_THE_PROCESS};

use crate::harness::tools;

fn document() -> String {
    fs::read_to_string(tools::in_repository("docs/METRICS.md")).expect("the page is there")
}

/// The rows of the table below `<!-- table: name -->`, without its header.
fn rows_of(name: &str) -> Vec<String> {
    let (marker, document) = (format!("<!-- table: {name} -->"), document());
    let (_, after) = document.split_once(&marker).unwrap_or_else(|| panic!("no {marker}"));
    let lines = after.lines().skip_while(|line| line.is_empty());
    lines.take_while(|line| line.starts_with('|')).skip(2).map(str::to_owned).collect()
}

fn row(metric: &&Metric) -> String {
    let labels = metric.prometheus_labels();
    let labels: Vec<_> = labels.iter().map(|label| format!("`{label}`")).collect();
    let kind = format!("{:?}", metric.kind).to_lowercase();
    let (name, labels) = (metric.prometheus_name(), labels.join(", "));
    format!("| `{name}` | {kind} | {labels} | {} |", metric.meaning)
}

#[test]
fn the_table_is_that_of_the_code() {
    let wanted: Vec<_> = METRICS.iter().map(row).collect();
    assert!(
        rows_of("metrics") == wanted,
        "the table of metrics differs from the code, which says:\n{}",
        wanted.join("\n")
    );
}

#[test]
fn every_metric_that_is_spoken_of_exists_and_all_of_the_process_are_spoken_of() {
    let document = document();
    let known: Vec<_> = METRICS.iter().map(|metric| metric.prometheus_name()).collect();
    let is_part = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    for word in document.split(|letter| !is_part(letter)) {
        if word.starts_with("countersign_") {
            assert!(known.iter().any(|name| name == word), "{word} is no metric");
        }
        if word.starts_with("process_") {
            assert!(OF_THE_PROCESS.contains(&word), "{word} is no metric");
        }
    }
    for name in OF_THE_PROCESS {
        assert!(document.contains(&format!("`{name}`")), "{name} is not spoken of");
    }
}

#[test]
fn there_is_a_remedy_for_all_that_can_be_bad_and_for_nothing_else() {
    let limits = |name: &String| name.ends_with("_limit");
    let wanted = METRICS.iter().map(|metric| metric.prometheus_name());
    let wanted: Vec<_> = wanted.filter(|name| !limits(name)).collect();
    let rows = rows_of("remedies");
    let named = rows.iter().filter_map(|row| row.split('`').nth(1).map(str::to_owned));
    assert_eq!(named.collect::<Vec<_>>(), wanted);
}

#[test]
fn the_buckets_are_those_that_are_spoken_of() {
    let said = "1, 2.5, 5, 10, 25, 50, 100, 250 and 500 µs, the same in ms, and 1, 2.5, 5 and 10 s";
    assert!(document().replace('\n', " ").contains(said));
    let of_a_unit = [1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000];
    let micros = of_a_unit.into_iter();
    let millis = of_a_unit.into_iter().map(|bound| bound * 1_000);
    let seconds = of_a_unit.into_iter().take(4).map(|bound| bound * 1_000_000);
    assert_eq!(BOUNDS.to_vec(), micros.chain(millis).chain(seconds).collect::<Vec<u64>>());
}
