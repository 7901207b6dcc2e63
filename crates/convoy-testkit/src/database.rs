//! A database of its own for each test.

use sqlx::postgres::{PgConnectOptions, PgListener};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Executor, PgConnection, Row};
use uuid::Uuid;

/// A fresh database, dropped with this value.
pub struct TestDb {
    server: PgConnectOptions,
    server_url: String,
    name: String,
}

impl TestDb {
    /// Creates a database on the server of `CONVOY_TEST_DATABASE_URL`.
    pub async fn new() -> TestDb {
        let server_url = std::env::var("CONVOY_TEST_DATABASE_URL").expect(
            "CONVOY_TEST_DATABASE_URL names no Postgres; `npm test` starts one, or set it to a server whose role may create databases",
        );
        let server: PgConnectOptions = server_url.parse().expect("CONVOY_TEST_DATABASE_URL is a Postgres URL");
        let name = format!("convoy_test_{}", Uuid::now_v7().simple());
        let mut connection = server.connect().await.expect("the test server answers");
        let create = format!("create database \"{name}\" template template0");
        connection.execute(AssertSqlSafe(create)).await.expect("the test role may create databases");
        connection.close().await.expect("the connection closes");
        TestDb { server, server_url, name }
    }

    /// Its URL.
    pub fn url(&self) -> String {
        let (base, parameters) = match self.server_url.split_once('?') {
            Some((base, parameters)) => (base, format!("?{parameters}")),
            None => (self.server_url.as_str(), String::new()),
        };
        let authority = base.split_once("://").map_or(base, |(_, rest)| rest);
        let authority = authority.split('/').next().unwrap_or_default();
        format!("postgres://{authority}/{}{parameters}", self.name)
    }

    /// A plain connection, like that of psql.
    pub async fn psql(&self) -> Psql {
        let connection = self.server.clone().database(&self.name).connect().await.expect("the database answers");
        Psql(connection)
    }

    /// Listens to the notifications of the engines.
    pub async fn listen_to_notifications(&self) -> NotificationListener {
        let mut listener = PgListener::connect(&self.url()).await.expect("the database answers");
        listener.listen("convoy").await.expect("every role may listen");
        NotificationListener(listener)
    }

    /// A plain connection to another URL.
    pub async fn psql_at(&self, url: &str) -> Psql {
        Psql::at(url).await
    }
}

/// Receives the notifications that the engines of a database send each other.
pub struct NotificationListener(PgListener);

impl NotificationListener {
    /// The next payload that contains this.
    pub async fn next_with(&mut self, part: &str) -> String {
        crate::within(async {
            loop {
                let notification = self.0.recv().await.expect("the connection holds");
                if notification.payload().contains(part) {
                    return notification.payload().to_owned();
                }
            }
        })
        .await
    }
}

/// A plain connection.
pub struct Psql(PgConnection);

impl Psql {
    /// Connects to this URL.
    pub async fn at(url: &str) -> Psql {
        let options: PgConnectOptions = url.parse().expect("a URL");
        // Poolers refuse options they do not know.
        Psql(options.extra_float_digits(None).connect().await.expect("the database answers"))
    }

    /// The same, unless Postgres refuses the connection.
    pub async fn try_at(url: &str) -> Option<Psql> {
        let options: PgConnectOptions = url.parse().expect("a URL");
        options.connect().await.ok().map(Psql)
    }

    /// Runs SQL of any number of statements.
    pub async fn run(&mut self, sql: &str) {
        if let Err(error) = self.0.execute(AssertSqlSafe(sql)).await {
            panic!("{sql}: {error}");
        }
    }

    /// Runs a `copy … from stdin` and sends it `rows`.
    pub async fn copy_in(&mut self, sql: &str, rows: &str) {
        let mut copy = self.0.copy_in_raw(sql).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
        copy.send(rows.as_bytes()).await.expect("rows are taken");
        copy.finish().await.expect("rows are stored");
    }

    /// Runs SQL that is expected to fail; returns Postgres' message.
    pub async fn expect_error(&mut self, sql: &str) -> String {
        self.0.execute(AssertSqlSafe(sql)).await.expect_err("it was expected to fail").to_string()
    }

    /// Sends rows by COPY.
    pub async fn copy(&mut self, sql: &str, rows: &str) {
        let mut copying = self.0.copy_in_raw(sql).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
        copying.send(rows.as_bytes()).await.expect("Postgres takes the rows");
        copying.finish().await.unwrap_or_else(|error| panic!("{sql}: {error}"));
    }

    /// Waits until exactly one session of this database waits for a lock.
    pub async fn until_a_session_waits_for_a_lock(&mut self) {
        let waiting = "select count(*)::text from pg_stat_activity
            where datname = current_database() and wait_event_type = 'Lock'";
        crate::within(async { while self.column(waiting).await != ["1"] {} }).await;
    }

    /// The major version of Postgres, as in `18`.
    pub async fn major_version(&mut self) -> u32 {
        let version = self.column("select current_setting('server_version_num')").await;
        version[0].parse::<u32>().expect("a number") / 10_000
    }

    /// The first column of every row, as text.
    pub async fn column(&mut self, sql: &str) -> Vec<String> {
        let rows = self.0.fetch_all(AssertSqlSafe(sql)).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
        rows.iter().map(|row| row.try_get::<Option<String>, _>(0).expect("text").unwrap_or_default()).collect()
    }
}

impl Drop for TestDb {
    fn drop(&mut self) {
        let (server, name) = (self.server.clone(), std::mem::take(&mut self.name));
        // A thread with its own runtime, because that of the test may be shutting down.
        let dropping = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async {
                let mut connection = server.connect().await.map_err(std::io::Error::other)?;
                let drop = format!("drop database if exists \"{name}\" with (force)");
                connection.execute(AssertSqlSafe(drop)).await.map_err(std::io::Error::other)
            })
        });
        if let Ok(Err(error)) = dropping.join() {
            eprintln!("a test database was left behind: {error}");
        }
    }
}
