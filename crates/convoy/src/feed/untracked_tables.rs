//! Keeps live what no trigger of ours watches, by asking again at intervals.
//!
//! A table is *watched* if every write to it is logged by our triggers, and that
//! is looked at again and again, since anyone may drop or disable them. Any other
//! table that a live query has read, the user's own or one that `raw` reads, counts
//! as changed at intervals; and so do tables whose names are not known.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use tokio::sync::{Notify, watch};
use tokio::time::{self, Duration, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use super::Parts;
use crate::change::{Change, ChangeKind, ChangeSink, ChangeSource, Changes};
use crate::config::Config;
use crate::failpoints::Failpoints;
use crate::postgres::{DbError, Postgres, Watched};
use crate::schema::{Followed, Schema, Table};
use crate::supervise::Part;

/// How long a look at the triggers may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// No table's name: a change of it concerns only who may have read any table.
const UNKNOWN: &str = "";

/// The tables of the loaded program, and who has read what.
pub(super) struct Tables {
    postgres: Postgres,
    sink: Arc<dyn ChangeSink>,
    ours: Arc<Schema>,
    schema: watch::Receiver<Followed>,
    /// Requests a check now.
    now: Arc<Notify>,
    live: watch::Receiver<bool>,
    /// How often a table that is not watched counts as changed.
    poll_every: Duration,
    /// How often triggers are looked at.
    look_every: Duration,
    failpoints: Failpoints,
}

/// What is known of the tables.
pub(super) struct Known {
    watched: HashMap<Arc<str>, Watched>,
    /// Those of which it was said that they are asked again at intervals.
    said: HashSet<Arc<str>>,
    /// Writes before the first look may have gone unlogged.
    restarted: bool,
}

impl Known {
    /// Nothing is known yet. `restarted`: the state before a panic was lost.
    pub(super) fn new(restarted: bool) -> Known {
        Known { watched: HashMap::new(), said: HashSet::new(), restarted }
    }
}

impl Tables {
    /// The tables of what appears in `schema`.
    pub(super) fn new(parts: &Parts, schema: watch::Receiver<Followed>, config: &Config) -> Tables {
        Tables {
            postgres: parts.postgres.clone(),
            sink: parts.sink.clone(),
            ours: parts.ours.clone(),
            schema,
            now: parts.look_now.clone(),
            live: parts.watched.clone(),
            poll_every: Duration::from_millis(config.limits.untracked_poll_ms.max(1)),
            look_every: Duration::from_millis(config.limits.trigger_check_ms.max(1)),
            failpoints: config.failpoints.clone(),
        }
    }

    /// Looks and asks until it is told to stop.
    pub(super) async fn run(&self, mut known: Known, stop: CancellationToken) {
        let mut schema = self.schema.clone();
        let mut look = time::interval(self.look_every);
        let mut poll = time::interval(self.poll_every);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        poll.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                changed = schema.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    // Of those that stay, all has been said.
                    let Followed { schema, .. } = schema.borrow_and_update().clone();
                    known.watched.retain(|name, _| schema.tables().any(|table| table.key == *name));
                    look.reset_immediately();
                }
                () = self.now.notified() => look.reset_immediately(),
                _ = look.tick() => match self.look(&mut known).await {
                    Ok(()) => {}
                    // That the database is away is said by its pools. Until it is known which
                    // tables are watched none is asked again, so it does not wait for long.
                    Err(error) => {
                        tracing::debug!(cause = %error.cause(), "the tables' triggers could not be looked at");
                        look.reset_after(self.look_every.min(self.poll_every));
                    }
                },
                _ = poll.tick() => self.poll(&mut known),
            }
        }
    }

    async fn look(&self, known: &mut Known) -> Result<(), DbError> {
        let followed = self.schema.borrow().clone();
        let tables: Vec<Arc<Table>> = followed.schema.tables().cloned().collect();
        self.repair(&followed).await?;
        if tables.is_empty() {
            return Ok(());
        }
        let found = self.postgres.look_at(PATIENCE, &tables).await?;
        let mut changed = Vec::new();
        let mut next = known.watched.clone();
        for (table, now) in tables.iter().zip(found) {
            let before = next.insert(table.key.clone(), now);
            if before == Some(now) {
                continue;
            }
            say(table, before, now);
            // Writes made in between were not logged. At the first look,
            // nothing is known to have gone unlogged.
            if before.is_some() || known.restarted {
                changed.push(whole(table.key.clone()));
            }
        }
        // Tables count as watched only where that held before and holds now, until all
        // that changed in between was told.
        let before = by_triggers(&known.watched);
        let now = by_triggers(&next);
        if before != now {
            self.sink.watched(before.intersection(&now).cloned().collect());
        }
        if !changed.is_empty() {
            self.sink.committed(Changes::Some(changed.into()), &ChangeSource::Resync);
        }
        if before != now {
            self.sink.watched(now);
        }
        // It counts as known once it was told.
        (known.watched, known.restarted) = (next, false);
        Ok(())
    }

    /// Recreates missing parts of `_convoy`.
    async fn repair(&self, followed: &Followed) -> Result<(), DbError> {
        let missing = self.postgres.missing(PATIENCE).await?;
        if missing.is_empty() {
            return Ok(());
        }
        let lost = match missing.iter().any(|part| part == "table idempotency") {
            true => "; the kept answers are lost, so a mutation repeated with an earlier key may happen twice",
            false => "",
        };
        tracing::warn!("the schema _convoy lacks {}; it is created again{lost}", missing.join(", "));
        self.postgres.sync_schema(&self.ours, true).await?;
        if followed.sync {
            self.postgres.sync_schema(&followed.schema, true).await?;
        }
        // Writes made in between were not logged.
        self.sink.committed(Changes::Everything, &ChangeSource::Resync);
        Ok(())
    }

    fn poll(&self, known: &mut Known) {
        if !*self.live.borrow()
            || !self.schema.borrow().schema.tables().all(|table| known.watched.contains_key(&table.key))
        {
            return;
        }
        self.failpoints.reach(Part::Tables);
        let read = self.sink.tables_read();
        let unwatched = read.names.into_iter().filter(|name| known.watched.get(name) != Some(&Watched::ByTriggers));
        let mut names: Vec<Arc<str>> = unwatched.collect();
        if read.everything {
            names.push(UNKNOWN.into());
        }
        for name in &names {
            // Of tables of the schema more is said where they are looked at.
            if !known.watched.contains_key(name) && known.said.insert(name.clone()) {
                let every = self.poll_every;
                if **name == *UNKNOWN {
                    tracing::info!(
                        "a live query reads by `raw`, and which tables is not known: it runs again at every change, and every {every:?}; \
                         name them in {{ tables: […] }}"
                    );
                } else {
                    tracing::info!(
                        "live queries read {name}, which is no table of the schema: they run again every {every:?}"
                    );
                }
            }
        }
        if !names.is_empty() {
            let changes: Vec<Change> = names.into_iter().map(whole).collect();
            self.sink.committed(Changes::Some(changes.into()), &ChangeSource::Resync);
        }
    }
}

/// The tables of which every write is logged.
fn by_triggers(watched: &HashMap<Arc<str>, Watched>) -> HashSet<Arc<str>> {
    let logged = watched.iter().filter(|(_, watched)| **watched == Watched::ByTriggers);
    logged.map(|(name, _)| name.clone()).collect()
}

fn say(table: &Table, before: Option<Watched>, now: Watched) {
    let name = &table.name;
    match now {
        Watched::ByTriggers if before.is_none() => {}
        Watched::ByTriggers => tracing::info!("table {name} is watched by its triggers again"),
        Watched::NotOurs => tracing::info!(
            "table {name} is unmanaged: what others write to it is seen at intervals (limits.untrackedPollMs), not at once"
        ),
        Watched::TriggerMissing => tracing::warn!(
            "table {name} lacks a trigger of Convoy's, or has it disabled: what others write to it is seen at intervals \
             (limits.untrackedPollMs) until it is back; loading the code again creates it"
        ),
        Watched::Divided => tracing::warn!(
            "table {name} has partitions or children, which can be written without its triggers: what others write to it is \
             seen at intervals (limits.untrackedPollMs)"
        ),
        Watched::Absent => tracing::warn!("table {name} does not exist in the database"),
    }
}

fn whole(table: Arc<str>) -> Change {
    Change { table, kind: ChangeKind::Whole }
}
