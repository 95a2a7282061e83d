//! Running replicas, each with how far it has come. On PostgreSQL only: SQLite has one process.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "replicas")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: String,
    pub lease_ms: i64,
    pub applied: i64,
    pub beat: i64,
    /// By the database's clock; for people to see.
    pub beat_time: i64,
    pub start_time: i64,
    pub version: String,
    pub reads_up_to: i32,
    /// `1,2`
    pub root_key_versions: String,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
