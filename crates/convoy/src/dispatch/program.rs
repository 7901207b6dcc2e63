//! The loaded program: the schema, the functions by name, and their host. Replaced as a
//! whole, so that a call runs on one version throughout.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use parking_lot::Mutex;
use serde::Deserialize;
use tokio::sync::OnceCell;

use super::call_limits::OwnLimits;
use super::prefetch::{FirstOperations, Predictions};
use super::{FunctionHost, HostTask, WorkerId, names};
use crate::config::Cors;
use crate::error::{Code, Failure};
use crate::postgres::RowSecurity;
use crate::rate_limit::Policy;
use crate::schema::{Schema, SchemaDescription, SchemaError};
use crate::telemetry::{FunctionMetrics, Metrics};

/// One version of the user code.
pub(crate) struct Program {
    /// Its tables.
    pub schema: Arc<Schema>,
    /// Whether it defines `createContext`. Then results may depend on the caller.
    pub has_context: bool,
    /// Whether any function has a rate limit.
    pub has_rate_limits: bool,
    functions: Arc<HashMap<String, Arc<Function>>>,
    /// Its HTTP routes, in the order of the description.
    pub routes: Arc<[Arc<Route>]>,
    /// `createContext` as a function; it runs like a query.
    pub context: Arc<Function>,
    /// The host that runs its functions.
    pub host: Arc<dyn FunctionHost>,
    /// The role that the calls of clients run under, if it has one.
    pub row_security: Option<Arc<RowSecurity>>,
    /// Its OpenAPI document, once it was requested.
    pub openapi: Arc<OnceCell<OpenApiDocument>>,
    /// Whether messages to the network explain why a function cannot be called.
    dev: bool,
}

/// One function.
pub(crate) struct Function {
    /// Its name, such as `messages.list`.
    pub name: Arc<str>,
    /// Its kind.
    pub kind: FunctionKind,
    /// Its identifier in the host.
    pub work: HostTask,
    /// Whether the network may call it.
    pub internal: bool,
    /// Whether its results may be shared between callers at all.
    pub share: bool,
    /// Whether calls may be answered from the result cache.
    pub cached: bool,
    /// Whether each call is one transaction.
    pub transactional: bool,
    /// How a query that also answers GET is answered; `None` if it does not.
    pub http_get: Option<HttpGet>,
    /// How often a caller may call it.
    pub rate_limit: Option<Policy>,
    /// The limits that differ from those of the engine.
    pub limits: OwnLimits,
    /// Traits learned from its runs.
    pub learned: LearnedTraits,
    /// Records its calls.
    pub metrics: FunctionMetrics,
}

/// The OpenAPI document of a program.
#[derive(Debug, Clone)]
pub(crate) struct OpenApiDocument {
    /// JSON text.
    pub text: Bytes,
    /// The hash of the text.
    pub hash: String,
}

/// How GET requests for a query are answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct HttpGet {
    /// Seconds for which shared caches may keep an answer that is the same for everyone;
    /// `None` if they may keep none.
    pub public_max_age: Option<u32>,
}

/// An HTTP route.
pub(crate) struct Route {
    /// The name by which it is exported.
    pub name: String,
    /// `GET`; `None` stands for every method but `OPTIONS`.
    pub method: Option<String>,
    /// As it was written: `/webhooks/:id`.
    pub path: String,
    /// Its limits and checks.
    pub options: RouteOptions,
    /// Its handler as an action, whose name is method and path.
    pub function: Arc<Function>,
}

/// The limits and checks of a route.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct RouteOptions {
    /// Milliseconds until its response begins; `limits.actionMs` by default.
    pub timeout_ms: Option<u64>,
    /// Bytes of a request body; `limits.bodyBytes` by default.
    pub body_bytes: Option<u64>,
    /// Whether pages of every origin may send requests, with cookies.
    pub cross_site: bool,
    /// Replaces the `cors` of the engine.
    pub cors: Option<Cors>,
    /// How often a caller may send requests.
    pub rate_limit: Option<Policy>,
}

/// Traits of a function that one of its runs has shown.
#[derive(Default)]
pub(crate) struct LearnedTraits {
    /// The operations with which it begins.
    pub(super) first_operations: FirstOperations,
    /// Whether it only reads documents in its first batch and holds its writes, so that its turn
    /// in a serial queue needs one delivery.
    pub(super) turns: Mutex<Predictions>,
    /// It issued more than one statement, so it starts in a snapshot.
    pub needs_snapshot: Latch,
    /// It sent an operation that needs a transaction, so it starts in one.
    pub needs_transaction: Latch,
    /// It failed after it had written, or needed another strategy than a buffer; in a serial
    /// queue it gets a savepoint in place of the buffer.
    pub needs_savepoint: Latch,
    /// It wrote by `raw`; the changes of such a write are read from the change log.
    pub writes_raw: Latch,
    /// It ran `raw`, which may change settings for the rest of a transaction, so it shares
    /// its transaction with no other call.
    pub runs_raw: Latch,
}

/// A flag that is set once and stays set.
#[derive(Default)]
pub(crate) struct Latch(AtomicBool);

impl Latch {
    /// Sets it.
    pub(crate) fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether it is set.
    pub(crate) fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// The kinds of functions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FunctionKind {
    /// Reads; may run again at any time.
    Query,
    /// Reads and writes in one serializable transaction, unless it opted out.
    Mutation,
    /// Talks to other systems; has no transaction.
    Action,
}

impl FunctionKind {
    /// The word in paths and messages.
    pub fn as_str(self) -> &'static str {
        match self {
            FunctionKind::Query => "query",
            FunctionKind::Mutation => "mutation",
            FunctionKind::Action => "action",
        }
    }

    /// Parses the word in a path.
    pub fn parse(word: &str) -> Option<FunctionKind> {
        [FunctionKind::Query, FunctionKind::Mutation, FunctionKind::Action]
            .into_iter()
            .find(|kind| kind.as_str() == word)
    }
}

/// The host's description of a program.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ProgramDescription {
    schema: SchemaDescription,
    functions: Vec<FunctionDescription>,
    #[serde(default)]
    routes: Vec<RouteDescription>,
    has_context: bool,
    /// The role that the calls of clients run under.
    rls: Option<RlsDescription>,
    /// Whether loading it may change tables of the database.
    pub sync: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RlsDescription {
    role: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct FunctionDescription {
    name: String,
    kind: FunctionKind,
    #[serde(default)]
    internal: bool,
    #[serde(default = "yes")]
    share: bool,
    #[serde(default = "yes")]
    transaction: bool,
    /// A method beside POST by which it can be called.
    http: Option<HttpMethod>,
    cache: Option<CacheDescription>,
    /// Whether calls may be answered from the result cache.
    #[serde(default = "yes")]
    result_cache: bool,
    rate_limit: Option<Policy>,
    #[serde(default)]
    limits: OwnLimits,
}

#[derive(Debug, Deserialize)]
enum HttpMethod {
    #[serde(rename = "GET")]
    Get,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct CacheDescription {
    /// Seconds.
    max_age: u32,
}

#[derive(Debug, Deserialize)]
struct RouteDescription {
    name: String,
    /// `ALL` for every method but `OPTIONS`.
    method: String,
    path: String,
    #[serde(default)]
    options: RouteOptions,
}

impl RouteDescription {
    fn into_route(self, index: u32, metrics: &Metrics) -> Arc<Route> {
        let RouteDescription { name, method, path, options } = self;
        let label: Arc<str> = format!("{method} {path}").into();
        let rate_limit = options.rate_limit.clone();
        let function = Function {
            metrics: metrics.function(&label, "route"),
            name: label,
            kind: FunctionKind::Action,
            work: HostTask::Route(index),
            internal: true,
            share: false,
            cached: false,
            transactional: false,
            http_get: None,
            rate_limit,
            limits: OwnLimits::default(),
            learned: LearnedTraits::default(),
        };
        let method = Some(method).filter(|method| method != "ALL");
        Arc::new(Route { name, method, path, options, function: Arc::new(function) })
    }
}

fn yes() -> bool {
    true
}

impl Function {
    /// Whether calls with the same idempotency key take effect once.
    pub(crate) fn keeps_keys(&self) -> bool {
        self.kind == FunctionKind::Mutation && self.transactional
    }
}

impl Program {
    /// Checks a description. `host` runs the functions.
    pub(crate) fn new(
        description: ProgramDescription,
        host: Arc<dyn FunctionHost>,
        dev: bool,
        metrics: &Metrics,
    ) -> Result<Program, SchemaError> {
        let schema = Arc::new(Schema::parse(description.schema)?);
        let functions: HashMap<String, Arc<Function>> = description
            .functions
            .into_iter()
            .zip(0..)
            .map(|(function, index)| {
                let FunctionDescription { name, kind, internal, share, transaction, http, cache, .. } = function;
                let FunctionDescription { result_cache, rate_limit, limits, .. } = function;
                let http_get = http.map(|HttpMethod::Get| HttpGet { public_max_age: cache.map(|cache| cache.max_age) });
                let label: Arc<str> = name.as_str().into();
                let function = Function {
                    metrics: metrics.function(&label, kind.as_str()),
                    name: label,
                    kind,
                    work: HostTask::Function(index),
                    internal,
                    share,
                    cached: result_cache && kind == FunctionKind::Query,
                    transactional: transaction && kind != FunctionKind::Action,
                    http_get: http_get.filter(|_| kind == FunctionKind::Query),
                    rate_limit,
                    limits,
                    learned: LearnedTraits::default(),
                };
                (name, Arc::new(function))
            })
            .collect();
        let routes =
            description.routes.into_iter().zip(0..).map(|(route, index)| route.into_route(index, metrics)).collect();
        let context = Arc::new(Function {
            name: "createContext".into(),
            kind: FunctionKind::Query,
            work: HostTask::Context,
            internal: true,
            share: false,
            cached: false,
            transactional: true,
            http_get: None,
            rate_limit: None,
            limits: OwnLimits::default(),
            learned: LearnedTraits::default(),
            metrics: FunctionMetrics::default(),
        });
        let has_rate_limits = functions.values().any(|function| function.rate_limit.is_some());
        let (functions, has_context, openapi) = (Arc::new(functions), description.has_context, Arc::default());
        let row_security = description.rls.map(|RlsDescription { role }| Arc::new(RowSecurity::new(&role)));
        Ok(Program {
            schema,
            has_context,
            has_rate_limits,
            functions,
            routes,
            context,
            host,
            row_security,
            openapi,
            dev,
        })
    }

    /// The name of the role that the calls of clients run under.
    pub(crate) fn role(&self) -> Option<&Arc<str>> {
        self.row_security.as_ref().map(|row_security| &row_security.role)
    }

    /// The same program on one worker of its host.
    pub(crate) fn at(&self, worker: WorkerId) -> Option<Program> {
        Some(self.on(self.host.clone().at(worker)?))
    }

    /// The same program on the quarantine of its host, for calls that have lost a worker.
    pub(crate) fn quarantine(&self) -> Option<Program> {
        Some(self.on(self.host.clone().quarantine()?))
    }

    fn on(&self, host: Arc<dyn FunctionHost>) -> Program {
        Program {
            schema: self.schema.clone(),
            functions: self.functions.clone(),
            routes: self.routes.clone(),
            context: self.context.clone(),
            row_security: self.row_security.clone(),
            openapi: self.openapi.clone(),
            host,
            ..*self
        }
    }

    /// Looks up a function for this process, internal functions included.
    pub(crate) fn any(&self, kind: FunctionKind, name: &str) -> Result<Arc<Function>, Failure> {
        self.find(kind, name).cloned().ok_or_else(|| self.explained(kind, name))
    }

    /// Looks up a function for a network client. Unknown, internal and wrong-kind names get
    /// the same answer, so that names cannot be probed; in development the answers differ.
    pub(crate) fn public(&self, kind: FunctionKind, name: &str) -> Result<Arc<Function>, Failure> {
        match self.functions.get(name) {
            Some(function) if function.kind == kind && !function.internal => Ok(function.clone()),
            _ if self.dev => Err(self.explained(kind, name)),
            _ => Err(Failure::new(Code::NotFound, names::unknown(kind, name))),
        }
    }

    /// The function of this name and kind, internal or not.
    pub(crate) fn find(&self, kind: FunctionKind, name: &str) -> Option<&Arc<Function>> {
        self.functions.get(name).filter(|function| function.kind == kind)
    }

    /// Whether the program has a function or a route of this name.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.functions.contains_key(name) || self.routes.iter().any(|route| &*route.function.name == name)
    }

    /// A function or route with a rate limit.
    pub(crate) fn rate_limited(&self) -> Option<&Arc<Function>> {
        let functions = self.functions.values().chain(self.routes.iter().map(|route| &route.function));
        functions.filter(|function| function.rate_limit.is_some()).min_by(|one, other| one.name.cmp(&other.name))
    }

    /// How a query answers GET; `None` for all names that a client cannot call by GET.
    pub(crate) fn http_get(&self, name: &str) -> Option<HttpGet> {
        self.functions.get(name).filter(|function| !function.internal)?.http_get
    }

    fn explained(&self, kind: FunctionKind, name: &str) -> Failure {
        let found = self.functions.get(name).map(AsRef::as_ref);
        let all = self.functions.values().map(AsRef::as_ref);
        Failure::new(Code::NotFound, names::explained(kind, name, found, all))
    }
}

/// A route for tests and fuzz targets, which run no function.
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) fn route_of(name: &str, method: &str, path: &str) -> Arc<Route> {
    let (name, method, path) = (name.to_owned(), method.to_owned(), path.to_owned());
    RouteDescription { name, method, path, options: RouteOptions::default() }.into_route(0, &Metrics::default())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A mutation for tests that run no function.
    pub(crate) fn function(name: &str) -> Function {
        Function {
            name: name.into(),
            kind: FunctionKind::Mutation,
            work: HostTask::Function(0),
            internal: false,
            share: true,
            cached: false,
            transactional: true,
            http_get: None,
            rate_limit: None,
            limits: OwnLimits::default(),
            learned: LearnedTraits::default(),
            metrics: FunctionMetrics::default(),
        }
    }
}
