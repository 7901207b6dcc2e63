//! A server in a process of its own, so that its memory can be measured: this binary, started
//! again to run the test at the end of this file.

use convoy_testkit::{App, ServerProcess, TestDb, allow_open_files, options_of_server, serve_until_input_ends};
use serde_json::{Value, json};

use crate::chat::{functions, tables};
use crate::list_append;

/// The size of a result of `padded`, in bytes.
pub(crate) const PADDING: usize = 32 << 10;

/// Starts a server on this database with these options of the engine, which may have another
/// URL of the database.
pub(crate) fn start(db: &TestDb, mut options: Value) -> ServerProcess {
    if options["databaseUrl"].is_null() {
        options["databaseUrl"] = json!(db.url());
    }
    ServerProcess::start("server_process::serves_until_its_input_ends", &options)
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "the server of other tests, which start it"]
async fn serves_until_its_input_ends() {
    let Some(config) = options_of_server() else { return };
    allow_open_files(12_000);
    let padding = "x".repeat(PADDING);
    // An object, so that it is sent whole instead of as a delta.
    let program = functions().query("padded", move |ctx, _| {
        let padding = padding.clone();
        async move {
            ctx.saw_nothing();
            let last =
                json!({ "op": "scan", "table": "marks", "index": "by_n", "eq": [], "order": "desc", "limit": 1 });
            Ok(json!({ "n": ctx.op(last).await?[0]["n"], "padding": padding }))
        }
    });
    let mut all = tables();
    let lists = list_append::tables();
    all.as_array_mut().expect("a list").extend(lists.as_array().expect("a list").iter().cloned());
    let app = App::open(config, all, list_append::add_to(program)).await;
    serve_until_input_ends(app, str::to_owned).await;
}
