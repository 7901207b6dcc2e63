//! Operations of one call turned into statements, and what they read and wrote
//! turned into a [`ReadSet`] and into [`Change`](crate::change::Change)s.

mod execute;
mod read_set;

pub use execute::{Access, Executor};
pub use read_set::{ReadSet, TableRead};
