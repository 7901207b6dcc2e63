//! Calls that come over the network: answered from the result cache where that is possible,
//! and tied to the live session that makes them.

use std::sync::Arc;

use bytes::Bytes;

use super::Engine;
use crate::dispatch::{Answer, Caller, FunctionKind, IncomingCall, Key};
use crate::error::Failure;
use crate::live::{Held, SessionId};

/// A call by a client.
pub struct RemoteCall<'a> {
    /// The kind of function.
    pub kind: FunctionKind,
    /// Its name.
    pub name: &'a str,
    /// Its input, JSON text.
    pub input: String,
    /// Describes the client; the question is whether the call has a key.
    pub caller: &'a (dyn Fn(bool) -> Arc<str> + Sync),
    /// Its `Idempotency-Key`, if it has one.
    pub key: Option<Key>,
    /// How far the client has seen, where it says so.
    pub position: Option<&'a str>,
    /// The live session that is told when what a mutation has changed was sent.
    pub session: Option<SessionId>,
}

/// What a client is answered with.
pub struct RemoteAnswer {
    /// The result, JSON text.
    pub result: Bytes,
    /// How far who has this answer has seen.
    pub position: String,
    /// An earlier call with the same key has had the effect, and this answer.
    pub replayed: bool,
}

impl Engine {
    /// Answers a call that comes over the network.
    pub async fn answer(&self, call: RemoteCall<'_>) -> Result<RemoteAnswer, Failure> {
        let RemoteCall { kind, name, input, caller, key, position, session } = call;
        if kind == FunctionKind::Query
            && let Some(held) = self.live.held(name, &input, position, || caller(false)).await
        {
            let Held { data, position } = held?;
            return Ok(RemoteAnswer { result: data, position, replayed: false });
        }
        let settles = session.zip(key.clone()).filter(|_| kind == FunctionKind::Mutation);
        let call = IncomingCall { kind, name, input, caller: Caller::Network(caller), key };
        let Answer { result, replayed } = self.call(call).await?;
        if let Some((session, key)) = settles {
            self.live.settle(session, key.as_str().to_owned(), name, replayed);
        }
        Ok(RemoteAnswer { result, position: self.live.position(), replayed })
    }
}
