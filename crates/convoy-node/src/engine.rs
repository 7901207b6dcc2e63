//! The JavaScript class of an engine.

use std::sync::Arc;

use convoy::{Caller, FunctionHost, FunctionKind, IncomingCall, ProgramDescription, WorkerId, Workers};
use convoy::{Code, Config, DevAnswer, Engine, Failure, output::recent_lines};
use napi::bindgen_prelude::{Buffer, Function, Object};
use napi::{Env, Result};
use napi_derive::napi;
use serde::Deserialize;
use tokio::sync::Notify;

use crate::dev_page::{DevRequestArguments, DevRequests, JsDevPage};
use crate::events::JsEventReader;
use crate::exchange::{self, NativeExchange};
use crate::host::{Calls, Delivery, JsHost};
use crate::logging::FunctionLine;
use crate::panic_point::{self, At};
use crate::promise::{malformed, parse_options, promise, rejection};
use crate::shared::{NoticeArguments, Shared};
use crate::watch::NativeWatch;
use crate::{logging, route, runtime};

/// Opens an engine. Resolves to a `NativeEngine`; `options` is JSON.
#[napi(catch_unwind)]
pub fn open<'env>(env: &'env Env, options: String) -> Result<Object<'env>> {
    panic_point::reach(At::Call);
    logging::init();
    promise(env, async move {
        let engine = Engine::open(config_of(&options)?).await.map_err(|error| error.to_failure())?;
        Ok(NativeEngine {
            shared: Shared::of(engine),
            calls: Arc::default(),
            dev_requests: Arc::default(),
            events_taken: Arc::default(),
        })
    })
}

/// Lists the steps that a database needs for a schema. Resolves to a JSON report.
#[napi(catch_unwind)]
pub fn plan_migration<'env>(env: &'env Env, options: String, schema: String) -> Result<Object<'env>> {
    panic_point::reach(At::Call);
    logging::init();
    promise(env, async move { report_json(&convoy::plan_migration(&config_of(&options)?, &schema).await) })
}

/// Executes these steps. Resolves to a JSON report.
#[napi(catch_unwind)]
pub fn apply_migration<'env>(env: &'env Env, options: String, schema: String) -> Result<Object<'env>> {
    panic_point::reach(At::Call);
    logging::init();
    promise(env, async move { report_json(&convoy::apply_migration(&config_of(&options)?, &schema).await) })
}

fn config_of(options: &str) -> std::result::Result<Config, Failure> {
    parse_options(options)
}

fn report_json(
    report: &std::result::Result<convoy::LayoutReport, convoy::OpenError>,
) -> std::result::Result<String, Failure> {
    let report = report.as_ref().map_err(convoy::OpenError::to_failure)?;
    serde_json::to_string(report).map_err(|error| malformed("report", &error))
}

async fn load(engine: &Engine, program: &str, host: Arc<dyn FunctionHost>) -> std::result::Result<String, Failure> {
    let description: ProgramDescription =
        serde_json::from_str(program).map_err(|error| malformed("program", &error))?;
    report_json(&engine.load(description, host).await)
}

/// A call from JavaScript of this process.
pub struct LocalCall {
    pub kind: String,
    pub name: String,
    pub input: String,
    pub request: Option<String>,
    /// The span of the run that calls.
    pub traceparent: Option<String>,
}

impl LocalCall {
    /// Makes the call, on `worker` if that is given. Returns the HTTP envelope.
    pub async fn call(self, engine: &Engine, worker: Option<WorkerId>) -> std::result::Result<String, Failure> {
        let LocalCall { kind, name, input, request, traceparent } = self;
        let kind = FunctionKind::parse(&kind)
            .ok_or_else(|| Failure::new(Code::InvalidArgs, "The kind of a call is query, mutation or action."))?;
        let call = IncomingCall {
            kind,
            name: &name,
            input,
            caller: Caller::Inside(request.map(Into::into)),
            key: None,
            uncached: false,
            traceparent,
        };
        let result = match worker {
            Some(worker) => engine.call_at(worker, call).await,
            None => engine.call(call).await,
        };
        Ok(convoy::envelope_of(&result))
    }
}

/// One running engine.
#[napi]
pub struct NativeEngine {
    shared: Arc<Shared>,
    calls: Arc<Calls>,
    dev_requests: Arc<DevRequests>,
    events_taken: Arc<Notify>,
}

#[derive(Deserialize)]
struct Listen {
    host: String,
    port: u16,
}

#[napi]
impl NativeEngine {
    /// Swaps in a program. Resolves to a JSON report.
    #[napi(catch_unwind)]
    pub fn load<'env>(
        &self,
        env: &'env Env,
        program: String,
        deliver: Function<'_, Delivery, ()>,
    ) -> Result<Object<'env>> {
        panic_point::reach(At::Call);
        let host = Arc::new(JsHost::new(&deliver, self.calls.clone())?);
        let engine = self.shared.engine.clone();
        promise(env, async move {
            // This thread cannot be replaced; if it is unresponsive, the log and `/api/health`
            // report that.
            let limit = engine.config().limits.unresponsive_time();
            let only = Workers::new(limit, engine.supervisor().clone(), |_| {});
            only.join(WorkerId(0), host);
            load(&engine, &program, only).await
        })
    }

    /// Lets worker threads of this process run functions. `notify` is called with notices
    /// for their owner. Returns the number by which they attach.
    #[napi(catch_unwind)]
    pub fn share(&self, notify: Function<'_, NoticeArguments, ()>) -> Result<u32> {
        panic_point::reach(At::Call);
        self.shared.publish(&notify)
    }

    /// Creates the pool of the workers that have loaded the program with this number.
    #[napi(catch_unwind)]
    pub fn open_pool(&self, number: u32) {
        panic_point::reach(At::Call);
        self.shared.open_pool(number);
    }

    /// Swaps in a program that the workers of its pool run. Resolves to a JSON report.
    #[napi(catch_unwind)]
    pub fn load_on_workers<'env>(&self, env: &'env Env, program: String, number: u32) -> Result<Object<'env>> {
        panic_point::reach(At::Call);
        let shared = self.shared.clone();
        promise(env, async move {
            let pool = shared
                .pool(number)
                .ok_or_else(|| Failure::new(Code::InvalidArgs, "There is no pool for this program."))?;
            load(&shared.engine, &program, pool).await
        })
    }

    /// Closes a pool to new workers; calls in flight continue.
    #[napi(catch_unwind)]
    pub fn close_pool(&self, number: u32) {
        panic_point::reach(At::Call);
        self.shared.close_pool(number);
    }

    /// Sends no more calls of its program to a worker, and notifies the owner once it has
    /// none in flight.
    #[napi(catch_unwind)]
    pub fn drain(&self, number: u32, worker: u32) {
        panic_point::reach(At::Call);
        if let Some(pool) = self.shared.pool(number) {
            pool.drain(WorkerId(worker));
        }
    }

    /// The workers of this program that are unresponsive now.
    #[napi(catch_unwind)]
    pub fn unresponsive_workers(&self, number: u32) -> Vec<u32> {
        panic_point::reach(At::Call);
        let workers = self.shared.pool(number).map(|pool| pool.unresponsive_workers()).unwrap_or_default();
        workers.into_iter().map(|WorkerId(id)| id).collect()
    }

    /// Serves HTTP. Resolves to JSON with the address.
    #[napi(catch_unwind)]
    pub fn listen<'env>(&self, env: &'env Env, options: String) -> Result<Object<'env>> {
        panic_point::reach(At::Call);
        let engine = self.shared.engine.clone();
        promise(env, async move {
            let Listen { host, port } = parse_options(&options)?;
            let server = engine.listen(&host, port).await.map_err(|error| {
                Failure::new(Code::Unavailable, format!("Cannot listen on {host}:{port}: {error}."))
                    .with_details(&serde_json::json!({ "inUse": error.kind() == std::io::ErrorKind::AddrInUse }))
            })?;
            let address = server.address;
            Ok(serde_json::json!({ "host": address.ip().to_string(), "port": address.port() }).to_string())
        })
    }

    /// Serves the page of `convoy dev`; `on_request` is called with each request to it.
    #[napi(catch_unwind)]
    pub fn serve_dev_page(&self, on_request: Function<'_, DevRequestArguments, ()>) -> Result<()> {
        panic_point::reach(At::Call);
        let page = JsDevPage::new(&on_request, self.dev_requests.clone())?;
        recent_lines::keep();
        self.shared.engine.serve_dev_page(Arc::new(page));
        Ok(())
    }

    /// Answers a request to the page.
    #[napi(catch_unwind)]
    pub fn answer_dev_request(&self, id: u32, status: u16, content_type: String, body: String) {
        panic_point::reach(At::Call);
        self.dev_requests.answer(id, DevAnswer { status, content_type, body });
    }

    /// The lines that this process has printed after the first `seen`, as JSON.
    #[napi(catch_unwind)]
    pub fn recent_lines(&self, seen: u32) -> String {
        panic_point::reach(At::Call);
        let (lines, total) = recent_lines::after(u64::from(seen));
        serde_json::json!({ "lines": lines, "total": total }).to_string()
    }

    /// Describes the live queries, as JSON.
    #[napi(catch_unwind)]
    pub fn live_overview(&self) -> Result<String> {
        panic_point::reach(At::Call);
        self.shared.engine.live_overview(None).map_err(|failure| rejection(&failure))
    }

    /// Passes a request of another HTTP server; `head` is JSON, `body` is `whole`, `pushed`
    /// or `upgrade`. `null` if its path is not one of Convoy's.
    #[napi(catch_unwind)]
    pub fn exchange(&self, head: String, body: String, whole: Option<Buffer>) -> Result<Option<NativeExchange>> {
        panic_point::reach(At::Call);
        exchange::begin(&self.shared, &head, &body, whole)
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
        traceparent: Option<String>,
    ) -> Result<Object<'env>> {
        panic_point::reach(At::Call);
        let engine = self.shared.engine.clone();
        promise(env, async move { LocalCall { kind, name, input, request, traceparent }.call(&engine, None).await })
    }

    /// Subscribes to a query. Resolves to a `NativeWatch`.
    #[napi(catch_unwind)]
    pub fn watch<'env>(
        &self,
        env: &'env Env,
        name: String,
        input: String,
        request: Option<String>,
    ) -> Result<Object<'env>> {
        panic_point::reach(At::Call);
        let engine = self.shared.engine.clone();
        promise(env, async move {
            let watch = engine.watch(&name, input, request.map(Into::into)).await?;
            Ok(NativeWatch::of(watch))
        })
    }

    /// Calls `on_events` with batches of events, as JSON, each after `events_taken`.
    #[napi(catch_unwind)]
    pub fn read_events(&self, on_events: Function<'_, String, ()>) -> Result<()> {
        panic_point::reach(At::Call);
        let reader = JsEventReader::new(&on_events, self.events_taken.clone())?;
        let _runtime = runtime().enter();
        self.shared.engine.read_events(Arc::new(reader));
        Ok(())
    }

    /// JavaScript has handled a batch of events.
    #[napi(catch_unwind)]
    pub fn events_taken(&self) {
        panic_point::reach(At::Call);
        self.events_taken.notify_one();
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

    /// Counters, as JSON.
    #[napi(catch_unwind)]
    pub fn stats(&self) -> Result<String> {
        panic_point::reach(At::Call);
        serde_json::to_string(&self.shared.engine.stats()).map_err(|error| rejection(&malformed("counters", &error)))
    }

    /// Drains and closes. May be called more than once.
    #[napi(catch_unwind)]
    pub fn close<'env>(&self, env: &'env Env) -> Result<Object<'env>> {
        panic_point::reach(At::Call);
        let engine = self.shared.engine.clone();
        promise(env, async move {
            engine.close().await;
            Ok(())
        })
    }
}

impl Drop for NativeEngine {
    fn drop(&mut self) {
        // Garbage-collected without `close`: its tasks and connections must end, too.
        let engine = self.shared.engine.clone();
        runtime().spawn(async move { engine.close().await });
    }
}
