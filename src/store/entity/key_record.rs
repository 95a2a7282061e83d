//! What verifications need of a key, in the bytes that its seal covers, so that all keys are loaded fast. A copy: what
//! counts in every other respect are the rows of the key.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "key_records")]
pub struct Model {
    /// In the order of insertion, and the same for ever: loading goes by its ranges.
    #[sea_orm(primary_key)]
    pub id: i64,
    pub key_id: String,
    pub record: Vec<u8>,
    pub seal: Vec<u8>,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
