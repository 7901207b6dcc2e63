//! Operations of one call turned into statements, and what they read and wrote
//! turned into a [`ReadSet`] and into [`Change`](crate::change::Change)s.

mod answer;
mod budget;
mod execute;
mod read;
mod read_set;
mod savepoints;
mod tx_cache;
mod write;
mod write_buffer;

pub(crate) use answer::push_failure;
pub use budget::Budget;
pub use execute::{Access, Executor, Written};
pub use read_set::{ReadSet, TableRead};
pub use tx_cache::TxCache;
pub(crate) use write::row_keys;
pub use write_buffer::WriteBuffer;
