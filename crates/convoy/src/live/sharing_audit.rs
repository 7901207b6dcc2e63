//! In development, looks whether results that were shared were rightly shared: now
//! and then a result is made again for another of those who were served it. That
//! the two differ means that the function depends on something that is not tracked, such as
//! what a module keeps from call to call, and shows one caller what is another's.

use std::sync::Arc;

use super::answer::{Answer, Made};
use super::registry::{Ticket, What};
use super::{Live, QueryId, milliseconds};
use crate::dispatch::{FunctionCall, FunctionKind};

/// One in so many runs is looked at.
const ONE_IN: u64 = 8;

impl Live {
    /// Looks at a result that a run has just given, once in a while.
    pub(super) fn audit_sharing(self: &Arc<Self>, id: QueryId, ticket: &Ticket) {
        let What::Query(query_key) = &ticket.what else { return };
        let Some(runs) = self.lock().runs(id).filter(|runs| runs % ONE_IN == 1) else { return };
        let Some((answer, other)) = self.lock().another_caller(id, ticket) else { return };
        let (live, query_key) = (self.clone(), query_key.clone());
        self.tasks.spawn(async move {
            let Ok(program) = live.loaded() else { return };
            let Ok(function) = program.public(FunctionKind::Query, &query_key.function) else { return };
            let request = FunctionCall { function, input: query_key.input.clone(), caller: Some(other), key: None };
            let run = tokio::select! {
                () = live.stop.cancelled() => return,
                run = live.dispatcher.query(&program, &request) => run,
            };
            let made = Made { ts: milliseconds(), position: "".into() };
            let again = Answer::new(&query_key.function, run.result, made, None);
            // Where something has changed meanwhile, the two may differ.
            let is_comparable = again.data().is_some() && live.lock().rests_since(id, runs);
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
