//! A pool of connections whose leases say by themselves whether they are clean.
//!
//! sqlx's own pool asks each returned connection for a sign of life, which is a
//! round trip per call; ours instead marks a lease busy before each exchange and
//! clean after it. A lease dropped while busy (its caller was cancelled, or a
//! transaction is open) closes its connection, and Postgres rolls back. So no
//! path, however cut short, gives back a connection that is inside something.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions, Connection, PgConnection};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::raw_reads::Remembered;
use super::{DbError, Isolation, Session, Sessions, Setup};
use crate::failpoints::Failpoints;

/// How long a call waits for a connection, and a connection for its server.
const ACQUIRE: Duration = Duration::from_secs(5);

/// How long a connection may rest before it is asked for a sign of life, and how
/// long it may take to give one.
const RESTED: Duration = Duration::from_secs(1);
const PING: Duration = Duration::from_secs(2);

/// A bounded set of connections with the same options.
#[derive(Clone)]
pub(crate) struct Pool {
    inner: Arc<Inner>,
}

struct Inner {
    options: PgConnectOptions,
    /// How each transaction sets up its session, where that is lent.
    setup: Option<Arc<Setup>>,
    isolation: Isolation,
    failpoints: Failpoints,
    reach: Arc<Reach>,
    permits: Arc<Semaphore>,
    /// Clean sessions, the last used on top. Never locked across an await.
    idle: Mutex<Vec<(Session, Instant)>>,
    /// What statements of the user's own read.
    remembered: Remembered,
    /// Counts how often plans became stale; sessions of before are not used again.
    generation: AtomicU64,
}

impl Pool {
    /// A pool of at most `size` connections, none of them open yet.
    pub(crate) fn new(
        base: &PgConnectOptions,
        setup: Setup,
        sessions: Sessions,
        size: usize,
        failpoints: Failpoints,
        reach: Arc<Reach>,
    ) -> Pool {
        let isolation = setup.isolation;
        let (options, setup) = match sessions {
            Sessions::Ours => (setup.options(base), None),
            Sessions::Lent => (base.clone(), Some(Arc::new(setup))),
        };
        let permits = Arc::new(Semaphore::new(size));
        let idle = Mutex::new(Vec::with_capacity(size));
        let remembered = Remembered::default();
        let generation = AtomicU64::new(0);
        Pool {
            inner: Arc::new(Inner {
                options,
                setup,
                isolation,
                failpoints,
                reach,
                permits,
                idle,
                remembered,
                generation,
            }),
        }
    }

    /// What transactions on its sessions see of others.
    pub(super) fn isolation(&self) -> Isolation {
        self.inner.isolation
    }

    /// Takes an idle connection, or opens one. Waits when all are taken.
    pub(crate) async fn acquire(&self) -> Result<Lease, DbError> {
        let waiting = tokio::time::timeout(ACQUIRE, self.inner.permits.clone().acquire_owned());
        let permit = match waiting.await {
            Ok(Ok(permit)) => permit,
            Ok(Err(_closed)) => return Err(sqlx::Error::PoolClosed.into()),
            Err(_elapsed) => return Err(DbError::PoolExhausted(ACQUIRE)),
        };
        let (session, fresh) = match self.idle().await {
            Some(session) => (session, false),
            None => {
                let generation = self.generation();
                let mut session = Session::new(self.connect().await?, self.inner.setup.clone());
                session.failpoints = self.inner.failpoints.clone();
                session.generation = generation;
                (session, true)
            }
        };
        Ok(Lease { session: Some(session), busy: false, fresh, pool: self.clone(), _permit: permit })
    }

    /// An idle connection that is still good. One that has rested a while may
    /// have lost its server meanwhile, and a mutation sent into the void has an
    /// unknown outcome, so it is asked first; under load none rests that long.
    async fn idle(&self) -> Option<Session> {
        loop {
            let (mut session, since) = self.inner.idle.lock().pop()?;
            if since.elapsed() < RESTED {
                return Some(session);
            }
            if let Ok(Ok(())) = tokio::time::timeout(PING, session.connection.ping()).await {
                return Some(session);
            }
        }
    }

    async fn connect(&self) -> Result<PgConnection, DbError> {
        let connecting = tokio::time::timeout(ACQUIRE, self.inner.options.connect()).await;
        let connected = connecting.unwrap_or(Err(sqlx::Error::PoolTimedOut)).map_err(DbError::of_connecting);
        self.inner.reach.note(&connected, &self.inner.options);
        connected
    }

    /// Closes the idle connections; the server went away, so none is of use.
    pub(crate) fn forget_idle(&self) {
        let stale = std::mem::take(&mut *self.inner.idle.lock());
        drop(stale);
    }

    fn generation(&self) -> u64 {
        self.inner.generation.load(Ordering::Acquire)
    }

    /// Refuses further leases and closes the idle connections politely.
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

/// Whether the database can be reached, to say so once each time it changes.
pub(crate) struct Reach {
    reachable: AtomicBool,
    /// Why it cannot, as far as that was said since it last could. One cause may hide
    /// another: a server that is started again with another password.
    said: Mutex<Vec<String>>,
}

/// The most causes that are said of one time without the database.
const MOST_CAUSES: usize = 8;

impl Reach {
    /// Reachable until shown otherwise.
    pub(crate) fn new() -> Arc<Reach> {
        Arc::new(Reach { reachable: AtomicBool::new(true), said: Mutex::default() })
    }

    fn note(&self, connected: &Result<PgConnection, DbError>, options: &PgConnectOptions) {
        let was_reachable = self.reachable.swap(connected.is_ok(), Ordering::Relaxed);
        let error = match connected {
            Ok(_) if was_reachable => return,
            Ok(_) => {
                self.said.lock().clear();
                return tracing::info!("the database is reachable again");
            }
            Err(error) => error,
        };
        let cause = super::fault::of_losing(error, options);
        let mut said = self.said.lock();
        if said.len() < MOST_CAUSES && !said.contains(&cause) {
            tracing::warn!(%cause, "the database is not reachable; calls answer UNAVAILABLE until it is");
            said.push(cause);
        }
    }
}

/// A connection on loan. See the module for what happens when it is dropped.
pub(crate) struct Lease {
    session: Option<Session>,
    busy: bool,
    fresh: bool,
    pool: Pool,
    /// Freed after the connection went back, so that a waiter finds it idle.
    _permit: OwnedSemaphorePermit,
}

impl Lease {
    /// The session, from now on counted as inside an exchange.
    pub(super) fn enter(&mut self) -> &mut Session {
        self.busy = true;
        self.session.as_mut().expect("a lease holds its session until it is dropped")
    }

    /// The exchange is over: the connection is outside any transaction, with
    /// nothing unread.
    pub(super) fn leave(&mut self) {
        self.busy = false;
    }

    /// After an error that says what is prepared is stale: it is likely to be so in all
    /// sessions of the pool, so none of them is used again.
    pub(super) fn note_stale_plans<T>(&self, result: &Result<T, DbError>) {
        if result.as_ref().is_err_and(DbError::is_stale_plan) {
            self.pool.inner.generation.fetch_add(1, Ordering::AcqRel);
            self.pool.forget_idle();
        }
    }

    pub(super) fn remembered(&self) -> &Remembered {
        &self.pool.inner.remembered
    }

    /// Whether this connection was opened for this lease: if it fails, an idle
    /// one gone stale is not the reason.
    pub(crate) fn is_fresh(&self) -> bool {
        self.fresh
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(session) = self.session.take()
            && !self.busy
            && !session.tainted
            && session.generation == self.pool.generation()
            && !self.pool.inner.permits.is_closed()
        {
            self.pool.inner.idle.lock().push((session, Instant::now()));
        }
    }
}
