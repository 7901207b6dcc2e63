//! Runs a query whose answer shared caches may keep if it is the same for everyone.
//!
//! Invariant: an answer for everyone is one that a caller without credentials gets, from a
//! run that has read nothing of its caller. A cache answers without asking who calls, so
//! both must hold: the context may refuse a caller that the query itself never looks at.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;

use super::Live;
use crate::dispatch::{FunctionCall, FunctionKind, Seen, WHOLE};
use crate::error::Failure;

/// One call of such a query.
pub(crate) struct PublicCall<'a> {
    /// The query's name.
    pub name: &'a str,
    /// Its input, JSON text.
    pub input: String,
    /// The caller, as JSON for the host.
    pub caller: Arc<str>,
    /// The same request without anything that tells who sends it.
    pub anonymous: Arc<str>,
}

/// Who may receive a result.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Audience {
    /// Every caller.
    Everyone,
    /// Only the caller of the run, for this reason.
    Caller(String),
}

impl Live {
    /// Runs the query, and finds who may receive its result.
    pub(crate) async fn run_public(&self, call: PublicCall<'_>) -> Result<(Bytes, Audience), Failure> {
        let PublicCall { name, input, caller, anonymous } = call;
        let program = self.loaded()?;
        let function = program.public(FunctionKind::Query, name)?;
        crate::value::check(&input)?;
        let caller = program.has_context.then_some(caller);
        let request = FunctionCall {
            function,
            input: input.into(),
            caller,
            key: None,
            observer: None,
            uncached: false,
            observed: false,
            route: None,
            last_run: self.dispatcher.events().last_run(),
        };
        let began = Instant::now();
        let run = self.dispatcher.query(&program, &request).await;
        self.dispatcher.call_ended(&request, began, &run.result);
        let result = run.result?;
        if let Some(reason) = why_private(run.seen.as_ref(), program.has_context) {
            return Ok((result, Audience::Caller(reason)));
        }
        let audience = match program.has_context {
            true => match self.make_context(&program, anonymous, false).await {
                Ok(context) if context.identity.get(WHOLE).is_none_or(Option::is_some) => Audience::Everyone,
                Ok(_) => Audience::Caller(INCOMPARABLE.to_owned()),
                Err(refused) => Audience::Caller(format!(
                    "`createContext` refuses a request without credentials ({})",
                    refused.message.trim_end_matches('.')
                )),
            },
            false => Audience::Everyone,
        };
        Ok((result, audience))
    }

    /// Reports in the log of development, once per reason, that an answer is not cached.
    pub(crate) fn report_private(&self, name: &str, reason: &str) {
        if self.dev && self.uncached.lock().insert(format!("{name}: {reason}")) {
            tracing::error!(
                "`{name}` has `cache: {{ public: true }}`, but no cache may keep its answer: {reason}; it was sent with \
                 Cache-Control: private, no-store"
            );
        }
    }
}

const INCOMPARABLE: &str = "its context has members that cannot be compared, or it calls a query with `share: false`";

/// Why the result of a run that has read these members is its caller's own; `None` if the
/// run has read none.
fn why_private(seen: Option<&Seen>, has_context: bool) -> Option<String> {
    let Some(seen) = seen else {
        return has_context.then(|| "what it has read of `ctx` is unknown".to_owned());
    };
    if seen.get(WHOLE).is_some_and(Option::is_none) {
        return Some(INCOMPARABLE.to_owned());
    }
    let members = seen.keys().filter(|key| *key != WHOLE);
    let members: Vec<String> = members
        .map(|key| if key.starts_with("@@") { "the keys of `ctx`".to_owned() } else { format!("`ctx.{key}`") })
        .collect();
    (!members.is_empty()).then(|| format!("it has read {}", members.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reason(pairs: &[(&str, Option<&str>)]) -> Option<String> {
        let seen = pairs.iter().map(|(key, text)| ((*key).to_owned(), text.map(str::to_owned))).collect();
        why_private(Some(&seen), true)
    }

    #[test]
    fn only_a_run_that_has_read_nothing_of_its_caller_is_for_everyone() {
        assert_eq!(why_private(None, false), None);
        assert_eq!(reason(&[]), None);
        assert_eq!(reason(&[(WHOLE, Some("true"))]), None);
        assert!(why_private(None, true).is_some());
        assert_eq!(reason(&[(WHOLE, None)]).as_deref(), Some(INCOMPARABLE));
        let read = reason(&[(WHOLE, Some("true")), ("team", Some("undefined")), ("user", None)]);
        assert_eq!(read.as_deref(), Some("it has read `ctx.team`, `ctx.user`"));
        assert_eq!(reason(&[("@@keys", Some("[]"))]).as_deref(), Some("it has read the keys of `ctx`"));
    }
}
