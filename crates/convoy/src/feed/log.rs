//! Reads `_convoy.changes`.
//!
//! Rows signed with our node are left out: of our own commits we know.
//!
//! Invariant: between two readings nothing is lost. A reading takes the cursor and
//! gives the next one only once it has told what it found ([`Reading::tell`]), so
//! nothing counts as read before it is understood. The log is read by
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

use super::Parts;
use super::log_cursor::{Cursor, Position, Reading, Snapshot};
use crate::change::{Change, ChangeKind, ChangeSink, Changes, InDoubtCommits};
use crate::config::Config;
use crate::failpoints::{Failpoint, Failpoints};
use crate::health::{Health, Remedy};
use crate::key::{KeyFields, RowKeys};
use crate::postgres::{DbError, Postgres, Row};
use crate::sql;
use crate::supervise::Part;

/// How often the log is read while nothing is live, only to keep it short.
const IDLE: Duration = Duration::from_secs(30);
/// Log rows older than this have been read by every process.
const KEEP: Duration = Duration::from_secs(300);
/// How often old rows are removed.
const TRIM: Duration = Duration::from_secs(60);
/// How long a reading may go unanswered before another connection is tried.
const PATIENCE: Duration = Duration::from_secs(5);
/// Name of the condition set while the log cannot be read.
const BEHIND: &str = "feed";
/// The longest pause between two attempts while the database is away.
const MAX_BACKOFF: Duration = Duration::from_secs(2);

/// A reader of the log: what it reads with. How far it has read is in a [`Cursor`].
pub(super) struct Log {
    postgres: Postgres,
    node: Uuid,
    sink: Arc<dyn ChangeSink>,
    interval: Duration,
    in_doubt: InDoubtCommits,
    /// Whether anything is live.
    watched: watch::Receiver<bool>,
    /// Requests a reading now.
    now: Arc<Notify>,
    /// Receives the condition [`BEHIND`].
    health: Health,
    /// Requests a check of the `_convoy` schema.
    look_now: Arc<Notify>,
    failpoints: Failpoints,
}

impl Log {
    /// Reads through `postgres`; rows signed with `node` are left out.
    pub(super) fn new(parts: &Parts, config: &Config) -> Log {
        let without_poll =
            [Failpoint::NoPoll, Failpoint::ListenerSkipsCatchUp].map(|failpoint| config.failpoints.has(failpoint));
        let interval = if without_poll.contains(&true) { IDLE } else { Duration::from_millis(config.limits.poll_ms) };
        Log {
            postgres: parts.postgres.clone(),
            node: parts.node,
            sink: parts.sink.clone(),
            interval,
            in_doubt: parts.in_doubt.clone(),
            watched: parts.watched.clone(),
            now: parts.read_now.clone(),
            health: parts.health.clone(),
            look_now: parts.look_now.clone(),
            failpoints: config.failpoints.clone(),
        }
    }

    /// The first cursor. Every commit after this returns is told.
    pub(super) async fn begin(&self) -> Result<Cursor, DbError> {
        let untold = self.in_doubt.lost();
        let rows = self.postgres.read_within(PATIENCE, &sql::feed::position()).await?;
        let row = rows.first().ok_or_else(|| DbError::Row("no position".into()))?;
        let position = Position::of(row)?;
        let prepared = self.prepared_now().await?;
        Ok(Cursor { own_rows_below: 0, position, prepared, untold })
    }

    /// Runs until `stop`, from `cursor` on; without one everything counts as changed.
    /// Reads each interval while anything is live, and at once when that begins or
    /// when a reading is requested.
    pub(super) async fn run(&self, mut cursor: Option<Cursor>, stop: CancellationToken) {
        let mut watched = self.watched.clone();
        let (mut trim, mut failures) = (Trim::default(), 0u32);
        let mut first = cursor.is_none();
        loop {
            let live = *watched.borrow_and_update();
            let pause = match (failures, live) {
                _ if std::mem::take(&mut first) => Duration::ZERO,
                (0, true) => self.interval,
                (0, false) => IDLE,
                _ => MAX_BACKOFF.min(self.interval * 2u32.saturating_pow(failures)),
            };
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
                () = self.now.notified(), if live && failures == 0 => {}
                changed = watched.changed(), if failures == 0 => if changed.is_err() { return },
            }
            let read;
            (cursor, read) = self.turn(cursor, &mut trim).await;
            match read {
                Ok(()) => {
                    failures = 0;
                    self.health.clear(BEHIND);
                }
                Err(error) => {
                    // That the database is away is said by its pool.
                    if failures == 0 && !error.connection_lost() {
                        tracing::warn!(cause = %error.cause(), "the change log cannot be read; live queries are not current until it can");
                    }
                    self.health.set(
                        BEHIND,
                        Remedy::Wait,
                        "the change log cannot be read; live queries may be out of date",
                    );
                    if error.names_nothing() {
                        self.look_now.notify_one();
                    }
                    failures = failures.saturating_add(1);
                }
            }
        }
    }

    /// Reads once and tells. Takes the cursor, and gives one back: the same where
    /// nothing could be read, and one past what was told otherwise.
    async fn turn(&self, cursor: Option<Cursor>, trim: &mut Trim) -> (Option<Cursor>, Result<(), DbError>) {
        let began = std::time::Instant::now();
        let reading = match &cursor {
            Some(cursor) => self.read(cursor).await,
            // What was in doubt before is not known any more.
            None => self.begin().await.map(|first| {
                let own_rows_below = first.position.snapshot.xmax;
                Reading::of_everything(Cursor { own_rows_below, ..first })
            }),
        };
        match reading {
            Ok(reading) => {
                let next = reading.tell(&*self.sink);
                self.in_doubt.settle(began);
                // A commit that went untold meanwhile is visible, and told with the next reading.
                if self.in_doubt.lost() == next.untold {
                    self.sink.caught_up(began);
                }
                self.trim(trim, &next).await;
                (Some(next), Ok(()))
            }
            Err(error) => (cursor, Err(error)),
        }
    }

    /// The transactions that are prepared, and neither committed nor undone.
    async fn prepared_now(&self) -> Result<HashSet<String>, DbError> {
        let rows = self.postgres.read_within(PATIENCE, &sql::feed::prepared()).await?;
        rows.iter().map(|row| Ok(row.text(0)?.to_owned())).collect()
    }

    /// Reads what was logged since the cursor's position.
    async fn read(&self, cursor: &Cursor) -> Result<Reading, DbError> {
        let (doubt, untold) = (self.in_doubt.any(), self.in_doubt.lost());
        let Snapshot { xmin, xmax, xip } = &cursor.position.snapshot;
        // No process has the nil id, so leaving out its rows leaves out none.
        let unread = if doubt || *xmin < cursor.own_rows_below { Uuid::nil() } else { self.node };
        let rows = self.postgres.read_within(PATIENCE, &sql::feed::read(*xmax, xip, unread)).await?;
        let row = rows.first().ok_or_else(|| DbError::Row("no position".into()))?;
        let position = Position::of(row)?;
        if position.epoch.is_none() {
            self.postgres.write_within(PATIENCE, &sql::feed::renew_epoch()).await?;
        }
        let lost = cursor.position.lost(&position);
        warn_of_lost_answers(&rows);
        // Noted before they are told of, so that what ends in between is told too.
        let prepared = match lost || !cursor.prepared.is_empty() {
            true => self.prepared_now().await?,
            false => HashSet::new(),
        };
        let ended = !cursor.prepared.is_subset(&prepared);
        let changes = match lost || ended || untold != cursor.untold || rows.len() as i64 > sql::feed::READ_AT_MOST {
            true => Changes::Everything,
            false if self.failpoints.has(Failpoint::ReadBeforeUnderstood) => only_if_understood(&rows),
            false => changes(&rows),
        };
        self.failpoints.reach(Part::Log);
        let prepared = if lost { prepared } else { cursor.prepared.intersection(&prepared).cloned().collect() };
        let own_rows_below = if doubt { position.snapshot.xmax } else { cursor.own_rows_below };
        Ok(Reading::new(changes, Cursor { position, own_rows_below, prepared, untold }))
    }

    /// Removes rows that every reader has long read.
    async fn trim(&self, trim: &mut Trim, cursor: &Cursor) {
        let Some(below) = trim.due(cursor.position.snapshot.xmin) else { return };
        if let Err(error) = self.postgres.write_within(PATIENCE, &sql::feed::trim(below)).await {
            // Another node may have been first; the next time takes these along.
            tracing::debug!(cause = %error.cause(), "old rows of the change log could not be removed");
        }
    }
}

/// Positions noted over the last minutes: what may be trimmed.
struct Trim {
    noted: VecDeque<(Instant, u64)>,
    last: Instant,
}

impl Default for Trim {
    fn default() -> Trim {
        Trim { noted: VecDeque::new(), last: Instant::now() }
    }
}

impl Trim {
    /// The transaction below which rows may go now; asked after each reading.
    fn due(&mut self, xmin: u64) -> Option<u64> {
        let now = Instant::now();
        if now - self.last < TRIM {
            return None;
        }
        self.last = now;
        self.noted.push_back((now, xmin));
        let mut below = None;
        while let Some((_, xmin)) = self.noted.pop_front_if(|(at, _)| now - *at >= KEEP) {
            below = Some(xmin);
        }
        below
    }
}

/// The changes that log rows tell of. A row that is not understood means that its
/// whole table has changed; one without so much as a table, that anything has.
fn changes(rows: &[Row]) -> Changes {
    let changes = rows.iter().filter_map(|row| change(row).transpose()).collect::<Result<Vec<Change>, DbError>>();
    match changes {
        Ok(changes) => Changes::Some(changes.into()),
        Err(error) => {
            tracing::warn!(cause = %error, "a row of the change log names no table; every live query runs again");
            Changes::Everything
        }
    }
}

/// Logs a warning if kept answers were removed by hand.
fn warn_of_lost_answers(rows: &[Row]) {
    let lost = |row: &Row| matches!(row.text_or_null(3), Ok(Some(sql::layout::ANSWERS_LOST)));
    if rows.iter().any(lost) {
        tracing::warn!(
            "rows of _convoy.idempotency were removed by hand: a mutation repeated with an earlier key may happen twice"
        );
    }
}

/// The log rows that [`Failpoint::ReadBeforeUnderstood`] leaves.
fn only_if_understood(rows: &[Row]) -> Changes {
    match rows.iter().all(|row| kind(row).is_ok()) {
        true => changes(rows),
        false => Changes::Some(Arc::from([])),
    }
}

/// The change a log row tells of; none where the reading found no rows.
fn change(row: &Row) -> Result<Option<Change>, DbError> {
    let Some(table) = row.text_or_null(3)? else { return Ok(None) };
    let kind = kind(row).unwrap_or_else(|error| {
        tracing::debug!(table, cause = %error, "a row of the change log is not understood; its whole table counts as changed");
        ChangeKind::Whole
    });
    Ok(Some(Change { table: table.into(), kind }))
}

/// What a log row says of its table.
fn kind(row: &Row) -> Result<ChangeKind, DbError> {
    let Some(id) = row.uuid_or_null(4)? else { return Ok(ChangeKind::Whole) };
    let keys = |at: usize| -> Result<Option<RowKeys>, DbError> {
        match (row.micros_or_null(at)?, row.json_or_null(at + 1)?) {
            (None, None) => Ok(None),
            (Some(created), Some(json)) => {
                let fields = KeyFields::parse(json).map_err(|error| DbError::Row(error.to_string()))?;
                Ok(Some(RowKeys { id, created, fields }))
            }
            _ => Err(DbError::Row("a place with either no time or no keys".into())),
        }
    };
    let (old, new) = (keys(5)?, keys(7)?);
    Ok(if old.is_none() && new.is_none() { ChangeKind::Whole } else { ChangeKind::Row { id, old, new } })
}
