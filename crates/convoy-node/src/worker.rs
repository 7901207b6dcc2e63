//! The JavaScript class by which a worker thread uses the engine of its process.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use convoy::{Code, Failure};
use convoy::{WorkerId, Workers};
use napi::bindgen_prelude::{Buffer, Function, Object};
use napi::{Env, Result};
use napi_derive::napi;

use crate::engine::LocalCall;
use crate::host::{Calls, Delivery, JsHost};
use crate::logging::FunctionLine;
use crate::panic_point::{self, At};
use crate::promise::{promise, rejection};
use crate::shared::Shared;
use crate::{logging, route, runtime};

/// Attaches this thread, as the worker with this id, to the engine with this number.
#[napi(catch_unwind)]
pub fn attach(engine: u32, worker: u32) -> Result<NativeWorker> {
    panic_point::reach(At::Call);
    let shared = Shared::find(engine)
        .ok_or_else(|| rejection(&Failure::new(Code::Unavailable, "The engine of this worker has closed.")))?;
    Ok(NativeWorker { shared, id: WorkerId(worker), calls: Arc::default(), joined: Mutex::default() })
}

/// A thread that runs functions.
#[napi]
pub struct NativeWorker {
    shared: Arc<Shared>,
    id: WorkerId,
    calls: Arc<Calls>,
    /// The pools it has joined, including those of replaced programs.
    joined: Mutex<Vec<Weak<Workers>>>,
}

#[napi]
impl NativeWorker {
    /// Adds this thread to the pool of the program with this number.
    #[napi(catch_unwind)]
    pub fn join(&self, number: u32, deliver: Function<'_, Delivery, ()>) -> Result<()> {
        panic_point::reach(At::Call);
        let pool = self.shared.pool(number).ok_or_else(|| {
            rejection(&Failure::new(Code::Unavailable, "Another program was loaded before this worker was ready."))
        })?;
        let host = Arc::new(JsHost::new(&deliver, self.calls.clone())?);
        let _runtime = runtime().enter();
        pool.join(self.id, host);
        self.joined.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::downgrade(&pool));
        Ok(())
    }

    /// Calls a function on this worker. Resolves to the HTTP envelope, errors included.
    #[napi(catch_unwind)]
    pub fn call<'env>(
        &self,
        env: &'env Env,
        kind: String,
        name: String,
        input: String,
        request: Option<String>,
        traceparent: Option<String>,
    ) -> Result<Object<'env>> {
        panic_point::reach(At::Call);
        let (shared, id) = (self.shared.clone(), self.id);
        promise(env, async move {
            LocalCall { kind, name, input, request, traceparent }.call(&shared.engine, Some(id)).await
        })
    }

    /// Logs a line of a function.
    #[napi(catch_unwind)]
    pub fn log(&self, call: i64, level: String, function: String, message: String, fields: Option<String>) {
        panic_point::reach(At::Call);
        logging::log_of_function(&FunctionLine { call, level, function, message, fields });
    }

    /// The span of a call that runs, as a `traceparent`, if it has one.
    #[napi(catch_unwind)]
    pub fn traceparent(&self, call: i64) -> Option<String> {
        panic_point::reach(At::Call);
        self.calls.traceparent(call)
    }

    /// Executes one batch of a call's operations.
    #[napi(catch_unwind)]
    pub fn operate(&self, call: i64, batch: u32, ops: String) -> Result<()> {
        panic_point::reach(At::Call);
        self.calls.operate(call, batch, ops)
    }

    /// Ends a call.
    #[napi(catch_unwind)]
    pub fn respond(&self, call: i64, ok: bool, text: String, more: Option<String>) -> Result<()> {
        panic_point::reach(At::Call);
        self.calls.respond(call, ok, text, more)
    }

    /// The next chunk of the request body of a route. Resolves to a `Buffer`, or to `null`.
    #[napi(catch_unwind)]
    pub fn read_body<'env>(&self, env: &'env Env, call: i64) -> Result<Object<'env>> {
        panic_point::reach(At::Call);
        route::read_body(env, self.calls.route(call))
    }

    /// Starts the response of a route: `head` is JSON, `body` the whole body if it is known.
    #[napi(catch_unwind)]
    pub fn begin_response(&self, call: i64, head: String, body: Option<Buffer>) -> Result<()> {
        panic_point::reach(At::Call);
        route::begin_response(self.calls.route(call), &head, body)
    }

    /// Sends a chunk of the response of a route. Resolves to whether the client takes more.
    #[napi(catch_unwind)]
    pub fn write_response<'env>(&self, env: &'env Env, call: i64, chunk: Buffer) -> Result<Object<'env>> {
        panic_point::reach(At::Call);
        route::write_response(env, self.calls.route(call), chunk)
    }

    /// Resolves to true when the client of a route has left, and to false when it has ended.
    #[napi(catch_unwind)]
    pub fn client_gone<'env>(&self, env: &'env Env, call: i64) -> Result<Object<'env>> {
        panic_point::reach(At::Call);
        route::client_gone(env, self.calls.route(call))
    }

    /// New document ids, increasing.
    #[napi(catch_unwind)]
    pub fn mint_ids(&self, count: u32) -> Vec<String> {
        panic_point::reach(At::Call);
        (0..count).map(|_| convoy::id::mint().to_string()).collect()
    }
}

impl Drop for NativeWorker {
    fn drop(&mut self) {
        // The thread ends or is terminated: first it leaves its pools, so that it receives no
        // new calls; then its calls in flight fail.
        let joined = std::mem::take(&mut *self.joined.lock().unwrap_or_else(PoisonError::into_inner));
        joined.iter().filter_map(Weak::upgrade).for_each(|pool| pool.leave(self.id));
        self.calls.close();
    }
}
