//! Tests of the engine as its clients use it: over HTTP, on a real Postgres, with a
//! scripted host in place of JavaScript. One binary, so that it links once.

mod authentication;
mod bank;
mod changed_types;
mod conformance;
mod cross_origin;
mod database_faults;
mod exchange;
mod faults;
mod get_queries;
mod health;
mod http;
mod idempotency;
mod indexes;
mod insert_batching;
mod live;
mod lost_workers;
mod outside_writes;
mod peers;
mod pooler;
mod preload;
mod prepared_statements;
mod raw_sessions;
mod result_cache;
mod round_trips;
mod serial_queue;
mod sessions;
mod shared;
mod socket;
mod stale_plans;
mod static_files;
mod store;
mod table_traits;
mod transactions;
mod untracked_tables;
mod wire;
