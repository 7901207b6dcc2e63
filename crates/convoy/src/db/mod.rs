//! Operations of one call turned into statements, and what they read and wrote
//! turned into a [`ReadSet`] and into [`Change`](crate::change::Change)s.

mod answer;
mod budget;
mod draft;
mod execute;
mod memory;
mod read;
mod read_set;
mod savepoints;
mod write;

pub(crate) use answer::push_failure;
pub use budget::Budget;
pub use draft::Draft;
pub use execute::{Access, Executor, Written};
pub use memory::Memory;
pub use read_set::{ReadSet, TableRead};
pub(crate) use write::row_keys;
