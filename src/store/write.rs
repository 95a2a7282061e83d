//! A write transaction: how it begins, takes the writer's lock, and ends. Nothing is written outside of one.

use std::sync::Arc;
use std::time::Duration;

use sea_orm::{
    ConnectionTrait, DatabaseTransaction, DbBackend, DbErr, ExecResult, QueryResult,
    SqliteTransactionMode, Statement, TransactionOptions, TransactionTrait as _,
};
use tracing::Span;

use super::error::{Fault, Kind, has_certainly_not_committed, kind, no_answer};
use super::pools::Pools;
use super::reader::prelude;
use super::statement::{span, within};

/// Called with the name of each SQL statement of a write transaction before it runs, and with `committed` after a
/// successful COMMIT. For tests that make any of them fail.
pub type StatementHook = Arc<dyn Fn(&'static str) -> Result<(), InjectedFault> + Send + Sync>;

/// What a [`StatementHook`] says to make a statement fail; after the COMMIT it stands for a lost reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InjectedFault;

/// The key of the writer's lock on PostgreSQL: "csignlog" in ASCII. Advisory locks are of one database.
const WRITERS_LOCK: i64 = 0x6373_6967_6e6c_6f67;

/// How long the holder of the writer's lock may be silent between two statements before PostgreSQL ends its session:
/// what a client that died, or was cut off, holds up all others by.
const IDLE_LIMIT: Duration = Duration::from_secs(3);

/// An open write transaction that holds the writer's lock. It must be [finished](Self::finish).
pub(super) struct WriteTransaction {
    inner: DatabaseTransaction,
    hook: Option<StatementHook>,
    /// How long any statement may take.
    limit: Duration,
}

/// What a piece of work in a transaction did.
pub(super) enum Done<T> {
    /// Nothing was written.
    Nothing(T),
    /// Something was written, to be committed.
    Wrote(T),
}

impl WriteTransaction {
    /// Begins, and waits for the writer's lock.
    pub(super) async fn begin(pools: &Pools, hook: Option<StatementHook>) -> Result<Self, Fault> {
        check(hook.as_ref(), "begin")?;
        let options = match pools.backend {
            DbBackend::Sqlite => TransactionOptions {
                sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate),
                ..Default::default()
            },
            // What else it is comes with the settings, in one message: SeaORM would prepare a statement for it.
            _ => TransactionOptions::default(),
        };
        // Four times what the lock is waited for: whoever says nothing for so long has gone.
        let limit = pools.patience * 4;
        let begin = answered(limit, pools.writer.begin_with_options(options));
        let begun = within(span(pools.backend, "BEGIN", None), begin).await;
        let inner = begun.map_err(|error| {
            match kind(&error) {
                // On SQLite the connection, or BEGIN IMMEDIATE itself, is the lock.
                Kind::NoConnection | Kind::Conflict if pools.backend == DbBackend::Sqlite => {
                    Fault::LockTimeout
                }
                _ => pools.explain(error),
            }
        })?;
        let transaction = Self { inner, hook, limit };
        match transaction.take_lock(pools).await {
            Ok(()) => Ok(transaction),
            Err(fault) => {
                transaction.roll_back().await;
                Err(fault)
            }
        }
    }

    async fn take_lock(&self, pools: &Pools) -> Result<(), Fault> {
        if pools.backend != DbBackend::Postgres {
            return Ok(());
        }
        let millis = pools.patience.as_millis().max(1);
        let prelude = prelude("READ COMMITTED, READ WRITE", pools.pooled);
        // Nothing is waited for between two statements but ourselves, who compute a few milliseconds at most. A client
        // that died without a word holds up all writers for so long.
        let idle = IDLE_LIMIT.as_millis();
        // READ COMMITTED whatever the database's default: every statement after the lock must see what the last holder
        // of the lock committed, and a stricter level would have taken its snapshot before waiting.
        let settings = format!(
            "{prelude}SET LOCAL lock_timeout = '{millis}ms'; \
             SET LOCAL idle_in_transaction_session_timeout = '{idle}ms'; \
             SET LOCAL synchronous_commit = on"
        );
        self.step("settings").execute_unprepared(&settings).await?;
        let lock = format!("SELECT pg_advisory_xact_lock({WRITERS_LOCK})");
        match self.step("lock").execute_unprepared(&lock).await {
            Err(error) if kind(&error) == Kind::LockTimeout => Err(Fault::LockTimeout),
            taken => Ok(taken.map(|_| ())?),
        }
    }

    /// A connection for one statement, whose name the hook gets.
    pub(super) fn step(&self, name: &'static str) -> Step<'_> {
        Step { transaction: self, name }
    }

    /// The connection for what makes statements of its own: the migrator.
    pub(super) fn connection(&self) -> &DatabaseTransaction {
        &self.inner
    }

    /// Commits what was written, or rolls back, and waits for either.
    pub(super) async fn finish<T>(self, work: Result<Done<T>, Fault>) -> Result<T, Fault> {
        match work {
            Ok(Done::Wrote(value)) => self.commit().await.map(|()| value),
            Ok(Done::Nothing(value)) => {
                self.roll_back().await;
                Ok(value)
            }
            Err(fault) => {
                self.roll_back().await;
                Err(fault)
            }
        }
    }

    async fn commit(self) -> Result<(), Fault> {
        let Self { inner, hook, limit } = self;
        if let Err(fault) = check(hook.as_ref(), "commit") {
            Self { inner, hook, limit }.roll_back().await;
            return Err(fault.into());
        }
        let span = span(inner.get_database_backend(), "COMMIT", None);
        match within(span, answered(limit, inner.commit())).await {
            Ok(()) => check(hook.as_ref(), "committed").map_err(|_| Fault::OutcomeUnknown),
            Err(error) if has_certainly_not_committed(&error) => Err(error.into()),
            Err(_) => Err(Fault::OutcomeUnknown),
        }
    }

    /// Awaited, so that no transaction is dropped while something runs in it. If it fails, the connection is broken
    /// and the pool closes it.
    async fn roll_back(self) {
        let span = span(self.inner.get_database_backend(), "ROLLBACK", None);
        let _ = within(span, answered(self.limit, self.inner.rollback())).await;
    }
}

/// What a statement gives, or that it gave nothing in time. The pool closes its connection then.
async fn answered<T>(
    limit: Duration,
    statement: impl Future<Output = Result<T, DbErr>>,
) -> Result<T, DbErr> {
    tokio::time::timeout(limit, statement).await.unwrap_or_else(|_| Err(no_answer()))
}

fn check(hook: Option<&StatementHook>, name: &'static str) -> Result<(), DbErr> {
    match hook.map(|hook| hook(name)) {
        Some(Err(InjectedFault)) => Err(DbErr::Custom(format!("injected fault at {name}"))),
        _ => Ok(()),
    }
}

/// One statement of a [`WriteTransaction`].
pub(super) struct Step<'t> {
    transaction: &'t WriteTransaction,
    name: &'static str,
}

impl Step<'_> {
    fn checked(&self) -> Result<&DatabaseTransaction, DbErr> {
        check(self.transaction.hook.as_ref(), self.name)?;
        Ok(&self.transaction.inner)
    }

    /// Runs it within its span, for as long as any statement may take.
    async fn run<T>(
        &self,
        span: Span,
        statement: impl Future<Output = Result<T, DbErr>>,
    ) -> Result<T, DbErr> {
        within(span, answered(self.transaction.limit, statement)).await
    }

    fn span(&self, sql: &str) -> Span {
        span(self.get_database_backend(), sql, Some(self.name))
    }
}

#[sea_orm_migration::async_trait::async_trait]
impl ConnectionTrait for Step<'_> {
    fn get_database_backend(&self) -> DbBackend {
        self.transaction.inner.get_database_backend()
    }

    async fn execute_raw(&self, statement: Statement) -> Result<ExecResult, DbErr> {
        self.run(self.span(&statement.sql), self.checked()?.execute_raw(statement)).await
    }

    async fn execute_unprepared(&self, sql: &str) -> Result<ExecResult, DbErr> {
        self.run(self.span(sql), self.checked()?.execute_unprepared(sql)).await
    }

    async fn query_one_raw(&self, statement: Statement) -> Result<Option<QueryResult>, DbErr> {
        self.run(self.span(&statement.sql), self.checked()?.query_one_raw(statement)).await
    }

    async fn query_all_raw(&self, statement: Statement) -> Result<Vec<QueryResult>, DbErr> {
        self.run(self.span(&statement.sql), self.checked()?.query_all_raw(statement)).await
    }
}
