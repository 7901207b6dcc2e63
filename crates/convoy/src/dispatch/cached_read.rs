//! Answers the reads that a run takes from memory, if they are kept there ([`ReadCache`]),
//! and keeps them otherwise. They are read outside of the transaction of the run.
//!
//! [`ReadCache`]: crate::read_cache::ReadCache

use std::sync::Arc;

use super::call::broken_protocol;
use super::drive::{Stop, Strategy, fail_all};
use super::scope::CallScope;
use crate::db::{Access, Budget, Executor, TxCache};
use crate::error::Failure;
use crate::op::{Batch, Op};
use crate::read_cache::Used;

/// Answers operations, each by the cache or by `strategy`, in their order. Those that `strategy`
/// answers at once are neighbours that run under the same role. `used` receives
/// the reads that a mutation depends on, and that do not belong to its transaction.
pub(super) async fn answer<S: Strategy>(
    scope: &CallScope,
    strategy: &mut S,
    batch: &mut Batch,
    mut used: Option<&mut Vec<Used>>,
    out: &mut String,
) -> Result<(), Stop> {
    let mut start = 0;
    while start < batch.ops.len() {
        let is_cached = |op: &Result<Op, Failure>| matches!(op, Ok(Op::Cached { .. }));
        let cached = is_cached(&batch.ops[start]);
        let alike = batch.ops[start..].iter().take_while(|op| is_cached(op) == cached).count();
        let (length, run_as) = batch.same_role(start, alike);
        let (group, rest) = (start..start + length, start + length..);
        start = rest.start;
        if cached {
            for op in &batch.ops[group] {
                if let Ok(Op::Cached { key, read }) = op {
                    // A role would see other rows than the caller for whom they were kept.
                    if run_as.is_some() {
                        return Err(Stop::Failed(broken_protocol(&"only the system reads from memory")));
                    }
                    read_one(scope, strategy, (key, read), used.as_deref_mut(), out).await?;
                }
            }
        } else {
            let refusal = run_as.and_then(|_| scope.program.row_security.as_ref()?.refusal());
            if let Some(failure) = refusal {
                return Err(Stop::Failed(failure));
            }
            let run_as = run_as.cloned();
            if let Some(failure) = strategy.answer(&mut batch.ops[group], run_as.as_ref(), out).await? {
                fail_all(&batch.ops[rest], &failure, out);
                return Ok(());
            }
        }
    }
    Ok(())
}

async fn read_one<S: Strategy>(
    scope: &CallScope,
    strategy: &mut S,
    (key, read): (&str, &[Result<Op, Failure>; 1]),
    used: Option<&mut Vec<Used>>,
    out: &mut String,
) -> Result<(), Stop> {
    let (inner, schema) = (&scope.dispatcher.inner, &scope.program.schema);
    let cache = &inner.read_cache;
    // Before the answer is looked up or read, so that no change in between is missed.
    let reading = used.is_some().then(|| cache.begin());
    let kept = if scope.request.uncached { None } else { cache.get(key, schema) };
    if let Some(kept) = kept {
        out.push_str(&kept.answer);
        strategy.add_reads(&kept.reads);
        if let (Some(used), Some(reading)) = (used, reading) {
            used.push(reading.follow(schema, kept.reads.clone()));
        }
        return Ok(());
    }
    let reading = reading.unwrap_or_else(|| cache.begin());
    let budget = Budget::of_reads(inner.limits.max_documents_read);
    let mut executor = Executor::new(inner.node, budget, TxCache::none());
    let start = out.len();
    executor.run(&mut Access::Reading(&inner.autocommit), read, out).await.map_err(|error| scope.stop(error))?;
    let reads = Arc::new(executor.take_reads());
    strategy.add_reads(&reads);
    reading.keep(key, schema, &out[start..], &reads);
    if let Some(used) = used {
        used.push(reading.follow(schema, reads));
    }
    Ok(())
}
