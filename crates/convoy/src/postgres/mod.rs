//! Rows out of Postgres for statements in: connections, transactions, errors by
//! what to do about them, and the layout of the database. The only place that
//! names sqlx.

mod address;
mod error;
mod fault;
mod listener;
mod pool;
mod raw_reads;
mod reset;
mod row;
mod schema_sync;
mod session;
mod setup;
mod transaction;
mod transaction_status;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions, Connection};

pub(crate) use error::DbError;
pub(crate) use fault::Fault;
pub(crate) use listener::{Listener, Sender};
use pool::Reach;
pub(crate) use pool::{Lease, Pool};
pub(crate) use raw_reads::{Look, RawReads, RawRows};
pub(crate) use row::Row;
pub(crate) use schema_sync::Watched;
pub use schema_sync::{LayoutReport, TableReport};
use session::Session;
pub(crate) use setup::Sessions;
use setup::Setup;
pub(crate) use transaction::{CommitOutcome, Isolation, Transaction};

use crate::config::Config;
use crate::op::Raw;
use crate::sql::{self, Statement};

/// The database: connections for reading and connections for writing.
#[derive(Clone)]
pub(crate) struct Postgres {
    /// Read-only sessions.
    pub readers: Pool,
    /// Sessions whose statements are SERIALIZABLE by themselves, so that a
    /// mutation of one statement needs no BEGIN.
    pub writers: Pool,
    /// Such sessions too, for serial lanes, which must not wait for calls.
    pub lanes: Pool,
    /// Whose sessions they use.
    pub sessions: Sessions,
    options: PgConnectOptions,
    /// Which history of which cluster transaction ids belong to, once known.
    history: Arc<OnceLock<String>>,
}

impl Postgres {
    /// Finds the database, makes it where that is asked for, and finds out what lies
    /// between it and us.
    pub(crate) async fn open(config: &Config) -> Result<Postgres, DbError> {
        let options = address::address(&config.database_url)?;
        // A parameter of the driver's that poolers refuse.
        let options = options.application_name("convoy").extra_float_digits(None).disable_statement_logging();
        if config.create_database && create_database(&options).await? {
            tracing::info!("created the database");
        }
        let limits = &config.limits;
        let sessions = setup::whose(&options, limits).await?;
        if sessions == Sessions::Lent {
            tracing::warn!(
                "the database is reached through a pooler that lends its sessions for one transaction each (PgBouncer): every \
                 statement takes a transaction, nothing is kept prepared, and nothing is heard of other processes but by reading \
                 the log, every {} ms; a direct connection does all of that faster",
                limits.poll_ms
            );
        }
        let reach = Reach::new();
        let pool = |setup, size| Pool::new(&options, setup, sessions, size, config.failpoints.clone(), reach.clone());
        Ok(Postgres {
            readers: pool(Setup::reading(limits), config.pool_size),
            writers: pool(Setup::writing(limits), config.pool_size),
            lanes: pool(Setup::lanes(limits), sql::lane::LOCKS as usize),
            sessions,
            options,
            history: Arc::default(),
        })
    }

    /// A connection of its own, outside the pools, without limits of time.
    async fn connect(&self) -> Result<Session, DbError> {
        let connection = self.options.connect().await?;
        let setup = (self.sessions == Sessions::Lent).then(|| Arc::new(Setup::plain()));
        Ok(Session::new(connection, setup))
    }

    /// Runs one read-only statement by itself, within `most`: a connection whose
    /// other end vanished would otherwise be waited for without end.
    pub(crate) async fn read_within(&self, most: Duration, statement: &Statement) -> Result<Vec<Row>, DbError> {
        tokio::time::timeout(most, self.read(statement)).await.unwrap_or_else(|_elapsed| Err(DbError::timed_out()))
    }

    /// Runs one read-only statement by itself. A stale idle connection is
    /// replaced and the statement tried again: reading twice is safe.
    pub(crate) async fn read(&self, statement: &Statement) -> Result<Vec<Row>, DbError> {
        loop {
            let mut lease = self.readers.acquire().await?;
            match run(&mut lease, statement.clone()).await {
                Err(error) if error.connection_lost() && !lease.is_fresh() => self.readers.forget_idle(),
                Err(error) if error.is_stale_plan() && !lease.is_fresh() => {}
                result => return result,
            }
        }
    }

    /// Reads as a mutation does: serializable, and not from a replica.
    pub(crate) async fn read_as_writer(&self, statement: &Statement) -> Result<Vec<Row>, DbError> {
        loop {
            let mut lease = self.writers.acquire().await?;
            match run(&mut lease, statement.clone()).await {
                Err(error) if error.connection_lost() && !lease.is_fresh() => self.writers.forget_idle(),
                Err(error) if error.is_stale_plan() && !lease.is_fresh() => {}
                result => return result,
            }
        }
    }

    /// Runs one statement of ours (never a user's) by itself on a writer.
    pub(crate) async fn write(&self, statement: &Statement) -> Result<Vec<Row>, DbError> {
        loop {
            let mut lease = self.writers.acquire().await?;
            match run(&mut lease, statement.clone()).await {
                // It was not begun.
                Err(error) if error.is_stale_plan() && !lease.is_fresh() => {}
                result => return result,
            }
        }
    }

    /// The same within `most`. Where that is not enough it may have been done.
    pub(crate) async fn write_within(&self, most: Duration, statement: &Statement) -> Result<Vec<Row>, DbError> {
        tokio::time::timeout(most, self.write(statement)).await.unwrap_or_else(|_elapsed| Err(DbError::timed_out()))
    }

    /// Asks the database for a sign of life.
    pub(crate) async fn answers(&self, most: Duration) -> Result<(), DbError> {
        self.read_within(most, &sql::session::sign_of_life()).await.map(drop)
    }

    /// Closes both pools.
    pub(crate) async fn close(&self) {
        self.readers.close().await;
        self.writers.close().await;
        self.lanes.close().await;
    }
}

/// Runs one statement on a lease that is outside any transaction.
pub(crate) async fn run(lease: &mut Lease, statement: Statement) -> Result<Vec<Row>, DbError> {
    let session = lease.enter();
    let result = match session.begin_alone().await {
        Ok(()) => {
            let result = session.fetch(statement).await;
            session.end_alone(result).await
        }
        Err(error) => Err(error),
    };
    leave_if_sound(lease, &result);
    result
}

/// After an error of the database's the session is fine; after any other it is
/// not to be trusted, and the lease stays marked.
fn leave_if_sound<T>(lease: &mut Lease, result: &Result<T, DbError>) {
    lease.note_stale_plans(result);
    let sound = match result {
        Ok(_) => true,
        Err(error) => !error.connection_lost(),
    };
    if sound {
        lease.leave();
    }
}

impl Pool {
    /// Runs a statement of the user's own by itself, in a transaction: a reader's is
    /// rolled back.
    pub(crate) async fn raw(&self, raw: &Raw, look: Look) -> Result<RawRows, DbError> {
        loop {
            let mut lease = self.acquire().await?;
            let result = lease.raw_alone(raw, look, self.isolation()).await;
            leave_if_sound(&mut lease, &result);
            match result {
                Err(error) if error.is_stale_plan() && !lease.is_fresh() => {}
                result => return result,
            }
        }
    }
}

impl Lease {
    async fn raw_alone(&mut self, raw: &Raw, look: Look, isolation: Isolation) -> Result<RawRows, DbError> {
        let known = self.known(raw, look);
        let session = self.enter();
        if let (false, Some(reads)) = (session.is_lent(), known) {
            return Ok(RawRows { rows: session.raw_alone(raw, isolation).await?, reads });
        }
        session.begin(isolation).await?;
        match self.raw_within(raw, look, isolation == Isolation::Serializable).await {
            Ok(rows) => self.enter().end(isolation.end()).await.map(|()| rows),
            Err(error) if error.connection_lost() => Err(error),
            Err(error) => {
                self.enter().end("rollback").await?;
                Err(error)
            }
        }
    }

    /// Runs it in the transaction that is open; it may write where `logged`.
    async fn raw_within(&mut self, raw: &Raw, look: Look, logged: bool) -> Result<RawRows, DbError> {
        let known = self.known(raw, look);
        let session = self.enter();
        let rows = session.raw(raw, logged).await?;
        let reads = match known {
            Some(reads) => reads,
            None => {
                let found = session.look(raw).await?;
                self.remembered().note(raw, found.clone());
                found
            }
        };
        Ok(RawRows { rows, reads })
    }

    /// What is known of what it reads, where that matters.
    fn known(&self, raw: &Raw, look: Look) -> Option<RawReads> {
        if look == Look::AtReads { self.remembered().get(raw) } else { Some(RawReads::Everything) }
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
        Err(error) => Err(fault::of_creating(error, options).await.into()),
    }
}

async fn create_missing(options: &PgConnectOptions, name: &str) -> Result<(), DbError> {
    let mut server = Session::new(fault::connect(&options.clone().database("postgres")).await?, None);
    match server.tell(sql::layout::create_database(name)).await {
        // Another process has just created it.
        Err(error) if error.state().as_deref() == Some("42P04") => {}
        result => result?,
    }
    server.connection.close().await?;
    Ok(())
}
