//! Connections outside the pools, for notifications: one that hears them, one
//! that sends them.

use std::time::Duration;

use sqlx::Connection;
use sqlx::postgres::{PgListener, PgPoolOptions};

use super::{DbError, Postgres, Row, Session};
use crate::sql::Statement;

/// How long connecting, and each word on such a connection, may take.
const PATIENCE: Duration = Duration::from_secs(5);

async fn patiently<T>(exchange: impl Future<Output = Result<T, DbError>>) -> Result<T, DbError> {
    tokio::time::timeout(PATIENCE, exchange).await.unwrap_or_else(|_elapsed| Err(DbError::timed_out()))
}

/// A connection that LISTENs. The driver would replace a lost one by itself, and
/// what was sent meanwhile would be missed without a word; so each is used until
/// it is lost and not after.
pub(crate) struct Listener(PgListener);

impl Listener {
    /// The next payload; `None` once the connection is lost. May be dropped while
    /// it waits.
    pub(crate) async fn next(&mut self) -> Option<String> {
        match self.0.try_recv().await {
            Ok(notification) => notification.map(|notification| notification.payload().to_owned()),
            Err(error) => {
                tracing::debug!(cause = %error, "the listening connection failed");
                None
            }
        }
    }

    /// Stops listening.
    pub(crate) async fn close(mut self) {
        let stopped = patiently(async { Ok(self.0.unlisten_all().await?) });
        if let Err(error) = stopped.await {
            tracing::debug!(cause = %error.cause(), "the listening connection did not close cleanly");
        }
    }
}

/// A connection that sends notifications.
pub(crate) struct Sender(Session);

impl Sender {
    /// Runs statements without binds or rows, as one transaction.
    pub(crate) async fn send(&mut self, statement: Statement) -> Result<(), DbError> {
        patiently(self.0.tell(statement)).await
    }

    /// Asks something.
    pub(crate) async fn ask(&mut self, statement: Statement) -> Result<Vec<Row>, DbError> {
        patiently(self.0.fetch(statement)).await
    }

    /// Ends the connection.
    pub(crate) async fn close(self) {
        if let Err(error) = patiently(async { Ok(self.0.connection.close().await?) }).await {
            tracing::debug!(cause = %error.cause(), "the notifying connection did not close cleanly");
        }
    }
}

impl Postgres {
    /// Listens on a new connection.
    pub(crate) async fn listen(&self, channel: &str) -> Result<Listener, DbError> {
        patiently(async {
            // The driver's listener takes its connection out of a pool of the
            // driver's; of this one it is the only user.
            let pool = PgPoolOptions::new().max_connections(1).max_lifetime(None).idle_timeout(None);
            let mut listener = PgListener::connect_with(&pool.connect_lazy_with(self.options.clone())).await?;
            listener.eager_reconnect(false);
            listener.listen(channel).await?;
            Ok(Listener(listener))
        })
        .await
    }

    /// Opens a connection to send notifications on.
    pub(crate) async fn sender(&self) -> Result<Sender, DbError> {
        patiently(async { Ok(Sender(self.connect().await?)) }).await
    }
}
