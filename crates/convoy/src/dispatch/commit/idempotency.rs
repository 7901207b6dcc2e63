//! Keyed mutations: their effect happens once, however often they are asked for.
//!
//! The answer is kept in the mutation's own transaction, so one exists exactly if
//! the other does. Nothing is looked up beforehand: a repeated call runs into the
//! key's constraint, or fails for what the first one did, and only then is the
//! first one's answer looked for. Failures are not kept.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard};
use tokio::time::Instant;
use uuid::Uuid;
use xxhash_rust::xxh3::xxh3_128;

use super::Committer;
use crate::dispatch::program::Function;
use crate::dispatch::scope::CallScope;
use crate::dispatch::{Answer, overloaded};
use crate::error::{Code, Failure};
use crate::postgres::{DbError, Transaction};
use crate::sql::idempotency::{self, CONSTRAINT, Entry};

/// The longest a key may be, in bytes.
const LONGEST_KEY: usize = 128;

/// A caller's key: 1 to 128 printable ASCII characters.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Key(Arc<str>);

impl Key {
    /// Reads the value of the header.
    pub fn parse(text: &str) -> Result<Key, Failure> {
        let fits = (1..=LONGEST_KEY).contains(&text.len()) && text.bytes().all(|byte| (0x20..0x7f).contains(&byte));
        if !fits {
            let message = format!("Idempotency-Key is 1 to {LONGEST_KEY} printable ASCII characters");
            return Err(Failure::new(Code::InvalidArgs, message));
        }
        Ok(Key(text.into()))
    }

    /// As it was sent.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A call that has a key and a caller.
#[derive(Debug, Clone)]
pub(in crate::dispatch) struct Keyed {
    pub entry: Entry,
}

impl Keyed {
    /// `None` where there is no key, or its caller is unknown.
    pub(crate) fn of(scope: &CallScope, identity: Option<&str>) -> Option<Keyed> {
        let CallScope { program, request, .. } = scope;
        let key = request.key.as_ref()?;
        let identity = if program.has_context { identity? } else { "" };
        let body = Uuid::from_u128(xxh3_128(request.input.as_bytes()));
        let entry = Entry {
            function: request.function.name.to_string(),
            identity: identity.to_owned(),
            key: key.0.to_string(),
            body,
        };
        Some(Keyed { entry })
    }
}

/// A function and a key of its calls.
type Name = (Arc<str>, Key);

/// The keys of calls that run here or wait for their turn.
#[derive(Default)]
pub(in crate::dispatch) struct Keys {
    running: Mutex<HashMap<Name, Arc<AsyncMutex<()>>>>,
    waiting: AtomicUsize,
}

impl Keys {
    /// Waits until no other call of this function has the key; at most `most`
    /// calls may be here.
    pub(crate) async fn turn(
        &self,
        function: &Function,
        key: &Key,
        most: usize,
        deadline: Instant,
    ) -> Result<Turn<'_>, Failure> {
        let name = (function.name.clone(), key.clone());
        let gate = self.running.lock().entry(name.clone()).or_default().clone();
        let mut turn = Turn { keys: self, name, held: None };
        if self.waiting.fetch_add(1, Ordering::Relaxed) >= most {
            return Err(overloaded(most));
        }
        match tokio::time::timeout_at(deadline, gate.lock_owned()).await {
            Ok(held) => {
                turn.held = Some(held);
                Ok(turn)
            }
            Err(_elapsed) => {
                Err(Failure::new(Code::Timeout, "another call with this Idempotency-Key is still running"))
            }
        }
    }
}

/// A place among the calls with one key; given up on drop.
pub(in crate::dispatch) struct Turn<'a> {
    keys: &'a Keys,
    name: Name,
    held: Option<OwnedMutexGuard<()>>,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.held = None;
        self.keys.waiting.fetch_sub(1, Ordering::Relaxed);
        let mut running = self.keys.running.lock();
        // Waiting calls hold a reference to the gate, too.
        if running.get(&self.name).is_some_and(|gate| Arc::strong_count(gate) == 1) {
            running.remove(&self.name);
        }
    }
}

/// Keeps answers in the transaction.
pub(super) async fn keep(transaction: &mut Transaction, answers: &[(&Entry, &str)]) -> Result<(), DbError> {
    transaction.run(idempotency::store_responses(answers)).await.map(|_| ())
}

impl Committer {
    /// A call failed: if it is a repeated one, it is answered like the first.
    pub(crate) async fn replay(
        &self,
        failure: Failure,
        keyed: Option<Keyed>,
        within: Duration,
    ) -> Result<Answer, Failure> {
        let Some(keyed) = keyed else { return Err(failure) };
        let found = match self.postgres.read_within(within, &idempotency::find(&keyed.entry)).await {
            Ok(found) => found,
            // Then the failure stands, and the caller comes again.
            Err(error) => {
                tracing::debug!(cause = %error, "an earlier answer could not be looked up");
                return Err(failure);
            }
        };
        let Some(row) = found.first() else { return Err(failure) };
        let read = || Ok::<_, DbError>((row.uuid(0)?, Bytes::copy_from_slice(row.text(1)?.as_bytes())));
        let (body, result) = read().map_err(|error| error.to_failure("idempotency"))?;
        if body != keyed.entry.body {
            return Err(Failure::new(
                Code::Conflict,
                "this Idempotency-Key was used with another input; a new call needs a new key",
            ));
        }
        Ok(Answer { result, replayed: true })
    }
}

/// Whether a statement failed because its key has an answer already.
pub(in crate::dispatch) fn repeated(error: &DbError) -> bool {
    matches!(error, DbError::Constraint { constraint, .. } if constraint == CONSTRAINT)
}
