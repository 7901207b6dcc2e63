//! Explains why no connection could be opened: the network, TLS, or a server that is not
//! Postgres.

use std::io::ErrorKind;
use std::time::Duration;

use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions, PgConnection};

use super::Fault;
use super::login::of_login;
use crate::postgres::DbError;

/// Time limit for connecting while the engine opens. A server that suspends when idle takes
/// some seconds to resume.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Connects within [`CONNECT_TIMEOUT`].
pub(in crate::postgres) async fn connect(options: &PgConnectOptions) -> Result<PgConnection, sqlx::Error> {
    let connecting = tokio::time::timeout(CONNECT_TIMEOUT, options.connect()).await;
    connecting.unwrap_or_else(|_elapsed| Err(sqlx::Error::Io(ErrorKind::TimedOut.into())))
}

/// Explains why connecting failed.
pub(in crate::postgres) async fn of_connecting(error: sqlx::Error, options: &PgConnectOptions) -> Fault {
    let address = address(options);
    match &error {
        sqlx::Error::Database(_) => of_login(&DbError::from(error), options),
        sqlx::Error::Tls(cause) => of_tls(&cause.to_string(), options, &address),
        sqlx::Error::Io(cause) if cause.to_string().contains("certificate") => {
            of_tls(&cause.to_string(), options, &address)
        }
        sqlx::Error::Io(cause) => of_network(cause, options, &address).await,
        other => Fault::lasting(
            "not-postgres",
            format!("What listens at {address} does not answer like Postgres ({other})"),
            "check host and port in DATABASE_URL.",
        ),
    }
}

/// Explains in one line why a server that was reachable before now refuses connections.
pub(in crate::postgres) fn loss_reason(error: &DbError, options: &PgConnectOptions) -> String {
    match error.state() {
        Some(_) => of_login(error, options).to_string(),
        None => error.cause(),
    }
}

/// Where the server is expected: host and port, or the path of its socket.
pub(super) fn address(options: &PgConnectOptions) -> String {
    match options.get_socket() {
        Some(folder) => format!("{}/.s.PGSQL.{}", folder.display(), options.get_port()),
        None => format!("{}:{}", options.get_host(), options.get_port()),
    }
}

fn of_tls(cause: &str, options: &PgConnectOptions, address: &str) -> Fault {
    if cause.contains("does not support TLS") {
        return Fault::lasting(
            "tls-refused",
            format!("Postgres at {address} does not offer TLS, and sslmode in DATABASE_URL demands it"),
            "set sslmode=prefer or sslmode=disable there, or turn TLS on in the server: alter system set ssl = on; select \
             pg_reload_conf()",
        );
    }
    let (reason, remedy) = certificate_problem(cause, options);
    Fault::lasting(
        "tls-failed",
        format!("The TLS certificate of Postgres at {address} was not accepted: {reason}"),
        format!("{remedy}, or use sslmode=require, which encrypts without checking the certificate."),
    )
}

/// The driver's words about a certificate, for people: the reason, and what to do about it.
fn certificate_problem(cause: &str, options: &PgConnectOptions) -> (String, String) {
    let trust = format!(
        "get the certificate of its authority from the provider, or from the server (openssl s_client -starttls postgres \
         -showcerts -connect {}:{} </dev/null), and name the file in DATABASE_URL: sslmode=verify-full&sslrootcert=/path/to/ca.pem",
        options.get_host(),
        options.get_port()
    );
    let reason = |text: &str| format!("{text} ({cause})");
    if cause.contains("UnknownIssuer") {
        return (reason("no authority that is trusted here has signed it"), trust);
    }
    if cause.contains("CaUsedAsEndEntity") {
        let remedy =
            "give the server a certificate that an authority has signed (a self-signed one has to be marked CA:FALSE)";
        return (reason("it is self-signed, and marked as that of an authority"), remedy.to_owned());
    }
    if cause.contains("not valid for name") || cause.contains("NotValidForName") {
        let remedy = "write the host in DATABASE_URL as the certificate has it; sslmode=verify-ca accepts any host";
        return (reason(&format!("it is not for the host {}", options.get_host())), remedy.to_owned());
    }
    if cause.contains("Expired") || cause.contains("expired") {
        return (reason("it has expired"), "renew it on the server".to_owned());
    }
    (cause.to_owned(), trust)
}

async fn of_network(cause: &std::io::Error, options: &PgConnectOptions, address: &str) -> Fault {
    let host = options.get_host();
    let (what, remedy) = match cause.kind() {
        ErrorKind::ConnectionRefused => (
            format!("Nothing listens at {address} (connection refused)"),
            format!(
                "start Postgres there, or correct host and port in DATABASE_URL; this shows whether it runs: pg_isready -h {host} \
                 -p {}",
                options.get_port()
            ),
        ),
        ErrorKind::TimedOut => (
            format!("{address} did not answer within {} s", CONNECT_TIMEOUT.as_secs()),
            "check that the host is right and that no firewall lies between.".to_owned(),
        ),
        ErrorKind::NotFound | ErrorKind::PermissionDenied if options.get_socket().is_none() => {
            let what =
                format!("A file that DATABASE_URL names (sslrootcert, sslcert or sslkey) cannot be read: {cause}");
            return Fault::lasting("tls-failed", what, "correct its path.");
        }
        ErrorKind::NotFound if options.get_socket().is_some() => (
            format!("There is no socket {address}"),
            "start Postgres, or correct the folder and port in DATABASE_URL.".to_owned(),
        ),
        ErrorKind::UnexpectedEof
        | ErrorKind::ConnectionReset
        | ErrorKind::ConnectionAborted
        | ErrorKind::BrokenPipe => (
            format!("{address} accepted the connection and closed it ({cause})"),
            "check that Postgres listens there and admits this machine.".to_owned(),
        ),
        _ if options.get_socket().is_none() && tokio::net::lookup_host((host, options.get_port())).await.is_err() => {
            return Fault::passing(
                "unknown-host",
                format!("The host {host} has no address (DNS)"),
                format!(
                    "correct the host in DATABASE_URL, or the DNS entry; this shows what DNS has: getent hosts {host}"
                ),
            );
        }
        _ => (
            format!("{address} cannot be reached ({cause})"),
            "check host and port in DATABASE_URL and the network.".to_owned(),
        ),
    };
    Fault::passing("unreachable", what, remedy)
}
