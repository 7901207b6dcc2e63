//! The acceptance suite: promises that are kept through storms, over thousands of
//! clients, or against Postgres itself as the judge.
//!
//! Each test counts what it finds and prints it with its seed, and has a control:
//! the same scenario with a failpoint active (`failpoints.rs`), which must
//! be found. The numbers are small in `npm test`, and those of the promise with
//! `CONVOY_TEST_LONG=1`.

mod bad_callers;
mod barrier;
mod chat;
mod emptied_by_hand;
mod forged_marks;
mod idle_and_slow;
mod lane;
mod listener_storm;
mod log_rows;
mod members;
mod outside_writers;
mod panics;
mod postgres_as_oracle;
mod reconnects;
mod server_process;
mod session_settings;
mod subscribe_race;
mod tokens;
