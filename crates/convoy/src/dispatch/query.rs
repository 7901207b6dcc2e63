//! Runs queries. A query runs again if it needs a snapshot or has lost its host.

use std::sync::Arc;

use bytes::Bytes;
use tokio::time::Instant;

use super::call::{Call, MAX_HOST_RETRIES, host_gone};
use super::drive::{Stop, drive};
use super::host::{CallMetadata, Seen};
use super::prefetch::prefetch;
use super::scope::CallScope;
use super::strategy::snapshot::Snapshot;
use super::{Dispatcher, FunctionCall, Program};
use crate::db::{Budget, Executor, ReadSet, TxCache};
use crate::error::{Code, Failure};
use crate::telemetry::Scope;

/// A finished run of a query.
pub(crate) struct QueryRun {
    /// The result as JSON text, or the failure.
    pub result: Result<Bytes, Failure>,
    /// Its dependencies; complete also if the run failed.
    pub reads: ReadSet,
    /// The members of the context that it has read, if known.
    pub seen: Option<Seen>,
    /// When its context expires, in milliseconds since 1970.
    pub expires_at: Option<f64>,
    /// The caller's identity from the context; set for `keyed` requests.
    pub identity: Option<String>,
    /// Of a context: the user that is signed in.
    pub user: Option<String>,
    /// Whether the result depends only on the input, the context and what was read, as far as
    /// the host has observed and Postgres may evaluate nothing else.
    pub pure: bool,
    /// Whether the host itself reported the result.
    pub host_reported: bool,
    /// Whether its host exited on each attempt.
    pub host_gone: bool,
}

impl QueryRun {
    /// The run of a query that was not started.
    pub(crate) fn refused(failure: Failure) -> QueryRun {
        let reads = ReadSet::default();
        QueryRun {
            result: Err(failure),
            reads,
            seen: None,
            expires_at: None,
            identity: None,
            user: None,
            pure: false,
            host_reported: false,
            host_gone: false,
        }
    }

    /// Whether it failed for a temporary reason.
    pub(crate) fn is_transient(&self) -> bool {
        matches!(&self.result, Err(failure) if matches!(failure.code, Code::Unavailable | Code::Timeout))
    }

    /// Whether the failure may depend on the caller, so that a run for another caller could
    /// succeed.
    pub(crate) fn is_suspect(&self) -> bool {
        let timed_out = matches!(&self.result, Err(failure) if failure.code == Code::Timeout);
        !self.host_reported && (self.host_gone || timed_out)
    }
}

/// How often a query runs again after an `alter table`. One retry per session is normal;
/// more means that tables are changed all the time.
const MAX_STALE_PLANS: u32 = 2;

/// The number of retries, by reason.
#[derive(Default)]
struct Retries {
    lost_hosts: u32,
    stale_plans: u32,
}

impl Dispatcher {
    /// Runs a query, again if it needs a snapshot or has lost its host.
    pub(crate) async fn query(&self, program: &Arc<Program>, request: &FunctionCall) -> QueryRun {
        let limits = self.limits_of(&request.function);
        let deadline = Instant::now() + limits.time;
        let mut scope = CallScope {
            dispatcher: self.clone(),
            program: program.clone(),
            request: request.clone(),
            deadline,
            telemetry: Scope::current(),
        };
        let mut retries = Retries::default();
        loop {
            // Reads may be cached only within one snapshot.
            let tx_cache =
                if request.function.learned.needs_snapshot.is_set() { scope.tx_cache() } else { TxCache::none() };
            let budget = Budget::of_reads(limits.documents_read);
            let mut executor = Executor::new(self.inner.node, budget, tx_cache).with_failpoints(&self.inner.failpoints);
            let mut metadata = None;
            let ran = self.run_query(&scope, &mut executor, &mut metadata).await;
            if let Some(row_security) = program.row_security.as_ref().filter(|_| scope.may_have_role()) {
                executor.add_policy_reads(row_security);
            }
            let stop = match ran {
                Ok(result) => return QueryRun::ended(result, executor, metadata, false),
                Err(stop) => stop,
            };
            let host_gone = matches!(stop, Stop::HostGone);
            if let Some(result) = retries.ends(stop, &mut scope) {
                let result = result.map_err(|failure| self.name_limit(&request.function, failure));
                return QueryRun::ended(result, executor, metadata, host_gone);
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
        let mut snapshot = Snapshot::new(scope, executor);
        let ended = match prefetch(scope, &mut snapshot).await {
            Ok(prefetched) => drive(&mut Call::start_with(scope, prefetched), scope, &mut snapshot).await,
            Err(stop) => Err(stop),
        };
        snapshot.end().await;
        let (ended, reported) = ended?;
        executor.refresh(reported.refresh_ms);
        *metadata = Some(reported);
        Ok(scope.conclude(ended))
    }
}

impl Retries {
    /// The result of a stopped run; `None` if the query runs again.
    fn ends(&mut self, stop: Stop, scope: &mut CallScope) -> Option<Result<String, Failure>> {
        match stop {
            Stop::NeedsOther => {
                scope.function().learned.needs_snapshot.set();
                None
            }
            Stop::Conflict(error) if error.is_stale_plan() && self.stale_plans < MAX_STALE_PLANS => {
                self.stale_plans += 1;
                None
            }
            Stop::HostGone if self.lost_hosts < MAX_HOST_RETRIES => {
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
        let CallMetadata { identity, user, seen, expires_at, impure, .. } = metadata.unwrap_or_default();
        let (result, reads) = (result.map(Bytes::from), executor.take_reads());
        let pure = host_reported && !impure && !reads.opaque;
        QueryRun { result, reads, seen, expires_at, identity, user, pure, host_reported, host_gone }
    }
}
