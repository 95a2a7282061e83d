//! Tables for people.

use comfy_table::presets::NOTHING;
use comfy_table::{ContentArrangement, Table};

use super::output;
use super::time::shown;

/// A table of rows under a header, as wide as its contents: one row is one line, so that `grep` and
/// `cut` work.
pub(super) fn rows(header: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut table = empty();
    table.set_header(header.iter().copied());
    rows.into_iter().for_each(|row| {
        table.add_row(row.iter().map(|cell| output::on_one_line(cell)));
    });
    aligned(table)
}

/// Names and values, one pair a line; pairs with an empty value are left out.
pub(super) fn pairs(pairs: &[(&str, String)]) -> String {
    let mut table = empty();
    for (name, value) in pairs.iter().filter(|(_, value)| !value.is_empty()) {
        table.add_row([(*name).to_owned(), output::on_one_line(value)]);
    }
    aligned(table)
}

/// A point in time; empty if there is none.
pub(super) fn time(time: Option<&prost_types::Timestamp>) -> String {
    time.map(shown).unwrap_or_default()
}

/// The name of an enum's value without its prefix, as a filter takes it; the bare number if it is from
/// a later release.
pub(super) fn word<E: TryFrom<i32>>(
    value: i32,
    prefix: &str,
    name: impl Fn(E) -> &'static str,
) -> String {
    match E::try_from(value) {
        Ok(known) => {
            let name = name(known);
            name.strip_prefix(prefix).unwrap_or(name).to_owned()
        }
        Err(_) => value.to_string(),
    }
}

/// Columns two spaces apart, nothing in front of the first.
fn aligned(mut table: Table) -> String {
    table.column_iter_mut().for_each(|column| {
        column.set_padding((0, 2));
    });
    table.trim_fmt()
}

fn empty() -> Table {
    let mut table = Table::new();
    table.load_style(NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table
}
