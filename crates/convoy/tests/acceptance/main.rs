//! The acceptance suite: guarantees under faults, with thousands of clients, or compared
//! with plain SQL.
//!
//! Each test prints its measurements with its seed, and has a control: the same scenario
//! with an active failpoint (`failpoints.rs`), which the test must detect. The numbers are
//! small in `npm test`, and those of the guarantee with `CONVOY_TEST_LONG=1`.

mod bad_callers;
mod barrier;
mod chat;
mod damaged_log;
mod drops;
mod forged_marks;
mod hang_ups;
mod idle_and_slow;
mod list_append;
mod listener_storm;
mod log_rows;
mod members;
mod outside_writers;
mod panics;
mod postgres_as_oracle;
mod reconnects;
mod scale;
mod server_process;
mod session_guarantees;
mod session_settings;
mod slow_networks;
mod subscribe_race;
mod tokens;
