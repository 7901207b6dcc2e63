//! Determines whether a commit that was not answered has happened.

use std::time::Duration;

use tokio::time::Instant;

use super::{DbError, Postgres};
use crate::sql::transaction_status;

/// The pause between two attempts.
const RETRY_PAUSE: Duration = Duration::from_millis(50);

impl Postgres {
    /// Records the cluster and timeline that transaction ids belong to from now on. A role may
    /// lack the right to read it; then unanswered commits stay unknown.
    pub(crate) async fn record_timeline(&self) {
        match self.timeline().await {
            // The first record stays, since earlier transaction ids belong to it.
            Ok(timeline) => drop(self.timeline.set(timeline)),
            Err(error) => tracing::debug!(cause = %error.cause(), "the timeline of the cluster cannot be read"),
        }
    }

    async fn timeline(&self) -> Result<String, DbError> {
        let rows = self.read(&transaction_status::timeline()).await?;
        let row = rows.first().ok_or_else(|| DbError::Row("no history".into()))?;
        Ok(row.text(0)?.to_owned())
    }

    /// Whether the transaction was committed; `None` if that cannot be determined. After a
    /// failover, transaction ids are reused, so the timeline must be the same.
    pub(crate) async fn was_committed(&self, xid: &str, deadline: Instant) -> Option<bool> {
        let timeline = self.timeline.get()?;
        while Instant::now() < deadline {
            let status = async {
                if self.timeline().await? != *timeline {
                    return Ok(Some("another history".to_owned()));
                }
                let rows = self.read(&transaction_status::status(xid)).await?;
                Ok::<_, DbError>(rows.first().map(|row| row.text(0)).transpose()?.map(str::to_owned))
            };
            match tokio::time::timeout_at(deadline, status).await {
                Ok(Ok(Some(status))) => match status.as_str() {
                    "committed" => return Some(true),
                    "aborted" => return Some(false),
                    "in progress" => {}
                    _ => return None,
                },
                Ok(Ok(None)) | Err(_) => return None,
                Ok(Err(error)) => tracing::debug!(cause = %error, "the outcome of a commit is not known yet"),
            }
            tokio::time::sleep(RETRY_PAUSE).await;
        }
        None
    }
}
