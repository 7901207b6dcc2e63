//! The class JavaScript holds an engine by.

use std::sync::Arc;

use convoy::dispatch::{CallOf, Caller, FunctionKind, ProgramDescription};
use convoy::{Code, Config, Engine, Failure};
use napi::bindgen_prelude::{Function, Object};
use napi::{Env, Result};
use napi_derive::napi;
use serde::Deserialize;

use crate::host::{Calls, Delivery, JsHost, outcome, rest};
use crate::promise::{malformed, promise, rejection};
use crate::{logging, runtime};

/// Opens an engine. Resolves to a `NativeEngine`; `options` is JSON.
#[napi(catch_unwind)]
pub fn open<'env>(env: &'env Env, options: String) -> Result<Object<'env>> {
    logging::init();
    promise(env, async move {
        let config: Config = serde_json::from_str(&options).map_err(|error| malformed("options", &error))?;
        let engine = Engine::open(config).await.map_err(|error| error.to_failure())?;
        Ok(NativeEngine { engine, calls: Arc::default() })
    })
}

/// One running engine.
#[napi]
pub struct NativeEngine {
    engine: Arc<Engine>,
    calls: Arc<Calls>,
}

#[derive(Deserialize)]
struct Listen {
    host: String,
    port: u16,
}

#[napi]
impl NativeEngine {
    /// Swaps a program in. Resolves to a JSON report.
    #[napi(catch_unwind)]
    pub fn load<'env>(
        &self,
        env: &'env Env,
        program: String,
        deliver: Function<'_, Delivery, ()>,
    ) -> Result<Object<'env>> {
        let host = Arc::new(JsHost::new(&deliver, self.calls.clone())?);
        let engine = self.engine.clone();
        promise(env, async move {
            let description: ProgramDescription =
                serde_json::from_str(&program).map_err(|error| malformed("program", &error))?;
            let report = engine.load(description, host).await.map_err(|error| error.to_failure())?;
            serde_json::to_string(&report).map_err(|error| malformed("report", &error))
        })
    }

    /// Serves HTTP. Resolves to JSON with the address.
    #[napi(catch_unwind)]
    pub fn listen<'env>(&self, env: &'env Env, options: String) -> Result<Object<'env>> {
        let engine = self.engine.clone();
        promise(env, async move {
            let Listen { host, port } = serde_json::from_str(&options).map_err(|error| malformed("options", &error))?;
            let server = engine.listen(&host, port).await.map_err(|error| {
                Failure::new(Code::Unavailable, format!("cannot listen on {host}:{port}: {error}"))
                    .with_details(&serde_json::json!({ "inUse": error.kind() == std::io::ErrorKind::AddrInUse }))
            })?;
            let address = server.address;
            Ok(serde_json::json!({ "host": address.ip().to_string(), "port": address.port() }).to_string())
        })
    }

    /// Calls a function. Resolves to the HTTP envelope, errors included.
    #[napi(catch_unwind)]
    pub fn call<'env>(
        &self,
        env: &'env Env,
        kind: String,
        name: String,
        input: String,
        request: Option<String>,
    ) -> Result<Object<'env>> {
        let engine = self.engine.clone();
        promise(env, async move {
            let kind = FunctionKind::parse(&kind)
                .ok_or_else(|| Failure::new(Code::InvalidArgs, "a call is one of a query, a mutation or an action"))?;
            let caller = Caller::Inside(request.map(Into::into));
            let result = engine.call(CallOf { kind, name: &name, input, caller, key: None }).await;
            Ok(convoy::http::envelope_of(&result))
        })
    }

    /// Takes one batch of a call's operations.
    #[napi(catch_unwind)]
    pub fn operate(&self, call: i64, batch: u32, ops: String) -> Result<()> {
        if self.calls.operate(call, batch, ops) {
            return Ok(());
        }
        Err(rejection(&Failure::new(
            Code::Internal,
            "too many batches of operations are waiting; await some before starting more",
        )))
    }

    /// Ends a call.
    #[napi(catch_unwind)]
    pub fn respond(&self, call: i64, ok: bool, text: String, more: Option<String>) -> Result<()> {
        // A call the engine gave up is not in the table any more.
        let Some(link) = self.calls.take(call) else { return Ok(()) };
        let more = rest(more).map_err(|error| rejection(&malformed("an answer", &error)))?;
        if let Err(error) = link.respond(outcome(ok, text), more) {
            tracing::debug!(cause = %error, "a function answered a call that is over");
        }
        Ok(())
    }

    /// New document ids, increasing.
    #[napi(catch_unwind)]
    pub fn mint_ids(&self, count: u32) -> Vec<String> {
        (0..count).map(|_| convoy::id::mint().to_string()).collect()
    }

    /// Counters, as JSON.
    #[napi(catch_unwind)]
    pub fn stats(&self) -> Result<String> {
        serde_json::to_string(&self.engine.stats()).map_err(|error| rejection(&malformed("counters", &error)))
    }

    /// Drains and closes. May be called more than once.
    #[napi(catch_unwind)]
    pub fn close<'env>(&self, env: &'env Env) -> Result<Object<'env>> {
        let engine = self.engine.clone();
        promise(env, async move {
            engine.close().await;
            Ok(())
        })
    }
}

impl Drop for NativeEngine {
    fn drop(&mut self) {
        // Collected without `close`: nothing it started may outlive it.
        let engine = self.engine.clone();
        runtime().spawn(async move { engine.close().await });
    }
}
