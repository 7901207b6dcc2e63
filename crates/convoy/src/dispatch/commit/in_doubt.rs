//! Resolves commits in doubt: commits that Postgres did not answer.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::idempotency::{self, is_duplicate_key};
use super::{Commit, Committer, Pending, Unit};
use crate::change::{Change, ChangeSource};
use crate::error::{Code, Failure};
use crate::postgres::{DbError, Isolation, Transaction};
use crate::sql::idempotency::Entry;

/// The pause between two attempts to resolve a commit.
const PAUSE: Duration = Duration::from_millis(100);

/// A commit without an answer.
pub(in crate::dispatch) struct Unanswered {
    /// Its entry among the pending commits.
    pub(super) pending: Pending,
    /// The changes it may have made.
    pub(super) changes: Arc<[Change]>,
    /// The transaction id, if known.
    pub(super) xid: Option<String>,
    /// The error instead of an answer.
    pub(super) cause: DbError,
}

/// The failure of a call of which it is unknown whether it was committed.
pub(in crate::dispatch) fn outcome_unknown(why: &str) -> Failure {
    let message = format!(
        "{why}, so it is unknown whether the changes of this call took effect; read the data before calling it again, or \
         send an Idempotency-Key, with which a repeated call takes effect once."
    );
    Failure::new(Code::Unavailable, message)
}

impl Committer {
    /// Records a commit in doubt, and finds out whether it was made.
    pub(crate) async fn resolve(&self, commit: Unanswered, unit: &Unit<'_>) -> Commit {
        let Unanswered { pending, changes, xid, cause } = commit;
        let in_doubt = self.note_in_doubt(changes, &cause);
        pending.end();
        let committed = match (unit.responses.first(), xid) {
            (Some((entry, _)), _) => self.response_is_stored(entry, unit.deadline).await,
            (None, Some(xid)) => self.postgres.was_committed(&xid, unit.deadline).await,
            (None, None) => None,
        };
        match committed {
            Some(true) => Commit::Committed,
            Some(false) => Commit::Conflict(DbError::aborted()),
            None => in_doubt,
        }
    }

    /// Records a commit in doubt: live queries treat it as made, now and for as long as
    /// it still may be made.
    pub(crate) fn note_in_doubt(&self, changes: Arc<[Change]>, cause: &dyn std::fmt::Display) -> Commit {
        tracing::warn!(%cause, "a commit was not answered");
        self.in_doubt.add();
        self.log.append(changes, &ChangeSource::Resync);
        Commit::unanswered()
    }

    /// Whether the answer of a keyed call was committed; `None` if that cannot be found out.
    ///
    /// Tries to insert another answer for the key: the insert waits for a commit that is
    /// still in progress, and fails exactly if the commit was made.
    async fn response_is_stored(&self, entry: &Entry, deadline: Instant) -> Option<bool> {
        while Instant::now() < deadline {
            let probe = async {
                let mut transaction = Transaction::begin(&self.postgres.writers, Isolation::Serializable).await?;
                let kept = idempotency::store(&mut transaction, &[(entry, "null")]).await;
                transaction.rollback().await;
                kept
            };
            match tokio::time::timeout_at(deadline, probe).await {
                Ok(Ok(())) => return Some(false),
                Ok(Err(error)) if is_duplicate_key(&error) => return Some(true),
                Ok(Err(error)) => tracing::debug!(cause = %error, "a commit in doubt could not be resolved yet"),
                Err(_elapsed) => return None,
            }
            tokio::time::sleep(PAUSE).await;
        }
        None
    }
}
