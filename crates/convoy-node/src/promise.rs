//! Converts futures of the engine to JavaScript promises.

use std::panic::AssertUnwindSafe;

use convoy::{Code, Failure};
use futures_util::FutureExt;
use napi::bindgen_prelude::{Object, ToNapiValue};
use napi::{Env, Error, Result};
use serde::de::DeserializeOwned;

use crate::{panic_point, runtime};

/// Runs `future` on the engine's threads; the promise settles with its result. A failure
/// or a panic rejects it with the failure's JSON as message.
pub fn promise<T, F>(env: &Env, future: F) -> Result<Object<'_>>
where
    T: ToNapiValue + Send + 'static,
    F: Future<Output = std::result::Result<T, Failure>> + Send + 'static,
{
    let (deferred, promise) = env.create_deferred()?;
    let panics = panic_point::take_future();
    let future = async move {
        assert!(!panics, "it was armed to panic");
        future.await
    };
    runtime().spawn(async move {
        let result = AssertUnwindSafe(future).catch_unwind().await;
        match result.unwrap_or_else(|_| Err(Failure::internal("native call", &"it panicked"))) {
            Ok(value) => deferred.resolve(Box::new(move |_| Ok(value)) as Resolver<T>),
            Err(failure) => deferred.reject(rejection(&failure)),
        }
    });
    Ok(promise)
}

type Resolver<T> = Box<dyn FnOnce(Env) -> Result<T> + Send>;

/// A failure as a JavaScript error with the failure's JSON as message.
pub fn rejection(failure: &Failure) -> Error {
    Error::from_reason(failure.to_json())
}

/// Parses options of a developer. An error names the option, unless its message does.
pub fn parse_options<T: DeserializeOwned>(json: &str) -> std::result::Result<T, Failure> {
    let parsed = serde_path_to_error::deserialize(&mut serde_json::Deserializer::from_str(json));
    parsed.map_err(|error| {
        let path = error.path().to_string();
        let reason = error.inner().to_string();
        // Where it is in the text means nothing to those who have given an object.
        let reason = reason.rsplit_once(" at line ").map_or(&*reason, |(reason, _)| reason);
        let place = if path == "." || reason.contains(&path) { String::new() } else { format!("`{path}`: ") };
        Failure::new(Code::InvalidArgs, format!("Invalid options: {place}{reason}."))
    })
}

/// The failure for text that is not JSON of the expected shape.
pub fn malformed(what: &str, error: &serde_json::Error) -> Failure {
    Failure::new(Code::InvalidArgs, format!("Invalid {what} for the engine: {error}."))
}
