//! Runs statements on Postgres: connections, transactions, errors by what the caller should
//! do, and the schema of the database. The only module that uses sqlx.

mod address;
mod bulk;
mod diagnose;
mod error;
mod fault;
mod notify_connection;
mod pool;
mod raw_reads;
mod recorder;
mod reset;
mod row;
mod row_security;
mod schema_sync;
mod session;
mod setup;
mod transaction;
mod transaction_status;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions, Connection};

pub(crate) use bulk::{Bulk, StoredRow};
pub use diagnose::Diagnosis;
pub(crate) use error::DbError;
pub(crate) use fault::Fault;
pub(crate) use notify_connection::{ListenConnection, NotifyConnection};
use pool::{Availability, PoolContext};
pub(crate) use pool::{Lease, Pool};
pub(crate) use raw_reads::{RawReads, RawRows, ReadsLookup};
use recorder::Recorder;
pub(crate) use row::Row;
pub(crate) use row_security::RowSecurity;
pub(crate) use schema_sync::SyncMode;
pub(crate) use schema_sync::Tracking;
pub use schema_sync::{Drift, Finding, LayoutReport, PlannedStep, StepKind, TableReport};
use session::PgSession;
use setup::Setup;
pub(crate) use setup::{ConnectionMode, Server};
use transaction::EXCHANGE_TIMEOUT;
pub(crate) use transaction::{Begin, CommitOutcome, Isolation, Transaction};

use crate::config::Config;
use crate::op::Raw;
use crate::sql::{self, Statement};
use crate::telemetry::{Metrics, PoolKind, StatementKinds};

/// The connection pools of a database.
#[derive(Clone)]
pub(crate) struct Postgres {
    /// Read-only sessions.
    pub readers: Pool,
    /// Sessions whose single statements are SERIALIZABLE, so that a mutation of one statement
    /// needs no BEGIN.
    pub writers: Pool,
    /// Sessions of the same kind for serial queues, which must not wait for calls.
    pub queue_writers: Pool,
    /// What is known about the server.
    pub server: Server,
    options: PgConnectOptions,
    /// The cluster and timeline that transaction ids belong to, once read.
    timeline: Arc<OnceLock<String>>,
}

impl Postgres {
    /// Opens the database, creates it if configured, and detects a pooler in front of it.
    /// Records its statements in `metrics`.
    pub(crate) async fn open(config: &Config, metrics: &Metrics) -> Result<Postgres, DbError> {
        let options = address::address(&config.database_url)?;
        // Poolers refuse this parameter, which the driver sets.
        let options = options.application_name("convoy").extra_float_digits(None).disable_statement_logging();
        if config.create_database && create_database(&options).await? {
            tracing::info!("created the database");
        }
        let limits = &config.limits;
        let server = setup::detect(&options, limits).await?;
        let options = server.options(options);
        if server.mode == ConnectionMode::TransactionPooled {
            tracing::warn!(
                "the database is reached through a pooler in transaction mode (PgBouncer): every statement takes a transaction, no \
                 statement stays prepared, and changes of other processes are only read from the log, every {} ms; name \
                 the direct address of the database in DATABASE_URL, or use the session mode of the pooler",
                limits.poll_ms
            );
        }
        let availability = Availability::new();
        let recorder = Recorder::new(StatementKinds::new(metrics, address::database_of(&options)));
        let pool = |kind, setup: Setup, size| {
            let context = PoolContext {
                kind,
                metrics: metrics.clone(),
                recorder: recorder.clone(),
                failpoints: config.failpoints.clone(),
                availability: availability.clone(),
            };
            Pool::new(&options, setup.on(&server), server.mode, size, context)
        };
        Ok(Postgres {
            readers: pool(PoolKind::Readers, Setup::reading(limits), config.pool_size),
            writers: pool(PoolKind::Writers, Setup::writing(limits), config.pool_size),
            queue_writers: pool(PoolKind::QueueWriters, Setup::queue_writers(limits), sql::queue_lock::LOCKS as usize),
            server,
            options,
            timeline: Arc::default(),
        })
    }

    /// Opens a connection outside the pools, without time limits.
    async fn connect(&self) -> Result<PgSession, DbError> {
        let connection = self.options.connect().await?;
        Ok(PgSession::new(connection, self.server.plain().map(Arc::new)))
    }

    /// Runs one read-only statement outside of a transaction, within `limit`. Without a limit,
    /// a connection whose other end vanished would be waited for without end.
    pub(crate) async fn read_within(&self, limit: Duration, statement: &Statement) -> Result<Vec<Row>, DbError> {
        within(limit, self.read(statement)).await
    }

    /// Runs one read-only statement outside of a transaction. A stale idle connection is
    /// replaced and the statement runs again, since reading twice is safe.
    pub(crate) async fn read(&self, statement: &Statement) -> Result<Vec<Row>, DbError> {
        loop {
            let mut lease = self.readers.acquire().await?;
            match run(&mut lease, statement.clone()).await {
                Err(error) if error.connection_lost() && !lease.is_fresh() => self.readers.close_idle(),
                Err(error) if error.is_stale_plan() && !lease.is_fresh() => {}
                result => return result,
            }
        }
    }

    /// Reads like a mutation does: serializable, and not from a replica.
    pub(crate) async fn read_as_writer(&self, statement: &Statement) -> Result<Vec<Row>, DbError> {
        loop {
            let mut lease = self.writers.acquire().await?;
            match run(&mut lease, statement.clone()).await {
                Err(error) if error.connection_lost() && !lease.is_fresh() => self.writers.close_idle(),
                Err(error) if error.is_stale_plan() && !lease.is_fresh() => {}
                result => return result,
            }
        }
    }

    /// Runs one statement of Convoy (never a user statement) on a writer, outside of a
    /// transaction.
    pub(crate) async fn write(&self, statement: &Statement) -> Result<Vec<Row>, DbError> {
        loop {
            let mut lease = self.writers.acquire().await?;
            match run(&mut lease, statement.clone()).await {
                // The statement did not run.
                Err(error) if error.is_stale_plan() && !lease.is_fresh() => {}
                result => return result,
            }
        }
    }

    /// Like `write`, within `limit`. After a timeout, the statement may still have run.
    pub(crate) async fn write_within(&self, limit: Duration, statement: &Statement) -> Result<Vec<Row>, DbError> {
        within(limit, self.write(statement)).await
    }

    /// Checks that the database answers.
    pub(crate) async fn ping(&self, limit: Duration) -> Result<(), DbError> {
        self.read_within(limit, &sql::session::ping()).await.map(drop)
    }

    /// Has all connections of the pools closed before other calls use them.
    fn discard_plans(&self) {
        [&self.readers, &self.writers, &self.queue_writers].into_iter().for_each(Pool::discard_plans);
    }

    /// Closes all pools.
    pub(crate) async fn close(&self) {
        self.readers.close().await;
        self.writers.close().await;
        self.queue_writers.close().await;
    }
}

/// Runs an exchange. If it takes longer than the limit, its connection counts as lost.
async fn within<T>(limit: Duration, exchange: impl Future<Output = Result<T, DbError>>) -> Result<T, DbError> {
    tokio::time::timeout(limit, exchange).await.unwrap_or_else(|_elapsed| Err(DbError::timed_out()))
}

/// Runs one statement on a lease outside of a transaction.
pub(crate) async fn run(lease: &mut Lease, statement: Statement) -> Result<Vec<Row>, DbError> {
    let limit = lease.answer_timeout();
    let session = lease.enter();
    let result = match within(EXCHANGE_TIMEOUT, session.begin_autocommit()).await {
        Ok(()) => {
            let result = within(limit, session.fetch(statement)).await;
            within(EXCHANGE_TIMEOUT, session.end_autocommit(result)).await
        }
        Err(error) => Err(error),
    };
    release_if_usable(lease, &result);
    result
}

/// Releases a lease after a success or a database error, which both leave the session usable.
/// After any other error its state is unknown, and the lease stays busy.
fn release_if_usable<T>(lease: &mut Lease, result: &Result<T, DbError>) {
    lease.discard_stale_plans(result);
    let sound = match result {
        Ok(_) => true,
        Err(error) => !error.connection_lost(),
    };
    if sound {
        lease.leave();
    }
}

impl Pool {
    /// Runs a user statement in a transaction of its own; a reader's is rolled back.
    pub(crate) async fn raw(&self, raw: &Raw, lookup: ReadsLookup) -> Result<RawRows, DbError> {
        loop {
            let mut lease = self.acquire().await?;
            let result = lease.raw_autocommit(raw, lookup, self.isolation()).await;
            release_if_usable(&mut lease, &result);
            match result {
                Err(error) if error.is_stale_plan() && !lease.is_fresh() => {}
                result => return result,
            }
        }
    }
}

impl Lease {
    async fn raw_autocommit(
        &mut self,
        raw: &Raw,
        lookup: ReadsLookup,
        isolation: Isolation,
    ) -> Result<RawRows, DbError> {
        let cached = self.cached_reads(raw, lookup);
        let session = self.enter();
        if let (false, Some(reads)) = (session.is_pooled(), cached) {
            return Ok(RawRows { rows: session.raw_autocommit(raw, isolation).await?, reads });
        }
        session.begin(Begin::plain(isolation)).await?;
        match self.raw_within(raw, lookup, isolation == Isolation::Serializable).await {
            Ok(rows) => self.enter().end(isolation.end()).await.map(|()| rows),
            Err(error) if error.connection_lost() => Err(error),
            Err(error) => {
                self.enter().end("rollback").await?;
                Err(error)
            }
        }
    }

    /// Runs it in the open transaction; with `logged`, it may write.
    async fn raw_within(&mut self, raw: &Raw, lookup: ReadsLookup, logged: bool) -> Result<RawRows, DbError> {
        let cached = self.cached_reads(raw, lookup);
        let session = self.enter();
        let rows = session.raw(raw, logged).await?;
        let reads = match cached {
            Some(reads) => reads,
            None => {
                let reads = session.explain_reads(raw).await?;
                self.raw_reads().insert(raw, reads.clone());
                reads
            }
        };
        Ok(RawRows { rows, reads })
    }

    /// The cached reads of a statement; `Everything` if they are not needed.
    fn cached_reads(&self, raw: &Raw, lookup: ReadsLookup) -> Option<RawReads> {
        if lookup == ReadsLookup::Needed { self.raw_reads().get(raw) } else { Some(RawReads::Everything) }
    }
}

/// Creates the database the options name, if the server lacks it.
async fn create_database(options: &PgConnectOptions) -> Result<bool, DbError> {
    let Some(name) = options.get_database() else { return Ok(false) };
    let missing = match fault::connect(options).await {
        Ok(connection) => {
            connection.close().await?;
            return Ok(false);
        }
        Err(sqlx::Error::Database(error)) if error.code().as_deref() == Some("3D000") => name,
        Err(error) => return Err(fault::of_connecting(error, options).await.into()),
    };
    match create_missing(options, missing).await {
        Ok(()) => Ok(true),
        Err(error) => Err(fault::of_creating(&error, options).into()),
    }
}

async fn create_missing(options: &PgConnectOptions, name: &str) -> Result<(), DbError> {
    let mut server = PgSession::new(fault::connect(&options.clone().database("postgres")).await?, None);
    match server.execute(sql::layout::create_database(name)).await {
        // Another process created it at the same time; where both began before one committed, a
        // unique index of the catalog notices it.
        Err(error) if matches!(error.state().as_deref(), Some("42P04" | "23505")) => {}
        result => result?,
    }
    server.connection.close().await?;
    Ok(())
}
