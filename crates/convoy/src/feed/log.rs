//! Reads `_convoy.changes`.
//!
//! Rows signed with our node are left out: of our own commits we know.
//!
//! Invariant: between two readings nothing is lost. The log is read by
//! transaction snapshot, not by sequence: commit order is not the order in which
//! rows were written. Where the log itself was lost (a crash empties unlogged
//! tables) or trimmed past our position, everything counts as changed; and once
//! more when a transaction ends that was prepared before (`prepare transaction`),
//! since its rows are gone from the log, and its effects are yet to come.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::position::{Position, Snapshot};
use crate::change::{By, Change, ChangeKind, ChangeSink, Changes, Doubts};
use crate::config::Config;
use crate::key::{KeyFields, RowKeys};
use crate::mistakes::Mistake;
use crate::postgres::{DbError, Postgres, Row};
use crate::sql;

/// How often the log is read while nothing is live, only to keep it short.
const IDLE: Duration = Duration::from_secs(30);
/// Log rows older than this are nobody's news any more.
const KEEP: Duration = Duration::from_secs(300);
/// How often old rows are removed.
const TRIM: Duration = Duration::from_secs(60);
/// How long a reading may go unanswered before another connection is tried.
const PATIENCE: Duration = Duration::from_secs(5);
/// The longest pause between two attempts while the database is away.
const MAX_BACKOFF: Duration = Duration::from_secs(2);

/// A reader of the log.
pub struct Log {
    postgres: Postgres,
    node: Uuid,
    sink: Arc<dyn ChangeSink>,
    interval: Duration,
    doubts: Doubts,
    /// Our own rows are read too until this transaction and all before it are
    /// over: the newest when the last doubt was still open.
    own_rows_below: u64,
    position: Position,
    /// Rows may be missing, and nobody was told yet.
    lost: bool,
    /// Transactions prepared before the log was lost, or before we came: what they
    /// wrote may not be in it.
    prepared: HashSet<String>,
    /// Positions noted over the last minutes: what may be trimmed.
    noted: VecDeque<(Instant, u64)>,
    trimmed_at: Instant,
}

impl Log {
    /// Takes the first position. Whatever commits after this returns will be told.
    pub async fn open(
        postgres: Postgres,
        node: Uuid,
        sink: Arc<dyn ChangeSink>,
        doubts: Doubts,
        config: &Config,
    ) -> Result<Log, DbError> {
        let rows = postgres.read(&sql::feed::position()).await?;
        let row = rows.first().ok_or_else(|| DbError::Row("no position".into()))?;
        let position = Position::of(row)?;
        let mistaken = [Mistake::NoPoll, Mistake::ListenerSkipsCatchUp].map(|mistake| config.mistakes.has(mistake));
        let interval = if mistaken.contains(&true) { IDLE } else { Duration::from_millis(config.limits.poll_ms) };
        let mut log = Log {
            postgres,
            node,
            sink,
            interval,
            doubts,
            own_rows_below: 0,
            position,
            lost: false,
            prepared: HashSet::new(),
            noted: VecDeque::new(),
            trimmed_at: Instant::now(),
        };
        log.prepared = log.prepared_now().await?;
        Ok(log)
    }

    /// Runs until `stop`. Reads each interval while `watched` says that anything
    /// is live, and at once when that begins or somebody asks by `now`.
    pub async fn run(mut self, mut watched: watch::Receiver<bool>, now: Arc<Notify>, stop: CancellationToken) {
        let mut failures = 0u32;
        loop {
            let live = *watched.borrow_and_update();
            let pause = match (failures, live) {
                (0, true) => self.interval,
                (0, false) => IDLE,
                _ => MAX_BACKOFF.min(self.interval * 2u32.saturating_pow(failures)),
            };
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
                () = now.notified(), if live && failures == 0 => {}
                changed = watched.changed(), if failures == 0 => if changed.is_err() { return },
            }
            match self.turn().await {
                Ok(()) => failures = 0,
                Err(error) => {
                    // That the database is away is said by its pool.
                    if failures == 0 && !error.connection_lost() {
                        tracing::warn!(cause = %error.cause(), "the change log cannot be read; live queries are not current until it can");
                    }
                    failures = failures.saturating_add(1);
                }
            }
        }
    }

    async fn turn(&mut self) -> Result<(), DbError> {
        let began = std::time::Instant::now();
        match self.read().await? {
            Some(Changes::Everything) => self.lost = true,
            Some(changes) => self.sink.committed(changes, &By::Outside),
            None => {}
        }
        if self.lost {
            // Noted before it is told, so that what ends in between is told too.
            let prepared = self.prepared_now().await?;
            self.prepared.extend(prepared);
            self.lost = false;
            self.sink.committed(Changes::Everything, &By::Caution);
        }
        if !self.prepared.is_empty() {
            let now = self.prepared_now().await?;
            let before = self.prepared.len();
            self.prepared.retain(|transaction| now.contains(transaction));
            if self.prepared.len() < before {
                self.sink.committed(Changes::Everything, &By::Caution);
            }
        }
        self.sink.caught_up(began);
        self.trim().await
    }

    /// The transactions that are prepared, and neither committed nor undone.
    async fn prepared_now(&self) -> Result<HashSet<String>, DbError> {
        let rows = self.postgres.read_within(PATIENCE, &sql::feed::prepared()).await?;
        rows.iter().map(|row| Ok(row.text(0)?.to_owned())).collect()
    }

    async fn read(&mut self) -> Result<Option<Changes>, DbError> {
        let doubt = self.doubts.any();
        let Snapshot { xmin, xmax, xip } = &self.position.snapshot;
        // Nobody signs with nil, so leaving out its rows leaves out none.
        let unread = if doubt || *xmin < self.own_rows_below { Uuid::nil() } else { self.node };
        let rows = self.postgres.read_within(PATIENCE, &sql::feed::read(*xmax, xip, unread)).await?;
        let row = rows.first().ok_or_else(|| DbError::Row("no position".into()))?;
        let next = Position::of(row)?;
        let lost = self.position.lost(&next);
        if next.epoch.is_none() {
            self.postgres.write(&sql::feed::renew_epoch()).await?;
        }
        if doubt {
            self.own_rows_below = next.snapshot.xmax;
        }
        // From here on the rows count as read.
        self.position = next;
        if lost || rows.len() as i64 > sql::feed::READ_AT_MOST {
            return Ok(Some(Changes::Everything));
        }
        let changes: Vec<Change> = rows.iter().filter_map(|row| change(row).transpose()).collect::<Result<_, _>>()?;
        Ok((!changes.is_empty()).then(|| Changes::Some(changes.into())))
    }

    async fn trim(&mut self) -> Result<(), DbError> {
        let now = Instant::now();
        if now - self.trimmed_at < TRIM {
            return Ok(());
        }
        self.trimmed_at = now;
        self.noted.push_back((now, self.position.snapshot.xmin));
        let mut below = None;
        while let Some((at, xmin)) = self.noted.front().copied() {
            if now - at < KEEP {
                break;
            }
            below = Some(xmin);
            self.noted.pop_front();
        }
        if let Some(below) = below {
            self.postgres.write(&sql::feed::trim(below)).await?;
        }
        Ok(())
    }
}

/// The change a log row tells of; none where the reading found no rows.
fn change(row: &Row) -> Result<Option<Change>, DbError> {
    let Some(table) = row.text_or_null(3)? else { return Ok(None) };
    let table = Arc::from(table);
    let Some(id) = row.uuid_or_null(4)? else {
        return Ok(Some(Change { table, kind: ChangeKind::Whole }));
    };
    let keys = |at: usize| -> Result<Option<RowKeys>, DbError> {
        let (Some(created), Some(json)) = (row.micros_or_null(at)?, row.json_or_null(at + 1)?) else {
            return Ok(None);
        };
        let fields = KeyFields::parse(json).map_err(|error| DbError::Row(error.to_string()))?;
        Ok(Some(RowKeys { id, created, fields }))
    };
    let (old, new) = (keys(5)?, keys(7)?);
    let kind = if old.is_none() && new.is_none() { ChangeKind::Whole } else { ChangeKind::Row { id, old, new } };
    Ok(Some(Change { table, kind }))
}
