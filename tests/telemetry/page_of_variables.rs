//! What is written for people says what the code says.

use std::fs;

use countersign::telemetry::otlp::{HONOURED, PASSED_OVER, REFUSED};

use crate::harness::tools;

fn page() -> String {
    fs::read_to_string(tools::in_repository("docs/TELEMETRY.md")).expect("the page is there")
}

/// The rows of the table below `<!-- table: name -->`, without its header.
fn rows_of(name: &str) -> Vec<String> {
    let (marker, page) = (format!("<!-- table: {name} -->"), page());
    let (_, after) = page.split_once(&marker).unwrap_or_else(|| panic!("no {marker}"));
    let lines = after.lines().skip_while(|line| line.is_empty());
    lines.take_while(|line| line.starts_with('|')).skip(2).map(str::to_owned).collect()
}

#[test]
fn the_tables_of_variables_are_those_of_the_code() {
    let honoured = HONOURED.map(|variable| {
        let default = match variable.default {
            "" => String::new(),
            default => format!("{default} "),
        };
        let says = variable.says.in_words();
        format!("| `{}` | {says} | {default}| {} |", variable.name, variable.meaning)
    });
    let passed_over = PASSED_OVER.map(|(name, reason)| format!("| `{name}` | {reason} |"));
    let refused = REFUSED.map(|(name, reason)| format!("| `{name}` | {reason} |"));
    for (name, wanted) in
        [("honoured", &honoured[..]), ("passed over", &passed_over[..]), ("refused", &refused[..])]
    {
        let wanted = wanted.join("\n");
        assert!(rows_of(name).join("\n") == wanted, "{name} differs from the code:\n{wanted}");
    }
}

#[test]
fn every_variable_that_is_spoken_of_exists() {
    let page = page();
    let is_part = |letter: char| letter.is_ascii_alphanumeric() || "_*".contains(letter);
    for word in page.split(|letter| !is_part(letter)).filter(|word| word.starts_with("OTEL_")) {
        let stands_for = |name: &str| {
            let named = ["*", "", "TRACES_", "METRICS_", "LOGS_"];
            named.iter().any(|signal| name.replace('*', signal) == word)
        };
        let known = HONOURED.iter().map(|variable| variable.name);
        let known = known.chain(PASSED_OVER.iter().chain(&REFUSED).map(|(name, _)| *name));
        let all = ["OTEL_", "OTEL_*"].contains(&word);
        assert!(all || known.into_iter().any(stands_for), "{word} is no variable");
    }
}
