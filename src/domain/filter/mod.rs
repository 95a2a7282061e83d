//! Filters: one subset of Google AIP-160 (<https://google.aip.dev/160>) for every list and stream.
//!
//! In: the text of a filter and a [`Schema`], the table of fields that may stand in it. Out: a typed
//! [`Expr`], which [`matches`] evaluates over a [`Row`] and which the store translates to SQL; both give
//! the same answer. Nothing in here knows what a key or an event is, apart from the two tables.
//!
//! ```text
//! filter     = [ and ]
//! and        = or { "AND" or }
//! or         = term { "OR" term }
//! term       = "(" and ")" | field op value
//! field      = name [ "." key ]
//! op         = "=" | "!=" | "<" | "<=" | ">" | ">=" | ":"
//! value, key = word | '"' { character | '\"' | '\\' } '"'
//! ```
//!
//! As in the AIP, `OR` binds tighter than `AND`: `a AND b OR c` is `a AND (b OR c)`. Unlike the AIP,
//! there is no negation but `!=`, no sequence without `AND`, and no `*` in values: each is itself.

mod eval;
mod lexer;
mod parser;
mod schema;
#[cfg(test)]
mod tests;

use std::fmt;

use super::Timestamp;

pub use eval::{Row, matches};
pub use parser::parse;
pub use schema::{AUDIT, Field, FieldType, KEYS, Schema};

/// The longest filter, in bytes.
pub const MAX_BYTES: usize = 4_096;
/// The deepest nesting of parentheses.
pub const MAX_DEPTH: usize = 20;
/// The most comparisons in one filter.
pub const MAX_COMPARISONS: usize = 100;

/// A filter that was understood. It prints in one form, which parses back to the same expression (unless
/// quotes and full names made it longer than [`MAX_BYTES`]), so its text can stand for it in a page token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expr {
    /// All of these; at least two.
    And(Vec<Expr>),
    /// Any of these; at least two.
    Or(Vec<Expr>),
    /// One comparison.
    Compare(Comparison),
}

/// `field op value`, whose types fit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Comparison {
    /// A name in the schema.
    pub field: &'static str,
    /// The key in a map, where it is the key's value that is compared.
    pub path: Option<String>,
    /// How to compare; one that the field's type allows.
    pub op: Op,
    /// What to compare with; of the field's type.
    pub value: Value,
}

/// How to compare.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Op {
    /// `=`
    Eq,
    /// `!=`, which holds for an absent value too
    Ne,
    /// `<`
    Lt,
    /// `<=`
    Le,
    /// `>`
    Gt,
    /// `>=`
    Ge,
    /// `:`, has the member or the key
    Has,
}

/// What to compare with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// For [`FieldType::Text`], [`FieldType::TextSet`] and [`FieldType::Map`].
    Text(String),
    /// For [`FieldType::Enum`]: the full name, out of the schema.
    Enum(&'static str),
    /// For [`FieldType::Time`].
    Time(Timestamp),
    /// For [`FieldType::Number`].
    Number(u64),
}

/// Why a filter is refused, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("column {column}: {message}")]
pub struct FilterError {
    /// Where it went wrong, in characters, counted from 1.
    pub column: usize,
    /// What went wrong: lower case, no full stop.
    pub message: String,
}

impl FilterError {
    /// An error at a byte of `text`.
    fn at(text: &str, byte: usize, message: impl Into<String>) -> Self {
        let before = text.char_indices().take_while(|(start, _)| *start < byte).count();
        Self { column: before + 1, message: message.into() }
    }
}

impl Op {
    /// The operator as it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Eq => "=",
            Self::Ne => "!=",
            Self::Lt => "<",
            Self::Le => "<=",
            Self::Gt => ">",
            Self::Ge => ">=",
            Self::Has => ":",
        }
    }
}

impl fmt::Display for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (parts, word) = match self {
            Self::Compare(comparison) => return comparison.fmt(f),
            Self::And(parts) => (parts, " AND "),
            Self::Or(parts) => (parts, " OR "),
        };
        for (at, part) in parts.iter().enumerate() {
            if at > 0 {
                f.write_str(word)?;
            }
            match (self, part) {
                (_, Self::Compare(_)) | (Self::And(_), Self::Or(_)) => part.fmt(f)?,
                _ => write!(f, "({part})")?,
            }
        }
        Ok(())
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.field)?;
        if let Some(key) = &self.path {
            f.write_str(".")?;
            quote(f, key)?;
        }
        write!(f, " {} ", self.op.as_str())?;
        match &self.value {
            Value::Text(text) => quote(f, text),
            Value::Enum(name) => f.write_str(name),
            Value::Time(time) => write!(f, "\"{time}\""),
            Value::Number(number) => number.fmt(f),
        }
    }
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Writes a quoted string that the lexer reads back.
fn quote(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    write!(f, "\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}
