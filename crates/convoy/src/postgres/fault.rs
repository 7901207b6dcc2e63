//! Explains to the operator why the database cannot be used: what happened, why, and the
//! statement or setting that fixes it.
//!
//! Input: an error of connecting or of syncing the schema. Output: a [`Fault`], which
//! names host, role and database, never a password, and whether it may pass by itself.

use std::io::ErrorKind;
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgSslMode};
use sqlx::{ConnectOptions, PgConnection};

use super::{DbError, Postgres};
use crate::schema::Schema;
use crate::sql::rights::{self, quoted};

/// Time limit for connecting while the engine opens. A server that suspends when idle takes
/// some seconds to resume.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// The oldest version of Postgres that supports every statement of the schema sync.
const MIN_VERSION: i32 = 140_000;

/// Why the database cannot be used.
#[derive(Debug)]
pub struct Fault {
    /// A short name for programs, such as `wrong-password`.
    pub kind: &'static str,
    /// The message for people.
    pub message: String,
    /// Whether it may pass by itself; otherwise a person has to change something.
    pub passes: bool,
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl Fault {
    fn lasting(kind: &'static str, message: String) -> Fault {
        Fault { kind, message, passes: false }
    }

    fn passing(kind: &'static str, message: String) -> Fault {
        Fault { kind, message, passes: true }
    }
}

impl From<Fault> for DbError {
    fn from(fault: Fault) -> DbError {
        DbError::Setup(Box::new(fault))
    }
}

/// Connects within [`CONNECT_TIMEOUT`].
pub(super) async fn connect(options: &PgConnectOptions) -> Result<PgConnection, sqlx::Error> {
    let connecting = tokio::time::timeout(CONNECT_TIMEOUT, options.connect()).await;
    connecting.unwrap_or_else(|_elapsed| Err(sqlx::Error::Io(ErrorKind::TimedOut.into())))
}

/// Explains why connecting failed.
pub(super) async fn of_connecting(error: sqlx::Error, options: &PgConnectOptions) -> Fault {
    let place = place(options);
    match &error {
        sqlx::Error::Database(_) => of_login(&DbError::from(error), options),
        sqlx::Error::Tls(cause) => of_tls(&cause.to_string(), &place),
        sqlx::Error::Io(cause) if cause.to_string().contains("certificate") => of_tls(&cause.to_string(), &place),
        sqlx::Error::Io(cause) => of_network(cause, options, &place).await,
        other => Fault::lasting(
            "not-postgres",
            format!(
                "what listens at {place} does not answer like Postgres ({other}); check host and port in DATABASE_URL"
            ),
        ),
    }
}

/// Explains in one line why a server that was reachable before now refuses connections.
pub(super) fn loss_reason(error: &DbError, options: &PgConnectOptions) -> String {
    match error.state() {
        Some(_) => of_login(error, options).message,
        None => error.cause(),
    }
}

fn place(options: &PgConnectOptions) -> String {
    match options.get_socket() {
        Some(folder) => format!("{}/.s.PGSQL.{}", folder.display(), options.get_port()),
        None => format!("{}:{}", options.get_host(), options.get_port()),
    }
}

fn of_tls(cause: &str, place: &str) -> Fault {
    if cause.contains("does not support TLS") {
        return Fault::lasting(
            "tls-refused",
            format!(
                "Postgres at {place} does not offer TLS, and sslmode in DATABASE_URL demands it; set sslmode=prefer or \
                 sslmode=disable there, or turn TLS on in the server (ssl = on in postgresql.conf)"
            ),
        );
    }
    Fault::lasting(
        "tls-failed",
        format!(
            "the TLS certificate of Postgres at {place} was not accepted ({cause}); name the authority that signed it with \
             sslrootcert=/path/to/ca.pem in DATABASE_URL and the host as the certificate has it, or use sslmode=require, \
             which encrypts without checking the certificate"
        ),
    )
}

async fn of_network(cause: &std::io::Error, options: &PgConnectOptions, place: &str) -> Fault {
    let host = options.get_host();
    let message = match cause.kind() {
        ErrorKind::ConnectionRefused => {
            format!(
                "nothing listens at {place} (connection refused); start Postgres there, or correct host and port in DATABASE_URL"
            )
        }
        ErrorKind::TimedOut => format!(
            "{place} did not answer within {} s; check that the host is right and that no firewall lies between",
            CONNECT_TIMEOUT.as_secs()
        ),
        ErrorKind::NotFound | ErrorKind::PermissionDenied if options.get_socket().is_none() => {
            let message = format!(
                "a file that DATABASE_URL names (sslrootcert, sslcert or sslkey) cannot be read: {cause}; correct its path"
            );
            return Fault::lasting("tls-failed", message);
        }
        ErrorKind::NotFound if options.get_socket().is_some() => {
            format!("there is no socket {place}; start Postgres, or correct the folder and port in DATABASE_URL")
        }
        ErrorKind::UnexpectedEof
        | ErrorKind::ConnectionReset
        | ErrorKind::ConnectionAborted
        | ErrorKind::BrokenPipe => {
            format!(
                "{place} accepted the connection and closed it ({cause}); check that Postgres listens there and admits this machine"
            )
        }
        _ if options.get_socket().is_none() && tokio::net::lookup_host((host, options.get_port())).await.is_err() => {
            let message =
                format!("the host {host} has no address (DNS); correct the host in DATABASE_URL, or the DNS entry");
            return Fault::passing("unknown-host", message);
        }
        _ => format!("{place} cannot be reached ({cause}); check host and port in DATABASE_URL and the network"),
    };
    Fault::passing("unreachable", message)
}

/// Explains why the server rejected the login.
fn of_login(error: &DbError, options: &PgConnectOptions) -> Fault {
    let (place, cause) = (place(options), error.cause());
    let role = quoted(options.get_username());
    let database = quoted(options.get_database().unwrap_or(options.get_username()));
    let state = error.state().unwrap_or_default();
    match state.as_str() {
        "28P01" => Fault::lasting(
            "wrong-password",
            format!(
                "Postgres at {place} refused the password of role {role}: {cause}; correct it in DATABASE_URL, or set it: \
                 alter role {role} password '…'"
            ),
        ),
        "28000" if error.message_contains("pg_hba.conf") => {
            let tls = if matches!(options.get_ssl_mode(), PgSslMode::Disable | PgSslMode::Allow) {
                "if the server demands TLS, set sslmode=require in DATABASE_URL; otherwise "
            } else {
                ""
            };
            Fault::lasting(
                "not-admitted",
                format!(
                    "Postgres at {place} does not admit role {role} to database {database} from here: {cause}; {tls}add a line \
                     to pg_hba.conf (host {database} {role} <address>/32 scram-sha-256) and run: select pg_reload_conf()"
                ),
            )
        }
        state if state.starts_with("28") => Fault::lasting(
            "unknown-role",
            format!(
                "Postgres at {place} does not let role {role} log in: {cause}; correct the role in DATABASE_URL, or run: \
                 create role {role} login password '…' (where it exists: alter role {role} login)"
            ),
        ),
        "3D000" => Fault::lasting(
            "no-database",
            format!(
                "Postgres at {place} has no database {database}: {cause}; correct its name in DATABASE_URL, or run: create \
                 database {database} owner {role} (convoy dev and createDatabase: true do that where the role may)"
            ),
        ),
        "42501" => Fault::lasting(
            "no-right",
            format!(
                "role {role} may not connect to database {database}: {cause}; run: grant connect on database {database} to {role}"
            ),
        ),
        "55000" => Fault::lasting(
            "closed-database",
            format!(
                "database {database} takes no connections: {cause}; run: alter database {database} allow_connections true"
            ),
        ),
        "53300" => Fault::passing(
            "too-many-connections",
            format!(
                "Postgres at {place} has no connection left for role {role}: {cause}; close others, lower poolSize, raise \
                 max_connections (or the role's: alter role {role} connection limit -1), or put a pooler in between"
            ),
        ),
        "57P03" => Fault::passing(
            "starting",
            format!("Postgres at {place} takes no connections yet: {cause}; it does once it has started or recovered"),
        ),
        "42704" | "42601" | "22023" => Fault::lasting(
            "wrong-option",
            format!(
                "Postgres at {place} refuses an option of the connection: {cause}; correct options in DATABASE_URL"
            ),
        ),
        state => {
            let passes = ["08", "53", "57", "58"].iter().any(|class| state.starts_with(class));
            let message =
                format!("Postgres at {place} refused the connection to database {database} as role {role}: {cause}");
            Fault { kind: "refused", message, passes }
        }
    }
}

/// Explains why a missing database could not be created.
pub(super) async fn of_creating(error: DbError, options: &PgConnectOptions) -> Fault {
    let role = quoted(options.get_username());
    let database = quoted(options.get_database().unwrap_or_default());
    Fault::lasting(
        "no-database",
        format!(
            "database {database} does not exist at {}, and role {role} could not create it: {}; as a superuser run: create \
             database {database} owner {role} (or let the role do it: alter role {role} createdb)",
            place(options),
            error.cause()
        ),
    )
}

/// Rejects a server that is too old for the schema sync.
pub(super) fn check_version(number: i32, name: &str) -> Result<(), Fault> {
    if number >= MIN_VERSION {
        return Ok(());
    }
    let message =
        format!("this is Postgres {name}, and Convoy needs {} or later; upgrade the server", MIN_VERSION / 10_000);
    Err(Fault::lasting("old-postgres", message))
}

impl Postgres {
    /// Explains why a schema sync failed, if the cause can be determined.
    pub(super) async fn explain(&self, error: DbError, schema: &Schema) -> DbError {
        let explained = match error.state().as_deref() {
            Some("42501") => self.missing_rights_fault(&error, schema).await,
            Some("25006") => self.read_only_fault(&error).await,
            Some("53100") => Ok(Fault::passing(
                "disk-full",
                format!("the disk of the database is full: {}; free some space on it", error.cause()),
            )),
            Some("55P03") => {
                let role = quoted(self.options.get_username());
                let message = format!(
                    "a table that the schema sync has to change stayed locked by another transaction: {}; the log names the \
                     sessions that hold the lock; try again when they have ended. If the role itself has a limit: alter role \
                     {role} set lock_timeout = 0",
                    error.cause()
                );
                Ok(Fault::passing("cancelled", message))
            }
            Some("57014") => {
                let role = quoted(self.options.get_username());
                let message = format!(
                    "Postgres cancelled a step of the schema sync: {}; give it more time: alter role {role} set statement_timeout \
                     = 0",
                    error.cause()
                );
                Ok(Fault::lasting("cancelled", message))
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
        let mut session = self.connect().await?;
        let rows = session.fetch_autocommit(rights::missing_for_sync(&tables)).await?;
        let mut missing = Vec::new();
        let mut remedies = Vec::new();
        for row in &rows {
            missing.push(row.text(0)?.to_owned());
            remedies.push(row.text(1)?.to_owned());
        }
        let role = quoted(self.options.get_username());
        let message = if missing.is_empty() {
            format!("role {role} lacks a right: {}; grant it, or connect as the owner of the database", error.cause())
        } else {
            format!(
                "role {role} may not {} ({}); as a superuser, or the owner of each, run: {}",
                missing.join("; "),
                error.cause(),
                remedies.join("; ")
            )
        };
        Ok(Fault::lasting("no-right", message))
    }

    async fn read_only_fault(&self, error: &DbError) -> Result<Fault, DbError> {
        let mut session = self.connect().await?;
        let rows = session.fetch_autocommit(rights::read_only()).await?;
        let row = rows.first().ok_or_else(|| DbError::Row("no row about the session".into()))?;
        let cause = error.cause();
        if row.bool(0)? {
            let message =
                format!("this Postgres is a standby, which only reads: {cause}; name the primary in DATABASE_URL");
            return Ok(Fault::passing("standby", message));
        }
        let message = format!(
            "the sessions of role {} only read, by default_transaction_read_only: {cause}; run: set default_transaction_read_only = \
             off; {}",
            quoted(self.options.get_username()),
            row.text(1)?
        );
        Ok(Fault::lasting("read-only", message))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_before_14_are_refused_by_name() {
        assert!(check_version(140_000, "14.0").is_ok());
        let fault = check_version(130_011, "13.11").expect_err("it is too old");
        insta::assert_snapshot!(fault.message, @"this is Postgres 13.11, and Convoy needs 14 or later; upgrade the server");
    }
}
