//! What this store is; one row.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "store")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: i32,
    pub store_id: Vec<u8>,
    pub epoch: i32,
    pub min_reader: i32,
    pub created: i64,
    /// The newest version of the root key that anything was sealed with; 0: nothing was.
    pub root_key_in_use: i32,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
