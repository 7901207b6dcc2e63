//! Rows out of Postgres for statements in: connections, transactions, errors by
//! what to do about them, and the layout of the database. The only place that
//! names sqlx.

mod error;
mod layout;
mod listener;
mod outcome;
mod pool;
mod row;
mod session;
mod transaction;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use sqlx::postgres::{PgArguments, PgConnectOptions};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Executor, PgConnection, SqlSafeStr};

pub use error::DbError;
pub use layout::{LayoutReport, TableReport, Watched};
pub use listener::{Listener, Sender};
use pool::Reach;
pub use pool::{Lease, Pool};
pub use row::Row;
use session::Session;
pub use transaction::{CommitOutcome, Isolation, Transaction};

use crate::config::Config;
use crate::op::Raw;
use crate::sql::{self, Statement};

/// Statements a connection keeps prepared.
const PREPARED: usize = 512;
/// The plans of our own statements; the user's are left to Postgres.
const PLANNED_ONCE: &str = "force_generic_plan";
/// How long a lane waits for a lock, in milliseconds: longer than another node's
/// group takes, much shorter than a node that hangs.
const LANE_WAITS: &str = "2000";

/// The database: connections for reading and connections for writing.
#[derive(Clone)]
pub struct Postgres {
    /// Read-only sessions.
    pub readers: Pool,
    /// Sessions whose statements are SERIALIZABLE by themselves, so that a
    /// mutation of one statement needs no BEGIN.
    pub writers: Pool,
    /// Such sessions too, for serial lanes, which must not wait for calls.
    pub lanes: Pool,
    options: PgConnectOptions,
    /// Which history of which cluster transaction ids belong to, once known.
    history: Arc<OnceLock<String>>,
}

impl Postgres {
    /// Parses the URL. Nothing is connected yet.
    pub fn new(config: &Config) -> Result<Postgres, DbError> {
        let url = config.database_url.as_str();
        if !["postgres://", "postgresql://"].iter().any(|scheme| url.starts_with(scheme)) {
            return Err(DbError::Address("it does not begin with postgres://".into()));
        }
        let options: PgConnectOptions =
            url.parse().map_err(|error: sqlx::Error| DbError::Address(error.to_string()))?;
        let options = options.application_name("convoy").statement_cache_capacity(PREPARED).disable_statement_logging();
        // What we stop waiting for, Postgres stops doing.
        let timeouts = |most: Duration| {
            let most = most.as_millis().to_string();
            options.clone().options([
                ("statement_timeout", most.as_str()),
                ("idle_in_transaction_session_timeout", most.as_str()),
                // Ours ask for what an index gives, so one plan is right for all values.
                // Left to itself, Postgres plans anew wherever an array is bound, because
                // it expects ten elements, and that costs more than the statement.
                ("plan_cache_mode", PLANNED_ONCE),
            ])
        };
        let readers = timeouts(config.limits.query_time()).options([("default_transaction_read_only", "on")]);
        let writers =
            timeouts(config.limits.mutation_time()).options([("default_transaction_isolation", "serializable")]);
        let lanes = writers.clone().options([("lock_timeout", LANE_WAITS)]);
        let reach = Reach::new();
        Ok(Postgres {
            readers: Pool::new(readers, config.pool_size, reach.clone()),
            writers: Pool::new(writers, config.pool_size, reach.clone()),
            lanes: Pool::new(lanes, sql::lane::LOCKS as usize, reach),
            options,
            history: Arc::default(),
        })
    }

    /// A connection of its own, outside the pools.
    pub async fn connect(&self) -> Result<PgConnection, DbError> {
        Ok(self.options.connect().await?)
    }

    /// Creates the database the URL names, if the server lacks it.
    pub async fn create_database(&self) -> Result<bool, DbError> {
        let Some(name) = self.options.get_database() else { return Ok(false) };
        let missing = match self.options.connect().await {
            Ok(connection) => {
                connection.close().await?;
                return Ok(false);
            }
            Err(sqlx::Error::Database(error)) if error.code().as_deref() == Some("3D000") => name,
            Err(error) => return Err(error.into()),
        };
        let mut server = self.options.clone().database("postgres").connect().await?;
        let (text, _) = sql::layout::create_database(missing).into_parts();
        server.execute(AssertSqlSafe(text)).await?;
        server.close().await?;
        Ok(true)
    }

    /// Runs one read-only statement by itself, within `most`: a connection whose
    /// other end vanished would otherwise be waited for without end.
    pub async fn read_within(&self, most: Duration, statement: &Statement) -> Result<Vec<Row>, DbError> {
        tokio::time::timeout(most, self.read(statement)).await.unwrap_or_else(|_elapsed| Err(DbError::silent()))
    }

    /// Runs one read-only statement by itself. A stale idle connection is
    /// replaced and the statement tried again: reading twice harms nobody.
    pub async fn read(&self, statement: &Statement) -> Result<Vec<Row>, DbError> {
        loop {
            let mut lease = self.readers.acquire().await?;
            match run(&mut lease, statement.clone()).await {
                Err(error) if error.connection_lost() && !lease.is_fresh() => self.readers.forget_idle(),
                result => return result,
            }
        }
    }

    /// Reads as a mutation does: serializable, and not from a replica.
    pub async fn read_as_writer(&self, statement: &Statement) -> Result<Vec<Row>, DbError> {
        loop {
            let mut lease = self.writers.acquire().await?;
            match run(&mut lease, statement.clone()).await {
                Err(error) if error.connection_lost() && !lease.is_fresh() => self.writers.forget_idle(),
                result => return result,
            }
        }
    }

    /// Runs one statement of ours (never a user's) by itself on a writer.
    pub async fn write(&self, statement: &Statement) -> Result<Vec<Row>, DbError> {
        let mut lease = self.writers.acquire().await?;
        run(&mut lease, statement.clone()).await
    }

    /// Closes both pools.
    pub async fn close(&self) {
        self.readers.close().await;
        self.writers.close().await;
        self.lanes.close().await;
    }
}

/// Runs one statement on a lease that is outside any transaction.
pub async fn run(lease: &mut Lease, statement: Statement) -> Result<Vec<Row>, DbError> {
    let result = fetch(&mut lease.enter().connection, statement).await;
    leave_if_sound(lease, &result);
    result
}

/// After an error of the database's the session is fine; after any other it is
/// not to be trusted, and the lease stays marked.
fn leave_if_sound<T>(lease: &mut Lease, result: &Result<T, DbError>) {
    let sound = match result {
        Ok(_) => true,
        Err(error) => !error.connection_lost(),
    };
    if sound {
        lease.leave();
    }
}

impl Pool {
    /// Runs a statement of the user's own by itself. Each row is a JSON object.
    pub async fn raw(&self, raw: &Raw) -> Result<Vec<String>, DbError> {
        let mut lease = self.acquire().await?;
        let result = lease.enter().raw(raw).await;
        leave_if_sound(&mut lease, &result);
        result
    }
}

async fn fetch(connection: &mut PgConnection, statement: Statement) -> Result<Vec<Row>, DbError> {
    let (text, binds) = statement.into_parts();
    let mut arguments = PgArguments::default();
    for bind in binds {
        row::add(&mut arguments, bind)?;
    }
    // The text comes from `sql/`, which admits literals, checked identifiers
    // and placeholders only.
    let query = sqlx::query_with(AssertSqlSafe(text), arguments);
    let rows = connection.fetch_all(query).await?;
    Ok(rows.into_iter().map(Row::new).collect())
}

/// Runs a statement that cannot be prepared, or whose rows nobody reads.
async fn execute(connection: &mut PgConnection, text: impl SqlSafeStr) -> Result<(), DbError> {
    connection.execute(sqlx::raw_sql(text)).await?;
    Ok(())
}
