//! Facts about a database for the person who sets it up.

use std::time::Instant;

use serde::Serialize;

use super::{ConnectionMode, DbError, Postgres};
use crate::schema::Schema;
use crate::sql::{drift, rights};

/// A database that can be reached.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Diagnosis {
    /// Of Postgres, such as `18.1`.
    version: String,
    role: String,
    database: String,
    max_connections: i64,
    connections: i64,
    /// The connection is encrypted.
    tls: bool,
    /// A pooler lends its sessions for one transaction each.
    pooler: bool,
    /// The schema `_convoy` exists.
    has_layout: bool,
    standby: bool,
    read_only: bool,
    /// One statement and its answer, in milliseconds.
    round_trip_ms: f64,
    /// The privileges that the role lacks, with the statements that grant them.
    missing_privileges: Vec<Privilege>,
}

#[derive(Debug, Serialize)]
struct Privilege {
    what: String,
    remedy: String,
}

impl Postgres {
    /// Asks about the server, and about the privileges that the schema needs.
    pub(crate) async fn diagnose(&self, schema: &Schema) -> Result<Diagnosis, DbError> {
        let mut session = self.connect().await?;
        let rows = session.fetch_autocommit(drift::server()).await?;
        let row = rows.first().ok_or_else(|| DbError::Row("nothing about the server".into()))?;
        let managed: Vec<&str> = schema.tables().filter(|table| table.managed).map(|table| &*table.physical).collect();
        let tables: Vec<&str> = schema.tables().map(|table| &*table.physical).collect();
        let mut missing_privileges = Vec::new();
        for row in session.fetch_autocommit(rights::missing_for_sync(&managed)).await? {
            missing_privileges.push(Privilege { what: row.text(0)?.to_owned(), remedy: row.text(1)?.to_owned() });
        }
        for row in session.fetch_autocommit(rights::missing_for_calls(&tables)).await? {
            let what = format!("{} in table {}", row.text(1)?, row.text(0)?);
            missing_privileges.push(Privilege { what, remedy: row.text(2)?.to_owned() });
        }
        let began = Instant::now();
        session.fetch_autocommit(crate::sql::session::ping()).await?;
        let round_trip_ms = (began.elapsed().as_secs_f64() * 100_000.0).round() / 100.0;
        Ok(Diagnosis {
            version: row.text(0)?.to_owned(),
            role: row.text(1)?.to_owned(),
            database: row.text(2)?.to_owned(),
            max_connections: row.int8(3)?,
            connections: row.int8(4)?,
            tls: row.bool(5)?,
            pooler: self.server.mode == ConnectionMode::TransactionPooled,
            has_layout: row.bool(6)?,
            standby: row.bool(7)?,
            read_only: row.bool(8)?,
            round_trip_ms,
            missing_privileges,
        })
    }
}
