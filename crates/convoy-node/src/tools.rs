//! The JavaScript classes of the commands that move and check documents.

use std::sync::Arc;

use convoy::{Failure, Import, Scan, Tools, TransferError};
use napi::bindgen_prelude::Object;
use napi::{Env, Result};
use napi_derive::napi;
use serde::Serialize;

use crate::logging;
use crate::panic_point::{self, At};
use crate::promise::{malformed, parse_options, promise, rejection};

type Outcome<T> = std::result::Result<T, Failure>;

fn json<T: Serialize>(result: std::result::Result<T, TransferError>) -> Outcome<String> {
    let value = result.map_err(|error| error.to_failure())?;
    serde_json::to_string(&value).map_err(|error| malformed("report", &error))
}

/// Opens a database for commands. Resolves to a `NativeTools`; `options` is JSON.
#[napi(catch_unwind)]
pub fn open_tools<'env>(env: &'env Env, options: String) -> Result<Object<'env>> {
    panic_point::reach(At::Call);
    logging::init();
    promise(env, async move {
        let tools = Tools::open(parse_options(&options)?).await.map_err(|error| error.to_failure())?;
        Ok(NativeTools { tools: Arc::new(tools) })
    })
}

/// A database opened for commands.
#[napi]
pub struct NativeTools {
    tools: Arc<Tools>,
}

#[napi]
impl NativeTools {
    /// The step in progress, as JSON.
    #[napi(catch_unwind)]
    pub fn progress(&self) -> Result<String> {
        panic_point::reach(At::Call);
        serde_json::to_string(&self.tools.progress()).map_err(|error| rejection(&malformed("progress", &error)))
    }

    /// Exports tables. Resolves to a JSON report.
    #[napi(catch_unwind)]
    pub fn export<'env>(&self, env: &'env Env, options: String) -> Result<Object<'env>> {
        panic_point::reach(At::Call);
        let tools = self.tools.clone();
        promise(env, async move { json(tools.export(parse_options(&options)?).await) })
    }

    /// Begins an import. Resolves to a `NativeImport`.
    #[napi(catch_unwind)]
    pub fn import<'env>(&self, env: &'env Env, options: String) -> Result<Object<'env>> {
        panic_point::reach(At::Call);
        let tools = self.tools.clone();
        promise(env, async move {
            let import = tools.import(parse_options(&options)?).await.map_err(|error| error.to_failure())?;
            Ok(NativeImport { tools, import: Arc::new(import) })
        })
    }

    /// Begins to read a table, or a sample of it. Resolves to a `NativeScan`.
    #[napi(catch_unwind)]
    pub fn scan<'env>(&self, env: &'env Env, table: String, sample: Option<u32>) -> Result<Object<'env>> {
        panic_point::reach(At::Call);
        let tools = self.tools.clone();
        promise(env, async move {
            let scan = tools.scan(&table, sample.map(u64::from)).await.map_err(|error| error.to_failure())?;
            Ok(NativeScan { tools, scan: Arc::new(scan) })
        })
    }

    /// The differences between schema and database, as JSON.
    #[napi(catch_unwind)]
    pub fn drift<'env>(&self, env: &'env Env) -> Result<Object<'env>> {
        panic_point::reach(At::Call);
        let tools = self.tools.clone();
        promise(env, async move { json(tools.drift().await) })
    }

    /// Server, connection and privileges, as JSON.
    #[napi(catch_unwind)]
    pub fn diagnose<'env>(&self, env: &'env Env) -> Result<Object<'env>> {
        panic_point::reach(At::Call);
        let tools = self.tools.clone();
        promise(env, async move { json(tools.diagnose().await) })
    }

    /// Closes the connections.
    #[napi(catch_unwind)]
    pub fn close<'env>(&self, env: &'env Env) -> Result<Object<'env>> {
        panic_point::reach(At::Call);
        let tools = self.tools.clone();
        promise(env, async move {
            tools.close().await;
            Ok(())
        })
    }
}

/// A running import.
#[napi]
pub struct NativeImport {
    tools: Arc<Tools>,
    import: Arc<Import>,
}

#[napi]
impl NativeImport {
    /// The next batch to validate, as JSON; `null` at the end.
    #[napi(catch_unwind)]
    pub fn next<'env>(&self, env: &'env Env) -> Result<Object<'env>> {
        panic_point::reach(At::Call);
        let (tools, import) = (self.tools.clone(), self.import.clone());
        promise(env, async move { tools.next_batch(&import).await.map_err(|error| error.to_failure()) })
    }

    /// Writes the documents of a batch that fit.
    #[napi(catch_unwind)]
    pub fn write<'env>(&self, env: &'env Env, verdict: String) -> Result<Object<'env>> {
        panic_point::reach(At::Call);
        let (tools, import) = (self.tools.clone(), self.import.clone());
        promise(env, async move {
            tools.write_batch(&import, parse_options(&verdict)?).await.map_err(|error| error.to_failure())
        })
    }

    /// Ends the import. Resolves to a JSON report.
    #[napi(catch_unwind)]
    pub fn end<'env>(&self, env: &'env Env) -> Result<Object<'env>> {
        panic_point::reach(At::Call);
        let (tools, import) = (self.tools.clone(), self.import.clone());
        promise(env, async move { json(tools.end_import(&import).await) })
    }
}

/// A running read of a table.
#[napi]
pub struct NativeScan {
    tools: Arc<Tools>,
    scan: Arc<Scan>,
}

#[napi]
impl NativeScan {
    /// Whether it reads all documents.
    #[napi(getter, catch_unwind)]
    pub fn is_whole(&self) -> bool {
        panic_point::reach(At::Call);
        self.scan.is_whole()
    }

    /// The next documents, as JSON; `null` at the end.
    #[napi(catch_unwind)]
    pub fn next<'env>(&self, env: &'env Env) -> Result<Object<'env>> {
        panic_point::reach(At::Call);
        let (tools, scan) = (self.tools.clone(), self.scan.clone());
        promise(env, async move { tools.next_documents(&scan).await.map_err(|error| error.to_failure()) })
    }
}
