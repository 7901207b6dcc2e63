//! Servers in processes of their own, so that they can be killed, that their memory can be
//! measured, and that they have their own limit of open files: this binary, started again to run
//! a test of this file.

use convoy_testkit::{
    App, Functions, ServerProcess, TestDb, allow_open_files, options_of_server, serve_until_input_ends,
};
use serde_json::{Value, json};

use crate::chat::{functions, tables};
use crate::{list_append, members};

/// The size of a result of `padded`, in bytes.
pub(crate) const PADDING: usize = 32 << 10;

/// What a server opens for 10,000 clients.
const OPEN_FILES: u64 = 12_000;

/// Starts a server on this database with these options of the engine, which may have another
/// URL of the database.
pub(crate) fn start(db: &TestDb, options: Value) -> ServerProcess {
    start_program("server_process::serves_until_its_input_ends", db, options)
}

/// Starts a server of the chat with authentication. It answers each line with the number of
/// handler runs.
pub(crate) fn start_members(db: &TestDb, options: Value) -> ServerProcess {
    start_program("server_process::serves_members_until_its_input_ends", db, options)
}

fn start_program(test: &str, db: &TestDb, mut options: Value) -> ServerProcess {
    if options["databaseUrl"].is_null() {
        options["databaseUrl"] = json!(db.url());
    }
    ServerProcess::start(test, &options)
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "the server of other tests, which start it"]
async fn serves_until_its_input_ends() {
    let Some(config) = options_of_server() else { return };
    allow_open_files(OPEN_FILES);
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

#[tokio::test(flavor = "multi_thread")]
#[ignore = "the server of other tests, which start it"]
async fn serves_members_until_its_input_ends() {
    let Some(config) = options_of_server() else { return };
    allow_open_files(OPEN_FILES);
    let app = App::open(config, tables(), Functions::new()).await;
    members::load(&app).await;
    let engine = app.engine.clone();
    serve_until_input_ends(app, move |_| engine.stats().handler_runs.to_string()).await;
}
