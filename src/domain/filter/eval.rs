//! Evaluating a filter over one row. The store's SQL must give the same answers.

use std::borrow::Cow;
use std::cmp::Ordering;

use super::{Comparison, Expr, Op, Value};
use crate::domain::Timestamp;

/// What a filter is held against. Each method is asked only for fields of its type in the schema;
/// `None` means that the value is absent.
pub trait Row {
    /// A text, or the full name of an enum value.
    fn text(&self, field: &str) -> Option<Cow<'_, str>>;
    /// A point in time.
    fn time(&self, field: &str) -> Option<Timestamp>;
    /// A number.
    fn number(&self, field: &str) -> Option<u64>;
    /// Whether a set holds the text, literally, or a map holds the key.
    fn has_member(&self, field: &str, member: &str) -> bool;
    /// The value under a key of a map.
    fn entry(&self, field: &str, key: &str) -> Option<Cow<'_, str>>;
}

/// Whether the row fits the filter.
///
/// There are two truth values. An absent value equals nothing and is in no order to anything: `!=`
/// holds for it, and every other operator does not. In SQL that is `x IS NULL OR x <> value` for `!=`,
/// and for the others `x IS NOT NULL AND x op value`, so that no `NULL` reaches an `AND` or an `OR`.
/// Texts are compared byte for byte.
pub fn matches(expr: &Expr, row: &dyn Row) -> bool {
    match expr {
        Expr::And(parts) => parts.iter().all(|part| matches(part, row)),
        Expr::Or(parts) => parts.iter().any(|part| matches(part, row)),
        Expr::Compare(comparison) => holds(comparison, row),
    }
}

fn holds(comparison: &Comparison, row: &dyn Row) -> bool {
    let Comparison { field, path, op, value } = comparison;
    match (value, path, op) {
        (Value::Text(text), Some(key), op) => {
            ordered(*op, row.entry(field, key).map(|there| there.as_ref().cmp(text.as_str())))
        }
        // Only sets and maps take `:`; the row knows which of them the field is.
        (Value::Text(text), None, Op::Has) => row.has_member(field, text),
        (Value::Text(text), None, op) => {
            ordered(*op, row.text(field).map(|there| there.as_ref().cmp(text.as_str())))
        }
        (Value::Enum(name), _, op) => {
            ordered(*op, row.text(field).map(|there| there.as_ref().cmp(*name)))
        }
        (Value::Time(time), _, op) => ordered(*op, row.time(field).map(|there| there.cmp(time))),
        (Value::Number(number), _, op) => {
            ordered(*op, row.number(field).map(|there| there.cmp(number)))
        }
    }
}

/// Whether the operator holds, given how the row's value, if there is one, stands to the filter's.
fn ordered(op: Op, ordering: Option<Ordering>) -> bool {
    match op {
        Op::Ne => ordering != Some(Ordering::Equal),
        Op::Eq => ordering == Some(Ordering::Equal),
        Op::Lt => ordering == Some(Ordering::Less),
        Op::Gt => ordering == Some(Ordering::Greater),
        Op::Le => ordering.is_some_and(Ordering::is_le),
        Op::Ge => ordering.is_some_and(Ordering::is_ge),
        Op::Has => false,
    }
}
