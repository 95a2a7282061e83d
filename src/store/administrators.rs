//! Who can administer the service.

use sea_orm::sea_query::{Expr, ExprTrait as _, Query};
use sea_orm::{
    ColumnTrait, ConnectionTrait, DbErr, Order, QueryFilter, QueryOrder, QuerySelect, QueryTrait,
};

use super::entity::{key, key_scope};
use super::{key_rows, row};
use crate::domain::Timestamp;
use crate::domain::ids::{AccountId, Environment};
use crate::domain::key::Administration;
use crate::domain::permission::Permission;
use crate::domain::seal::SealKeys;

/// How many candidates are looked at, those without an end first. SQL finds them by columns; that the seal fits and
/// the rest of the rule holds is for the domain to say.
const CANDIDATES: u64 = 100;

/// How far the best of all keys but `except` can administer the service.
pub(super) async fn best(
    connection: &impl ConnectionTrait,
    seals: &SealKeys,
    except: Option<&str>,
    now: Timestamp,
) -> Result<Administration, DbErr> {
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
        .filter(Expr::exists(writes))
        .order_by_desc(key::Column::ExpireTime.is_null())
        .order_by_asc(key::Column::KeyId)
        .limit(CANDIDATES);
    if let Some(except) = except.filter(|key_id| key_rows::can_be_text(key_id)) {
        candidates = candidates.filter(key::Column::KeyId.ne(except));
    }
    let order = [(key::Column::KeyId, Order::Asc)];
    let found = key_rows::read(connection, candidates.into_query(), &order, seals).await?;
    let ranks = found.iter().flatten().map(|key| key.administration(now));
    Ok(ranks.max().unwrap_or(Administration::None))
}
