//! Calls over the network: answered from the result cache if possible, and acknowledged
//! on the live session of the caller.

use std::sync::Arc;

use bytes::Bytes;

use super::Engine;
use crate::dispatch::{Answer, Caller, FunctionKind, IncomingCall, Key};
use crate::error::Failure;
use crate::live::{CachedResult, SessionId};

/// A call by a client.
pub struct RemoteCall<'a> {
    /// The kind of function.
    pub kind: FunctionKind,
    /// Its name.
    pub name: &'a str,
    /// Its input, JSON text.
    pub input: String,
    /// Builds the caller, as JSON for the host; the argument is whether the call has a key.
    pub caller: &'a (dyn Fn(bool) -> Arc<str> + Sync),
    /// Its `Idempotency-Key`, if it has one.
    pub key: Option<Key>,
    /// The client's consistency token, if it sent one.
    pub position: Option<&'a str>,
    /// The live session on which a mutation is acknowledged once its changes were sent.
    pub session: Option<SessionId>,
}

/// The answer to a client.
pub struct RemoteAnswer {
    /// The result, JSON text.
    pub result: Bytes,
    /// The client's consistency token after this answer.
    pub position: String,
    /// Whether this is the stored response of an earlier call with the same key.
    pub replayed: bool,
}

impl Engine {
    /// Answers a call over the network.
    pub async fn answer(&self, call: RemoteCall<'_>) -> Result<RemoteAnswer, Failure> {
        let RemoteCall { kind, name, input, caller, key, position, session } = call;
        if kind == FunctionKind::Query
            && let Some(cached) = self.live.cached(name, &input, position, || caller(false)).await
        {
            let CachedResult { data, position } = cached?;
            return Ok(RemoteAnswer { result: data, position, replayed: false });
        }
        let ack = session.zip(key.clone()).filter(|_| kind == FunctionKind::Mutation);
        let call = IncomingCall { kind, name, input, caller: Caller::Network(caller), key };
        let Answer { result, replayed } = self.call(call).await?;
        if let Some((session, key)) = ack {
            self.live.ack_when_visible(session, key.as_str().to_owned(), name, replayed);
        }
        Ok(RemoteAnswer { result, position: self.live.position(), replayed })
    }
}
