//! The limits of a call: those of the engine, unless its function has its own.

use std::time::Duration;

use serde::Deserialize;

use super::{Function, FunctionKind};
use crate::config::Limits;

/// The limits that a function has in place of those of the engine.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct OwnLimits {
    /// In place of `limits.queryMs`, `mutationMs` or `actionMs`.
    pub timeout_ms: Option<u64>,
    /// In place of `limits.retries`.
    pub retries: Option<u32>,
    /// In place of `limits.maxDocumentsRead`.
    pub max_documents_read: Option<usize>,
    /// In place of `limits.maxDocumentsWritten`.
    pub max_documents_written: Option<usize>,
    /// In place of `limits.resultBytes`.
    pub result_bytes: Option<usize>,
}

/// The limits of one call.
#[derive(Debug, Clone, Copy)]
pub(super) struct CallLimits {
    pub time: Duration,
    /// The time limit of its statements, where those of its connections end sooner than the
    /// call. Such a call has a transaction, which sets it.
    pub statement_timeout: Option<Duration>,
    pub retries: u32,
    pub documents_read: usize,
    pub documents_written: usize,
    pub result_bytes: usize,
}

impl CallLimits {
    pub(super) fn of(function: &Function, limits: &Limits) -> CallLimits {
        let own = &function.limits;
        let time = match function.kind {
            FunctionKind::Query => limits.query_time(),
            FunctionKind::Mutation => limits.mutation_time(),
            FunctionKind::Action => limits.action_time(),
        };
        let own_time = own.timeout_ms.map(Duration::from_millis);
        // Without a transaction, a mutation reads on the connections of queries.
        let of_connections = match function.kind {
            FunctionKind::Mutation if !function.transactional => time.min(limits.query_time()),
            FunctionKind::Query | FunctionKind::Mutation => time,
            // Its statements have a limit of their own in any case.
            FunctionKind::Action => Duration::MAX,
        };
        CallLimits {
            time: own_time.unwrap_or(time),
            statement_timeout: own_time.filter(|own| *own > of_connections),
            retries: own.retries.unwrap_or(limits.retries),
            documents_read: own.max_documents_read.unwrap_or(limits.max_documents_read),
            documents_written: own.max_documents_written.unwrap_or(limits.max_documents_written),
            result_bytes: own.result_bytes.unwrap_or(limits.result_bytes),
        }
    }
}

/// A limit as its developer has set it: `limits.queryMs`, or `timeoutMs` of the function.
pub(super) fn time_limit_name(function: &Function) -> &'static str {
    match (function.limits.timeout_ms, function.kind) {
        (Some(_), _) => "its timeoutMs",
        (None, FunctionKind::Query) => "limits.queryMs",
        (None, FunctionKind::Mutation) => "limits.mutationMs",
        (None, FunctionKind::Action) => "limits.actionMs",
    }
}

/// The same for the size of a result.
pub(super) fn result_limit_name(function: &Function) -> &'static str {
    if function.limits.result_bytes.is_some() { "its resultBytes" } else { "limits.resultBytes" }
}
