//! Charges calls and subscriptions to the callers of functions with a rate limit.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use super::Live;
use super::message::ClientQueryId;
use super::stream::{Payer, QueryRequest};
use crate::dispatch::{Function, FunctionKind, Program};
use crate::error::Failure;
use crate::rate_limit::{Caller, KeyedCall, Per};

/// Subscriptions for which there was no token.
pub(super) type Refusals = HashMap<ClientQueryId, Failure>;

impl Live {
    /// Charges one call of a function. A limit by address is checked before the context is
    /// made; one by identity makes the context, in which it finds the user.
    pub(crate) async fn admit(
        &self,
        program: &Arc<Program>,
        function: &Function,
        (address, keyed): (Option<IpAddr>, Option<KeyedCall<'_>>),
        caller: impl FnOnce() -> Arc<str>,
    ) -> Result<(), Failure> {
        let Some(policy) = &function.rate_limit else { return Ok(()) };
        let user = match policy.per {
            Per::Identity if program.has_context => self.make_context(program, caller()).await?.user,
            Per::Identity | Per::Address => None,
        };
        let caller = Caller::of(user.as_deref(), address);
        self.dispatcher.charge((&function.name, policy), &caller, keyed).await
    }

    /// Charges the subscriptions to queries with a limit of this kind: each counts as a call.
    pub(super) async fn charge(
        &self,
        program: &Program,
        queries: &[QueryRequest],
        (per, user, payer): (Per, Option<&str>, Payer),
    ) -> Refusals {
        let Payer::Client(address) = payer else { return Refusals::new() };
        let caller = Caller::of(user, address);
        let mut refusals = Refusals::new();
        for query in queries {
            let Some(function) = limited(program, query, per) else { continue };
            let Some(policy) = &function.rate_limit else { continue };
            let charged = self.dispatcher.charge((&function.name, policy), &caller, None).await;
            refusals.extend(charged.err().map(|failure| (query.id, failure)));
        }
        refusals
    }

    /// Whether a query can only be charged once its caller is known.
    pub(super) fn needs_identity(program: &Program, query: &QueryRequest) -> bool {
        program.has_context && limited(program, query, Per::Identity).is_some()
    }
}

/// The function of a query, if it has a limit of this kind. Other names fail when they are
/// resolved.
fn limited(program: &Program, query: &QueryRequest, per: Per) -> Option<Arc<Function>> {
    if !program.has_rate_limits {
        return None;
    }
    let function = program.public(FunctionKind::Query, &query.name).ok()?;
    function.rate_limit.as_ref().is_some_and(|policy| policy.per == per).then_some(function)
}
