//! The OpenAPI document, which an internal function of the host makes at the first request
//! after a load, and which is kept until the next load.

use super::Engine;
use crate::dispatch::{Answer, Caller, FunctionKind, IncomingCall, OpenApiDocument};
use crate::error::{Code, Failure};
use crate::live::hash_of_result;

/// The function that makes it. A host that has no such function serves no document.
const FUNCTION: &str = "convoy: OpenAPI document";

impl Engine {
    /// The document of the loaded program.
    pub(crate) async fn openapi_document(&self) -> Result<OpenApiDocument, Failure> {
        let unknown = || Failure::new(Code::NotFound, "The OpenAPI document is not served; set `openapi: true`.");
        let options = self.config.openapi.as_ref().ok_or_else(unknown)?;
        let program = self.loaded()?;
        let document = program.openapi.get_or_try_init(async || {
            let input = serde_json::json!({ "basePath": self.config.base_path, "options": options.0 }).to_string();
            // Without a caller, so that no context is made.
            let caller = Caller::Inside(Some(r#"{"context":{}}"#.into()));
            let call = IncomingCall {
                kind: FunctionKind::Query,
                name: FUNCTION,
                input,
                caller,
                key: None,
                uncached: false,
                traceparent: None,
            };
            let Answer { result, .. } = self.dispatcher.call(program.clone(), call, None).await?;
            Ok(OpenApiDocument { hash: hash_of_result(&result), text: result })
        });
        document.await.cloned()
    }
}
