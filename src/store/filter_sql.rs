//! Filters as SQL. They give the same answers as [`crate::domain::filter::matches`] over the same row.
//!
//! No condition made here is ever NULL: an absent value is tested for first, so that `!=` holds for it and nothing
//! else does.

use sea_orm::sea_query::{Expr, ExprTrait as _, IntoColumnRef, Query, SelectStatement};
use sea_orm::{ColumnTrait, Condition};

use super::entity::{audit_event, key, key_label, key_scope};
use super::key_rows::can_be_text;
use super::row;
use crate::domain::Timestamp;
use crate::domain::filter::{Comparison, Expr as Filter, Op, Value};
use crate::domain::ids::Environment;

/// A filter of the schema [`crate::domain::filter::KEYS`], over the table of keys.
pub(super) fn of_keys(filter: &Filter, now: Timestamp) -> Condition {
    condition(filter, &|comparison| key_comparison(comparison, now))
}

/// A filter of the schema [`crate::domain::filter::AUDIT`], over the table of events.
pub(super) fn of_events(filter: &Filter) -> Condition {
    condition(filter, &event_comparison)
}

fn condition(filter: &Filter, compare: &dyn Fn(&Comparison) -> Expr) -> Condition {
    match filter {
        Filter::And(parts) => {
            parts.iter().fold(Condition::all(), |all, part| all.add(condition(part, compare)))
        }
        Filter::Or(parts) => {
            parts.iter().fold(Condition::any(), |any, part| any.add(condition(part, compare)))
        }
        Filter::Compare(comparison) => Condition::all().add(compare(comparison)),
    }
}

fn key_comparison(comparison: &Comparison, now: Timestamp) -> Expr {
    let Comparison { field, path, op, value } = comparison;
    let is = |column: key::Column| compare((key::Entity, column), *op, value);
    match *field {
        "key_id" => is(key::Column::KeyId),
        "account_id" => is(key::Column::AccountId),
        "application_id" => is(key::Column::ApplicationId),
        "display_name" => is(key::Column::DisplayName),
        "create_time" => is(key::Column::CreateTime),
        "update_time" => is(key::Column::UpdateTime),
        "expire_time" => is(key::Column::ExpireTime),
        "environment" => environment(*op, value),
        "state" => state(*op, value, now),
        "scopes" => holds_text(value, with_scope),
        "labels" => match path {
            Some(name) => label_value(*op, name, value),
            None => holds_text(value, |name| with_label(name, None)),
        },
        _ => never(),
    }
}

fn event_comparison(comparison: &Comparison) -> Expr {
    let is = |column: audit_event::Column| {
        compare((audit_event::Entity, column), comparison.op, &comparison.value)
    };
    match comparison.field {
        "revision" => is(audit_event::Column::Revision),
        "time" => is(audit_event::Column::Time),
        "type" => is(audit_event::Column::Kind),
        "account_id" => is(audit_event::Column::AccountId),
        "application_id" => is(audit_event::Column::ApplicationId),
        "key_id" => is(audit_event::Column::KeyId),
        "actor" => is(audit_event::Column::Actor),
        "request_id" => is(audit_event::Column::RequestId),
        _ => never(),
    }
}

fn compare(column: impl IntoColumnRef + Copy, op: Op, value: &Value) -> Expr {
    let value = match value {
        // PostgreSQL can't even be asked about a NUL; no text that is stored holds one.
        Value::Text(text) if !can_be_text(text) => return constant(op == Op::Ne),
        Value::Text(text) => Expr::val(text.as_str()),
        Value::Enum(name) => Expr::val(*name),
        Value::Time(time) => Expr::val(time.micros()),
        // Beyond what the database holds, all numbers are alike: larger than any that is stored.
        Value::Number(number) => Expr::val(i64::try_from(*number).unwrap_or(i64::MAX)),
    };
    let here = Expr::col(column);
    let there = || Expr::col(column).is_not_null();
    match op {
        Op::Ne => Expr::col(column).is_null().or(here.ne(value)),
        Op::Eq => there().and(here.eq(value)),
        Op::Lt => there().and(here.lt(value)),
        Op::Le => there().and(here.lte(value)),
        Op::Gt => there().and(here.gt(value)),
        Op::Ge => there().and(here.gte(value)),
        Op::Has => never(),
    }
}

fn environment(op: Op, value: &Value) -> Expr {
    let stored = match value {
        Value::Enum("ENVIRONMENT_LIVE") => Environment::Live,
        Value::Enum("ENVIRONMENT_TEST") => Environment::Test,
        _ => return never(),
    };
    equals(op, key::Column::Environment.eq(stored.as_str()))
}

/// Expiry is not stored as a state: it comes by itself.
fn state(op: Op, value: &Value, now: Timestamp) -> Expr {
    let stands = |number: i16| key::Column::Lifecycle.eq(number);
    let ends = key::Column::ExpireTime;
    let is = match value {
        Value::Enum("STATE_REVOKED") => stands(row::REVOKED),
        Value::Enum("STATE_DISABLED") => stands(row::DISABLED),
        Value::Enum("STATE_EXPIRED") => {
            stands(row::ACTIVE).and(ends.is_not_null().and(ends.lte(now.micros())))
        }
        Value::Enum("STATE_ACTIVE") => {
            stands(row::ACTIVE).and(ends.is_null().or(ends.gt(now.micros())))
        }
        _ => return never(),
    };
    equals(op, is)
}

fn holds_text(value: &Value, select: impl Fn(&str) -> SelectStatement) -> Expr {
    match value {
        Value::Text(text) if can_be_text(text) => Expr::exists(select(text)),
        _ => never(),
    }
}

fn label_value(op: Op, name: &str, value: &Value) -> Expr {
    match value {
        Value::Text(text) if can_be_text(text) && can_be_text(name) => {
            equals(op, Expr::exists(with_label(name, Some(text))))
        }
        _ => constant(op == Op::Ne),
    }
}

fn with_scope(scope: &str) -> SelectStatement {
    Query::select()
        .expr(Expr::val(1))
        .from(key_scope::Entity)
        .and_where(of_same_key((key_scope::Entity, key_scope::Column::KeyId)))
        .and_where(key_scope::Column::Scope.eq(scope))
        .take()
}

fn with_label(name: &str, value: Option<&str>) -> SelectStatement {
    let mut select = Query::select();
    select
        .expr(Expr::val(1))
        .from(key_label::Entity)
        .and_where(of_same_key((key_label::Entity, key_label::Column::KeyId)))
        .and_where(key_label::Column::Name.eq(name));
    if let Some(value) = value {
        select.and_where(key_label::Column::Value.eq(value));
    }
    select
}

fn of_same_key(column: impl IntoColumnRef) -> Expr {
    Expr::col(column).equals((key::Entity, key::Column::KeyId))
}

/// `=` and `!=` of something that is never NULL.
fn equals(op: Op, is: Expr) -> Expr {
    match op {
        Op::Eq => is,
        Op::Ne => is.not(),
        _ => never(),
    }
}

fn never() -> Expr {
    constant(false)
}

fn constant(truth: bool) -> Expr {
    Expr::cust(if truth { "1 = 1" } else { "1 = 0" })
}
