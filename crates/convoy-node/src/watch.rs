//! The JavaScript class of a subscription of this process.

use std::sync::Arc;

use napi::bindgen_prelude::Object;
use napi::{Env, Result};
use napi_derive::napi;
use tokio::sync::{Mutex, Notify};

use crate::panic_point::{self, At};
use crate::promise::promise;

/// A subscription to a query.
#[napi]
pub struct NativeWatch {
    watch: Arc<Mutex<Option<convoy::Watch>>>,
    ended: Arc<Notify>,
}

impl NativeWatch {
    /// A subscription that JavaScript reads.
    pub fn of(watch: convoy::Watch) -> NativeWatch {
        NativeWatch { watch: Arc::new(Mutex::new(Some(watch))), ended: Arc::default() }
    }
}

#[napi]
impl NativeWatch {
    /// Waits for the next result. Resolves to its envelope, or to `null` at the end.
    #[napi(catch_unwind)]
    pub fn next<'env>(&self, env: &'env Env) -> Result<Object<'env>> {
        panic_point::reach(At::Call);
        let (watch, ended) = (self.watch.clone(), self.ended.clone());
        promise(env, async move {
            let mut watch = watch.lock().await;
            let Some(open) = watch.as_mut() else { return Ok(None) };
            let envelope = tokio::select! {
                envelope = open.next() => envelope,
                () = ended.notified() => None,
            };
            if envelope.is_none() {
                *watch = None;
            }
            Ok(envelope)
        })
    }

    /// Ends the subscription; the pending `next` resolves to `null`.
    #[napi(catch_unwind)]
    pub fn close(&self) {
        panic_point::reach(At::Call);
        self.ended.notify_one();
    }
}
