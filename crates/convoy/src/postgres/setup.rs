//! Session settings of a pool: by start-up options on direct connections, and by each
//! transaction behind a pooler.
//!
//! A pooler in transaction mode (PgBouncer) assigns a session for one transaction, so
//! neither settings nor prepared statements may be left in it. The driver also parses and
//! runs a statement in separate messages, which must reach the same session. So behind a
//! pooler, every statement runs in a transaction.

use std::time::Duration;

use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection, PgConnection, Row as _};

use super::{Begin, DbError, Isolation, fault};
use crate::config::Limits;
use crate::sql::{self, Statement};

/// Prepared statements that a direct connection keeps.
const STATEMENT_CACHE: usize = 512;
/// The plan mode of Convoy's statements; user statements run in Postgres' default mode.
const PLAN_CACHE_MODE: &str = "force_generic_plan";
/// How long a serial queue waits for a lock, in milliseconds: longer than a group of another
/// process takes, and much shorter than a process that hangs.
const QUEUE_LOCK_TIMEOUT_MS: &str = "2000";

/// The first version with `transaction_timeout`.
const TRANSACTION_TIMEOUT_SINCE: i32 = 170_000;

/// How connections reach Postgres.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ConnectionMode {
    /// Each connection has a session of its own.
    Direct,
    /// A pooler assigns a session for each transaction.
    TransactionPooled,
}

/// What the first connection finds out about the server.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Server {
    /// How connections reach it.
    pub mode: ConnectionMode,
    /// `server_version_num`: `180004` is 18.4.
    version: i32,
}

impl Server {
    /// The options of all connections. A direct session has none of the time limits by which
    /// Postgres would end it: the listener idles, and calls have limits of the engine.
    pub(super) fn options(&self, base: PgConnectOptions) -> PgConnectOptions {
        match self.mode {
            ConnectionMode::Direct => {
                base.options(std::iter::once(("idle_session_timeout", "0")).chain(self.unlimited()))
            }
            ConnectionMode::TransactionPooled => base,
        }
    }

    /// The setting for transactions without a time limit of Postgres for the whole.
    fn unlimited(&self) -> Option<(&'static str, &'static str)> {
        (self.version >= TRANSACTION_TIMEOUT_SINCE).then_some(("transaction_timeout", "0"))
    }

    /// The settings of single uses, on a connection outside of the pools; `None` in a direct
    /// session.
    pub(super) fn plain(&self) -> Option<Setup> {
        let setup = Setup {
            settings: Vec::new(),
            isolation: Isolation::Serializable,
            wait: Duration::ZERO,
            statement_timeout: Duration::MAX,
        };
        (self.mode == ConnectionMode::TransactionPooled).then(|| setup.on(self))
    }
}

/// The settings and the isolation of a pool's sessions.
#[derive(Debug, Clone)]
pub(crate) struct Setup {
    settings: Vec<(&'static str, String)>,
    /// The isolation of its transactions.
    pub isolation: Isolation,
    /// How long a call waits for a session.
    pub wait: Duration,
    /// The time limit of its statements, which Postgres cancels then.
    pub statement_timeout: Duration,
}

impl Setup {
    fn new(isolation: Isolation, timeout: Duration, limits: &Limits) -> Setup {
        let mut settings = time_limits(timeout).to_vec();
        settings.extend([
            // Convoy's statements follow an index, so one plan is right for all values. In its
            // default mode Postgres plans again wherever an array is bound, because it expects
            // ten elements, and that costs more than the statement.
            ("plan_cache_mode", PLAN_CACHE_MODE.to_owned()),
            // Exact numbers in the text of raw results.
            ("extra_float_digits", "1".to_owned()),
        ]);
        let wait = Duration::from_millis(limits.connection_ms);
        Setup { settings, isolation, wait, statement_timeout: timeout }
    }

    /// For queries.
    pub(crate) fn reading(limits: &Limits) -> Setup {
        Setup::new(Isolation::Snapshot, limits.query_time(), limits)
    }

    /// For mutations.
    pub(crate) fn writing(limits: &Limits) -> Setup {
        Setup::new(Isolation::Serializable, limits.mutation_time(), limits)
    }

    /// For serial queues.
    pub(crate) fn queue_writers(limits: &Limits) -> Setup {
        let mut setup = Setup::writing(limits);
        setup.settings.push(("lock_timeout", QUEUE_LOCK_TIMEOUT_MS.to_owned()));
        setup
    }

    /// With what each transaction behind a pooler sets on this server.
    pub(super) fn on(mut self, server: &Server) -> Setup {
        if server.mode == ConnectionMode::TransactionPooled {
            self.settings.extend(server.unlimited().map(|(name, value)| (name, value.to_owned())));
        }
        self
    }

    /// The start-up options of a direct session. They include the defaults of transactions,
    /// so that single statements need no transaction.
    pub(crate) fn options(&self, base: &PgConnectOptions) -> PgConnectOptions {
        let by_default = match self.isolation {
            Isolation::Snapshot => ("default_transaction_read_only", "on"),
            Isolation::Serializable => ("default_transaction_isolation", "serializable"),
        };
        let settings = self.settings.iter().map(|(name, value)| (*name, value.as_str()));
        base.clone().statement_cache_capacity(STATEMENT_CACHE).options(settings.chain([by_default]))
    }

    /// Begins a transaction in a pooled session.
    pub(super) fn begin(&self, begin: Begin<'_>) -> Statement {
        self::begin(begin, &self.settings)
    }

    /// Ends a transaction of a single statement.
    pub(crate) fn end(&self) -> &'static str {
        self.isolation.end()
    }
}

/// The settings by which Postgres cancels statements that the engine no longer waits for, and
/// ends their transactions.
fn time_limits(timeout: Duration) -> [(&'static str, String); 2] {
    let timeout = timeout.as_millis().to_string();
    [("statement_timeout", timeout.clone()), ("idle_in_transaction_session_timeout", timeout)]
}

/// Begins a transaction with these settings, of which its own time limit replaces the one.
pub(super) fn begin(begin: Begin<'_>, settings: &[(&'static str, String)]) -> Statement {
    let own = begin.statement_timeout.map(time_limits);
    let settings: Vec<_> = settings.iter().cloned().chain(own.into_iter().flatten()).collect();
    sql::session::begin(begin.isolation.begin(), &settings, begin.run_as.map(AsRef::as_ref))
}

/// Detects the version, and a pooler: it rejects start-up options that it cannot keep, or
/// accepts and drops them.
pub(super) async fn detect(base: &PgConnectOptions, limits: &Limits) -> Result<Server, DbError> {
    let options = Setup::writing(limits).options(base);
    let (mut connection, options_refused) = match fault::connect(&options).await {
        Ok(connection) => (connection, false),
        Err(sqlx::Error::Database(error)) if error.message().contains("unsupported startup parameter") => {
            (explained(fault::connect(base).await, base).await?, true)
        }
        Err(error) => return Err(fault::of_connecting(error, base).await.into()),
    };
    let query = sqlx::raw_sql(
        "select current_setting('default_transaction_isolation'), current_setting('server_version_num')::int4,
  current_setting('server_version')",
    );
    let row = match sqlx::Executor::fetch_one(&mut connection, query).await.map_err(DbError::from) {
        // The session is serializable by default, which a standby refuses.
        Err(error) if error.only_reads() => return Err(fault::of_standby(&error.cause()).into()),
        result => result?,
    };
    let default_isolation = row.try_get::<String, _>(0)?;
    let version = row.try_get(1)?;
    fault::check_version(version, row.try_get(2)?)?;
    connection.close().await?;
    let mode = if default_isolation == "serializable" && !options_refused {
        ConnectionMode::Direct
    } else {
        ConnectionMode::TransactionPooled
    };
    Ok(Server { mode, version })
}

async fn explained(
    connected: Result<PgConnection, sqlx::Error>,
    options: &PgConnectOptions,
) -> Result<PgConnection, DbError> {
    match connected {
        Ok(connection) => Ok(connection),
        Err(error) => Err(fault::of_connecting(error, options).await.into()),
    }
}
