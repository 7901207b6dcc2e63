//! One call, from its arrival to its end.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use super::FunctionMetrics;
use crate::error::Failure;

/// Records the end of a call once: by the task that answers its caller, or by the task of its
/// function if the caller has disconnected. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct CallRecord(Option<Arc<Recorded>>);

struct Recorded {
    function: FunctionMetrics,
    began: Instant,
    has_ended: AtomicBool,
}

impl CallRecord {
    /// A call of this function that begins now.
    pub(crate) fn begin(function: FunctionMetrics) -> CallRecord {
        let is_recorded = function.is_on();
        CallRecord(
            is_recorded
                .then(|| Arc::new(Recorded { function, began: Instant::now(), has_ended: AtomicBool::new(false) })),
        )
    }

    /// Records the end, unless it is recorded.
    pub(crate) fn end<T>(&self, result: &Result<T, Failure>) {
        if let Some(recorded) = self.0.as_deref()
            && !recorded.has_ended.swap(true, Ordering::Relaxed)
        {
            let code = result.as_ref().map(drop).map_err(|failure| failure.code);
            recorded.function.call(Some(code), recorded.began.elapsed());
        }
    }

    /// Records that a run of the call is repeated; `cause` is one of few words.
    pub(crate) fn retry(&self, cause: &'static str) {
        if let Some(recorded) = self.0.as_deref() {
            recorded.function.retry(cause);
        }
    }
}

impl Drop for Recorded {
    fn drop(&mut self) {
        if !*self.has_ended.get_mut() {
            self.function.call(None, self.began.elapsed());
        }
    }
}
