//! Driver errors, sorted by what the caller should do about them.

use serde_json::json;

use super::Fault;
use sqlx::error::DatabaseError;
use sqlx::postgres::PgDatabaseError;

use crate::error::{Code, Failure};

/// Why a statement or a connection failed.
#[derive(Debug, thiserror::Error)]
pub enum DbError {
    /// Lost against another transaction, or against a change of a table that a plan
    /// of the session did not survive; running the whole call again may help.
    #[error("lost against a concurrent transaction")]
    Retry(#[source] sqlx::Error),
    /// The database cannot be reached, or not now. Nothing was decided.
    #[error("the database is not reachable")]
    Unavailable(#[source] sqlx::Error),
    /// No connection came free in time.
    #[error("no database connection came free within {0:?}")]
    PoolExhausted(std::time::Duration),
    /// A unique index or another constraint refused a row.
    #[error("the constraint `{constraint}` refuses this")]
    Constraint {
        /// The constraint or index, as Postgres names it.
        constraint: String,
        /// Whether it is about uniqueness.
        unique: bool,
        /// The driver's error.
        #[source]
        source: sqlx::Error,
    },
    /// A unique index cannot be built over what the table holds.
    #[error("index `{index}` of `{table}` cannot be unique: some documents have the same {fields}")]
    Duplicates {
        /// The table's name in code.
        table: String,
        /// The index's name in code.
        index: String,
        /// Its fields.
        fields: String,
        /// The driver's error.
        #[source]
        source: sqlx::Error,
    },
    /// The URL does not name a Postgres database.
    #[error(
        "the database URL (DATABASE_URL) is not usable: {0}; it looks like postgres://user:password@host:5432/database"
    )]
    Address(String),
    /// Something keeps the engine from using the database; said with what mends it.
    #[error("{0}")]
    Setup(Box<Fault>),
    /// Postgres cannot take a value it was given.
    #[error("Postgres refuses a value: {message}")]
    Value {
        /// Postgres' own sentence, which names the value's flaw, not its content.
        message: &'static str,
        /// The driver's error.
        #[source]
        source: sqlx::Error,
    },
    /// A statement of the user's own writes where it may only read.
    #[error("this statement writes, and only reading is possible here")]
    ReadOnly(#[source] sqlx::Error),
    /// The statement ran into its time limit or was cancelled.
    #[error("the statement was cancelled")]
    Cancelled(#[source] sqlx::Error),
    /// Anything else: a defect of ours, or of the database's set-up.
    #[error("unexpected database error")]
    Other(#[source] sqlx::Error),
    /// A row that is not laid out as it should be.
    #[error("a row is not as expected: {0}")]
    Row(String),
}

impl DbError {
    /// The database does not answer any more.
    pub fn timed_out() -> DbError {
        DbError::Unavailable(sqlx::Error::Io(std::io::ErrorKind::TimedOut.into()))
    }

    /// The error of a connection that could not be opened, of any kind: nothing was
    /// asked yet.
    pub(super) fn of_connecting(error: sqlx::Error) -> DbError {
        match DbError::from(error) {
            DbError::Other(error) => DbError::Unavailable(error),
            other => other,
        }
    }

    /// The same error, of a statement that may have been meant to write: then a
    /// refusal to write says nothing of the database.
    pub(super) fn into_user_error(self) -> DbError {
        match self {
            DbError::Unavailable(sqlx::Error::Database(error)) if error.code().as_deref() == Some("25006") => {
                DbError::ReadOnly(sqlx::Error::Database(error))
            }
            other => other,
        }
    }

    /// Whether the database's own message contains this.
    pub fn message_contains(&self, words: &str) -> bool {
        let source = std::error::Error::source(self).and_then(|source| source.downcast_ref::<sqlx::Error>());
        matches!(source, Some(sqlx::Error::Database(error)) if error.message().contains(words))
    }

    /// A commit that was not answered, and turned out not to have happened.
    pub fn aborted() -> DbError {
        DbError::Retry(sqlx::Error::Io(std::io::ErrorKind::ConnectionAborted.into()))
    }

    /// Whether the session has a statement prepared that the database no longer runs as
    /// it was prepared. Nothing was done; a new session prepares it again.
    pub fn is_stale_plan(&self) -> bool {
        matches!(self, DbError::Retry(sqlx::Error::Database(error)) if is_stale_plan(error.as_ref()))
    }

    /// The same error; a lock that did not come free in time (`lock_timeout`) counts as a
    /// conflict.
    pub(super) fn of_short_lock_timeout(self) -> DbError {
        match self {
            DbError::Cancelled(error)
                if error.as_database_error().and_then(DatabaseError::code).as_deref() == Some("55P03") =>
            {
                DbError::Retry(error)
            }
            other => other,
        }
    }

    /// What lies behind it, in one line, for those who run the server.
    pub fn cause(&self) -> String {
        match std::error::Error::source(self).and_then(|source| source.downcast_ref::<sqlx::Error>()) {
            // Without the line of Postgres' own source that the driver adds.
            Some(sqlx::Error::Database(error)) => format!("{} ({})", error.message(), error.code().unwrap_or_default()),
            Some(error) => error.to_string(),
            None => self.to_string(),
        }
    }

    /// The code that Postgres gives the error (SQLSTATE).
    pub fn state(&self) -> Option<String> {
        let source = std::error::Error::source(self).and_then(|source| source.downcast_ref::<sqlx::Error>());
        let Some(sqlx::Error::Database(error)) = source else { return None };
        error.code().map(std::borrow::Cow::into_owned)
    }

    /// Why Postgres cancelled the statement, where it did.
    pub fn why_cancelled(&self) -> Option<&'static str> {
        let DbError::Cancelled(_) = self else { return None };
        Some(match self.state()?.as_str() {
            "55P03" => {
                "a statement waited too long for a lock that another transaction holds (lock_timeout); try again"
            }
            "25P03" => "its transaction was idle for too long (idle_in_transaction_session_timeout)",
            _ => {
                "a statement ran into its time limit, or somebody cancelled it; an index, or reading less, makes it faster"
            }
        })
    }

    /// Whether the connection is gone or of no use, so that another one may do better.
    pub fn connection_lost(&self) -> bool {
        matches!(self, DbError::Unavailable(_))
    }

    /// Whether something that the statement names does not exist.
    pub fn names_nothing(&self) -> bool {
        let source = std::error::Error::source(self).and_then(|source| source.downcast_ref::<sqlx::Error>());
        let Some(sqlx::Error::Database(error)) = source else { return false };
        error.code().is_some_and(|code| ["3F000", "42P01", "42883", "42703"].contains(&&*code))
    }

    /// Whether what it is the error of may be done all the same: Postgres has not said
    /// that it refuses it, and it may have been sent. A session that is ended (`57P..`,
    /// `08...`) may have committed just before.
    pub fn may_be_done(&self) -> bool {
        match self {
            DbError::Row(_) => true,
            DbError::Unavailable(_) | DbError::Other(_) => {
                self.state().is_none_or(|state| state.starts_with("57P") || state.starts_with("08"))
            }
            _ => false,
        }
    }

    /// What the outside is told. Anything without a sentence of its own is
    /// logged in full and answered as `INTERNAL`.
    pub fn to_failure(&self, context: &str) -> Failure {
        match self {
            DbError::Retry(_) if self.is_stale_plan() => {
                Failure::new(Code::Conflict, "a table or type that this call uses was changed while it ran; try again")
            }
            DbError::Retry(_) => {
                Failure::new(Code::Conflict, "this call kept losing against concurrent writes; try again")
            }
            // The pool says once when the database goes and when it is back.
            DbError::Unavailable(source) => {
                tracing::debug!(context, cause = %source, "the database is not reachable");
                if self.state().as_deref() == Some("25006") {
                    let message = "the database only reads at the moment (a standby, or default_transaction_read_only is \
                                   on); try again shortly";
                    return Failure::new(Code::Unavailable, message);
                }
                Failure::new(Code::Unavailable, "the database is not reachable at the moment; try again shortly")
            }
            DbError::PoolExhausted(_) => {
                tracing::warn!(context, "no database connection came free in time");
                Failure::new(Code::Unavailable, "the server has no free database connection; try again shortly")
            }
            DbError::Constraint { constraint, unique: true, .. } => Failure::new(
                Code::Conflict,
                format!("another document already has this value (unique index `{constraint}`)"),
            ),
            DbError::Constraint { constraint, .. } => {
                Failure::new(Code::Conflict, format!("the database constraint `{constraint}` refuses this"))
            }
            DbError::Duplicates { .. } => {
                Failure::new(Code::Conflict, format!("{self}; change those documents, or leave `unique` out"))
            }
            DbError::Address(_) => Failure::new(Code::InvalidArgs, self.to_string())
                .with_details(&json!({ "database": { "fault": "wrong-url", "passes": false } })),
            DbError::Setup(fault) => {
                let code = if fault.passes { Code::Unavailable } else { Code::InvalidArgs };
                Failure::new(code, fault.message.as_str())
                    .with_details(&json!({ "database": { "fault": fault.kind, "passes": fault.passes } }))
            }
            DbError::Value { message, .. } => Failure::new(Code::InvalidArgs, *message),
            DbError::ReadOnly(_) => Failure::new(
                Code::InvalidArgs,
                "this statement writes, and a query only reads; make the function a mutation",
            ),
            DbError::Cancelled(_) => Failure::new(Code::Timeout, "the database took too long to answer"),
            DbError::Other(_) if self.state().as_deref() == Some("42501") => {
                let hint = "grant it to the role in DATABASE_URL; at its next start Convoy lists the missing grants";
                Failure::internal(context, &format!("{}: {hint}", self.cause()))
            }
            DbError::Other(_) => Failure::internal(context, &self.cause()),
            DbError::Row(_) => Failure::internal(context, self),
        }
    }
}

/// Whether a prepared statement is gone (`discard all`), there already, has other columns
/// than when it was prepared, or names a type that was dropped and made again.
fn is_stale_plan(error: &dyn DatabaseError) -> bool {
    let code = error.code().unwrap_or_default();
    let routine = error.try_downcast_ref::<PgDatabaseError>().and_then(|error| error.routine());
    match code.as_ref() {
        "26000" | "42P05" => true,
        "0A000" => routine == Some("RevalidateCachedQuery"),
        // What is internal to Postgres is not translated.
        "XX000" => error.message().starts_with("cache lookup failed for "),
        _ => false,
    }
}

impl From<sqlx::Error> for DbError {
    fn from(error: sqlx::Error) -> DbError {
        let sqlx::Error::Database(database) = &error else {
            return match error {
                sqlx::Error::Io(_)
                | sqlx::Error::Tls(_)
                | sqlx::Error::Protocol(_)
                | sqlx::Error::PoolClosed
                | sqlx::Error::PoolTimedOut
                | sqlx::Error::WorkerCrashed => DbError::Unavailable(error),
                _ => DbError::Other(error),
            };
        };
        if is_stale_plan(database.as_ref()) {
            return DbError::Retry(error);
        }
        let state = database.code().unwrap_or_default();
        match state.as_ref() {
            "40001" | "40P01" => DbError::Retry(error),
            // A statement's time limit, an idle transaction's, a lock's.
            "57014" | "25P03" | "55P03" => DbError::Cancelled(error),
            "22P05" | "22021" => {
                DbError::Value { message: "text may not contain the character \\u0000", source: error }
            }
            "22P02" => DbError::Value { message: "a value is not valid for its type in Postgres", source: error },
            "22003" => DbError::Value { message: "a number is too large", source: error },
            "54000" => DbError::Value { message: "an indexed value is too large for its index", source: error },
            "57P01" | "57P02" | "57P03" | "53300" | "3D000" | "25006" => DbError::Unavailable(error),
            // Connection exceptions, and what an administrator shuts down.
            state if state.starts_with("08") => DbError::Unavailable(error),
            // Wrong password or role: not a defect of the call, and it may heal.
            state if state.starts_with("28") => DbError::Unavailable(error),
            state if state.starts_with("23") => DbError::Constraint {
                constraint: database.constraint().unwrap_or("unnamed").to_owned(),
                unique: state == "23505",
                source: error,
            },
            _ => DbError::Other(error),
        }
    }
}
