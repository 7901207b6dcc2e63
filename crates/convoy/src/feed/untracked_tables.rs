//! Polls tables whose writes are not logged by triggers, to keep live queries over them up
//! to date.
//!
//! A table is *tracked* if every write to it is logged by Convoy's triggers. That is checked
//! at intervals, because anyone may drop or disable triggers. Any other table that a live
//! query has read, a table of the user or one that `raw` reads, counts as changed at
//! intervals; so do reads of unknown tables.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use tokio::sync::{Notify, watch};
use tokio::time::{self, Duration, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use super::{LoadedSchema, Parts};
use crate::change::{Change, ChangeKind, ChangeSink, ChangeSource, Changes};
use crate::config::{Config, SchemaPolicy};
use crate::failpoints::Failpoints;
use crate::postgres::{DbError, Postgres, SyncMode, Tracking};
use crate::schema::{Schema, Table};
use crate::supervise::Part;
use crate::telemetry::Tracer;

/// Time limit of a check of the triggers.
const CHECK_TIMEOUT: Duration = Duration::from_secs(5);
/// The name of no table: a change of it affects only queries that may have read any table.
const UNKNOWN_TABLE: &str = "";

/// Tracks the tables of the loaded program, and polls the others that were read.
pub(super) struct TableTracker {
    postgres: Postgres,
    sink: Arc<dyn ChangeSink>,
    empty_schema: Arc<Schema>,
    schema: watch::Receiver<LoadedSchema>,
    /// Requests a check now.
    now: Arc<Notify>,
    has_subscribers: watch::Receiver<bool>,
    /// How often an untracked table counts as changed.
    poll_interval: Duration,
    /// How often the triggers are checked.
    check_interval: Duration,
    /// Whether missing objects of `_convoy` are created again.
    repairs: bool,
    tracer: Tracer,
    failpoints: Failpoints,
}

/// The known state of the tables.
pub(super) struct TrackerState {
    tables: HashMap<Arc<str>, Tracking>,
    /// Tables whose polling has been logged.
    announced: HashSet<Arc<str>>,
    /// Writes before the first check may not have been published.
    restarted: bool,
}

impl TrackerState {
    /// Creates an empty state. `restarted`: the state before a panic was lost.
    pub(super) fn new(restarted: bool) -> TrackerState {
        TrackerState { tables: HashMap::new(), announced: HashSet::new(), restarted }
    }
}

impl TableTracker {
    /// Creates a tracker of the tables in `schema`.
    pub(super) fn new(parts: &Parts, schema: watch::Receiver<LoadedSchema>, config: &Config) -> TableTracker {
        TableTracker {
            postgres: parts.postgres.clone(),
            sink: parts.sink.clone(),
            empty_schema: parts.empty_schema.clone(),
            schema,
            now: parts.check_schema.clone(),
            has_subscribers: parts.has_subscribers.clone(),
            poll_interval: Duration::from_millis(config.limits.untracked_poll_ms.max(1)),
            check_interval: Duration::from_millis(config.limits.trigger_check_ms.max(1)),
            repairs: config.schema_policy == SchemaPolicy::Create,
            tracer: parts.tracer.clone(),
            failpoints: config.failpoints.clone(),
        }
    }

    /// Checks and polls until `stop` is cancelled.
    pub(super) async fn run(&self, mut state: TrackerState, stop: CancellationToken) {
        let mut schema = self.schema.clone();
        let mut check = time::interval(self.check_interval);
        let mut poll = time::interval(self.poll_interval);
        check.set_missed_tick_behavior(MissedTickBehavior::Delay);
        poll.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                changed = schema.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    // The states of the tables that stay have been logged.
                    let LoadedSchema { schema, .. } = schema.borrow_and_update().clone();
                    state.tables.retain(|name, _| schema.tables().any(|table| table.key == *name));
                    check.reset_immediately();
                }
                () = self.now.notified() => check.reset_immediately(),
                _ = check.tick() => match self.tracer.job("job tables.check", self.check(&mut state)).await {
                    Ok(()) => {}
                    // The pools log that the database is unreachable. No table is polled until
                    // the states of all tables are known, so the retry comes soon.
                    Err(error) => {
                        tracing::debug!(cause = %error.cause(), "the triggers of the tables could not be checked");
                        check.reset_after(self.check_interval.min(self.poll_interval));
                    }
                },
                _ = poll.tick() => self.poll(&mut state),
            }
        }
    }

    async fn check(&self, state: &mut TrackerState) -> Result<(), DbError> {
        let loaded = self.schema.borrow().clone();
        let tables: Vec<Arc<Table>> = loaded.schema.tables().cloned().collect();
        self.repair(&loaded).await?;
        self.check_policies(&loaded).await?;
        if tables.is_empty() {
            return Ok(());
        }
        let found = self.postgres.inspect_tables(CHECK_TIMEOUT, &tables).await?;
        let mut changed = Vec::new();
        let mut next = state.tables.clone();
        for (table, now) in tables.iter().zip(found) {
            let before = next.insert(table.key.clone(), now);
            if before == Some(now) {
                continue;
            }
            log_state_change(table, before, now);
            // Writes made in between were not logged. At the first check, none is known
            // to be missing.
            if before.is_some() || state.restarted {
                changed.push(whole_table(table.key.clone()));
            }
        }
        // Until the changes made in between are published, only tables that were tracked
        // before and are tracked now count as tracked.
        let before = tracked(&state.tables);
        let now = tracked(&next);
        if before != now {
            self.sink.set_tracked_tables(before.intersection(&now).cloned().collect());
        }
        if !changed.is_empty() {
            self.sink.committed(Changes::Some(changed.into()), &ChangeSource::Resync);
        }
        if before != now {
            self.sink.set_tracked_tables(now);
        }
        // The new state is kept only once its changes were published.
        (state.tables, state.restarted) = (next, false);
        Ok(())
    }

    /// Reads the policies of the tables again. If they do not hold any more, calls under the
    /// role are refused until they do.
    async fn check_policies(&self, loaded: &LoadedSchema) -> Result<(), DbError> {
        let Some(row_security) = &loaded.row_security else { return Ok(()) };
        let held = row_security.refusal().is_none();
        match self.postgres.read_policies(row_security, &loaded.schema, self.repairs).await {
            Ok(changed) => {
                if !held {
                    tracing::info!(role = &*row_security.role, "row-level security holds again");
                }
                if changed {
                    self.sink.committed(Changes::Everything, &ChangeSource::Resync);
                }
                Ok(())
            }
            Err(DbError::Setup(fault)) => {
                if held {
                    tracing::error!("calls of clients are refused until this is corrected: {fault}");
                    self.sink.committed(Changes::Everything, &ChangeSource::Resync);
                }
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// Recreates missing parts of `_convoy`.
    async fn repair(&self, loaded: &LoadedSchema) -> Result<(), DbError> {
        let missing_objects = self.postgres.missing_objects(CHECK_TIMEOUT).await?;
        if missing_objects.is_empty() {
            return Ok(());
        }
        let lost = match missing_objects.iter().any(|part| part == "table idempotency") {
            true => "; the stored responses are lost, so a mutation repeated with an earlier key may run twice",
            false => "",
        };
        if !self.repairs {
            let missing = missing_objects.join(", ");
            tracing::warn!("the schema _convoy lacks {missing}; create it again with `convoy migrate`{lost}");
            return Ok(());
        }
        tracing::warn!("the schema _convoy lacks {}; creating it again{lost}", missing_objects.join(", "));
        self.postgres.sync_schema(&self.empty_schema, SyncMode::Apply).await?;
        if loaded.sync {
            self.postgres.sync_schema(&loaded.schema, SyncMode::Apply).await?;
        }
        // Writes made in between were not logged.
        self.sink.committed(Changes::Everything, &ChangeSource::Resync);
        Ok(())
    }

    fn poll(&self, state: &mut TrackerState) {
        if !*self.has_subscribers.borrow()
            || !self.schema.borrow().schema.tables().all(|table| state.tables.contains_key(&table.key))
        {
            return;
        }
        self.failpoints.reach(Part::Tables);
        let read = self.sink.tables_read();
        let untracked = read.names.into_iter().filter(|name| state.tables.get(name) != Some(&Tracking::Tracked));
        let mut names: Vec<Arc<str>> = untracked.collect();
        if read.everything {
            names.push(UNKNOWN_TABLE.into());
        }
        for name in &names {
            // States of tables of the schema are logged when they are checked.
            if !state.tables.contains_key(name) && state.announced.insert(name.clone()) {
                let every = self.poll_interval;
                if **name == *UNKNOWN_TABLE {
                    tracing::info!(
                        "a live query reads by `raw` from unknown tables: it runs again at every change, and every {every:?}; \
                         name the tables in {{ tables: […] }}"
                    );
                } else {
                    tracing::info!(
                        "live queries depend on {name}, which is not tracked: they run again every {every:?}"
                    );
                }
            }
        }
        if !names.is_empty() {
            let changes: Vec<Change> = names.into_iter().map(whole_table).collect();
            self.sink.committed(Changes::Some(changes.into()), &ChangeSource::Poll);
        }
    }
}

/// The tracked tables.
fn tracked(tables: &HashMap<Arc<str>, Tracking>) -> HashSet<Arc<str>> {
    let logged = tables.iter().filter(|(_, state)| **state == Tracking::Tracked);
    logged.map(|(name, _)| name.clone()).collect()
}

fn log_state_change(table: &Table, before: Option<Tracking>, now: Tracking) {
    let name = &table.name;
    match now {
        Tracking::Tracked if before.is_none() => {}
        Tracking::Tracked => tracing::info!("table {name} is tracked by its triggers again"),
        Tracking::Unmanaged => tracing::info!(
            "table {name} is unmanaged: live queries see writes from outside of Convoy at intervals (limits.untrackedPollMs), \
             not at once"
        ),
        Tracking::TriggerMissing => tracing::warn!(
            "table {name} lacks a trigger of Convoy, or has it disabled: live queries see writes from outside of Convoy at \
             intervals (limits.untrackedPollMs) until it is back; loading the code again creates it"
        ),
        Tracking::Partitioned => tracing::warn!(
            "table {name} has partitions or children, which can be written without its triggers: live queries see writes from \
             outside of Convoy at intervals (limits.untrackedPollMs)"
        ),
        Tracking::Missing => tracing::warn!("table {name} does not exist in the database"),
    }
}

fn whole_table(table: Arc<str>) -> Change {
    Change { table, kind: ChangeKind::Whole }
}
