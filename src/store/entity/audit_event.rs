//! The log. `canonical` is the truth and what the leaf hash covers; the other columns repeat it for filters.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "audit_events")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub revision: i64,
    pub time: i64,
    #[sea_orm(column_name = "type")]
    pub kind: String,
    pub account_id: String,
    pub application_id: String,
    pub key_id: String,
    pub actor: String,
    pub request_id: String,
    pub canonical: String,
    pub leaf_hash: Vec<u8>,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
