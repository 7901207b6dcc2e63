//! The parameters of one run, and the conversion of its errors for the caller.

use std::sync::Arc;

use tokio::time::Instant;

use super::call_limits::{CallLimits, result_limit_name};
use super::commit::{CommitObserver, Unit};
use super::drive::Stop;
use super::host::FunctionResult;
use super::{Dispatcher, Function, FunctionCall, FunctionKind, Program};
use crate::change::ChangeSource;
use crate::db::{Budget, Executor, TxCache};
use crate::error::{Code, Failure};
use crate::op::RunAs;
use crate::output;
use crate::postgres::{Begin, DbError, Isolation};
use crate::sql::layout;
use crate::telemetry::Scope;

/// A function call with its program and deadline.
#[derive(Clone)]
pub(super) struct CallScope {
    pub dispatcher: Dispatcher,
    pub program: Arc<Program>,
    pub request: FunctionCall,
    pub deadline: Instant,
    /// What its spans belong to.
    pub telemetry: Scope,
}

impl CallScope {
    /// The function that runs.
    pub(super) fn function(&self) -> &Arc<Function> {
        &self.request.function
    }

    /// The deadline of an operation that begins now. The one of a route is for the start of its
    /// response, so each of its operations has a limit of its own.
    pub(super) fn operation_deadline(&self) -> Instant {
        match self.request.route {
            Some(_) => Instant::now() + self.dispatcher.inner.limits.action_time(),
            None => self.deadline,
        }
    }

    /// Runs the next attempts in quarantine, if the host supports it.
    pub(super) fn quarantine(&mut self) {
        if let Some(quarantine) = self.program.quarantine() {
            self.program = Arc::new(quarantine);
        }
    }

    /// Whether operations of this call may run under the role of the program.
    pub(super) fn may_have_role(&self) -> bool {
        self.program.row_security.is_some() && self.request.caller.is_some()
    }

    /// The cache of a transaction. What one role has read, another may not see.
    pub(super) fn tx_cache(&self) -> TxCache {
        if self.may_have_role() { TxCache::none() } else { TxCache::default() }
    }

    /// An executor for the operations of a mutation or an action, within its limits.
    pub(super) fn executor(&self, tx_cache: TxCache) -> Executor {
        Executor::new(self.dispatcher.inner.node, self.budget(), tx_cache)
    }

    /// The documents that one attempt may read and write.
    pub(super) fn budget(&self) -> Budget {
        let limits = self.limits();
        Budget::new(limits.documents_read, limits.documents_written, self.dispatcher.inner.limits.document_bytes)
    }

    /// The limits of the call.
    pub(super) fn limits(&self) -> CallLimits {
        self.dispatcher.limits_of(self.function())
    }

    /// How a transaction of this call begins.
    pub(super) fn begin<'a>(&self, isolation: Isolation, run_as: Option<&'a Arc<RunAs>>) -> Begin<'a> {
        Begin { isolation, run_as, statement_timeout: self.limits().statement_timeout }
    }

    /// The observer of the commit. A function without a transaction commits several times
    /// while it runs, which an observer cannot follow.
    pub(super) fn observer(&self) -> Option<Arc<dyn CommitObserver>> {
        self.request.observer.clone().filter(|_| self.function().transactional)
    }

    /// The commit unit of this call alone, without its answer.
    pub(super) fn unit(&self) -> Unit<'static> {
        let by = ChangeSource::Function(self.function().name.clone());
        let observers = self.observer().into_iter().collect();
        Unit {
            by,
            responses: Vec::new(),
            deadline: self.operation_deadline(),
            part: None,
            observers,
            spans: self.telemetry.span.recorded().into_iter().collect(),
        }
    }

    /// The reason to stop a run after a database error.
    pub(super) fn stop(&self, error: DbError) -> Stop {
        match error {
            DbError::Retry(_) => Stop::Conflict(error),
            _ if error.connection_lost() => Stop::Broken(self.explain(&error)),
            _ => Stop::Failed(self.explain(&error)),
        }
    }

    /// Converts a database error for the caller, with the names of the schema. In
    /// development, an unexpected error includes its cause.
    pub(super) fn explain(&self, error: &DbError) -> Failure {
        let function = self.function();
        if let Some(failure) = self.duplicate(error).or_else(|| self.forbidden(error)) {
            return failure;
        }
        if error.object_missing() && error.message_contains("_convoy") {
            self.dispatcher.inner.check_schema.notify_one();
        }
        let mut failure = error.to_failure(&function.name);
        if let Some(why) = error.cancel_reason() {
            // Each statement of an action has a separate time limit.
            let subject = match function.kind {
                FunctionKind::Action => format!("`{}`", function.name),
                FunctionKind::Query | FunctionKind::Mutation => self.dispatcher.did_not_finish(function),
            };
            failure.message = format!("{subject}: {why}.");
        }
        if self.dispatcher.inner.dev && matches!(error, DbError::Other(_) | DbError::Row(_)) {
            failure.message = format!("`{}`: {}.", function.name, error.cause());
        }
        failure
    }

    /// The failure for a violated unique index of the schema.
    fn duplicate(&self, error: &DbError) -> Option<Failure> {
        let DbError::Constraint { constraint, unique: true, .. } = error else { return None };
        let (table, index) = self.program.schema.tables().find_map(|table| {
            let index = table.indexes.iter().find(|index| layout::index_name(table, index) == *constraint)?;
            Some((table, index))
        })?;
        let fields: Vec<String> = index.fields.iter().map(|field| field.path.dotted()).collect();
        let message = format!(
            "Another document of `{}` already has this {} (unique index `{}`).",
            table.name,
            fields.join(", "),
            index.name
        );
        let details = serde_json::json!({ "table": table.name, "index": index.name, "fields": fields });
        Some(Failure::new(Code::Conflict, message).with_details(&details))
    }

    /// The failure for what Postgres does not allow to the role of the program.
    fn forbidden(&self, error: &DbError) -> Option<Failure> {
        let row_security = self.program.row_security.as_ref().filter(|_| self.may_have_role())?;
        if error.is_policy_violation() {
            let message = "The row-level security policies of the database do not allow this write.";
            return Some(Failure::new(Code::Forbidden, message));
        }
        if error.state().as_deref() != Some("42501") {
            return None;
        }
        if error.message_contains("set role") || error.message_contains("changes") {
            // The role cannot be used any more.
            self.dispatcher.inner.check_schema.notify_one();
        }
        let (function, role, cause) = (&*self.function().name, &*row_security.role, error.cause());
        tracing::warn!(
            function,
            role,
            cause,
            "a privilege is missing; if callers should have it, grant it to the role"
        );
        let mut message = "The database does not grant this to the role of the call.".to_owned();
        if self.dispatcher.inner.dev {
            message = format!("Postgres does not grant this to the role \"{role}\": {cause}.");
        }
        Some(Failure::new(Code::Forbidden, message))
    }

    /// Converts the result of a function for the caller.
    pub(super) fn conclude(&self, ended: FunctionResult) -> Result<String, Failure> {
        let (function, limit) = (self.function(), self.limits().result_bytes);
        match ended {
            FunctionResult::Returned(result) if result.len() > limit => Err(Failure::new(
                Code::PayloadTooLarge,
                format!(
                    "The result of `{}` has {} bytes, and {} is {limit}; return less, for example in pages, or raise it.",
                    function.name,
                    result.len(),
                    result_limit_name(function),
                ),
            )),
            FunctionResult::Returned(result) => Ok(result),
            FunctionResult::Refused(failure) => Err(failure),
            FunctionResult::Threw { message, stack } => {
                let cause = if stack.is_empty() { &message } else { &stack };
                let mut failure = Failure::internal(&function.name, cause);
                if self.dispatcher.inner.dev {
                    failure.message = format!("`{}` threw: {}", function.name, output::cut(&message));
                    failure = failure.with_details(&serde_json::json!({ "stack": output::cut(&stack) }));
                }
                Err(failure)
            }
        }
    }
}
