//! A function host whose functions are Rust closures, in place of JavaScript.

use std::collections::{HashMap, VecDeque};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use convoy::{
    CallId, CallLink, CallMetadata, FunctionHost, FunctionResult, HostInvocation, HostTask, HostTurn, RouteExchange,
    Seen, UnstartedCall,
};
use convoy::{Code, Failure};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::oneshot;

/// The outcome of a function: a result or an error.
pub(crate) type Returns = Result<Value, Thrown>;
type RunningFunction = Pin<Box<dyn Future<Output = Returns> + Send>>;
type Body = Arc<dyn Fn(Ctx, Value) -> RunningFunction + Send + Sync>;

/// The error of a scripted function.
#[derive(Debug)]
pub enum Thrown {
    /// A `ConvoyError`, by its code and message.
    Refused(Code, String),
    /// Any other error.
    Broke(String),
}

/// The functions of a test's program.
#[derive(Default, Clone)]
pub struct Functions {
    pub(crate) descriptions: Vec<Value>,
    pub(crate) route_descriptions: Vec<Value>,
    bodies: Vec<Body>,
    routes: Vec<Body>,
    context: Option<Body>,
    pub(crate) role: Option<String>,
    wrap: Option<Wrap>,
}

type Wrap = Arc<dyn Fn(Arc<dyn FunctionHost>) -> Arc<dyn FunctionHost> + Send + Sync>;

impl Functions {
    /// No functions yet.
    pub fn new() -> Functions {
        Functions::default()
    }

    /// Adds a query.
    pub fn query<F>(self, name: &str, body: impl Fn(Ctx, Value) -> F + Send + Sync + 'static) -> Functions
    where
        F: Future<Output = Returns> + Send + 'static,
    {
        self.add(json!({ "name": name, "kind": "query" }), body)
    }

    /// Adds a mutation.
    pub fn mutation<F>(self, name: &str, body: impl Fn(Ctx, Value) -> F + Send + Sync + 'static) -> Functions
    where
        F: Future<Output = Returns> + Send + 'static,
    {
        self.add(json!({ "name": name, "kind": "mutation" }), body)
    }

    /// Adds an action.
    pub fn action<F>(self, name: &str, body: impl Fn(Ctx, Value) -> F + Send + Sync + 'static) -> Functions
    where
        F: Future<Output = Returns> + Send + 'static,
    {
        self.add(json!({ "name": name, "kind": "action" }), body)
    }

    /// Adds a function with a description of its own.
    pub fn add<F>(mut self, descriptions: Value, body: impl Fn(Ctx, Value) -> F + Send + Sync + 'static) -> Functions
    where
        F: Future<Output = Returns> + Send + 'static,
    {
        self.descriptions.push(descriptions);
        self.bodies.push(Arc::new(move |ctx, input| Box::pin(body(ctx, input))));
        self
    }

    /// Adds an HTTP route with these options. Its body gets the input of the route, and uses
    /// [`Ctx::exchange`].
    pub fn route<F>(
        mut self,
        (method, path, options): (&str, &str, Value),
        body: impl Fn(Ctx, Value) -> F + Send + Sync + 'static,
    ) -> Functions
    where
        F: Future<Output = Returns> + Send + 'static,
    {
        let name = format!("route{}", self.routes.len());
        self.route_descriptions.push(json!({ "name": name, "method": method, "path": path, "options": options }));
        self.routes.push(Arc::new(move |ctx, input| Box::pin(body(ctx, input))));
        self
    }

    /// Sets the function that makes contexts: it describes the caller by [`Ctx::saw`], or
    /// rejects the request. Without it, all callers are alike.
    pub fn context<F>(mut self, body: impl Fn(Ctx) -> F + Send + Sync + 'static) -> Functions
    where
        F: Future<Output = Returns> + Send + 'static,
    {
        self.context = Some(Arc::new(move |ctx, _| Box::pin(body(ctx))));
        self
    }

    /// Has operations with `settings` run under this role of Postgres.
    pub fn under_role(self, role: &str) -> Functions {
        Functions { role: Some(role.to_owned()), ..self }
    }

    /// Wraps the host that runs them.
    pub fn on(
        self,
        wrap: impl Fn(Arc<dyn FunctionHost>) -> Arc<dyn FunctionHost> + Send + Sync + 'static,
    ) -> Functions {
        Functions { wrap: Some(Arc::new(wrap)), ..self }
    }

    /// The host that runs them.
    pub fn host(self) -> Arc<dyn FunctionHost> {
        let no_context: Body = Arc::new(|ctx, _| {
            ctx.saw_nothing();
            Box::pin(async { Ok(Value::Null) })
        });
        let context = self.context.unwrap_or(no_context);
        let host = Arc::new(ScriptedHost { bodies: self.bodies, routes: self.routes, context, calls: Arc::default() });
        match self.wrap {
            Some(wrap) => wrap(host),
            None => host,
        }
    }
}

/// The database access of a running function.
#[derive(Clone)]
pub struct Ctx {
    call: Arc<RunningCall>,
}

struct RunningCall {
    link: Mutex<Option<CallLink>>,
    caller: Option<Arc<str>>,
    waiting: Mutex<HashMap<u32, oneshot::Sender<String>>>,
    next_batch: AtomicU32,
    held: Mutex<Vec<Value>>,
    identity: Mutex<Option<String>>,
    refresh_ms: Mutex<Option<u64>>,
    impure: AtomicBool,
    seen: Mutex<Option<Seen>>,
    expires_at: Mutex<Option<f64>>,
    user: Mutex<Option<String>>,
    turns: Mutex<Option<Turns>>,
}

/// The calls that have their turns after this one, and the documents they read.
#[derive(Default)]
struct Turns {
    next: VecDeque<(CallId, Vec<Value>)>,
    /// By id, as the last call has read them or as their patches have left them.
    documents: HashMap<String, Value>,
}

impl Ctx {
    /// Runs one operation in its wire format.
    pub async fn op(&self, op: Value) -> Returns {
        let mut all = self.ops(json!([op])).await?;
        all.remove(0)
    }

    /// Runs a batch of operations in one message.
    pub async fn ops(&self, ops: Value) -> Result<Vec<Returns>, Thrown> {
        let batch = self.call.next_batch.fetch_add(1, Ordering::Relaxed);
        let (sender, receiver) = oneshot::channel();
        self.call.waiting.lock().insert(batch, sender);
        let sent = self.call.link.lock().as_ref().map(|link| link.operate(batch, ops.to_string()));
        match sent {
            Some(Ok(())) => {}
            Some(Err(error)) => return Err(Thrown::Broke(error.to_string())),
            None => return Err(Thrown::Broke("the call has ended".into())),
        }
        let results = receiver.await.map_err(|_| Thrown::Broke("the call was abandoned".into()))?;
        let results: Vec<Value> = serde_json::from_str(&results).expect("the engine answers JSON");
        Ok(results.into_iter().map(op_result).collect())
    }

    /// Holds an insert until the function ends, as hosts do for tables that never reject one.
    pub fn hold(&self, table: &str, doc: Value) -> String {
        let id = convoy::id::mint().to_string();
        self.hold_op(json!({ "op": "insert", "table": table, "id": id, "doc": doc }));
        id
    }

    /// Holds an operation until the function ends.
    pub fn hold_op(&self, op: Value) {
        self.call.held.lock().push(op);
    }

    /// Reports the caller, as a host does after it has made the context of the call.
    pub fn identify(&self, identity: &str) {
        *self.call.identity.lock() = Some(identity.to_owned());
    }

    /// Reports that the result depends on something that changes without a write.
    pub fn is_impure(&self) {
        self.call.impure.store(true, Ordering::Relaxed);
    }

    /// Reports that the result must be refreshed after this time.
    pub fn refresh_after(&self, ms: u64) {
        *self.call.refresh_ms.lock() = Some(ms);
    }

    /// Reports a context field that this run has read, or that a context has, with its value;
    /// `None` if it cannot be compared.
    pub fn saw(&self, key: &str, value: Option<&Value>) {
        let mut seen = self.call.seen.lock();
        seen.get_or_insert_default().insert(key.to_owned(), value.map(Value::to_string));
    }

    /// Reports that this run has read no context field.
    pub fn saw_nothing(&self) {
        self.call.seen.lock().get_or_insert_default();
    }

    /// Reports when the context expires, in milliseconds since 1970.
    pub fn expires_at(&self, ms: f64) {
        *self.call.expires_at.lock() = Some(ms);
    }

    /// Reports the user that a context has found.
    pub fn signed_in(&self, user: &str) {
        *self.call.user.lock() = Some(user.to_owned());
    }

    /// Drops the call without an answer, like a worker thread that exits.
    pub fn end_host(&self) {
        self.call.link.lock().take();
    }

    /// Inserts a document and waits for it.
    pub async fn insert(&self, table: &str, doc: Value) -> Result<String, Thrown> {
        let id = convoy::id::mint().to_string();
        self.op(json!({ "op": "insert", "table": table, "id": id, "doc": doc })).await?;
        Ok(id)
    }

    /// The request and response of a route.
    pub fn exchange(&self) -> Arc<RouteExchange> {
        let link = self.call.link.lock();
        link.as_ref().and_then(CallLink::route).cloned().expect("the call is that of a route")
    }

    /// The caller, if the program has a context.
    pub fn caller(&self) -> Option<Value> {
        self.call.caller.as_deref().map(|caller| serde_json::from_str(caller).expect("the engine sends JSON"))
    }
}

fn op_result(result: Value) -> Returns {
    match result.get("error") {
        None => Ok(result["ok"].clone()),
        Some(error) => {
            let code = error["code"].as_str().and_then(Code::parse).expect("a known code");
            Err(Thrown::Refused(code, error["message"].as_str().unwrap_or_default().to_owned()))
        }
    }
}

pub(crate) struct ScriptedHost {
    bodies: Vec<Body>,
    routes: Vec<Body>,
    context: Body,
    calls: Calls,
}

type Calls = Arc<Mutex<HashMap<CallId, Arc<RunningCall>>>>;

impl Turns {
    /// Answers the first batch of the next call that has not ended.
    fn begin(mut self, calls: &Calls) {
        let (running, mut answers) = loop {
            let Some((call, answers)) = self.next.pop_front() else { return };
            if let Some(running) = calls.lock().get(&call).cloned() {
                break (running, answers);
            }
        };
        for answer in &mut answers {
            let id = answer["ok"]["id"].as_str().expect("only documents are answered in advance").to_owned();
            let document = self.documents.entry(id).or_insert_with(|| answer["ok"].clone());
            answer["ok"] = document.clone();
        }
        *running.turns.lock() = Some(self);
        let waiting = running.waiting.lock().remove(&0);
        if let Some(sender) = waiting {
            drop(sender.send(Value::from(answers).to_string()));
        }
    }

    /// Applies what a call has held.
    fn apply(&mut self, writes: &[Value]) {
        for write in writes.iter().filter(|write| write["op"] == "patch") {
            let id = format!("{}:{}", write["table"].as_str().expect("a table"), write["id"].as_str().expect("an id"));
            let Some(document) = self.documents.get_mut(&id).and_then(Value::as_object_mut) else { continue };
            document.extend(write["set"].as_object().expect("an object").clone());
            for key in write["unset"].as_array().expect("an array") {
                document.remove(key.as_str().expect("a key"));
            }
        }
    }
}

impl FunctionHost for ScriptedHost {
    fn start(&self, invocation: HostInvocation, link: CallLink) -> Option<UnstartedCall> {
        let HostInvocation { call, work, input, request, .. } = invocation;
        let running = Arc::new(RunningCall {
            link: Mutex::new(Some(link)),
            caller: request,
            waiting: Mutex::default(),
            next_batch: AtomicU32::new(0),
            held: Mutex::default(),
            identity: Mutex::default(),
            refresh_ms: Mutex::default(),
            impure: AtomicBool::new(false),
            seen: Mutex::default(),
            expires_at: Mutex::default(),
            user: Mutex::default(),
            turns: Mutex::default(),
        });
        self.calls.lock().insert(call, running.clone());
        let body = match work {
            HostTask::Function(function) => self.bodies[function as usize].clone(),
            HostTask::Route(route) => self.routes[route as usize].clone(),
            HostTask::Context => self.context.clone(),
        };
        let calls = self.calls.clone();
        let input = serde_json::from_str(&input).expect("the engine sends JSON");
        tokio::spawn(async move {
            let result = match body(Ctx { call: running.clone() }, input).await {
                Ok(result) => FunctionResult::Returned(result.to_string()),
                Err(Thrown::Refused(code, message)) => FunctionResult::Refused(Failure::new(code, message)),
                Err(Thrown::Broke(message)) => FunctionResult::Threw { message, stack: String::new() },
            };
            calls.lock().remove(&call);
            let writes = std::mem::take(&mut *running.held.lock());
            let held = writes.clone();
            let only_inserts = held.iter().all(|op| op["op"] == "insert");
            let held = (!held.is_empty()).then(|| serde_json::value::to_raw_value(&held).expect("values are JSON"));
            let (held, held_writes) = if only_inserts { (held, None) } else { (None, held) };
            let metadata = CallMetadata {
                held,
                writes: held_writes,
                identity: running.identity.lock().take(),
                refresh_ms: *running.refresh_ms.lock(),
                impure: running.impure.load(Ordering::Relaxed),
                seen: running.seen.lock().take(),
                expires_at: *running.expires_at.lock(),
                user: running.user.lock().clone(),
                unused: false,
            };
            let returned = matches!(result, FunctionResult::Returned(_));
            let link = running.link.lock().take();
            if let Some(link) = link {
                // The engine ignores the result of an abandoned call.
                drop(link.respond(result, metadata));
                let turns = running.turns.lock().take();
                if let Some(mut turns) = turns.filter(|_| running.next_batch.load(Ordering::Relaxed) == 1) {
                    turns.apply(if returned { &writes } else { &[] });
                    turns.begin(&calls);
                }
            }
        });
        None
    }

    fn results_in_turn(&self, turns: &[HostTurn]) -> usize {
        let answers = |turn: &HostTurn| serde_json::from_str(&turn.answers).expect("the engine answers JSON");
        let next = turns.iter().map(|turn| (turn.call, answers(turn))).collect();
        Turns { next, ..Turns::default() }.begin(&self.calls);
        turns.len()
    }

    fn results(&self, call: CallId, batch: u32, results: String) {
        let running = self.calls.lock().get(&call).cloned();
        if let Some(sender) = running.and_then(|running| running.waiting.lock().remove(&batch)) {
            drop(sender.send(results));
        }
    }

    fn abandon(&self, call: CallId, _why: &Failure) {
        if let Some(running) = self.calls.lock().remove(&call) {
            running.link.lock().take();
            running.waiting.lock().clear();
        }
    }
}
