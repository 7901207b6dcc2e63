//! A barrier: waits until engines have processed all writes before it.

use convoy_testkit::{Answer, App, Psql, Reader, within};
use serde_json::{Value, json};

/// Numbered marks, written to a table that only barriers subscribe to.
pub(crate) struct Barrier<'a> {
    apps: Vec<(&'a App, Reader<Answer>)>,
    last: u64,
}

impl<'a> Barrier<'a> {
    /// A barrier for these engines, which serve the chat.
    pub(crate) async fn of(apps: &[&'a App]) -> Barrier<'a> {
        let (mut watches, mut last) = (Vec::new(), 0);
        for app in apps {
            let mut watch = app.client().watch("marks.last", json!({})).await;
            last = watch.next().await[0]["n"].as_u64().unwrap_or_default();
            watches.push((*app, watch.read_continuously()));
        }
        Barrier { apps: watches, last }
    }

    /// Waits until every engine has been notified of the commits of all engines, and every
    /// affected query has run.
    ///
    /// Messages of a node arrive in order. If one is lost, the next mark follows.
    pub(crate) async fn wait_for_notifications(&mut self) {
        for sender in 0..self.apps.len() {
            let client = self.apps[sender].0.client();
            for receiver in 0..self.apps.len() {
                within(async {
                    loop {
                        let mark = self.mark();
                        client.mutate("marks.leave", json!({ "n": mark })).await.data();
                        if self.apps[receiver].1.reaches(0, |last| is(last, mark)).await {
                            return;
                        }
                    }
                })
                .await;
            }
        }
        self.wait_until_idle().await;
    }

    /// Waits until every engine has read the log up to now, and every affected query has
    /// run. If a read is lost, the next mark follows.
    pub(crate) async fn wait_for_log(&mut self, psql: &mut Psql) {
        for reader in 0..self.apps.len() {
            within(async {
                loop {
                    let mark = self.mark();
                    psql.run(&format!("insert into marks (data) values ('{{\"n\": {mark}}}')")).await;
                    if self.apps[reader].1.reaches(0, |last| is(last, mark)).await {
                        return;
                    }
                }
            })
            .await;
        }
        self.wait_until_idle().await;
    }

    async fn wait_until_idle(&self) {
        for (app, _) in &self.apps {
            app.until_idle().await;
        }
    }

    fn mark(&mut self) -> u64 {
        self.last += 1;
        self.last
    }
}

fn is(last: &Value, mark: u64) -> bool {
    last[0]["n"] == mark
}
