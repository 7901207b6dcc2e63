//! Plain calls: each is answered with what the database has when it is made, also from memory.

use convoy_testkit::{App, Client};

use super::Oracle;
use super::random_query::RandomQuery;

/// How many queries are called after each batch of writes, by each client.
const CALLED: usize = 20;
/// How often each: the second call is kept, and the third may be answered from memory.
const TIMES: usize = 3;

/// A process whose calls are compared.
pub(super) struct Caller {
    app: App,
    client: Client,
    /// Calls, and those that took a run.
    pub calls: u64,
    pub runs: u64,
}

impl Caller {
    /// Calls a process without live queries.
    pub(super) fn of(app: App) -> Caller {
        Caller { client: app.client(), app, calls: 0, runs: 0 }
    }

    /// Calls some queries, all of whose writes have been answered, and compares the answers.
    pub(super) async fn compare(&mut self, random_queries: &[RandomQuery], oracle: &mut Oracle) {
        let before = self.app.engine.stats().handler_runs;
        for random_query in random_queries.iter().step_by(random_queries.len() / CALLED) {
            for _ in 0..TIMES {
                let data = self.client.query("read", random_query.op.clone()).await.data();
                oracle.compare_call(random_query, &data).await;
                self.calls += 1;
            }
        }
        self.runs += self.app.engine.stats().handler_runs - before;
    }

    /// Closes the process.
    pub(super) async fn close(self) {
        self.app.engine.close().await;
    }
}
