//! Operations of one call turned into statements, and what they read and wrote
//! turned into a [`ReadSet`] and into [`Change`](crate::change::Change)s.

mod answer;
mod draft;
mod execute;
mod memory;
mod read;
mod read_set;
mod write;

pub use draft::Draft;
pub(crate) use execute::too_many_writes;
pub use execute::{Access, Executor, Written};
pub use memory::Memory;
pub(crate) use read::too_many_reads;
pub use read_set::{ReadSet, TableRead};
pub(crate) use write::row_keys;
