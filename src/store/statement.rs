//! The span of a statement: which operation, on which table, and how it went, in the semantic conventions for database
//! clients. Never its text, which is long, nor its values, which are others' business.
//!
//! A statement that nobody's request asks for has none: the follower alone makes five a second.

use sea_orm::{DbBackend, DbErr};
use tracing::{Instrument as _, Span, field};

use super::error::{Fault, Kind, kind};

/// What went wrong, in one of few words.
pub(super) trait ErrorType {
    /// `error.type`.
    fn error_type(&self) -> &'static str;
}

impl ErrorType for DbErr {
    fn error_type(&self) -> &'static str {
        match kind(self) {
            Kind::Conflict => "conflict",
            Kind::LockTimeout => "lock_timeout",
            Kind::NoConnection => "no_connection",
            Kind::Full => "full",
            Kind::ReadOnly => "read_only",
            Kind::Lost => "connection_lost",
            Kind::Other => "_OTHER",
        }
    }
}

impl ErrorType for Fault {
    fn error_type(&self) -> &'static str {
        match self {
            Self::Database(error) => error.error_type(),
            Self::LockTimeout => "lock_timeout",
            Self::OutcomeUnknown => "outcome_unknown",
            Self::Refused(_) => "_OTHER",
        }
    }
}

/// Runs a statement within its span.
pub(super) async fn within<T, E: ErrorType>(
    span: Span,
    statement: impl Future<Output = Result<T, E>>,
) -> Result<T, E> {
    let outcome = statement.instrument(span.clone()).await;
    if let Err(error) = &outcome {
        span.record("error.type", error.error_type());
        span.record("otel.status_code", "error");
    }
    outcome
}

/// The span of a statement, within the request's. `step` says what it is for, where it has a name.
pub(super) fn span(backend: DbBackend, sql: &str, step: Option<&'static str>) -> Span {
    // Nothing is taken apart where nobody listens.
    if !tracing::span_enabled!(tracing::Level::DEBUG) || Span::current().is_none() {
        return Span::none();
    }
    let Summary { operation, collection } = Summary::of(sql);
    let summary = collection.map_or_else(|| operation.to_owned(), |of| format!("{operation} {of}"));
    let system = match backend {
        DbBackend::Sqlite => "sqlite",
        _ => "postgresql",
    };
    tracing::debug_span!(
        "statement",
        otel.name = summary,
        otel.kind = "client",
        db.system.name = system,
        db.operation.name = operation,
        db.collection.name = collection,
        db.query.summary = summary,
        countersign.step = step,
        "error.type" = field::Empty,
        otel.status_code = field::Empty,
    )
}

/// What a statement can begin with.
const OPERATIONS: [&str; 9] =
    ["SELECT", "INSERT", "UPDATE", "DELETE", "SET", "BEGIN", "COMMIT", "ROLLBACK", "DEALLOCATE"];

/// What a statement does, to what.
#[derive(Debug, PartialEq, Eq)]
struct Summary<'s> {
    operation: &'s str,
    /// The table, if there is one and it is not within parentheses.
    collection: Option<&'s str>,
}

impl<'s> Summary<'s> {
    fn of(sql: &'s str) -> Self {
        let (mut depth, mut rest) = (0_usize, sql);
        let (mut operation, mut collection, mut expects_a_name) = ("", None, false);
        while let Some(first) = rest.chars().next() {
            let token;
            (token, rest) = rest.split_at(token_length(rest, first));
            match first {
                '(' => depth += 1,
                ')' => depth = depth.saturating_sub(1),
                _ if depth > 0 || first.is_whitespace() => {}
                '"' | 'A'..='Z' | 'a'..='z' | '_' => {
                    let is =
                        |words: &[&str]| words.iter().any(|word| token.eq_ignore_ascii_case(word));
                    if expects_a_name && collection.is_none() {
                        collection = Some(token.trim_matches('"'));
                    }
                    if operation.is_empty() && is(&OPERATIONS) {
                        operation = token;
                    }
                    expects_a_name =
                        is(&["FROM", "INTO"]) || (is(&["UPDATE"]) && token == operation);
                }
                // What comes after the first statement of several is not looked at.
                ';' => break,
                _ => expects_a_name = false,
            }
        }
        Self { operation, collection }
    }
}

/// A word, a quoted name, a text, or one character.
fn token_length(text: &str, first: char) -> usize {
    let is_word = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    match first {
        '"' | '\'' => {
            text.get(1..).and_then(|text| text.find(first)).map_or(text.len(), |end| end + 2)
        }
        _ if is_word(first) => text.find(|letter| !is_word(letter)).unwrap_or(text.len()),
        _ => first.len_utf8(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_is_known_by_its_operation_and_table() {
        for (sql, operation, collection) in [
            (
                r#"SELECT "a"."b", (SELECT "c" FROM "inner") FROM "keys" WHERE x = 'FROM y'"#,
                "SELECT",
                Some("keys"),
            ),
            (
                r#"INSERT INTO "audit_events" ("revision") VALUES ($1)"#,
                "INSERT",
                Some("audit_events"),
            ),
            (r#"UPDATE "keys" SET "a" = $1 WHERE "key_id" = $2"#, "UPDATE", Some("keys")),
            (r#"DELETE FROM "key_scopes" WHERE "key_id" = $1"#, "DELETE", Some("key_scopes")),
            ("SELECT store.epoch FROM store LEFT JOIN replicas ON 1 = 1", "SELECT", Some("store")),
            ("WITH x AS (SELECT 1 FROM y) DELETE FROM keys", "DELETE", Some("keys")),
            ("SELECT pg_advisory_xact_lock(7)", "SELECT", None),
            ("SET TRANSACTION ISOLATION LEVEL READ COMMITTED; SELECT 1 FROM x", "SET", None),
            ("SELECT 1 FOR UPDATE", "SELECT", None),
            ("COMMIT", "COMMIT", None),
            ("", "", None),
            ("SELECT 'open", "SELECT", None),
        ] {
            assert_eq!(Summary::of(sql), Summary { operation, collection }, "{sql}");
        }
    }

    #[test]
    fn names_of_other_scripts_do_not_stop_it() {
        assert_eq!(Summary::of("SELECT é FROM \"ключи\"").collection, Some("ключи"));
    }
}
