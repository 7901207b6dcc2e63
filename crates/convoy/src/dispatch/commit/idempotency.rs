//! Idempotency keys: a mutation that is repeated with the same key takes effect once.
//!
//! The answer is stored in the mutation's own transaction, so it exists exactly if the
//! mutation has taken effect. There is no lookup before a run: a repeated call violates the
//! unique constraint of the key, or fails because of the first call's effect, and only then
//! is the stored response read. Failures are not stored.

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
use crate::failpoints::Failpoint;
use crate::postgres::{DbError, Transaction};
use crate::sql::idempotency::{self, CONSTRAINT, Entry};

/// The maximum length of a key in bytes.
const MAX_KEY_BYTES: usize = 128;

/// A caller's key: 1 to 128 printable ASCII characters.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Key(Arc<str>);

impl Key {
    /// Parses the value of the header.
    pub fn parse(text: &str) -> Result<Key, Failure> {
        let fits = (1..=MAX_KEY_BYTES).contains(&text.len()) && text.bytes().all(|byte| (0x20..0x7f).contains(&byte));
        if !fits {
            let message = format!("Idempotency-Key is 1 to {MAX_KEY_BYTES} printable ASCII characters.");
            return Err(Failure::new(Code::InvalidArgs, message));
        }
        Ok(Key(text.into()))
    }

    /// The text of the key.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A call that has a key and an identity.
#[derive(Debug, Clone)]
pub(in crate::dispatch) struct Keyed {
    pub entry: Entry,
}

impl Keyed {
    /// `None` if the call has no key, or its caller has no identity.
    pub(crate) fn of(scope: &CallScope, identity: Option<&str>) -> Option<Keyed> {
        let CallScope { program, request, .. } = scope;
        let key = request.key.as_ref()?;
        if scope.dispatcher.inner.failpoints.has(Failpoint::ForgetKeys) {
            return None;
        }
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

/// Locks that let one call per key run at a time in this process.
#[derive(Default)]
pub(in crate::dispatch) struct KeyLocks {
    locks: Mutex<HashMap<Name, Arc<AsyncMutex<()>>>>,
    /// The calls that hold a lock or wait for one.
    calls: AtomicUsize,
}

impl KeyLocks {
    /// Locks the key of this function. At most `max` calls may hold a lock or wait for one.
    pub(crate) async fn lock(
        &self,
        function: &Function,
        key: &Key,
        max: usize,
        deadline: Instant,
    ) -> Result<KeyGuard<'_>, Failure> {
        let name = (function.name.clone(), key.clone());
        let mutex = self.locks.lock().entry(name.clone()).or_default().clone();
        let mut key_guard = KeyGuard { keys: self, name, guard: None };
        if self.calls.fetch_add(1, Ordering::Relaxed) >= max {
            return Err(overloaded(max));
        }
        match tokio::time::timeout_at(deadline, mutex.lock_owned()).await {
            Ok(guard) => {
                key_guard.guard = Some(guard);
                Ok(key_guard)
            }
            Err(_elapsed) => {
                let message =
                    "Another call with this Idempotency-Key is still running; call again to get its response.";
                Err(Failure::new(Code::Timeout, message))
            }
        }
    }
}

/// The lock of a key, released on drop.
pub(in crate::dispatch) struct KeyGuard<'a> {
    keys: &'a KeyLocks,
    name: Name,
    guard: Option<OwnedMutexGuard<()>>,
}

impl Drop for KeyGuard<'_> {
    fn drop(&mut self) {
        self.guard = None;
        self.keys.calls.fetch_sub(1, Ordering::Relaxed);
        let mut locks = self.keys.locks.lock();
        // Waiting calls have a reference to the mutex, too.
        if locks.get(&self.name).is_some_and(|mutex| Arc::strong_count(mutex) == 1) {
            locks.remove(&self.name);
        }
    }
}

/// Stores responses in the transaction.
pub(super) async fn store(transaction: &mut Transaction, responses: &[(&Entry, &str)]) -> Result<(), DbError> {
    transaction.run(idempotency::store_responses(responses)).await.map(|_| ())
}

impl Committer {
    /// The stored response of an earlier call with the same key, or else `failure`.
    pub(crate) async fn replay(
        &self,
        failure: Failure,
        keyed: Option<Keyed>,
        within: Duration,
    ) -> Result<Answer, Failure> {
        let Some(keyed) = keyed else { return Err(failure) };
        let found = match self.postgres.read_within(within, &idempotency::find(&keyed.entry)).await {
            Ok(found) => found,
            // The original failure is returned, and the caller can retry.
            Err(error) => {
                tracing::debug!(cause = %error, "the stored response of a key could not be read");
                return Err(failure);
            }
        };
        let Some(row) = found.first() else { return Err(failure) };
        let read = || Ok::<_, DbError>((row.uuid(0)?, Bytes::copy_from_slice(row.text(1)?.as_bytes())));
        let (body, result) = read().map_err(|error| error.to_failure("idempotency"))?;
        if body != keyed.entry.body {
            return Err(Failure::new(
                Code::Conflict,
                "This Idempotency-Key was used with another input; a new call needs a new key.",
            ));
        }
        Ok(Answer { result, replayed: true })
    }
}

/// Whether a statement failed because an answer is stored for its key.
pub(in crate::dispatch) fn is_duplicate_key(error: &DbError) -> bool {
    matches!(error, DbError::Constraint { constraint, .. } if constraint == CONSTRAINT)
}
