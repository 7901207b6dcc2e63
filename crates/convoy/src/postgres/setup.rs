//! How the sessions of a pool are set up: by start-up options, where they are ours
//! alone, and else by each transaction.
//!
//! A pooler in transaction mode (PgBouncer) lends a session of Postgres' for one
//! transaction, so nothing may be left in it: no setting, nothing prepared. And the
//! driver's way to run a statement, which parses it and then runs it, must not be
//! torn apart between two sessions. So there, every statement is in a transaction.

use std::time::Duration;

use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection, PgConnection, Row as _};

use super::{DbError, Isolation, fault};
use crate::config::Limits;
use crate::sql::{self, Statement};

/// Statements a connection keeps prepared, where it is ours alone.
const PREPARED: usize = 512;
/// The plans of our own statements; the user's are left to Postgres.
const PLANNED_ONCE: &str = "force_generic_plan";
/// How long a lane waits for a lock, in milliseconds: longer than another node's
/// group takes, much shorter than a node that hangs.
const LANE_WAITS: &str = "2000";

/// Whose the sessions are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sessions {
    /// One for each connection, ours as long as that lasts.
    Ours,
    /// A pooler's, lent for one transaction.
    Lent,
}

/// What a pool's sessions are for, and so what they are like.
#[derive(Debug, Clone)]
pub(crate) struct Setup {
    settings: Vec<(&'static str, String)>,
    /// What its transactions see of others.
    pub isolation: Isolation,
}

impl Setup {
    fn new(isolation: Isolation, most: Duration) -> Setup {
        let most = most.as_millis().to_string();
        let settings = vec![
            // What we stop waiting for, Postgres stops doing.
            ("statement_timeout", most.clone()),
            ("idle_in_transaction_session_timeout", most),
            // Ours ask for what an index gives, so one plan is right for all values.
            // Left to itself, Postgres plans again wherever an array is bound, because
            // it expects ten elements, and that costs more than the statement.
            ("plan_cache_mode", PLANNED_ONCE.to_owned()),
            // Numbers as they are, in the text that `raw` gives.
            ("extra_float_digits", "1".to_owned()),
        ];
        Setup { settings, isolation }
    }

    /// For queries.
    pub(crate) fn reading(limits: &Limits) -> Setup {
        Setup::new(Isolation::Snapshot, limits.query_time())
    }

    /// For mutations.
    pub(crate) fn writing(limits: &Limits) -> Setup {
        Setup::new(Isolation::Serializable, limits.mutation_time())
    }

    /// For serial lanes.
    pub(crate) fn lanes(limits: &Limits) -> Setup {
        let mut setup = Setup::writing(limits);
        setup.settings.push(("lock_timeout", LANE_WAITS.to_owned()));
        setup
    }

    /// For one-off work on a connection of its own.
    pub(crate) fn plain() -> Setup {
        Setup { settings: Vec::new(), isolation: Isolation::Serializable }
    }

    /// The options of a session of ours: what its statements are by themselves, they
    /// need no transaction to be.
    pub(crate) fn options(&self, base: &PgConnectOptions) -> PgConnectOptions {
        let by_default = match self.isolation {
            Isolation::Snapshot => ("default_transaction_read_only", "on"),
            Isolation::Serializable => ("default_transaction_isolation", "serializable"),
        };
        let settings = self.settings.iter().map(|(name, value)| (*name, value.as_str()));
        base.clone().statement_cache_capacity(PREPARED).options(settings.chain([by_default]))
    }

    /// Begins a transaction in a session that is lent.
    pub(crate) fn begin(&self) -> Statement {
        sql::session::begin(self.isolation.begin(), &self.settings)
    }

    /// Ends one of a single statement.
    pub(crate) fn end(&self) -> &'static str {
        self.isolation.end()
    }
}

/// Finds out whose sessions there are behind an address: a pooler refuses options it
/// cannot keep, or accepts them and forgets them.
pub(super) async fn whose(base: &PgConnectOptions, limits: &Limits) -> Result<Sessions, DbError> {
    let ours = Setup::writing(limits).options(base);
    let (mut connection, refused) = match fault::connect(&ours).await {
        Ok(connection) => (connection, false),
        Err(sqlx::Error::Database(error)) if error.message().contains("unsupported startup parameter") => {
            (explained(fault::connect(base).await, base).await?, true)
        }
        Err(error) => return Err(fault::of_connecting(error, base).await.into()),
    };
    let asked = sqlx::raw_sql(
        "select current_setting('default_transaction_isolation'), current_setting('server_version_num')::int4,
  current_setting('server_version')",
    );
    let row = sqlx::Executor::fetch_one(&mut connection, asked).await?;
    let kept = row.try_get::<String, _>(0)?;
    fault::check_version(row.try_get(1)?, row.try_get(2)?)?;
    connection.close().await?;
    Ok(if kept == "serializable" && !refused { Sessions::Ours } else { Sessions::Lent })
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
