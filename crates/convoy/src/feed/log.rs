//! Reads the change log, `_convoy.changes`.
//!
//! Rows with the id of this process are skipped: `write_log` publishes its own commits.
//!
//! Invariant: no change is lost between two reads. A read takes a cursor and returns the
//! next one only after its changes have been published ([`LogRead::publish`]), so a change
//! that was not processed never counts as read. The log is read by transaction snapshot,
//! not by sequence number, because transactions do not commit in the order in which they
//! wrote their rows. If the log itself was lost (a crash empties unlogged tables) or was
//! trimmed past the cursor, everything counts as changed. Everything counts as changed once
//! more when a transaction ends that had been prepared before the loss (`prepare
//! transaction`): its rows are gone from the log, and its effects appear only then.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::Parts;
use super::ReadRequests;

use super::log_cursor::{Cursor, LogRead, Position, Snapshot};
use crate::change::{Change, ChangeKind, ChangeSink, Changes, InDoubtCommits};
use crate::config::Config;
use crate::failpoints::{Failpoint, Failpoints};
use crate::health::{Health, Remedy};
use crate::key::{KeyFields, RowKeys};
use crate::postgres::{DbError, Postgres, Row};
use crate::sql;
use crate::supervise::Part;
use crate::telemetry::{Metrics, Stage, Tracer};

/// How often the log is read without live queries, only to keep it short.
const IDLE_INTERVAL: Duration = Duration::from_secs(30);
/// Age from which log rows are trimmed: every process has read them by then.
const RETENTION: Duration = Duration::from_secs(300);
/// How often old rows are trimmed.
const TRIM_INTERVAL: Duration = Duration::from_secs(60);
/// How long a statement may take before another connection is tried.
const READ_TIMEOUT: Duration = Duration::from_secs(5);
/// Name of the health condition set while the log cannot be read.
const BEHIND: &str = "feed";
/// The longest pause between two attempts while the database is unreachable.
const MAX_BACKOFF: Duration = Duration::from_secs(2);

/// The reader of the log. How far it has read is in a [`Cursor`].
pub(super) struct LogReader {
    postgres: Postgres,
    node: Uuid,
    sink: Arc<dyn ChangeSink>,
    interval: Duration,
    in_doubt: InDoubtCommits,
    /// Whether there are live queries.
    has_subscribers: watch::Receiver<bool>,
    /// Requests a read now.
    read_requests: Arc<ReadRequests>,
    /// Receives the condition [`BEHIND`].
    health: Health,
    /// Requests a check of the `_convoy` schema.
    check_schema: Arc<Notify>,
    failpoints: Failpoints,
    metrics: Metrics,
    tracer: Tracer,
    /// When the last read began: what this one finds was committed since.
    last_read: Mutex<Option<std::time::Instant>>,
}

impl LogReader {
    /// Creates a reader that skips rows with the id `parts.node`.
    pub(super) fn new(parts: &Parts, config: &Config) -> LogReader {
        let without_poll =
            [Failpoint::NoPoll, Failpoint::ListenerSkipsCatchUp].map(|failpoint| config.failpoints.has(failpoint));
        let interval =
            if without_poll.contains(&true) { IDLE_INTERVAL } else { Duration::from_millis(config.limits.poll_ms) };
        LogReader {
            postgres: parts.postgres.clone(),
            node: parts.node,
            sink: parts.sink.clone(),
            interval,
            in_doubt: parts.in_doubt.clone(),
            has_subscribers: parts.has_subscribers.clone(),
            read_requests: parts.read_requests.clone(),
            health: parts.health.clone(),
            check_schema: parts.check_schema.clone(),
            failpoints: config.failpoints.clone(),
            metrics: parts.metrics.clone(),
            tracer: parts.tracer.clone(),
            last_read: Mutex::default(),
        }
    }

    /// The first cursor. Every commit after this returns is published.
    pub(super) async fn first_cursor(&self) -> Result<Cursor, DbError> {
        let lost_commits = self.in_doubt.lost_count();
        let position = self.position().await?;
        let prepared = self.prepared_now().await?;
        Ok(Cursor { own_rows_below: 0, position, prepared, lost_commits, is_idle: false })
    }

    /// The current position, without the rows before it.
    async fn position(&self) -> Result<Position, DbError> {
        let rows = self.postgres.read_within(READ_TIMEOUT, &sql::feed::position()).await?;
        position_of(&rows)
    }

    /// Runs until `stop`, from `cursor` on; without one, everything counts as changed first.
    /// Reads at each interval while there are live queries, and at once when the first
    /// one appears or a read is requested.
    pub(super) async fn run(&self, mut cursor: Option<Cursor>, stop: CancellationToken) {
        let mut has_subscribers = self.has_subscribers.clone();
        let (mut trim, mut failures) = (Trim::new(&self.failpoints), 0u32);
        let mut first = cursor.is_none();
        let mut served = 0;
        loop {
            let live = *has_subscribers.borrow_and_update();
            let pause = match (failures, live) {
                _ if std::mem::take(&mut first) => Duration::ZERO,
                (0, true) => self.interval,
                (0, false) => IDLE_INTERVAL,
                _ => MAX_BACKOFF.min(self.interval * 2u32.saturating_pow(failures)),
            };
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
                () = self.read_requests.wait(served), if live && failures == 0 => {}
                changed = has_subscribers.changed(), if failures == 0 => if changed.is_err() { return },
            }
            served = self.read_requests.made();
            let read;
            (cursor, read) = self.poll_once(cursor).await;
            match read {
                Ok(()) => {
                    failures = 0;
                    self.health.clear(BEHIND);
                    if let Some(read_up_to) = &cursor {
                        self.trim(&mut trim, read_up_to).await;
                    }
                }
                Err(error) => {
                    // The pool logs that the database is unreachable.
                    if failures == 0 && !error.connection_lost() {
                        tracing::warn!(cause = %error.cause(), "the change log cannot be read; live queries are out of date until it can");
                    }
                    self.health.set(
                        BEHIND,
                        Remedy::Wait,
                        "the change log cannot be read; live queries may be out of date",
                    );
                    if error.object_missing() {
                        self.check_schema.notify_one();
                    }
                    failures = failures.saturating_add(1);
                }
            }
        }
    }

    /// Reads once and publishes the changes. Returns the same cursor if the read failed, and
    /// the one after the published changes otherwise.
    async fn poll_once(&self, cursor: Option<Cursor>) -> (Option<Cursor>, Result<(), DbError>) {
        let began = std::time::Instant::now();
        let before = self.last_read.lock().replace(began);
        let read_and_publish = async {
            let read = match &cursor {
                Some(cursor) => self.read(cursor).await?,
                // The state of commits in doubt before this is unknown, so own rows are read too.
                None => {
                    let first = self.first_cursor().await?;
                    let own_rows_below = first.position.snapshot.xmax;
                    LogRead::everything(Cursor { own_rows_below, ..first })
                }
            };
            let has_changes = read.has_changes();
            Ok((read.publish(&*self.sink), has_changes))
        };
        match self.tracer.job("job log.read", read_and_publish).await {
            Ok((next, has_changes)) => {
                if let (true, Some(before)) = (has_changes, before) {
                    self.metrics.feed_lag(Stage::Applied, before.elapsed());
                }
                self.in_doubt.resolve_before(began);
                // A commit may have been lost meanwhile: it is visible, but is published only
                // with the next read.
                if self.in_doubt.lost_count() == next.lost_commits {
                    self.sink.caught_up(began, next.lost_commits);
                }
                (Some(next), Ok(()))
            }
            Err(error) => (cursor, Err(error)),
        }
    }

    /// The prepared transactions that are neither committed nor rolled back.
    async fn prepared_now(&self) -> Result<HashSet<String>, DbError> {
        let rows = self.postgres.read_within(READ_TIMEOUT, &sql::feed::prepared()).await?;
        rows.iter().map(|row| Ok(row.text(0)?.to_owned())).collect()
    }

    /// Reads the rows logged since the position of the cursor.
    async fn read(&self, cursor: &Cursor) -> Result<LogRead, DbError> {
        let (in_doubt, lost_commits) = (self.in_doubt.any(), self.in_doubt.lost_count());
        // Most reads are made for calls that are answered from memory, and find nothing. While nothing
        // is committed, the position alone is read.
        if cursor.is_idle
            && !in_doubt
            && lost_commits == cursor.lost_commits
            && self.position().await? == cursor.position
        {
            self.failpoints.reach(Part::Log);
            return Ok(LogRead::nothing(cursor));
        }
        let Snapshot { xmin, xmax, xip } = &cursor.position.snapshot;
        // No process has the nil id, so it skips no rows.
        let skipped_node = if in_doubt || *xmin < cursor.own_rows_below { Uuid::nil() } else { self.node };
        let rows = self.postgres.read_within(READ_TIMEOUT, &sql::feed::read(*xmax, xip, skipped_node)).await?;
        let position = position_of(&rows)?;
        if position.epoch.is_none() {
            self.postgres.write_within(READ_TIMEOUT, &sql::feed::renew_epoch()).await?;
        }
        let lost = cursor.position.has_gap(&position) && !self.failpoints.has(Failpoint::IgnoreEpoch);
        warn_of_lost_responses(&rows);
        // Read before the changes are published, so that a transaction that ends in between
        // is noticed by the next read.
        let prepared = match lost || !cursor.prepared.is_empty() {
            true => self.prepared_now().await?,
            false => HashSet::new(),
        };
        let ended = !cursor.prepared.is_subset(&prepared);
        let changes =
            match lost || ended || lost_commits != cursor.lost_commits || rows.len() as i64 > sql::feed::MAX_ROWS {
                true => Changes::Everything,
                false if self.failpoints.has(Failpoint::ReadBeforeUnderstood) => decoded_or_none(&rows),
                false => changes(&rows),
            };
        self.failpoints.reach(Part::Log);
        let prepared = if lost { prepared } else { cursor.prepared.intersection(&prepared).cloned().collect() };
        let own_rows_below = if in_doubt { position.snapshot.xmax } else { cursor.own_rows_below };
        let is_idle = position == cursor.position && position.epoch.is_some() && prepared.is_empty();
        Ok(LogRead::new(changes, Cursor { position, own_rows_below, prepared, lost_commits, is_idle }))
    }

    /// Trims rows that every process has read.
    async fn trim(&self, trim: &mut Trim, cursor: &Cursor) {
        let Some(below) = trim.due(cursor.position.snapshot.xmin) else { return };
        if let Err(error) =
            self.tracer.job("job log.trim", self.postgres.write_within(READ_TIMEOUT, &sql::feed::trim(below))).await
        {
            // Another process may have trimmed first; the next trim removes what is left.
            tracing::debug!(cause = %error.cause(), "old rows of the change log could not be removed");
        }
    }
}

/// Lower ends of recent snapshots, which decide what may be trimmed.
struct Trim {
    observed: VecDeque<(Instant, u64)>,
    last: Instant,
    interval: Duration,
    retention: Duration,
}

impl Trim {
    fn new(failpoints: &Failpoints) -> Trim {
        let (interval, retention) = match (failpoints.has(Failpoint::NoTrim), failpoints.has(Failpoint::TrimSoon)) {
            (true, _) => (Duration::MAX, RETENTION),
            (false, true) => (Duration::from_millis(200), Duration::from_secs(1)),
            (false, false) => (TRIM_INTERVAL, RETENTION),
        };
        Trim { observed: VecDeque::new(), last: Instant::now(), interval, retention }
    }

    /// The transaction below which rows may be trimmed now. Called after each read.
    fn due(&mut self, xmin: u64) -> Option<u64> {
        let now = Instant::now();
        if now - self.last < self.interval {
            return None;
        }
        self.last = now;
        self.observed.push_back((now, xmin));
        let mut below = None;
        while let Some((_, xmin)) = self.observed.pop_front_if(|(at, _)| now - *at >= self.retention) {
            below = Some(xmin);
        }
        below
    }
}

/// The changes in log rows. A row that cannot be decoded means that its whole table has
/// changed; a row without a table means that anything may have changed.
fn changes(rows: &[Row]) -> Changes {
    let changes = rows.iter().filter_map(|row| change(row).transpose()).collect::<Result<Vec<Change>, DbError>>();
    match changes {
        Ok(changes) => Changes::Some(changes.into()),
        Err(error) => {
            tracing::warn!(cause = %error, "a row of the change log has no table; every live query runs again");
            Changes::Everything
        }
    }
}

/// The position in the first row of a read.
fn position_of(rows: &[Row]) -> Result<Position, DbError> {
    Position::from_row(rows.first().ok_or_else(|| DbError::Row("no position".into()))?)
}

/// Logs a warning if stored responses were deleted by hand.
fn warn_of_lost_responses(rows: &[Row]) {
    let lost = |row: &Row| matches!(row.text_or_null(3), Ok(Some(sql::convoy_schema::RESPONSES_LOST)));
    if rows.iter().any(lost) {
        tracing::warn!(
            "rows of _convoy.idempotency were deleted by hand: a mutation repeated with an earlier key may run twice"
        );
    }
}

/// The rows that [`Failpoint::ReadBeforeUnderstood`] leaves: none if one cannot be decoded.
fn decoded_or_none(rows: &[Row]) -> Changes {
    match rows.iter().all(|row| kind(row).is_ok()) {
        true => changes(rows),
        false => Changes::Some(Arc::from([])),
    }
}

/// The change in a log row; `None` for the placeholder of an empty read.
fn change(row: &Row) -> Result<Option<Change>, DbError> {
    let Some(table) = row.text_or_null(3)? else { return Ok(None) };
    let kind = kind(row).unwrap_or_else(|error| {
        tracing::debug!(table, cause = %error, "a row of the change log cannot be decoded; its whole table counts as changed");
        ChangeKind::Whole
    });
    Ok(Some(Change { table: table.into(), kind }))
}

/// The kind of change in a log row.
fn kind(row: &Row) -> Result<ChangeKind, DbError> {
    let Some(id) = row.uuid_or_null(4)? else { return Ok(ChangeKind::Whole) };
    let keys = |at: usize| -> Result<Option<RowKeys>, DbError> {
        match (row.micros_or_null(at)?, row.json_or_null(at + 1)?) {
            (None, None) => Ok(None),
            (Some(created), Some(json)) => {
                let fields = KeyFields::parse(json).map_err(|error| DbError::Row(error.to_string()))?;
                Ok(Some(RowKeys { id, created, fields }))
            }
            _ => Err(DbError::Row("a row has either a creation time or keys, and not both".into())),
        }
    };
    let (old, new) = (keys(5)?, keys(7)?);
    Ok(if old.is_none() && new.is_none() { ChangeKind::Whole } else { ChangeKind::Row { id, old, new, fields: None } })
}
