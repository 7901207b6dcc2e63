//! Answers the first operations of several members at once.
//!
//! A turn costs a delivery to the host and a wake-up of the task by its response. Members that
//! begin by reading loaded documents, and hold their writes, need neither between their turns:
//! the host receives the answers of all of them as they are before the first turn, and applies
//! the patches of each to the answers of those after it ([`FunctionHost::results_in_turn`]). The
//! task receives their results and executes their writes in the same order, so the buffer goes
//! through the same states.
//!
//! If a member does anything else, the documents of those after it are not known to the host any
//! more. The host then delivers no more answers, and the task starts these members again. So it
//! does with those that a group has no time left for.
//!
//! [`FunctionHost::results_in_turn`]: crate::dispatch::FunctionHost::results_in_turn

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::group::{Group, MAX_CALLS};
use super::task::QueueTask;
use super::turn::Member;
use crate::db::WriteBuffer;
use crate::dispatch::HostTurn;
use crate::dispatch::drive::end_array;
use crate::dispatch::host::FromHost;
use crate::error::{Code, Failure};
use crate::op::Batch;

/// The most bytes of answers that are sent together.
const MAX_ANSWERS: usize = 256 << 10;

impl QueueTask {
    /// Answers the first operations of the next members, if at least two of them can have turns.
    pub(super) fn answer_in_turn(&mut self, group: &Group) {
        let (Some(next), Some(buffer)) = (self.prefetched.front(), group.buffer()) else { return };
        if next.in_turn {
            return;
        }
        let host = next.call.host().clone();
        let mut turns: Vec<HostTurn> = Vec::new();
        let mut bytes = 0;
        for member in self.prefetched.iter_mut().take(MAX_CALLS.saturating_sub(group.len())) {
            // After a reload of the code, calls of both versions may wait.
            if !group.accepts(&member.waiting) || !Arc::ptr_eq(member.call.host(), &host) {
                break;
            }
            let Some(turn) = member.turn(buffer) else { break };
            bytes += turn.answers.len();
            if bytes > MAX_ANSWERS {
                break;
            }
            turns.push(turn);
        }
        if turns.len() < 2 {
            return;
        }
        let accepted = host.results_in_turn(&turns);
        self.dispatcher.inner.serial.together.fetch_add(accepted as u64, Ordering::Relaxed);
        for member in self.prefetched.iter_mut().take(accepted) {
            member.call.answered_in_turn();
            member.in_turn = true;
        }
    }

    /// After a turn: starts the members again that were answered with this one, if the host does
    /// not know their documents any more.
    pub(super) fn end_turn(&mut self, member: &Member) {
        if !member.in_turn {
            return;
        }
        member.waiting.scope.function().learned.turns.lock().record(member.as_predicted);
        if !member.as_predicted {
            self.restart_in_turn();
        }
    }

    /// After the last turn of a group: its time may have been over before members had theirs that
    /// were answered in advance.
    pub(super) fn end_turns(&mut self) {
        if let Some(next) = self.prefetched.front().filter(|next| next.in_turn) {
            next.waiting.scope.function().learned.turns.lock().record(false);
            self.restart_in_turn();
        }
    }

    /// Starts the members again whose first operations were answered in advance.
    pub(super) fn restart_in_turn(&mut self) {
        if !self.prefetched.iter().any(|member| member.in_turn) {
            return;
        }
        let again = |mut member: Member| match member.in_turn {
            true => {
                member.call.abandon(Failure::new(Code::Unavailable, "This run was stopped, and starts again."));
                Member::start(member.waiting)
            }
            false => member,
        };
        self.prefetched = std::mem::take(&mut self.prefetched).into_iter().map(again).collect();
    }
}

impl Member {
    /// The answers to its first operations, if these have arrived and only read loaded documents.
    fn turn(&mut self, buffer: &WriteBuffer) -> Option<HostTurn> {
        let scope = &self.waiting.scope;
        let learned = &scope.function().learned;
        // In a program with row-level security each operation runs under a role.
        let is_alone = self.waiting.is_single() || learned.needs_savepoint.is_set() || scope.program.role().is_some();
        if is_alone || learned.turns.lock().are_useless() {
            return None;
        }
        let call = self.call.id();
        let Some(FromHost::Operate { batch: 0, ops }) = self.call.peek() else { return None };
        // What cannot be parsed or answered is an error of its turn.
        let operations = Batch::parse(ops, &scope.program.schema, None).ok()?;
        let mut answers = String::from("[");
        if !buffer.read_loaded(&operations.ops, &mut answers).ok()? {
            return None;
        }
        end_array(&mut answers);
        Some(HostTurn { call, batch: 0, answers })
    }
}
