//! The tables of fields that may stand in a filter.

use std::fmt::Write as _;

use super::Op;

/// What a field holds, and so how it may be compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FieldType {
    /// Text: `=` and `!=`, byte for byte.
    Text,
    /// One of these names: `=` and `!=`. A name may be written without the field's own name before
    /// it: `ACTIVE` for the `STATE_ACTIVE` of a field `state`.
    Enum(&'static [&'static str]),
    /// A point in time: all operators but `:`, with an RFC 3339 time.
    Time,
    /// A set of texts: `:` asks whether it has the member, literally.
    TextSet,
    /// A map of texts: `field.key` with `=` and `!=`; `field:key` asks whether it has the key.
    Map,
    /// A whole number of 64 bits, not negative: all operators but `:`.
    Number,
}

/// One field that may stand in a filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field {
    /// Its name, as in the proto.
    pub name: &'static str,
    /// What it holds.
    pub kind: FieldType,
}

/// All fields that may stand in a filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Schema(pub &'static [Field]);

/// The fields of a key.
pub const KEYS: Schema = Schema(&[
    field("key_id", FieldType::Text),
    field("account_id", FieldType::Text),
    field("application_id", FieldType::Text),
    field("environment", FieldType::Enum(&["ENVIRONMENT_LIVE", "ENVIRONMENT_TEST"])),
    field(
        "state",
        FieldType::Enum(&["STATE_ACTIVE", "STATE_DISABLED", "STATE_REVOKED", "STATE_EXPIRED"]),
    ),
    field("display_name", FieldType::Text),
    field("labels", FieldType::Map),
    field("scopes", FieldType::TextSet),
    field("create_time", FieldType::Time),
    field("update_time", FieldType::Time),
    field("expire_time", FieldType::Time),
]);

/// The fields of an audit event.
pub const AUDIT: Schema = Schema(&[
    field("revision", FieldType::Number),
    field("time", FieldType::Time),
    field(
        "type",
        FieldType::Enum(&[
            "TYPE_KEY_CREATED",
            "TYPE_KEY_UPDATED",
            "TYPE_KEY_ROTATED",
            "TYPE_KEY_SECRET_EXPIRED",
            "TYPE_KEY_DISABLED",
            "TYPE_KEY_ENABLED",
            "TYPE_KEY_REVOKED",
            "TYPE_KEY_DELETED",
            "TYPE_STORE_EPOCH_ACCEPTED",
        ]),
    ),
    field("account_id", FieldType::Text),
    field("application_id", FieldType::Text),
    field("key_id", FieldType::Text),
    field("actor", FieldType::Text),
    field("request_id", FieldType::Text),
]);

const fn field(name: &'static str, kind: FieldType) -> Field {
    Field { name, kind }
}

impl Schema {
    /// The field of that name.
    pub(super) fn field(&self, name: &str) -> Option<Field> {
        self.0.iter().find(|field| field.name == name).copied()
    }

    /// All names, for an error message.
    pub(super) fn names(&self) -> String {
        self.0.iter().map(|field| field.name).collect::<Vec<_>>().join(", ")
    }
}

impl Field {
    /// The full name of an enum value that was written in full or short.
    pub(super) fn enum_value(
        self,
        names: &'static [&'static str],
        written: &str,
    ) -> Option<&'static str> {
        names.iter().copied().find(|name| *name == written || self.short(name) == written)
    }

    /// The names of an enum, short, for an error message.
    pub(super) fn enum_names(self, names: &'static [&'static str]) -> String {
        names.iter().map(|name| self.short(name)).collect::<Vec<_>>().join(", ")
    }

    /// A name without the field's own name before it.
    fn short(self, name: &'static str) -> &'static str {
        let own = self.name.to_ascii_uppercase();
        name.strip_prefix(own.as_str()).and_then(|rest| rest.strip_prefix('_')).unwrap_or(name)
    }

    /// Whether the operator fits the field; `keyed` if a key in a map was named.
    pub(super) fn allows(self, op: Op, keyed: bool) -> bool {
        match self.kind {
            FieldType::Text | FieldType::Enum(_) => matches!(op, Op::Eq | Op::Ne),
            FieldType::Time | FieldType::Number => op != Op::Has,
            FieldType::TextSet => op == Op::Has,
            FieldType::Map if keyed => matches!(op, Op::Eq | Op::Ne),
            FieldType::Map => op == Op::Has,
        }
    }

    /// How the field is compared, for an error message.
    pub(super) fn usage(self) -> String {
        let mut usage = String::new();
        let name = self.name;
        _ = match self.kind {
            FieldType::Text | FieldType::Enum(_) => write!(usage, "{name} takes = and !="),
            FieldType::Time | FieldType::Number => write!(usage, "{name} takes = != < <= > >="),
            FieldType::TextSet => write!(usage, "{name} takes :, as in {name}:\"member\""),
            FieldType::Map => {
                write!(usage, "write {name}.key = \"value\", {name}.key != \"value\" or {name}:key")
            }
        };
        usage
    }
}
