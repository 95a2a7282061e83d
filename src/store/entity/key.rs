//! Keys. What decides a verification is covered by `seal`; `scopes` and `labels` stand here as JSON, and once more in
//! tables of their own for filters.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "keys")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub key_id: String,
    pub account_id: String,
    pub application_id: String,
    pub environment: String,
    pub display_name: String,
    pub description: String,
    pub scopes: String,
    pub allowed_cidrs: String,
    pub labels: String,
    pub expire_time: Option<i64>,
    pub lifecycle: i16,
    pub revoke_reason: Option<String>,
    pub create_time: i64,
    pub update_time: i64,
    pub creator: String,
    pub revision: i64,
    pub last_secret_number: i32,
    pub seal: Vec<u8>,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {
    #[sea_orm(has_many = "super::key_secret::Entity")]
    Secrets,
}

impl Related<super::key_secret::Entity> for Entity {
    fn to() -> RelationDef {
        Relation::Secrets.def()
    }
}

impl ActiveModelBehavior for ActiveModel {}
