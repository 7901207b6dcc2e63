//! Executes the operations of a call as statements, and records their reads in a [`ReadSet`]
//! and their writes as [`Change`](crate::change::Change)s.

mod answer;
mod budget;
mod document_size;
mod execute;
mod joined_reads;
mod read;
mod read_set;
mod savepoints;
mod tx_cache;
mod write;
mod write_buffer;

pub(crate) use answer::push_failure;
pub(crate) use budget::Budget;
pub(crate) use execute::{Access, Executor, Written};
pub(crate) use joined_reads::Autocommit;
pub(crate) use read_set::{ReadSet, TableRead};
pub(crate) use tx_cache::TxCache;
pub(crate) use write::row_keys;
pub(crate) use write_buffer::WriteBuffer;
