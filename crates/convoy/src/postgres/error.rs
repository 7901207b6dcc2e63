//! Database errors, classified by what the caller should do about them.

use std::borrow::Cow;

use serde_json::json;

use super::Fault;
use sqlx::error::DatabaseError;
use sqlx::postgres::PgDatabaseError;

use crate::error::{Code, Failure};

/// Why a statement or a connection failed.
#[derive(Debug, thiserror::Error)]
pub enum DbError {
    /// A conflict with another transaction, or with a change of a table that made a prepared
    /// plan invalid. Running the whole call again may succeed.
    #[error("lost against a concurrent transaction")]
    Retry(#[source] sqlx::Error),
    /// The database cannot be reached, or does not accept connections now. The statement may
    /// or may not have run.
    #[error("the database is not reachable")]
    Unavailable(#[source] sqlx::Error),
    /// No connection to the database could be opened, so nothing was sent.
    #[error("the database is not reachable")]
    Unreachable(#[source] sqlx::Error),
    /// No connection of the pool became free in time.
    #[error("no database connection came free within {0:?}")]
    PoolExhausted(std::time::Duration),
    /// A unique index or another constraint refused a row.
    #[error("the constraint `{constraint}` refuses this")]
    Constraint {
        /// The name of the constraint or index in Postgres.
        constraint: String,
        /// Whether the constraint is a unique one.
        unique: bool,
        /// The driver's error.
        #[source]
        source: sqlx::Error,
    },
    /// A unique index cannot be built, because documents of the table have equal values.
    #[error("Index `{index}` of `{table}` cannot be unique: some documents have the same {fields}")]
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
        "The database URL (DATABASE_URL) is not usable: {0}; set it to one like \
         postgres://user:password@host:5432/database"
    )]
    Address(String),
    /// The database cannot be used; the message says how to fix that.
    #[error("{0}")]
    Setup(Box<Fault>),
    /// Postgres rejected a value.
    #[error("Postgres refuses a value. {message}")]
    Value {
        /// A sentence that describes what is wrong with the value, without its content.
        message: &'static str,
        /// The driver's error.
        #[source]
        source: sqlx::Error,
    },
    /// A user statement writes where only reads are allowed.
    #[error("this statement writes, and only reading is possible here")]
    ReadOnly(#[source] sqlx::Error),
    /// The statement exceeded its time limit or was cancelled.
    #[error("the statement was cancelled")]
    Cancelled(#[source] sqlx::Error),
    /// Postgres lacks disk space or memory. The connection is still usable.
    #[error("Postgres lacks disk space or memory")]
    OutOfSpace(#[source] sqlx::Error),
    /// Any other error: a defect of Convoy, or of the set-up of the database.
    #[error("unexpected database error")]
    Other(#[source] sqlx::Error),
    /// A row does not have the expected columns or types.
    #[error("a row is not as expected: {0}")]
    Row(String),
}

impl DbError {
    /// The error of a database that stopped answering.
    pub fn timed_out() -> DbError {
        DbError::Unavailable(sqlx::Error::Io(std::io::ErrorKind::TimedOut.into()))
    }

    /// Converts any error of opening a connection.
    pub(super) fn of_connecting(error: sqlx::Error) -> DbError {
        match DbError::from(error) {
            DbError::Other(error) | DbError::Unavailable(error) => DbError::Unreachable(error),
            other => other,
        }
    }

    /// Converts the error of a user statement, which may have tried to write: a rejected
    /// write in a read-only session then says nothing about the database.
    pub(super) fn into_user_error(self) -> DbError {
        match self {
            DbError::Unavailable(sqlx::Error::Database(error)) if error.code().as_deref() == Some("25006") => {
                DbError::ReadOnly(sqlx::Error::Database(error))
            }
            other => other,
        }
    }

    /// The database's own message.
    pub fn message(&self) -> Option<&str> {
        match std::error::Error::source(self)?.downcast_ref::<sqlx::Error>()? {
            sqlx::Error::Database(error) => Some(error.message()),
            _ => None,
        }
    }

    /// Whether the database's own message contains `text`.
    pub fn message_contains(&self, text: &str) -> bool {
        self.message().is_some_and(|message| message.contains(text))
    }

    /// The error of a commit that was not answered and did not happen.
    pub fn aborted() -> DbError {
        DbError::Retry(sqlx::Error::Io(std::io::ErrorKind::ConnectionAborted.into()))
    }

    /// The conflict of a run with a change of a row that it had read from memory.
    pub fn stale_read() -> DbError {
        DbError::Retry(sqlx::Error::Io(std::io::ErrorKind::Interrupted.into()))
    }

    /// Whether a prepared statement of the session is no longer valid. The statement did not
    /// run; a new session prepares it again.
    pub fn is_stale_plan(&self) -> bool {
        matches!(self, DbError::Retry(sqlx::Error::Database(error)) if is_stale_plan(error.as_ref()))
    }

    /// Converts the error of a session with a short `lock_timeout`: exceeding it counts as a
    /// conflict.
    pub(super) fn lock_timeout_as_conflict(self) -> DbError {
        match self {
            DbError::Cancelled(error)
                if error.as_database_error().and_then(DatabaseError::code).as_deref() == Some("55P03") =>
            {
                DbError::Retry(error)
            }
            other => other,
        }
    }

    /// What kind of error it is, for telemetry: the SQLSTATE if Postgres has sent one.
    pub fn kind(&self) -> Cow<'static, str> {
        let known = match self {
            DbError::Unavailable(_) | DbError::Unreachable(_) => "unavailable",
            DbError::PoolExhausted(_) => "pool_exhausted",
            DbError::Row(_) => "row",
            _ => "_OTHER",
        };
        self.state().map_or(Cow::Borrowed(known), Cow::Owned)
    }

    /// The cause in one line, for the operator of the server.
    pub fn cause(&self) -> String {
        match std::error::Error::source(self).and_then(|source| source.downcast_ref::<sqlx::Error>()) {
            // Leaves out the position in Postgres' source code that the driver adds.
            Some(sqlx::Error::Database(error)) => format!("{} ({})", error.message(), error.code().unwrap_or_default()),
            Some(error) => error.to_string(),
            None => self.to_string(),
        }
    }

    /// The SQLSTATE of the error.
    pub fn state(&self) -> Option<String> {
        let source = std::error::Error::source(self).and_then(|source| source.downcast_ref::<sqlx::Error>());
        let Some(sqlx::Error::Database(error)) = source else { return None };
        error.code().map(std::borrow::Cow::into_owned)
    }

    /// Why Postgres cancelled the statement, if it did.
    pub fn cancel_reason(&self) -> Option<&'static str> {
        let DbError::Cancelled(_) = self else { return None };
        Some(match self.state()?.as_str() {
            "55P03" => {
                "a statement waited too long for a lock that another transaction holds (lock_timeout); try again"
            }
            "25P03" => "its transaction was idle for too long (idle_in_transaction_session_timeout)",
            _ => "a statement exceeded its time limit, or was cancelled; an index, or reading less, makes it faster",
        })
    }

    /// Whether the server, the role or the transaction only reads.
    pub(crate) fn only_reads(&self) -> bool {
        let DbError::Unavailable(sqlx::Error::Database(error)) = self else { return false };
        error.code().as_deref() == Some("25006") || is_of_standby(error.as_ref())
    }

    /// Whether a lock was not free within `lock_timeout`.
    pub(crate) fn is_lock_timeout(&self) -> bool {
        matches!(self, DbError::Cancelled(_)) && self.state().as_deref() == Some("55P03")
    }

    /// Whether the connection cannot be used any more, so that another one may succeed.
    pub fn connection_lost(&self) -> bool {
        matches!(self, DbError::Unavailable(_) | DbError::Unreachable(_))
    }

    /// Whether a row-level security policy refused a new row. By the routine, because messages
    /// may be translated.
    pub(crate) fn is_policy_violation(&self) -> bool {
        let DbError::Other(sqlx::Error::Database(error)) = self else { return false };
        let routine = error.try_downcast_ref::<PgDatabaseError>().and_then(PgDatabaseError::routine);
        error.code().as_deref() == Some("42501") && routine == Some("ExecWithCheckOptions")
    }

    /// Whether an object that the statement names does not exist.
    pub fn object_missing(&self) -> bool {
        let source = std::error::Error::source(self).and_then(|source| source.downcast_ref::<sqlx::Error>());
        let Some(sqlx::Error::Database(error)) = source else { return false };
        error.code().is_some_and(|code| ["3F000", "42P01", "42883", "42703"].contains(&&*code))
    }

    /// Whether the statement may have taken effect despite the error: it may have been sent,
    /// and Postgres did not reject it. A session that is terminated (`57P..`, `08...`) may
    /// have committed just before.
    pub fn may_have_taken_effect(&self) -> bool {
        match self {
            DbError::Row(_) => true,
            DbError::Unavailable(_) | DbError::Other(_) => {
                self.state().is_none_or(|state| state.starts_with("57P") || state.starts_with("08"))
            }
            _ => false,
        }
    }

    /// The error that the caller receives. Errors without a message for callers are logged
    /// in full and returned as `INTERNAL`.
    pub fn to_failure(&self, context: &str) -> Failure {
        match self {
            DbError::Retry(_) if self.is_stale_plan() => {
                Failure::new(Code::Conflict, "A table or type that this call uses was changed while it ran; try again.")
            }
            DbError::Retry(_) => {
                Failure::new(Code::Conflict, "This call conflicted with concurrent writes on every attempt; try again.")
            }
            // The pool logs once when the database becomes unreachable and reachable.
            DbError::Unavailable(source) | DbError::Unreachable(source) => {
                tracing::debug!(context, cause = %source, "the database is not reachable");
                if self.only_reads() {
                    let message = "The database only reads at the moment (a standby, or default_transaction_read_only is \
                                   on); try again shortly.";
                    return Failure::new(Code::Unavailable, message);
                }
                if self.state().as_deref() == Some("53300") {
                    let message = "The database has no free connection at the moment; try again shortly.";
                    return Failure::new(Code::Unavailable, message);
                }
                Failure::new(Code::Unavailable, "The database is not reachable at the moment; try again shortly.")
            }
            DbError::PoolExhausted(_) => {
                tracing::warn!(context, "no database connection came free in time");
                Failure::new(Code::Unavailable, "The server has no free database connection; try again shortly.")
            }
            DbError::Constraint { constraint, unique: true, .. } => Failure::new(
                Code::Conflict,
                format!("Another document already has this value (unique index `{constraint}`)."),
            ),
            DbError::Constraint { constraint, .. } => {
                Failure::new(Code::Conflict, format!("The database constraint `{constraint}` refuses this."))
            }
            DbError::Duplicates { .. } => {
                Failure::new(Code::Conflict, format!("{self}; change those documents, or leave `unique` out."))
            }
            DbError::Address(_) => Failure::new(Code::InvalidArgs, self.to_string())
                .with_details(&json!({ "database": { "fault": "wrong-url", "passes": false } })),
            DbError::Setup(fault) => {
                let code = if fault.passes { Code::Unavailable } else { Code::InvalidArgs };
                let remedy = fault.remedy.strip_suffix('.').unwrap_or(&fault.remedy);
                let details = json!({ "fault": fault.kind, "passes": fault.passes, "remedy": remedy });
                Failure::new(code, fault.to_string()).with_details(&json!({ "database": details }))
            }
            DbError::Value { message, .. } => Failure::new(Code::InvalidArgs, *message),
            DbError::ReadOnly(_) => Failure::new(
                Code::InvalidArgs,
                "This statement writes, and a query only reads; make the function a mutation.",
            ),
            DbError::Cancelled(_) => Failure::new(Code::Timeout, "The database took too long to answer."),
            DbError::OutOfSpace(_) => {
                tracing::error!(context, cause = self.cause(), "Postgres lacks disk space or memory");
                let lacking = if self.state().as_deref() == Some("53100") { "disk space" } else { "memory" };
                let message = format!("The database has no {lacking} left for this; free some, and try again.");
                Failure::new(Code::Unavailable, message)
            }
            DbError::Other(_) if self.state().as_deref() == Some("42501") => {
                let hint = "grant it to the role in DATABASE_URL; at its next start Convoy lists the missing grants";
                Failure::internal(context, &format!("{}: {hint}", self.cause()))
            }
            DbError::Other(_) => Failure::internal(context, &self.cause()),
            DbError::Row(_) => Failure::internal(context, self),
        }
    }
}

/// Whether a prepared statement does not exist any more (`discard all`), exists already, has
/// other columns than when it was prepared, or uses a type that was dropped and recreated.
fn is_stale_plan(error: &dyn DatabaseError) -> bool {
    let code = error.code().unwrap_or_default();
    let routine = error.try_downcast_ref::<PgDatabaseError>().and_then(|error| error.routine());
    match code.as_ref() {
        "26000" | "42P05" => true,
        "0A000" => routine == Some("RevalidateCachedQuery"),
        // Messages of internal errors are not translated.
        "XX000" => error.message().starts_with("cache lookup failed for "),
        _ => false,
    }
}

/// Whether only a standby refuses this: a serializable transaction, or a table that is not
/// replicated (unlogged). By the routine, because messages may be translated.
fn is_of_standby(error: &dyn DatabaseError) -> bool {
    let routine = error.try_downcast_ref::<PgDatabaseError>().and_then(PgDatabaseError::routine);
    error.code().as_deref() == Some("0A000")
        && matches!(routine, Some("GetSerializableTransactionSnapshot" | "get_relation_info"))
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
        if is_of_standby(database.as_ref()) {
            return DbError::Unavailable(error);
        }
        let state = database.code().unwrap_or_default();
        match state.as_ref() {
            "40001" | "40P01" => DbError::Retry(error),
            // The time limits of a statement, an idle transaction and a lock.
            "57014" | "25P03" | "55P03" => DbError::Cancelled(error),
            "22P05" | "22021" => {
                DbError::Value { message: "Text may not contain the character \\u0000.", source: error }
            }
            "22P02" => DbError::Value { message: "A value is not valid for its type in Postgres.", source: error },
            "22003" => DbError::Value { message: "A number is too large.", source: error },
            "54000" => DbError::Value { message: "An indexed value is too large for its index.", source: error },
            "57P01" | "57P02" | "57P03" | "57P05" | "53300" | "3D000" | "25006" => DbError::Unavailable(error),
            "53100" | "53200" => DbError::OutOfSpace(error),
            // Connection exceptions.
            state if state.starts_with("08") => DbError::Unavailable(error),
            // Wrong password or role: not a defect of the call, and it may be corrected.
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
