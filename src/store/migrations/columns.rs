//! How the tables of all steps are written.

use sea_orm::DbBackend;
use sea_orm_migration::prelude::*;

/// How columns are written, so that both databases compare alike.
pub(super) struct Columns(pub(super) DbBackend);

impl Columns {
    /// Text in the order of its bytes, as SQLite has it by default; PostgreSQL would use the language of its cluster.
    pub(super) fn text(&self, name: impl IntoIden) -> ColumnDef {
        let mut column = ColumnDef::new(name);
        column.text();
        if self.0 == DbBackend::Postgres {
            column.extra("COLLATE \"C\"");
        }
        column.not_null().take()
    }

    pub(super) fn optional_text(&self, name: impl IntoIden) -> ColumnDef {
        let mut column = ColumnDef::new(name);
        column.text();
        if self.0 == DbBackend::Postgres {
            column.extra("COLLATE \"C\"");
        }
        column.null().take()
    }

    /// A primary key that is a number. On SQLite `INTEGER PRIMARY KEY` makes it the row's own address, where a
    /// `bigint` would get an index of its own.
    pub(super) fn number_key(&self, name: impl IntoIden) -> ColumnDef {
        let mut column = ColumnDef::new(name);
        match self.0 {
            DbBackend::Sqlite => column.integer(),
            _ => column.big_integer(),
        };
        column.not_null().primary_key().take()
    }

    pub(super) fn number(&self, name: impl IntoIden) -> ColumnDef {
        ColumnDef::new(name).big_integer().not_null().take()
    }

    pub(super) fn optional_number(&self, name: impl IntoIden) -> ColumnDef {
        ColumnDef::new(name).big_integer().null().take()
    }

    pub(super) fn small(&self, name: impl IntoIden) -> ColumnDef {
        ColumnDef::new(name).integer().not_null().take()
    }

    pub(super) fn bytes(&self, name: impl IntoIden) -> ColumnDef {
        ColumnDef::new(name).blob().not_null().take()
    }

    pub(super) fn optional_bytes(&self, name: impl IntoIden) -> ColumnDef {
        ColumnDef::new(name).blob().null().take()
    }
}

/// A table of these columns.
pub(super) fn table(name: impl IntoTableRef, columns: Vec<ColumnDef>) -> TableCreateStatement {
    let mut table = Table::create();
    table.table(name);
    for column in columns {
        table.col(column);
    }
    table.take()
}
