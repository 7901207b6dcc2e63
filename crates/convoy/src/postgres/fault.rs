//! Explains to the operator why the database cannot be used: what happened, why, and the
//! statement or setting that fixes it.
//!
//! Input: an error of connecting or of syncing the schema. Output: a [`Fault`], which
//! names host, role and database, never a password, and whether it may pass by itself.

mod connecting;
mod login;

use super::{DbError, Postgres};
use crate::schema::Schema;
use crate::sql::Statement;
use crate::sql::rights::{self, quoted};
pub(super) use connecting::{connect, loss_reason, of_connecting};
pub(super) use login::of_creating;

/// The oldest version of Postgres that supports every statement of the schema sync.
const MIN_VERSION: i32 = 140_000;

/// The missing rights that a message names; it has the statements for all of them.
const MAX_NAMED_RIGHTS: usize = 4;

/// Why the database cannot be used.
#[derive(Debug)]
pub struct Fault {
    /// A short name for programs, such as `wrong-password`.
    pub kind: &'static str,
    /// What happened, and why: the beginning of a sentence.
    pub what: String,
    /// What to do about it: the rest of the sentence, with its period unless it ends in a statement or a command, which
    /// can be copied.
    pub remedy: String,
    /// Whether it may pass by itself; otherwise a person has to change something.
    pub passes: bool,
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}; {}", self.what, self.remedy)
    }
}

impl Fault {
    pub(super) fn lasting(kind: &'static str, what: impl Into<String>, remedy: impl Into<String>) -> Fault {
        Fault { kind, what: what.into(), remedy: remedy.into(), passes: false }
    }

    fn passing(kind: &'static str, what: impl Into<String>, remedy: impl Into<String>) -> Fault {
        Fault { passes: true, ..Fault::lasting(kind, what, remedy) }
    }
}

impl From<Fault> for DbError {
    fn from(fault: Fault) -> DbError {
        DbError::Setup(Box::new(fault))
    }
}

/// Rejects a server that is too old for the schema sync.
pub(super) fn check_version(number: i32, name: &str) -> Result<(), Fault> {
    if number >= MIN_VERSION {
        return Ok(());
    }
    let oldest = MIN_VERSION / 10_000;
    Err(Fault::lasting(
        "old-postgres",
        format!("This is Postgres {name}, and Convoy needs {oldest} or later"),
        "upgrade the server (pg_upgrade, or the provider's console), or name a newer one in DATABASE_URL.",
    ))
}

/// Explains a query that failed on a standby.
pub(super) fn of_standby(cause: &str) -> Fault {
    Fault::passing(
        "standby",
        format!("This Postgres is a standby, which only reads: {cause}"),
        "name the primary in DATABASE_URL, or promote this server: select pg_promote()",
    )
}

impl Postgres {
    /// Explains why a schema sync failed, if the cause can be determined.
    pub(super) async fn explain(&self, error: DbError, schema: &Schema) -> DbError {
        let explained = match error.state().as_deref() {
            Some("42501") => self.missing_rights_fault(&error, schema).await,
            Some("25006") => self.read_only_fault(&error).await,
            Some("53100") => Ok(Fault::passing(
                "disk-full",
                format!("The disk of the database is full: {}", error.cause()),
                "free some space on it.",
            )),
            Some("55P03") => {
                let role = quoted(self.options.get_username());
                let what = format!(
                    "A table that the schema sync has to change stayed locked by another transaction: {}; the log names the \
                     sessions that hold the lock",
                    error.cause()
                );
                let remedy = format!(
                    "try again when they have ended. If the role itself has a limit: alter role {role} set lock_timeout = 0"
                );
                Ok(Fault::passing("cancelled", what, remedy))
            }
            Some("57014") => {
                let role = quoted(self.options.get_username());
                let what = format!("Postgres cancelled a step of the schema sync: {}", error.cause());
                let remedy = format!("give it more time: alter role {role} set statement_timeout = 0");
                Ok(Fault::lasting("cancelled", what, remedy))
            }
            _ => return error,
        };
        match explained {
            Ok(fault) => fault.into(),
            Err(why) => {
                tracing::debug!(cause = %why.cause(), "the cause of a database fault could not be determined");
                error
            }
        }
    }

    async fn missing_rights_fault(&self, error: &DbError, schema: &Schema) -> Result<Fault, DbError> {
        let tables: Vec<&str> = schema.tables().filter(|table| table.managed).map(|table| &*table.physical).collect();
        let missing = self.missing_rights(rights::missing_for_sync(&tables)).await?;
        let cause = error.cause();
        if missing.is_empty() {
            let what = format!("Role {} lacks a right: {cause}", quoted(self.options.get_username()));
            return Ok(Fault::lasting("no-right", what, "grant it, or connect as the owner of the database."));
        }
        Ok(self.no_right(&missing, &format!(" ({cause})")))
    }

    /// Refuses a database that calls of this role could not use, although nothing in it has to
    /// be changed: it lacks rights, or its sessions only read.
    pub(crate) async fn expect_usable(&self) -> Result<(), DbError> {
        let missing = self.missing_rights(rights::missing_for_opening()).await?;
        if !missing.is_empty() {
            return Err(self.no_right(&missing, "").into());
        }
        let mut session = self.connect().await?;
        let rows = session.fetch_autocommit(rights::read_only()).await?;
        let row = rows.first().ok_or_else(|| DbError::Row("no row about the session".into()))?;
        match row.bool(2)? {
            true => Err(self.read_only_setting(row.text(1)?, "").into()),
            false => Ok(()),
        }
    }

    /// What the role may not do, each with the statement that permits it.
    async fn missing_rights(&self, question: Statement) -> Result<Vec<(String, String)>, DbError> {
        let mut session = self.connect().await?;
        let rows = session.fetch_autocommit(question).await?;
        rows.iter().map(|row| Ok((row.text(0)?.to_owned(), row.text(1)?.to_owned()))).collect()
    }

    fn no_right(&self, missing: &[(String, String)], cause: &str) -> Fault {
        let role = quoted(self.options.get_username());
        let remedies: Vec<&str> = missing.iter().map(|(_, remedy)| remedy.as_str()).collect();
        let named: Vec<&str> = missing.iter().take(MAX_NAMED_RIGHTS).map(|(what, _)| what.as_str()).collect();
        let more = match missing.len() - named.len() {
            0 => String::new(),
            more => format!("; and {more} more"),
        };
        // A role that is not the owner of `_convoy` need not become one.
        let alternative = match missing.iter().any(|(what, _)| what.starts_with("change the ")) {
            true => " (or let the owner run convoy migrate, and open with sync: 'require', as convoy start does).",
            false => "",
        };
        Fault::lasting(
            "no-right",
            format!("Role {role} may not {}{more}{cause}", named.join("; ")),
            format!("as a superuser, or the owner of each, run: {}{alternative}", remedies.join("; ")),
        )
    }

    async fn read_only_fault(&self, error: &DbError) -> Result<Fault, DbError> {
        let mut session = self.connect().await?;
        let rows = session.fetch_autocommit(rights::read_only()).await?;
        let row = rows.first().ok_or_else(|| DbError::Row("no row about the session".into()))?;
        let cause = error.cause();
        Ok(match row.bool(0)? {
            true => of_standby(&cause),
            false => self.read_only_setting(row.text(1)?, &format!(": {cause}")),
        })
    }

    fn read_only_setting(&self, remedy: &str, cause: &str) -> Fault {
        let role = quoted(self.options.get_username());
        let what = format!("The sessions of role {role} only read, by default_transaction_read_only{cause}");
        // Without the first statement, the second one could not be run by this role itself.
        Fault::lasting("read-only", what, format!("run: set default_transaction_read_only = off; {remedy}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_before_14_are_refused_by_name() {
        assert!(check_version(140_000, "14.0").is_ok());
        let fault = check_version(130_011, "13.11").expect_err("it is too old");
        insta::assert_snapshot!(fault, @"This is Postgres 13.11, and Convoy needs 14 or later; upgrade the server (pg_upgrade, or the provider's console), or name a newer one in DATABASE_URL.");
    }
}
