//! Decides which readers a committed change concerns: live queries, and reads kept in
//! memory.

mod intervals;
mod read_index;
mod recent_commits;

pub(crate) use read_index::{ReadIndex, ReaderId};
pub(crate) use recent_commits::{Missed, RecentCommits, Sequence};
