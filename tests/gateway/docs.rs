//! What is written for people says what the code says.

use std::fs;

use countersign::domain::route::{FIELDS, MAX_ROUTES};
use countersign::rpc::gateway::{
    DOORS, EXTENSIONS, REASONS, SAY_ANOTHER_REQUEST, UPSTREAM_HEADERS,
};

use crate::harness::tools;

fn page() -> String {
    fs::read_to_string(tools::in_repository("docs/GATEWAYS.md")).expect("the page is there")
}

/// The rows of the table below `<!-- table: name -->`, without its header.
fn rows_of(name: &str) -> Vec<String> {
    let (marker, page) = (format!("<!-- table: {name} -->"), page());
    let (_, after) = page.split_once(&marker).unwrap_or_else(|| panic!("no {marker}"));
    let lines = after.lines().skip_while(|line| line.is_empty());
    lines.take_while(|line| line.starts_with('|')).skip(2).map(str::to_owned).collect()
}

fn assert_says(name: &str, wanted: &[String]) {
    assert!(
        rows_of(name) == wanted,
        "the table of {name} differs from the code, which says:\n{}",
        wanted.join("\n")
    );
}

#[test]
fn the_tables_are_those_of_the_code() {
    let two = |(name, meaning): &(&str, &str)| format!("| `{name}` | {meaning} |");
    assert_says("routes", &FIELDS.iter().map(two).collect::<Vec<_>>());
    assert_says("context_extensions", &EXTENSIONS.iter().map(two).collect::<Vec<_>>());
    assert_says("upstream headers", &UPSTREAM_HEADERS.iter().map(two).collect::<Vec<_>>());
    let doors = DOORS
        .iter()
        .map(|(path, method, target)| format!("| `{path}` | `{method}` | `{target}` |"));
    assert_says("doors", &doors.collect::<Vec<_>>());
    let reasons = REASONS.iter();
    let reasons = reasons
        .map(|(name, status, meaning)| format!("| `{name}` | {} | {meaning} |", status.as_u16()));
    assert_says("reasons", &reasons.collect::<Vec<_>>());
}

#[test]
fn every_setting_and_header_that_is_spoken_of_exists() {
    let settings = countersign::config::reference();
    let page = page();
    for word in
        page.split(|letter: char| !(letter.is_ascii_alphanumeric() || "-_".contains(letter)))
    {
        if word.starts_with("--gateway-") {
            assert!(settings.iter().any(|setting| setting.flag == word), "{word} is no setting");
        }
        let header = word.to_ascii_lowercase();
        if header.starts_with("x-countersign-") && header != "x-countersign-" {
            assert!(
                UPSTREAM_HEADERS.iter().any(|(name, _)| *name == header),
                "{word} is no header of ours"
            );
        }
    }
    let said = SAY_ANOTHER_REQUEST.map(|header| format!("`{header}`")).join(", ");
    assert!(page.replace('\n', " ").contains(&said), "the page does not say {said}");
    assert!(page.contains(&format!("{MAX_ROUTES} entries")), "a table has another limit");
    for setting in settings.iter().filter(|setting| setting.flag.starts_with("--gateway-")) {
        assert!(page.contains(&setting.flag), "{} is not spoken of", setting.flag);
    }
}
