//! Loads the code of the user, and replaces it.

use std::sync::Arc;
use std::time::Instant;

use super::{Engine, OpenError, refuse_outdated};
use crate::config::SchemaPolicy;
use crate::dispatch::{FunctionHost, Program, ProgramDescription};
use crate::events::{Event, EventKind};
use crate::feed::LoadedSchema;
use crate::http::{Router, Routes};
use crate::postgres::{LayoutReport, SyncMode};
use crate::trusted_proxies::TrustedProxies;

impl Engine {
    /// Syncs the database's schema for a program, then swaps the program in: later calls
    /// run on it, calls in flight end on the old one, live queries run again.
    ///
    /// In development, a program with unchanged tables is swapped in first. If the sync then
    /// fails, the program stays, and the report says so.
    pub async fn load(
        &self,
        description: ProgramDescription,
        host: Arc<dyn FunctionHost>,
    ) -> Result<LayoutReport, OpenError> {
        let began = Instant::now();
        let sync = description.sync;
        let mut program = Program::new(description, host, self.config.dev, &self.telemetry.metrics)?;
        self.expect_addresses(&program)?;
        let routes = Routes::build(&program.routes, &self.config.base_path)?;
        let mode = match sync {
            _ if self.config.schema_policy != SchemaPolicy::Create => SyncMode::Plan,
            true => SyncMode::Apply,
            false => SyncMode::Report,
        };
        let current = self.program.load_full().filter(|_| self.config.dev && mode == SyncMode::Apply);
        if let Some(current) = current.filter(|current| current.schema.is_same(&program.schema)) {
            // The tables that are in use, with the traits that were read for them.
            program.schema = current.schema.clone();
            let unprotected = self.open_row_security(&program).await?;
            self.swap(program, routes, sync);
            self.events().emit(|| Event::now(EventKind::Reloaded).since(began));
            let swapped_after_ms = Some(began.elapsed().as_secs_f64() * 1_000.0);
            let synced = self.postgres.sync_schema(&current.schema, mode).await;
            let report = synced.unwrap_or_else(|error| {
                let failure = OpenError::from(error).to_failure();
                let warning = format!("the database was not compared with the schema: {}", failure.message);
                LayoutReport { warnings: vec![warning], ..LayoutReport::default() }
            });
            return Ok(LayoutReport { swapped_after_ms, ..report }.with_warning(unprotected));
        }
        let report = self.postgres.sync_schema(&program.schema, mode).await?;
        if self.config.schema_policy == SchemaPolicy::Require {
            refuse_outdated(&report)?;
        }
        let unprotected = self.open_row_security(&program).await?;
        self.swap(program, routes, sync);
        self.events().emit(|| Event::now(EventKind::Reloaded).since(began));
        Ok(report.with_warning(unprotected))
    }

    /// A limit by address is wrong behind a proxy that is not known: all clients would share one
    /// bucket. So the operator has to say who tells their addresses.
    fn expect_addresses(&self, program: &Program) -> Result<(), OpenError> {
        let of_all = self.config.rate_limit.as_ref().map(|_| Arc::from("createConvoy"));
        match of_all.or_else(|| program.rate_limited().map(|function| function.name.clone())) {
            Some(name) if !self.config.dev && self.config.trust_proxy == TrustedProxies::Unstated => {
                Err(OpenError::UnknownAddresses(name))
            }
            _ => Ok(()),
        }
    }

    /// Refuses a role for which policies would not hold. Returns a warning if the role may use
    /// tables that have none.
    async fn open_row_security(&self, program: &Program) -> Result<Option<String>, OpenError> {
        let Some(row_security) = &program.row_security else { return Ok(None) };
        let may_grant = self.config.schema_policy == SchemaPolicy::Create;
        self.postgres.read_policies(row_security, &program.schema, may_grant).await?;
        let tables = self.postgres.unprotected_tables(row_security, &program.schema).await?;
        let role = &row_security.role;
        Ok((!tables.is_empty()).then(|| {
            format!(
                "row-level security is off for {}: every client may do there what is granted to the role {role}",
                tables.join(", ")
            )
        }))
    }

    fn swap(&self, program: Program, routes: Routes, sync: bool) {
        let (schema, row_security) = (program.schema.clone(), program.row_security.clone());
        self.feed.set_schema(LoadedSchema { schema, sync, row_security });
        let (has_context, schema) = (program.has_context, program.schema.clone());
        let program = Arc::new(program);
        // Before the program, so that no route starts on a host that is retired.
        let router = Router { program: program.clone(), routes };
        self.router.store((!program.routes.is_empty()).then(|| Arc::new(router)));
        let previous = self.program.swap(Some(program));
        if let Some(previous) = &previous {
            previous.host.retire();
            let mut replaced = self.replaced.lock();
            replaced.retain(|program| program.strong_count() > 0);
            replaced.push(Arc::downgrade(previous));
        }
        let context_changed = previous.is_some_and(|previous| previous.has_context != has_context);
        if let Some(program) = &*self.program.load() {
            self.dispatcher.rate_limiter().retain(|name| program.has(name));
        }
        self.read_cache.reloaded(schema);
        self.live.reloaded(context_changed);
    }
}
