//! The engine as its clients meet it: over HTTP, on a real Postgres, with a
//! scripted host in place of JavaScript. One binary, so that it links once.

mod bank;
mod faults;
mod host_gone;
mod http;
mod idempotency;
mod indexes;
mod insert_lane;
mod live;
mod outside;
mod round_trips;
mod serial_lane;
mod shared;
mod store;
mod transactions;
