//! An engine with scripted functions, served over HTTP on a free port.

use std::net::SocketAddr;
use std::sync::Arc;

use convoy::{Config, Engine, LayoutReport, OpenError};
use serde_json::{Value, json};

use crate::client::Client;
use crate::{EVENT_TIMEOUT, Functions, TestDb};

/// A served engine. Requests go through a [`Client`].
pub struct App {
    /// The engine.
    pub engine: Arc<Engine>,
    /// The address it listens on.
    pub address: SocketAddr,
    /// The tables of the program, as they are described to the engine.
    pub tables: Value,
}

/// An index as `(name, unique, [(path, kind)])`.
pub type IndexSpec<'a> = (&'a str, bool, &'a [(&'a str, &'a str)]);

/// One table of a schema description.
pub fn table(name: &str, indexes: &[IndexSpec<'_>]) -> Value {
    let indexes: Vec<Value> = indexes
        .iter()
        .map(|(index, unique, fields)| {
            let fields: Vec<Value> = fields.iter().map(|(path, kind)| json!({ "path": path, "kind": kind })).collect();
            json!({ "name": index, "unique": unique, "fields": fields })
        })
        .collect();
    json!({ "name": name, "physicalName": name, "managed": true, "indexes": indexes })
}

impl TestDb {
    /// Opens an engine on this database, loads the program, and serves it.
    pub async fn app(&self, tables: Value, functions: Functions) -> App {
        self.app_with(json!({}), tables, functions).await
    }

    /// Like [`TestDb::app`], with options of the engine.
    pub async fn app_with(&self, options: Value, tables: Value, functions: Functions) -> App {
        let mut config = json!({ "databaseUrl": self.url(), "poolSize": 4 });
        for (key, value) in options.as_object().expect("options are an object") {
            config[key] = value.clone();
        }
        App::open(config, tables, functions).await
    }
}

impl App {
    /// Opens an engine with exactly this configuration, loads the program, and serves it.
    pub async fn open(config: Value, tables: Value, functions: Functions) -> App {
        let config: Config = serde_json::from_value(config).expect("options the engine knows");
        let engine = Engine::open(config).await.expect("the engine opens");
        let server = engine.listen("127.0.0.1", 0).await.expect("a port is free");
        let app = App { address: server.address, engine, tables };
        app.load(functions, false).await;
        app
    }

    /// Loads other functions over the same tables; returns the report of the schema sync.
    pub async fn load(&self, functions: Functions, has_context: bool) -> LayoutReport {
        let report = self.try_load(functions, has_context).await.expect("the program loads");
        assert!(report.warnings.is_empty(), "{:?}", report.warnings);
        report
    }

    /// The same, where the program may be refused.
    pub async fn try_load(&self, functions: Functions, has_context: bool) -> Result<LayoutReport, OpenError> {
        let mut program = json!({
            "schema": { "tables": self.tables },
            "functions": functions.descriptions,
            "routes": functions.route_descriptions,
            "hasContext": has_context,
            "sync": true,
        });
        if let Some(role) = &functions.role {
            program["rls"] = json!({ "role": role });
        }
        let program = serde_json::from_value(program).expect("a program description");
        self.engine.load(program, functions.host()).await
    }

    /// A new client with connections of its own.
    pub fn client(&self) -> Client {
        Client::of(self.address)
    }

    /// Waits until no live query is queued or running.
    pub async fn until_idle(&self) {
        let idle = async {
            while self.engine.stats().busy > 0 {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(EVENT_TIMEOUT, idle).await.expect("live queries become idle");
    }
}
