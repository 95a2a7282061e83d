//! How a statement that only reads reaches the database, and how long it may take.

use std::time::Duration;

use sea_orm::{
    ConnectionTrait, DatabaseConnection, DatabaseTransaction, DbBackend, DbErr, ExecResult,
    QueryResult, SqliteTransactionMode, Statement, TransactionOptions, TransactionTrait as _,
};

use super::Store;
use super::error::{Fault, no_answer};
use crate::domain::Error;

/// Connections that read.
///
/// Behind a transaction pooler a session is ours within a transaction only, and sqlx prepares a statement before it
/// executes it: so there each statement gets a transaction of its own.
pub(super) struct Reader {
    connections: DatabaseConnection,
    pooled: bool,
}

/// What a transaction on PostgreSQL begins with: how it is isolated. Behind a pooler also that the session forgets the
/// prepared statements of others, since sqlx numbers its own from one in each connection (it names statements even when
/// it keeps none), so that they would collide.
pub(super) fn prelude(isolation: &str, pooled: bool) -> String {
    let forget = if pooled { "DEALLOCATE ALL; " } else { "" };
    format!("SET TRANSACTION ISOLATION LEVEL {isolation}; {forget}")
}

impl Reader {
    /// `pooled`: whether they lead to a transaction pooler.
    pub(super) fn new(connections: DatabaseConnection, pooled: bool) -> Self {
        Self { connections, pooled }
    }

    /// The connections.
    pub(super) fn connections(&self) -> &DatabaseConnection {
        &self.connections
    }

    /// Begins a transaction that only reads, and sees the database as it is now until it ends.
    pub(super) async fn snapshot(&self) -> Result<DatabaseTransaction, DbErr> {
        // Nothing is written, so that nothing has to wait for the writer's lock.
        let options = TransactionOptions {
            sqlite_transaction_mode: Some(SqliteTransactionMode::Deferred),
            ..Default::default()
        };
        let transaction = self.connections.begin_with_options(options).await?;
        if self.get_database_backend() == DbBackend::Postgres {
            let prelude = prelude("REPEATABLE READ, READ ONLY", self.pooled);
            transaction.execute_unprepared(&prelude).await?;
        }
        Ok(transaction)
    }

    /// Closes the connections.
    pub(super) async fn close(&self) -> Result<(), DbErr> {
        self.connections.close_by_ref().await
    }
}

#[sea_orm_migration::async_trait::async_trait]
impl ConnectionTrait for Reader {
    fn get_database_backend(&self) -> DbBackend {
        self.connections.get_database_backend()
    }

    async fn execute_raw(&self, statement: Statement) -> Result<ExecResult, DbErr> {
        Err(DbErr::Custom(format!("nothing is executed while reading: {}", statement.sql)))
    }

    async fn execute_unprepared(&self, sql: &str) -> Result<ExecResult, DbErr> {
        Err(DbErr::Custom(format!("nothing is executed while reading: {sql}")))
    }

    async fn query_one_raw(&self, statement: Statement) -> Result<Option<QueryResult>, DbErr> {
        if !self.pooled {
            return self.connections.query_one_raw(statement).await;
        }
        let snapshot = self.snapshot().await?;
        let row = snapshot.query_one_raw(statement).await;
        let ended = snapshot.rollback().await;
        let row = row?;
        ended.map(|()| row)
    }

    async fn query_all_raw(&self, statement: Statement) -> Result<Vec<QueryResult>, DbErr> {
        if !self.pooled {
            return self.connections.query_all_raw(statement).await;
        }
        let snapshot = self.snapshot().await?;
        let rows = snapshot.query_all_raw(statement).await;
        let ended = snapshot.rollback().await;
        let rows = rows?;
        ended.map(|()| rows)
    }
}

impl Store {
    /// The connections that this handle reads through.
    pub(super) fn reader(&self) -> &Reader {
        if self.of_follower { &self.inner.pools.follower } else { &self.inner.pools.reader }
    }

    /// What a piece of reading gives, or that the database gave no answer in time: a connection that a partition has
    /// cut is silent for ever.
    pub(super) async fn answered<T, E: Into<Fault>>(
        &self,
        reading: impl Future<Output = Result<T, E>>,
    ) -> Result<T, Error> {
        // Once to get a connection, once to use it.
        self.answered_within(self.patience() * 2, reading).await
    }

    /// The same for what must be there sooner.
    pub(super) async fn answered_within<T, E: Into<Fault>>(
        &self,
        limit: Duration,
        reading: impl Future<Output = Result<T, E>>,
    ) -> Result<T, Error> {
        let read = tokio::time::timeout(limit, reading).await;
        let read = read.map_or_else(|_| Err(no_answer().into()), |read| read.map_err(E::into));
        read.map_err(|fault| self.read_error(fault))
    }

    pub(super) fn read_error(&self, fault: impl Into<Fault>) -> Error {
        match fault.into() {
            Fault::Database(error) => self.inner.pools.explain(error).into(),
            fault => fault.into(),
        }
    }
}
