//! Schema migrations without an engine: plans what a schema needs, and applies it.

use super::OpenError;
use crate::config::Config;
use crate::postgres::{LayoutReport, Postgres, SyncMode};
use crate::schema::{Schema, SchemaDescription};
use crate::telemetry::Metrics;

/// Lists the steps that the database needs for a schema, described as JSON. Changes nothing.
pub async fn plan_migration(config: &Config, schema: &str) -> Result<LayoutReport, OpenError> {
    migrate(config, schema, SyncMode::Plan).await
}

/// Executes these steps. Can be repeated after it was interrupted.
pub async fn apply_migration(config: &Config, schema: &str) -> Result<LayoutReport, OpenError> {
    migrate(config, schema, SyncMode::Apply).await
}

async fn migrate(config: &Config, schema: &str, mode: SyncMode) -> Result<LayoutReport, OpenError> {
    let description: SchemaDescription = serde_json::from_str(schema).map_err(OpenError::Description)?;
    let schema = Schema::parse(description)?;
    let postgres = Postgres::open(config, &Metrics::default()).await?;
    let report = postgres.sync_schema(&schema, mode).await;
    postgres.close().await;
    Ok(report?)
}
