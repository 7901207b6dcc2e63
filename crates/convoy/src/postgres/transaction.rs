//! A transaction that owns its connection.
//!
//! The lease is marked busy from BEGIN until COMMIT or ROLLBACK is answered, so
//! a transaction dropped at any moment closes its connection, and Postgres rolls
//! it back.

use std::time::Duration;

use super::{DbError, Lease, Pool, Row, execute, fetch};
use crate::sql::Statement;

/// How long BEGIN, COMMIT and ROLLBACK may go unanswered. A connection whose
/// other end vanished without a word would keep its call for ever.
const PATIENCE: Duration = Duration::from_secs(10);

async fn answered(exchange: impl Future<Output = Result<(), DbError>>) -> Result<(), DbError> {
    tokio::time::timeout(PATIENCE, exchange).await.unwrap_or_else(|_elapsed| Err(DbError::silent()))
}

/// What a transaction sees of others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Isolation {
    /// A mutation's: as if it ran alone.
    Serializable,
    /// A query's of several statements: one snapshot, no writes.
    Snapshot,
}

/// An open transaction.
pub struct Transaction {
    lease: Lease,
}

/// What became of a transaction that was asked to commit.
#[derive(Debug)]
pub enum CommitOutcome {
    /// It is durable.
    Committed,
    /// Postgres said no; nothing of it is visible.
    RolledBack(DbError),
    /// The answer was lost: it may have happened.
    Unknown(DbError),
}

impl Transaction {
    /// Begins on a connection of the pool. A stale idle connection is replaced:
    /// nothing has happened yet.
    pub async fn begin(pool: &Pool, isolation: Isolation) -> Result<Transaction, DbError> {
        let begin = match isolation {
            Isolation::Serializable => "begin isolation level serializable",
            Isolation::Snapshot => "begin isolation level repeatable read, read only",
        };
        loop {
            let mut lease = pool.acquire().await?;
            match answered(execute(lease.enter(), begin)).await {
                Ok(()) => return Ok(Transaction { lease }),
                Err(error) if error.connection_lost() && !lease.is_fresh() => pool.forget_idle(),
                Err(error) => return Err(error),
            }
        }
    }

    /// Runs one statement inside.
    pub async fn run(&mut self, statement: Statement) -> Result<Vec<Row>, DbError> {
        fetch(self.lease.enter(), statement).await
    }

    /// Commits. Any database error in reply is a proven rollback; a lost
    /// connection proves nothing.
    pub async fn commit(mut self) -> CommitOutcome {
        match answered(execute(self.lease.enter(), "commit")).await {
            Ok(()) => {
                self.lease.leave();
                CommitOutcome::Committed
            }
            Err(error) if error.connection_lost() => CommitOutcome::Unknown(error),
            Err(error) => {
                self.lease.leave();
                CommitOutcome::RolledBack(error)
            }
        }
    }

    /// Ends it without effect.
    pub async fn rollback(mut self) {
        match answered(execute(self.lease.enter(), "rollback")).await {
            Ok(()) => self.lease.leave(),
            // The lease stays marked, so the connection closes, which rolls back too.
            Err(error) => tracing::debug!(cause = %error, "a rollback was not answered"),
        }
    }
}
