//! The engine as its clients meet it: over HTTP, on a real Postgres, with a
//! scripted host in place of JavaScript. One binary, so that it links once.

mod faults;
mod http;
mod insert_lane;
mod live;
mod outside;
mod shared;
mod store;
