//! The engine of Convoy: a reactive backend on the user's own Postgres.
//!
//! A request comes in at [`http`], becomes one run of a function in
//! [`dispatch`], whose operations [`db`] turns into statements made by [`sql`]
//! and run by [`postgres`]. What was committed, by us or by anyone, arrives
//! through [`feed`] as [`change`]s, from which [`live`] finds the queries to run
//! again and sends their new results to their subscribers.
//!
//! The engine never learns what a function is written in: [`FunctionHost`] is
//! the seam where its host stands. [`Engine`] puts the parts together.

mod change;
mod config;
mod db;
mod dispatch;
mod engine;
mod error;
mod failpoints;
mod feed;
mod health;
mod http;
pub mod id;
mod key;
mod live;
mod lossy;
mod op;
mod origin;
pub mod output;
mod postgres;
mod schema;
mod sql;
mod supervise;
mod time;
mod value;
mod write_log;

pub use config::{Config, Cors, Limits};
pub use dispatch::{
    Activity, CallId, CallLink, CallMetadata, Caller, FunctionHost, FunctionKind, FunctionResult, HostInvocation,
    HostTask, IncomingCall, LinkError, Notice, ProgramDescription, Seen, Silence, WorkerId, Workers,
};
pub use engine::{Engine, OpenError, Stats};
pub use error::{Code, Failure};
pub use failpoints::{Failpoint, Failpoints};
pub use health::{Condition, Health, Remedy};
pub use http::{Server, envelope_of};
pub use postgres::{LayoutReport, TableReport};
pub use supervise::{Part, Supervisor};
