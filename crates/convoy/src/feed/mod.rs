//! Turns commits made elsewhere (psql, another service, another node) into
//! [`Changes`], by reading `_convoy.changes`.
//!
//! Our own commits do not come this way: the dispatcher tells of them at once,
//! and rows signed with our node are left out here.
//!
//! Invariant: between two readings nothing is lost. The log is read by
//! transaction snapshot, not by sequence: commit order is not the order in which
//! rows were written. Where the log itself was lost (a crash empties unlogged
//! tables) or trimmed past our position, everything counts as changed.

mod position;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::change::{By, Change, ChangeKind, ChangeSink, Changes, Doubts};
use crate::key::{KeyFields, RowKeys};
use crate::postgres::{DbError, Postgres, Row};
use crate::sql;
use position::{Position, Snapshot};

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

/// Reads the log until it is told to stop.
pub struct Feed {
    postgres: Postgres,
    node: Uuid,
    sink: Arc<dyn ChangeSink>,
    interval: Duration,
    doubts: Doubts,
    /// Our own rows are read too until this transaction and all before it are
    /// over: the newest when the last doubt was still open.
    own_rows_below: u64,
    position: Position,
    /// Positions noted over the last minutes: what may be trimmed.
    noted: VecDeque<(Instant, u64)>,
    trimmed_at: Instant,
}

impl Feed {
    /// Takes the first position. Whatever commits after this returns will be told.
    pub async fn open(
        postgres: Postgres,
        node: Uuid,
        sink: Arc<dyn ChangeSink>,
        doubts: Doubts,
        interval: Duration,
    ) -> Result<Feed, DbError> {
        let rows = postgres.read(&sql::feed::position()).await?;
        let row = rows.first().ok_or_else(|| DbError::Row("no position".into()))?;
        let position = Position::of(row)?;
        let own_rows_below = 0;
        Ok(Feed {
            postgres,
            node,
            sink,
            interval,
            doubts,
            own_rows_below,
            position,
            noted: VecDeque::new(),
            trimmed_at: Instant::now(),
        })
    }

    /// Runs until `stop`. Reads each interval while `watched` says that anything
    /// is live, and at once when that begins.
    pub async fn run(mut self, mut watched: watch::Receiver<bool>, stop: CancellationToken) {
        let mut failures = 0u32;
        loop {
            let pause = match (failures, *watched.borrow_and_update()) {
                (0, true) => self.interval,
                (0, false) => IDLE,
                _ => MAX_BACKOFF.min(self.interval * 2u32.saturating_pow(failures)),
            };
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
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
        let changes = self.read().await?;
        if let Some(changes) = changes {
            self.sink.committed(changes, &By::Outside);
        }
        self.sink.caught_up(began);
        self.trim().await
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
