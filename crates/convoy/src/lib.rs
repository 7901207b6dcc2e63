//! The engine of Convoy: a reactive backend on the user's own Postgres.
//!
//! [`http`] receives a request, and [`dispatch`] runs its function. [`db`] executes the
//! function's operations: [`sql`] builds the statements, and [`postgres`] runs them.
//! Commits, of this process or of any other writer, arrive as [`change`]s: through
//! [`write_log`] or through [`feed`]. [`live`] finds the queries that they concern, runs
//! these again, and sends the new results to the subscribers.
//!
//! The engine does not depend on the language of functions: [`FunctionHost`] is the
//! interface to their host. [`Engine`] assembles the parts.
//!
//! [`transfer`] moves and checks all documents of a database, without an engine.

mod change;
mod config;
mod db;
mod dispatch;
mod engine;
mod error;
mod events;
mod failpoints;
mod feed;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzzing;
mod health;
mod http;
pub mod id;
mod invalidation;
mod key;
mod limits;
mod live;
mod lossy;
mod op;
mod origin;
pub mod output;
mod postgres;
mod rate_limit;
mod read_cache;
mod schema;
mod sql;
mod supervise;
mod telemetry;
mod time;
mod transfer;
mod trusted_proxies;
mod value;
mod write_log;

pub use config::{Config, Cors, HeaderChanges, Hsts, Limits, SchemaPolicy, SecurityHeaderOptions};
pub use dispatch::{
    Activity, CallId, CallLink, CallMetadata, Caller, FunctionHost, FunctionKind, FunctionResult, HostInvocation,
    HostTask, HostTurn, IncomingCall, LinkError, ProgramDescription, RouteExchange, RouteHead, Seen, Unresponsive,
    UnstartedCall, WorkerEvent, WorkerId, Workers,
};
pub use engine::{Engine, OpenError, Stats, Watch, apply_migration, plan_migration};
pub use error::{Code, Failure};
pub use events::{Event, EventKind, EventReader, Events};
pub use failpoints::{Failpoint, Failpoints, Point};
#[cfg(feature = "failpoints")]
pub use failpoints::{Gate, Place, Stop};
pub use health::{Condition, Health, Remedy};
pub use http::{
    DevAnswer, DevPage, DevRequest, Exchange, ExchangeBody, ExchangeHead, Pushed, ResponseHead, RoutesError, Server,
    envelope_of,
};
pub use postgres::{Diagnosis, Drift, Finding, LayoutReport, PlannedStep, StepKind, TableReport};
pub use supervise::{Part, Supervisor};
pub use telemetry::{
    LogLine, Otlp, OtlpError, OtlpProtocol, PrometheusAddress, RemoteSpan, TelemetryOptions, exports_logs,
};
pub use transfer::{
    ExportOptions, ExportReport, Import, ImportOptions, ImportReport, Scan, Step, Tools, ToolsOptions, TransferError,
    Verdict,
};
pub use trusted_proxies::TrustedProxies;
