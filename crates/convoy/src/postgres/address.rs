//! Parses the database URL. Errors and warnings never contain what may be a password.

use percent_encoding::percent_decode_str;
use sqlx::postgres::PgConnectOptions;

use super::DbError;
use crate::telemetry::Database;

/// The parameters of a database URL that the driver supports.
const PARAMETERS: [&str; 18] = [
    "sslmode",
    "ssl-mode",
    "sslrootcert",
    "ssl-root-cert",
    "ssl-ca",
    "sslcert",
    "ssl-cert",
    "sslkey",
    "ssl-key",
    "statement-cache-capacity",
    "host",
    "hostaddr",
    "port",
    "dbname",
    "user",
    "password",
    "application_name",
    "options",
];

/// Parses a database URL. Errors do not contain its password.
pub(super) fn address(url: &str) -> Result<PgConnectOptions, DbError> {
    let invalid = |why: String| Err(DbError::Address(why));
    if url.trim().is_empty() {
        return invalid("it is empty or not set".into());
    }
    let Some((scheme, _)) = url.split_once("://") else {
        return invalid("it does not begin with postgres://".into());
    };
    if !["postgres", "postgresql"].contains(&scheme) {
        let known = ["mysql", "mariadb", "mongodb", "mongodb+srv", "sqlite", "http", "https", "redis", "file"];
        // Any other text before :// may be part of a password.
        return invalid(match known.contains(&scheme) {
            true => format!("it begins with {scheme}://, and Convoy uses Postgres (postgres://)"),
            false => "it does not begin with postgres://".into(),
        });
    }
    if let Some(at) = broken_escape(url) {
        return invalid(format!(
            "there is a % at character {at} that two hexadecimal digits do not follow; in a URL, write % as %25"
        ));
    }
    let (url, unknown) = without_unknown(url);
    let options = url.parse().or_else(|error: sqlx::Error| {
        let message = match &error {
            sqlx::Error::Configuration(source) => source.to_string(),
            other => other.to_string(),
        };
        let hint = if message.contains("ssl_mode") {
            "; sslmode is disable, prefer, require, verify-ca or verify-full"
        } else if message.contains("port") || message.contains("host") {
            "; special characters in a password are percent-encoded there (# is %23, / is %2F, ? is %3F, @ is %40)"
        } else {
            ""
        };
        // The driver's messages contain a part of the URL only for sslmode.
        invalid(format!("{message}{hint}"))
    })?;
    for name in unknown {
        tracing::warn!("DATABASE_URL has the parameter {name}, which Convoy does not know and ignores");
    }
    Ok(options)
}

/// The database that these options lead to, for telemetry.
pub(super) fn database_of(options: &PgConnectOptions) -> Database {
    let namespace = options.get_database().unwrap_or_default().into();
    match options.get_socket() {
        Some(folder) => {
            let socket = folder.join(format!(".s.PGSQL.{}", options.get_port()));
            Database { namespace, address: socket.to_string_lossy().into(), port: None }
        }
        None => Database { namespace, address: options.get_host().into(), port: Some(options.get_port()) },
    }
}

/// Removes the parameters that the driver does not support, because it would log them with
/// their values, which may be passwords. Returns the rest of the URL and their names, if
/// they look like names.
fn without_unknown(url: &str) -> (String, Vec<String>) {
    let (before, query) = url.split_once('?').unwrap_or((url, ""));
    if query.is_empty() || before.contains('#') {
        return (url.to_owned(), Vec::new());
    }
    let query = query.split_once('#').map_or(query, |(query, _fragment)| query);
    // With an @ in it, all of the query may be the rest of a password.
    let nameable = !query.contains('@');
    let (mut known, mut unknown) = (Vec::new(), Vec::new());
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let name = pair.split_once('=').map_or(pair, |(name, _)| name);
        let name = percent_decode_str(name).decode_utf8_lossy();
        if PARAMETERS.contains(&&*name) || name.starts_with("options[") {
            known.push(pair);
        } else if nameable && pair.contains('=') && name.chars().all(|c| c.is_ascii_alphanumeric() || "_-.".contains(c))
        {
            unknown.push(name.into_owned());
        } else {
            unknown.push("(not a name)".to_owned());
        }
    }
    (format!("{before}?{}", known.join("&")), unknown)
}

/// The position, from 1, of the first percent sign that begins no escape.
fn broken_escape(url: &str) -> Option<usize> {
    let bytes = url.as_bytes();
    let is_hex = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_hexdigit);
    let at = (0..bytes.len()).find(|&at| bytes[at] == b'%' && !(is_hex(at + 1) && is_hex(at + 2)))?;
    Some(url[..at].chars().count() + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn url_errors_never_contain_the_password() {
        let message = |url: &str| address(url).expect_err("it is not usable").to_string();
        for (url, part) in [
            ("", "empty"),
            ("foo", "does not begin with postgres://"),
            ("http://u:s3cret@h/d", "begins with http://"),
            ("mysql://u:s3cret@h/d", "begins with mysql://"),
            ("postgres://u:s3cret@h:99999/d", "port"),
            ("postgres://u:s3cret#x@h/d", "%23"),
            ("postgres://u:s3cret/x@h/d", "%2F"),
            ("postgres://u:s3cret%zz@h/d", "%25"),
            ("postgres://u:s3cret%FF@h/d", "utf-8"),
            ("postgres://u:s3cret@h/d?sslmode=maybe", "verify-full"),
        ] {
            let message = message(url);
            assert!(message.contains(part), "{url}: {message}");
            assert!(!message.contains("s3cret"), "{url}: {message}");
        }
        address("postgres://u:s3cret%25@h/d?sslmode=disable").expect("it is usable");
    }

    #[test]
    fn telemetry_names_the_host_or_the_socket_of_a_database() {
        let of = |url: &str| {
            let Database { namespace, address, port } = database_of(&address(url).expect("it is usable"));
            (namespace.to_string(), address.to_string(), port)
        };
        assert_eq!(of("postgres://u:s3cret@db.internal:6543/d"), ("d".into(), "db.internal".into(), Some(6_543)));
        assert_eq!(of("postgres://u@10.0.0.7/d"), ("d".into(), "10.0.0.7".into(), Some(5_432)));
        let socket = of("postgres://u@%2Fvar%2Frun%2Fpostgresql/d");
        assert_eq!(socket, ("d".into(), "/var/run/postgresql/.s.PGSQL.5432".into(), None));
    }

    #[test]
    fn parameters_that_the_driver_does_not_know_never_reach_its_log() {
        for (url, left, unknown) in [
            ("postgres://u@h/d", "postgres://u@h/d", vec![]),
            (
                "postgres://u@h/d?sslmode=disable&%70assword=a%26b",
                "postgres://u@h/d?sslmode=disable&%70assword=a%26b",
                vec![],
            ),
            (
                "postgres://u@h/d?options[a]=1&options=-c%20b=2",
                "postgres://u@h/d?options[a]=1&options=-c%20b=2",
                vec![],
            ),
            ("postgres://u@h/d?sslpassword=s3cret&port=1#x", "postgres://u@h/d?port=1", vec!["sslpassword"]),
            (
                "postgres://u@h/d?pasword=s3cret&channel_binding=require",
                "postgres://u@h/d?",
                vec!["pasword", "channel_binding"],
            ),
            // A password whose question mark is not encoded.
            ("postgres://u:1?s3cret@h/d", "postgres://u:1?", vec!["(not a name)"]),
            ("postgres://u:1?s3cret=@h/d", "postgres://u:1?", vec!["(not a name)"]),
        ] {
            assert_eq!(without_unknown(url), (left.to_owned(), unknown.iter().map(|&name| name.to_owned()).collect()));
        }
    }
}
