//! In development, checks shared results: one run in eight is repeated for another
//! subscriber. If the results differ, the function depends on something that is not
//! tracked, such as module state, and shows one caller the result of another.

use std::sync::Arc;

use super::answer::{Answer, AnswerStamp};
use super::registry::{RunTarget, Ticket};
use super::{Live, QueryId, milliseconds};
use crate::dispatch::{FunctionCall, FunctionKind};
use crate::events::LastRun;

/// One of this many runs is repeated.
const SAMPLE_INTERVAL: u64 = 8;

impl Live {
    /// Repeats a run for another subscriber and compares the results; only one run in
    /// [`SAMPLE_INTERVAL`].
    pub(super) fn audit_sharing(self: &Arc<Self>, id: QueryId, ticket: &Ticket) {
        let RunTarget::Query(query_key) = &ticket.target else { return };
        let Some(runs) = self.lock().runs(id).filter(|runs| runs % SAMPLE_INTERVAL == 1) else { return };
        let Some((answer, other)) = self.lock().another_caller(id, ticket) else { return };
        let (live, query_key) = (self.clone(), query_key.clone());
        self.tasks.spawn(async move {
            let Ok(program) = live.loaded() else { return };
            let Ok(function) = program.public(FunctionKind::Query, &query_key.function) else { return };
            let request = FunctionCall { function, input: query_key.input.clone(), caller: Some(other), key: None, observer: None, uncached: false, observed: false, route: None, last_run: LastRun::default() };
            let run = tokio::select! {
                () = live.stop.cancelled() => return,
                run = live.dispatcher.query(&program, &request) => run,
            };
            let stamp = AnswerStamp { ts: milliseconds(), position: "".into(), cause: None };
            let again = Answer::new(&query_key.function, run.result, stamp, None);
            // After a change in between, the two may differ.
            let is_comparable = again.data().is_some() && live.lock().is_idle_since(id, runs);
            if is_comparable && again.hash() != answer.hash() {
                tracing::error!(
                    "`{}` gives different results to callers between whom its result is shared. It depends on something \
                     that is neither its input, its documents nor its context; make that part of the context, or the \
                     query `share: false`",
                    query_key.function
                );
                live.differing.lock().insert(Arc::clone(&query_key.function));
            }
        });
    }
}
