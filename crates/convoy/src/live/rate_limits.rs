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
    /// Charges one call of a function. Limits by address are checked before the context is
    /// made; one by identity makes the context, in which it finds the user.
    pub(crate) async fn admit(
        &self,
        program: &Arc<Program>,
        function: &Function,
        (address, keyed): (Option<IpAddr>, Option<KeyedCall<'_>>),
        caller: impl FnOnce() -> Arc<str>,
    ) -> Result<(), Failure> {
        let limits = |per| self.dispatcher.rate_limits_of(function).filter(move |(_, policy)| policy.per == per);
        for limit in limits(Per::Address) {
            self.dispatcher.charge(limit, &Caller::of(None, address), keyed).await?;
        }
        if limits(Per::Identity).next().is_none() {
            return Ok(());
        }
        let user = if program.has_context { self.make_context(program, caller(), false).await?.user } else { None };
        for limit in limits(Per::Identity) {
            self.dispatcher.charge(limit, &Caller::of(user.as_deref(), address), keyed).await?;
        }
        Ok(())
    }

    /// Charges subscriptions that are not refused yet to limits of this kind: each counts as a call.
    pub(super) async fn charge(
        &self,
        program: &Program,
        queries: &[QueryRequest],
        (per, user, payer): (Per, Option<&str>, Payer),
        refused: &mut Refusals,
    ) {
        let Payer::Client(address) = payer else { return };
        let caller = Caller::of(user, address);
        for query in queries {
            if refused.contains_key(&query.id) {
                continue;
            }
            let Some(function) = self.limited(program, query) else { continue };
            for limit in self.dispatcher.rate_limits_of(&function).filter(|(_, policy)| policy.per == per) {
                if let Err(failure) = self.dispatcher.charge(limit, &caller, None).await {
                    refused.insert(query.id, failure);
                    break;
                }
            }
        }
    }

    /// Whether a query can only be charged once its caller is known.
    pub(super) fn needs_identity(&self, program: &Program, query: &QueryRequest) -> bool {
        program.has_context
            && self.limited(program, query).is_some_and(|function| {
                self.dispatcher.rate_limits_of(&function).any(|(_, policy)| policy.per == Per::Identity)
            })
    }

    /// The function of a query that may have limits. Other names fail when they are resolved.
    fn limited(&self, program: &Program, query: &QueryRequest) -> Option<Arc<Function>> {
        if !self.dispatcher.has_rate_limits(program) {
            return None;
        }
        program.public(FunctionKind::Query, &query.name).ok()
    }
}
