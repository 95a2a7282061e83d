//! Who can administer the service with no end in sight.

use sea_orm::sea_query::{Expr, ExprTrait as _, Query};
use sea_orm::{
    ColumnTrait, ConnectionTrait, DbErr, QueryFilter, QueryOrder, QuerySelect, QueryTrait,
};

use super::entity::{key, key_scope};
use super::{key_rows, row};
use crate::domain::ids::{AccountId, Environment};
use crate::domain::permission::Permission;
use crate::domain::seal::SealKeys;

/// How many candidates are looked at. SQL finds them by columns; that the seal fits and the rest of the rule holds is
/// for the domain to say, and if none of these does, the answer is no, the safe one.
const CANDIDATES: u64 = 100;

/// Whether any key but `except` is a lasting administrator.
pub(super) async fn has_lasting(
    connection: &impl ConnectionTrait,
    seals: &SealKeys,
    except: Option<&str>,
) -> Result<bool, DbErr> {
    let writes = Query::select()
        .expr(Expr::val(1))
        .from(key_scope::Entity)
        .and_where(
            Expr::col((key_scope::Entity, key_scope::Column::KeyId))
                .equals((key::Entity, key::Column::KeyId)),
        )
        .and_where(key_scope::Column::Scope.eq(Permission::KeysWrite.scope()))
        .take();
    let mut candidates = key_rows::ids()
        .filter(key::Column::AccountId.eq(AccountId::RESERVED))
        .filter(key::Column::Environment.eq(Environment::Live.as_str()))
        .filter(key::Column::Lifecycle.eq(row::ACTIVE))
        .filter(key::Column::ExpireTime.is_null())
        .filter(Expr::exists(writes))
        .order_by_asc(key::Column::KeyId)
        .limit(CANDIDATES);
    if let Some(except) = except {
        candidates = candidates.filter(key::Column::KeyId.ne(except));
    }
    let found = key_rows::read(connection, candidates.into_query(), &[], seals).await?;
    Ok(found.iter().flatten().any(crate::domain::key::Key::is_lasting_administrator))
}
