//! Faults inside the engine and of the machine: stops at every point and in every supervised
//! task, a full disk, no file descriptors, a Postgres without connections, and one that a
//! standby replaces. [The list](../../../../docs/internals/acceptance.md#faults).
//!
//! Each test waits for events, and each invariant has a control: a mistake that the same checks
//! must detect.

mod clock;
mod failover;
mod kills;
mod machine;
mod observers;
mod pairs;
mod starved;
mod stops;
