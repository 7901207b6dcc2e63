//! Operations of one call turned into statements, and what they read and wrote
//! turned into a [`ReadSet`] and into [`Change`](crate::change::Change)s.

mod answer;
mod execute;
mod memory;
mod read;
mod read_set;
mod write;

pub use execute::{Access, Executor, Written};
pub use memory::Memory;
pub use read_set::{ReadSet, TableRead};
