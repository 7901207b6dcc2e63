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

pub mod change;
pub mod config;
pub mod db;
pub mod dispatch;
mod engine;
pub mod error;
pub mod feed;
pub mod health;
pub mod http;
pub mod id;
pub mod key;
pub mod live;
pub mod lossy;
pub mod mistakes;
pub mod op;
pub mod origin;
pub mod output;
pub mod postgres;
pub mod schema;
pub mod sql;
pub mod supervise;
pub mod time;
pub mod value;
mod write_log;

pub use config::{Config, Cors, Limits};
pub use dispatch::FunctionHost;
pub use engine::{Engine, OpenError, Stats};
pub use error::{Code, Failure};
