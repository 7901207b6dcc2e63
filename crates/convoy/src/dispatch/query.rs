//! Runs queries, again where one turns out to need a snapshot or has lost its host.

use std::sync::Arc;

use bytes::Bytes;
use tokio::time::Instant;

use super::call::{Call, LOST_HOSTS, host_gone};
use super::drive::{Stop, drive};
use super::host::{CallMetadata, Seen};
use super::scope::CallScope;
use super::strategy::snapshot::Snapshot;
use super::{Dispatcher, FunctionCall, Program};
use crate::db::{Budget, Executor, ReadSet, TxCache};
use crate::error::{Code, Failure};

/// What one run of a query gave.
pub(crate) struct QueryRun {
    /// The result as JSON text, or why there is none.
    pub result: Result<Bytes, Failure>,
    /// What it depends on; complete also where the run failed.
    pub reads: ReadSet,
    /// What it has looked at of its caller, where that is known.
    pub seen: Option<Seen>,
    /// When what its context says of the caller ceases to hold, in milliseconds
    /// since 1970.
    pub expires_at: Option<f64>,
    /// Who its caller is, as far as its context tells; asked for by `keyed`
    /// requests.
    pub identity: Option<String>,
    /// Whether the host itself reported how it ended.
    pub host_reported: bool,
    /// Whether its host went away each time it was run.
    pub host_gone: bool,
}

impl QueryRun {
    /// A run that did not take place.
    pub(crate) fn refused(failure: Failure) -> QueryRun {
        let reads = ReadSet::default();
        QueryRun {
            result: Err(failure),
            reads,
            seen: None,
            expires_at: None,
            identity: None,
            host_reported: false,
            host_gone: false,
        }
    }

    /// Whether it failed transiently.
    pub(crate) fn is_transient(&self) -> bool {
        matches!(&self.result, Err(failure) if matches!(failure.code, Code::Unavailable | Code::Timeout))
    }

    /// Whether it may have failed because of its caller: a run for another may go
    /// well at the same time.
    pub(crate) fn is_suspect(&self) -> bool {
        let timed_out = matches!(&self.result, Err(failure) if failure.code == Code::Timeout);
        !self.host_reported && (self.host_gone || timed_out)
    }
}

/// How often a query is run again because a table was changed: a new session finds
/// that once, unless tables are changed all the time.
const STALE_PLANS: u32 = 2;

/// How often a query was run again, by reason.
#[derive(Default)]
struct Again {
    lost_hosts: u32,
    stale_plans: u32,
}

impl Dispatcher {
    /// Runs a query once, or again where it turns out to need a snapshot or has
    /// lost its host.
    pub(crate) async fn query(&self, program: &Arc<Program>, request: &FunctionCall) -> QueryRun {
        let deadline = Instant::now() + self.inner.limits.query_time();
        let mut scope =
            CallScope { dispatcher: self.clone(), program: program.clone(), request: request.clone(), deadline };
        let mut again = Again::default();
        loop {
            // Only what is read in one snapshot stays true.
            let tx_cache =
                if request.function.learned.needs_snapshot.is_set() { TxCache::default() } else { TxCache::none() };
            let budget = Budget::new(self.inner.limits.max_documents_read, 0);
            let mut executor = Executor::new(self.inner.node, budget, tx_cache).without_poll(&self.inner.failpoints);
            let mut metadata = None;
            let stop = match self.run_query(&scope, &mut executor, &mut metadata).await {
                Ok(result) => return QueryRun::ended(result, executor, metadata, false),
                Err(stop) => stop,
            };
            let is_gone = matches!(stop, Stop::HostGone);
            if let Some(result) = again.ends(stop, &mut scope) {
                let result = result.map_err(|failure| self.name_limit(&request.function, failure));
                return QueryRun::ended(result, executor, metadata, is_gone);
            }
        }
    }

    async fn run_query(
        &self,
        scope: &CallScope,
        executor: &mut Executor,
        metadata: &mut Option<CallMetadata>,
    ) -> Result<Result<String, Failure>, Stop> {
        let _running = self.enter().map_err(Stop::Failed)?;
        let mut call = Call::start(scope);
        let mut snapshot = Snapshot::new(scope, executor);
        let ended = drive(&mut call, scope, &mut snapshot).await;
        snapshot.end().await;
        let (ended, reported) = ended?;
        executor.refresh(reported.refresh_ms);
        *metadata = Some(reported);
        Ok(scope.conclude(ended))
    }
}

impl Again {
    /// The result of a run that was stopped, unless the query is run again.
    fn ends(&mut self, stop: Stop, scope: &mut CallScope) -> Option<Result<String, Failure>> {
        match stop {
            Stop::NeedsOther => {
                scope.function().learned.needs_snapshot.set();
                None
            }
            Stop::Conflict(error) if error.is_stale_plan() && self.stale_plans < STALE_PLANS => {
                self.stale_plans += 1;
                None
            }
            Stop::HostGone if self.lost_hosts < LOST_HOSTS => {
                if self.lost_hosts == 0 {
                    scope.quarantine();
                }
                self.lost_hosts += 1;
                None
            }
            Stop::HostGone | Stop::Idle => Some(Err(host_gone())),
            Stop::Conflict(error) => Some(Err(scope.explain(&error))),
            Stop::Failed(failure) | Stop::Broken(failure) => Some(Err(failure)),
        }
    }
}

impl QueryRun {
    fn ended(
        result: Result<String, Failure>,
        mut executor: Executor,
        metadata: Option<CallMetadata>,
        host_gone: bool,
    ) -> QueryRun {
        let host_reported = metadata.is_some();
        let CallMetadata { identity, seen, expires_at, .. } = metadata.unwrap_or_default();
        let (result, reads) = (result.map(Bytes::from), executor.take_reads());
        QueryRun { result, reads, seen, expires_at, identity, host_reported, host_gone }
    }
}
