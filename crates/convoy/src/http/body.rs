//! The body of a request: read as text within its limits, or left unread, in a
//! way that still lets the client read its answer.

use std::time::Duration;

use http_body_util::{BodyExt, Limited};
use hyper::body::{Body, Incoming};

use crate::config::Limits;
use crate::error::{Code, Failure};

/// How long what a client goes on sending after it was answered is received, in
/// all, and without anything coming.
const LINGER: Duration = Duration::from_secs(5);
const LINGER_QUIET: Duration = Duration::from_secs(1);

/// The whole body as text; an empty one is `{}`. One whose declared length is
/// above the limit is refused before any of it is read.
pub(super) async fn read(body: &mut Incoming, limits: &Limits) -> Result<String, Failure> {
    let limit = limits.body_bytes;
    let too_large = || Failure::new(Code::PayloadTooLarge, format!("the request's body is larger than {limit} bytes"));
    if body.size_hint().lower() > limit as u64 {
        return Err(too_large());
    }
    let collected = tokio::time::timeout(Duration::from_millis(limits.body_ms), Limited::new(body, limit).collect())
        .await
        .map_err(|_elapsed| Failure::new(Code::Timeout, "the request's body took too long to arrive"))?
        .map_err(|error| match error.is::<http_body_util::LengthLimitError>() {
            true => too_large(),
            false => Failure::new(Code::InvalidArgs, "the request's body did not arrive whole"),
        })?;
    let bytes = Vec::from(collected.to_bytes());
    if bytes.is_empty() {
        return Ok("{}".to_owned());
    }
    String::from_utf8(bytes).map_err(|_| Failure::new(Code::InvalidArgs, "the request's body is not UTF-8"))
}

/// Receives and forgets the rest of a body that was answered early. A socket that
/// is closed with bytes unread resets the connection, and the client may lose the
/// answer it was about to read.
pub(super) async fn discard(mut body: Incoming) {
    let receiving =
        async { while let Ok(Some(Ok(_frame))) = tokio::time::timeout(LINGER_QUIET, body.frame()).await {} };
    // Whether it ended or was given up, the connection is closed now.
    let _ended = tokio::time::timeout(LINGER, receiving).await;
}
