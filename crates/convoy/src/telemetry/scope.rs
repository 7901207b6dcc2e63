//! What the current task works on: a call or a job, and a span.

use std::borrow::Cow;

use tokio::task::futures::TaskLocalFuture;

use super::{CallRecord, Span, SpanKind, SpanRef, Tracer};

tokio::task_local! {
    static CURRENT: Scope;
}

/// A call and a span. Records below them find them by the task, so a task that works for
/// another one must [run](Scope::run) in its scope. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Scope {
    /// The call.
    pub call: CallRecord,
    /// The span.
    pub span: SpanRef,
}

impl Scope {
    /// The scope of the current task; an empty one if it has none.
    pub(crate) fn current() -> Scope {
        CURRENT.try_with(Scope::clone).unwrap_or_default()
    }

    /// The same call, at a span below.
    #[must_use]
    pub(crate) fn within(&self, span: &Span) -> Scope {
        let span = if span.is_some() { span.at() } else { self.span.clone() };
        Scope { call: self.call.clone(), span }
    }

    /// Runs `work` in this scope. Not an `async fn`, which would hold `work` twice: as its argument,
    /// and while it waits for it.
    pub(crate) fn run<F: Future>(self, work: F) -> TaskLocalFuture<Scope, F> {
        CURRENT.scope(self, work)
    }

    /// Calls `work` in this scope.
    pub(crate) fn run_sync<T>(self, work: impl FnOnce() -> T) -> T {
        CURRENT.sync_scope(self, work)
    }
}

/// An error that a span can name.
pub(crate) trait ErrorKind {
    /// A code or a word, never a message.
    fn kind(&self) -> Cow<'static, str>;
}

impl Tracer {
    /// Runs a job of the engine, which begins a trace; `name` is such as `job log.trim`.
    pub(crate) async fn job<T, E: ErrorKind>(
        &self,
        name: &'static str,
        work: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        let mut span = self.caused(SpanKind::Internal, name, None);
        let result = Scope::default().within(&span).run(work).await;
        if let Err(error) = &result {
            span.fail(error.kind());
        }
        result
    }
}
