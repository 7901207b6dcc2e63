//! Explains why a server rejected the login, or the creation of its database.

use sqlx::postgres::{PgConnectOptions, PgSslMode};

use super::Fault;
use super::connecting::address;
use crate::postgres::DbError;
use crate::sql::rights::quoted;

/// Explains why the server rejected the login.
pub(super) fn of_login(error: &DbError, options: &PgConnectOptions) -> Fault {
    let (address, cause) = (address(options), error.cause());
    let role = quoted(options.get_username());
    let database = quoted(options.get_database().unwrap_or(options.get_username()));
    let state = error.state().unwrap_or_default();
    match state.as_str() {
        // The answer is the same for a role that does not exist.
        "28P01" => Fault::lasting(
            "wrong-password",
            format!("Postgres at {address} refused the password of role {role}: {cause}"),
            format!(
                "correct it in DATABASE_URL, or set it: alter role {role} password '…' (if there is no such role: create role \
                 {role} login password '…')."
            ),
        ),
        "28000" if error.message_contains("pg_hba.conf") => not_admitted(options, &address, &cause),
        state if state.starts_with("28") => Fault::lasting(
            "unknown-role",
            format!("Postgres at {address} does not let role {role} log in: {cause}"),
            format!(
                "correct the role in DATABASE_URL, or run: create role {role} login password '…' (where it exists: alter role \
                 {role} login)."
            ),
        ),
        "3D000" => Fault::lasting(
            "no-database",
            format!("Postgres at {address} has no database {database}: {cause}"),
            format!(
                "correct its name in DATABASE_URL, or run: create database {database} owner {role} (npx convoy migrate and \
                 createDatabase: true do that where the role may)."
            ),
        ),
        "42501" => Fault::lasting(
            "no-right",
            format!("Role {role} may not connect to database {database}: {cause}"),
            format!("run: grant connect on database {database} to {role}"),
        ),
        "55000" | "53300" | "57P03" => of_busy_server(&state, &address, &role, &database, &cause),
        "42704" | "42601" | "22023" => Fault::lasting(
            "wrong-option",
            format!("Postgres at {address} refuses an option of the connection: {cause}"),
            "correct options in DATABASE_URL.",
        ),
        state => {
            let passes = ["08", "53", "57", "58"].iter().any(|class| state.starts_with(class));
            let what =
                format!("Postgres at {address} refused the connection to database {database} as role {role}: {cause}");
            Fault { kind: "refused", what, remedy: "the log of the server has the details.".to_owned(), passes }
        }
    }
}

/// Explains why a server that knows the role takes no connection now.
fn of_busy_server(state: &str, address: &str, role: &str, database: &str, cause: &str) -> Fault {
    match state {
        "55000" => Fault::lasting(
            "closed-database",
            format!("Database {database} takes no connections: {cause}"),
            format!("run: alter database {database} allow_connections true"),
        ),
        "53300" => Fault::passing(
            "too-many-connections",
            format!("Postgres at {address} has no connection left for role {role}: {cause}"),
            format!(
                "close others, lower poolSize, raise max_connections (or the role's: alter role {role} connection limit -1), or \
                 put a pooler in between."
            ),
        ),
        _ => Fault::passing(
            "starting",
            format!("Postgres at {address} takes no connections yet: {cause}"),
            "wait until it has started or recovered.",
        ),
    }
}

fn not_admitted(options: &PgConnectOptions, address: &str, cause: &str) -> Fault {
    let role = quoted(options.get_username());
    let database = quoted(options.get_database().unwrap_or(options.get_username()));
    let tls = if matches!(options.get_ssl_mode(), PgSslMode::Disable | PgSslMode::Allow) {
        "if the server demands TLS, set sslmode=require in DATABASE_URL; otherwise "
    } else {
        ""
    };
    Fault::lasting(
        "not-admitted",
        format!("Postgres at {address} does not admit role {role} to database {database} from here: {cause}"),
        format!(
            "{tls}add a line to pg_hba.conf (host {database} {role} <address>/32 scram-sha-256) and run: select pg_reload_conf()"
        ),
    )
}

/// Explains why a missing database could not be created.
pub(in crate::postgres) fn of_creating(error: &DbError, options: &PgConnectOptions) -> Fault {
    let role = quoted(options.get_username());
    let database = quoted(options.get_database().unwrap_or_default());
    Fault::lasting(
        "no-database",
        format!(
            "Database {database} does not exist at {}, and role {role} could not create it: {}",
            address(options),
            error.cause()
        ),
        format!(
            "as a superuser run: create database {database} owner {role} (or let the role do it: alter role {role} createdb)."
        ),
    )
}
