//! A pool of connections whose leases record whether they are clean.
//!
//! sqlx's own pool pings each returned connection, which costs one round trip per call.
//! Here, a lease is marked busy before each exchange and clean after it. A lease dropped
//! while busy (its call was cancelled, or a transaction is open) closes its connection, and
//! Postgres rolls back. So a connection that is inside of an exchange or a transaction is
//! never returned to the pool.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions, Connection, PgConnection};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::raw_reads::RawReadsCache;
use super::recorder::Recorder;
use super::{ConnectionMode, DbError, Isolation, PgSession, Setup};
use crate::failpoints::{Failpoint, Failpoints};
use crate::telemetry::{Metrics, PoolKind};

/// How long a connection may be idle before it is pinged, and how long the ping may take.
const IDLE_CHECK: Duration = Duration::from_secs(1);
const PING_TIMEOUT: Duration = Duration::from_secs(2);

/// How much later than its time limits a statement is answered at the latest.
const ANSWER_ALLOWANCE: Duration = Duration::from_secs(2);
/// A statement is prepared when a session first runs it, and Postgres limits both by themselves.
const LIMITED_PARTS: u32 = 2;

/// A bounded set of connections with the same options.
#[derive(Clone)]
pub(crate) struct Pool {
    inner: Arc<Inner>,
}

/// What the connections of a pool report to.
pub(crate) struct PoolContext {
    /// Which pool it is.
    pub kind: PoolKind,
    /// Records how long connections are waited for.
    pub metrics: Metrics,
    /// Records the statements of its sessions.
    pub recorder: Recorder,
    /// The failpoints of the engine.
    pub failpoints: Failpoints,
    /// Whether the database is reachable.
    pub availability: Arc<Availability>,
}

struct Inner {
    options: PgConnectOptions,
    /// The settings that each transaction applies in a pooled session.
    setup: Option<Arc<Setup>>,
    isolation: Isolation,
    /// How long a call waits for a session, and for a connection.
    wait: Duration,
    statement_timeout: Duration,
    size: usize,
    context: PoolContext,
    permits: Arc<Semaphore>,
    /// Clean sessions, the last used one last. Never locked across an await.
    idle: Mutex<Vec<(PgSession, Instant)>>,
    /// Cached reads of user statements.
    raw_reads: RawReadsCache,
    /// Incremented when prepared plans become stale; sessions of earlier generations are closed.
    generation: AtomicU64,
}

impl Pool {
    /// Creates a pool of at most `size` connections, with none open yet.
    pub(crate) fn new(
        base: &PgConnectOptions,
        setup: Setup,
        mode: ConnectionMode,
        size: usize,
        context: PoolContext,
    ) -> Pool {
        let Setup { isolation, wait, statement_timeout, .. } = setup;
        let (options, setup) = match mode {
            ConnectionMode::Direct => (setup.options(base), None),
            ConnectionMode::TransactionPooled => (base.clone(), Some(Arc::new(setup))),
        };
        let permits = Arc::new(Semaphore::new(size));
        let idle = Mutex::new(Vec::with_capacity(size));
        let raw_reads = RawReadsCache::default();
        let generation = AtomicU64::new(0);
        Pool {
            inner: Arc::new(Inner {
                options,
                setup,
                isolation,
                wait,
                statement_timeout,
                size,
                context,
                permits,
                idle,
                raw_reads,
                generation,
            }),
        }
    }

    /// The isolation of transactions on its sessions.
    pub(super) fn isolation(&self) -> Isolation {
        self.inner.isolation
    }

    /// How long the answer to a statement with this time limit, or that of its sessions, is waited
    /// for: Postgres has cancelled it by then, or the connection counts as lost. For user statements
    /// there is no such bound, because they may set another time limit; their call has one.
    pub(super) fn answer_timeout(&self, statement_timeout: Option<Duration>) -> Duration {
        let limit = statement_timeout.unwrap_or(self.inner.statement_timeout);
        limit.saturating_mul(LIMITED_PARTS).saturating_add(ANSWER_ALLOWANCE)
    }

    /// The failpoints of the engine.
    pub(super) fn failpoints(&self) -> &Failpoints {
        &self.inner.context.failpoints
    }

    /// Takes an idle connection, or opens one. Waits if all are leased.
    pub(crate) async fn acquire(&self) -> Result<Lease, DbError> {
        let began = Instant::now();
        let acquired = tokio::time::timeout(self.inner.wait, self.inner.permits.clone().acquire_owned()).await;
        self.inner.context.metrics.pool_wait(self.inner.context.kind, began.elapsed());
        let permit = match acquired {
            Ok(Ok(permit)) => permit,
            Ok(Err(_closed)) => return Err(DbError::of_connecting(sqlx::Error::PoolClosed)),
            Err(_elapsed) => return Err(DbError::PoolExhausted(self.inner.wait)),
        };
        let (session, fresh) = match self.idle().await {
            Some(session) => (session, false),
            None => {
                let generation = self.generation();
                let mut session = PgSession::new(self.connect().await?, self.inner.setup.clone());
                session.failpoints = self.inner.context.failpoints.clone();
                session.recorder = self.inner.context.recorder.clone();
                session.generation = generation;
                (session, true)
            }
        };
        Ok(Lease { session: Some(session), busy: false, fresh, pool: self.clone(), _permit: permit })
    }

    /// An idle connection that still works. One that has been idle for a while may have lost
    /// its server, and the outcome of a mutation sent on it would be unknown, so it is pinged
    /// first. Under load, no connection is idle for that long.
    async fn idle(&self) -> Option<PgSession> {
        loop {
            let (mut session, since) = self.inner.idle.lock().pop()?;
            if since.elapsed() < IDLE_CHECK {
                return Some(session);
            }
            if let Ok(Ok(())) = tokio::time::timeout(PING_TIMEOUT, session.connection.ping()).await {
                return Some(session);
            }
        }
    }

    async fn connect(&self) -> Result<PgConnection, DbError> {
        let connecting = tokio::time::timeout(self.inner.wait, self.inner.options.connect()).await;
        let connected = connecting.unwrap_or(Err(sqlx::Error::PoolTimedOut)).map_err(DbError::of_connecting);
        self.inner.context.availability.record(&connected, &self.inner.options);
        connected
    }

    /// How many of its connections are in use, and how many are idle.
    pub(crate) fn connections(&self) -> (PoolKind, usize, usize) {
        let used = self.inner.size.saturating_sub(self.inner.permits.available_permits());
        (self.inner.context.kind, used, self.inner.idle.lock().len())
    }

    /// Has each connection closed before another call uses it, since its plans may be stale.
    pub(crate) fn discard_plans(&self) {
        self.inner.generation.fetch_add(1, Ordering::AcqRel);
        self.close_idle();
    }

    /// Closes the idle connections, after the server went away.
    pub(crate) fn close_idle(&self) {
        let stale = std::mem::take(&mut *self.inner.idle.lock());
        drop(stale);
    }

    fn generation(&self) -> u64 {
        self.inner.generation.load(Ordering::Acquire)
    }

    /// Rejects further leases and closes the idle connections cleanly.
    pub(crate) async fn close(&self) {
        self.inner.permits.close();
        let idle = std::mem::take(&mut *self.inner.idle.lock());
        for (session, _) in idle {
            if let Err(error) = session.connection.close().await {
                tracing::debug!(cause = %error, "a connection did not close cleanly");
            }
        }
    }
}

/// Whether the database is reachable. Each change of that is logged once.
pub(crate) struct Availability {
    reachable: AtomicBool,
    /// The causes logged since it was last reachable. One cause may hide another: a server may
    /// come back with another password.
    logged: Mutex<Vec<String>>,
}

/// The most causes logged until the database is reachable again.
const MAX_CAUSES: usize = 8;

impl Availability {
    /// Creates the state, reachable until a connection fails.
    pub(crate) fn new() -> Arc<Availability> {
        Arc::new(Availability { reachable: AtomicBool::new(true), logged: Mutex::default() })
    }

    fn record(&self, connected: &Result<PgConnection, DbError>, options: &PgConnectOptions) {
        let was_reachable = self.reachable.swap(connected.is_ok(), Ordering::Relaxed);
        let error = match connected {
            Ok(_) if was_reachable => return,
            Ok(_) => {
                self.logged.lock().clear();
                return tracing::info!("the database is reachable again");
            }
            Err(error) => error,
        };
        let cause = super::fault::loss_reason(error, options);
        let mut logged = self.logged.lock();
        if logged.len() < MAX_CAUSES && !logged.contains(&cause) {
            tracing::warn!(%cause, "the database is not reachable; calls answer UNAVAILABLE until it is");
            logged.push(cause);
        }
    }
}

/// A leased connection. The module doc describes what happens when it is dropped.
pub(crate) struct Lease {
    session: Option<PgSession>,
    busy: bool,
    fresh: bool,
    pool: Pool,
    /// Dropped after the connection was returned, so that a waiting call finds it idle.
    _permit: OwnedSemaphorePermit,
}

impl Lease {
    /// The session; marks the lease busy.
    pub(super) fn enter(&mut self) -> &mut PgSession {
        self.busy = true;
        self.session.as_mut().expect("a lease holds its session until it is dropped")
    }

    /// How long the answer to a statement outside of a transaction is waited for.
    pub(super) fn answer_timeout(&self) -> Duration {
        self.pool.answer_timeout(None)
    }

    /// Marks the lease clean: the connection is outside of a transaction, with no unread
    /// response.
    pub(super) fn leave(&mut self) {
        self.busy = false;
    }

    /// Closes the idle sessions after an error of a stale plan, because the other sessions of
    /// the pool probably have stale plans too.
    pub(super) fn discard_stale_plans<T>(&self, result: &Result<T, DbError>) {
        if result.as_ref().is_err_and(DbError::is_stale_plan) {
            self.pool.discard_plans();
        }
    }

    pub(super) fn raw_reads(&self) -> &RawReadsCache {
        &self.pool.inner.raw_reads
    }

    /// Whether the connection was opened for this lease, so that a failure is not due to a
    /// stale idle connection.
    pub(crate) fn is_fresh(&self) -> bool {
        self.fresh
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(session) = self.session.take()
            && (!self.busy || self.pool.failpoints().has(Failpoint::ReturnBusy))
            && !session.poisoned
            && session.generation == self.pool.generation()
            && !self.pool.inner.permits.is_closed()
        {
            self.pool.inner.idle.lock().push((session, Instant::now()));
        }
    }
}
