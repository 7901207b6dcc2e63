//! Request bodies: read as text within the limits, or discarded so that the client
//! can still read its answer.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Body;

use crate::config::Limits;
use crate::error::{Code, Failure};

/// The body of a request, from a socket or from another HTTP server of this process.
pub(super) type RequestBody = UnsyncBoxBody<Bytes, BodyError>;

/// The reason that a body did not arrive whole.
#[derive(Debug, thiserror::Error)]
pub(super) enum BodyError {
    /// Its connection failed.
    #[error(transparent)]
    Connection(#[from] hyper::Error),
    /// The HTTP server that received it, another one of this process, does not have it.
    #[error("{0}")]
    Unavailable(String),
    /// That server's client has closed its connection.
    #[error("The client has closed the connection.")]
    Closed,
}

impl BodyError {
    /// The failure for the function that reads the body.
    pub(super) fn to_failure(&self) -> Failure {
        match self {
            BodyError::Unavailable(reason) => Failure::new(Code::InvalidArgs, reason.clone()),
            BodyError::Connection(_) | BodyError::Closed => {
                Failure::new(Code::InvalidArgs, "The request's body did not arrive whole.")
            }
        }
    }
}

/// A body without bytes.
pub(super) fn empty() -> RequestBody {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}

/// How long the rest of a body is received after the answer: in total, and without data.
const DISCARD_TIMEOUT: Duration = Duration::from_secs(5);
const DISCARD_IDLE_TIMEOUT: Duration = Duration::from_secs(1);

/// Reads the whole body as text; an empty body is `{}`. A body with a declared length
/// above the limit is refused before it is read.
pub(super) async fn read(body: &mut RequestBody, limits: &Limits) -> Result<String, Failure> {
    let limit = limits.body_bytes;
    let too_large = || Failure::new(Code::PayloadTooLarge, format!("The request's body is larger than {limit} bytes."));
    if body.size_hint().lower() > limit as u64 {
        return Err(too_large());
    }
    let collected = tokio::time::timeout(Duration::from_millis(limits.body_ms), Limited::new(body, limit).collect())
        .await
        .map_err(|_elapsed| Failure::new(Code::Timeout, "The request's body took too long to arrive."))?
        .map_err(|error| match error.downcast_ref::<BodyError>() {
            Some(error) => error.to_failure(),
            None if error.is::<http_body_util::LengthLimitError>() => too_large(),
            None => BodyError::Closed.to_failure(),
        })?;
    let bytes = Vec::from(collected.to_bytes());
    if bytes.is_empty() {
        return Ok("{}".to_owned());
    }
    String::from_utf8(bytes).map_err(|_| Failure::new(Code::InvalidArgs, "The request's body is not UTF-8."))
}

/// Receives and discards the rest of a body that was answered early. Closing a socket
/// with unread bytes resets the connection, and the client may lose the answer.
pub(super) async fn discard(mut body: RequestBody) {
    let receiving =
        async { while let Ok(Some(Ok(_frame))) = tokio::time::timeout(DISCARD_IDLE_TIMEOUT, body.frame()).await {} };
    // The connection is closed in either case.
    let _ended = tokio::time::timeout(DISCARD_TIMEOUT, receiving).await;
}
