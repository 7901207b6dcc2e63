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
pub(crate) use budget::Budget;
pub(crate) use execute::{Access, Executor, Written};
pub(crate) use read_set::{ReadSet, TableRead};
pub(crate) use tx_cache::TxCache;
pub(crate) use write::row_keys;
pub(crate) use write_buffer::WriteBuffer;
