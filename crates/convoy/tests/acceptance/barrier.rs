//! How a test knows that engines have heard of all that was written, and are done
//! with it.

use convoy_testkit::{Answer, App, Psql, Reader, within};
use serde_json::{Value, json};

/// Marks left in a table that nothing else watches.
pub(crate) struct Barrier<'a> {
    apps: Vec<(&'a App, Reader<Answer>)>,
    last: u64,
}

impl<'a> Barrier<'a> {
    /// Before these engines, which serve the chat.
    pub(crate) async fn before(apps: &[&'a App]) -> Barrier<'a> {
        let (mut watched, mut last) = (Vec::new(), 0);
        for app in apps {
            let mut watch = app.client().watch("marks.last", json!({})).await;
            last = watch.next().await[0]["n"].as_u64().unwrap_or_default();
            watched.push((*app, watch.read_on()));
        }
        Barrier { apps: watched, last }
    }

    /// Returns when every engine has been told of what engines have committed, and
    /// every query that it concerned has run.
    ///
    /// What a node says last arrives last. Where its word is lost, it says another.
    pub(crate) async fn heard_each_other(&mut self) {
        for speaker in 0..self.apps.len() {
            let client = self.apps[speaker].0.client();
            for listener in 0..self.apps.len() {
                within(async {
                    loop {
                        let mark = self.mark();
                        client.mutate("marks.leave", json!({ "n": mark })).await.data();
                        if self.apps[listener].1.comes_to(0, |last| is(last, mark)).await {
                            return;
                        }
                    }
                })
                .await;
            }
        }
        self.rested().await;
    }

    /// Returns when every engine has been told of what anybody has committed, and
    /// every query that it concerned has run. Where a reading is lost, there is
    /// another.
    pub(crate) async fn read_the_log(&mut self, psql: &mut Psql) {
        for reader in 0..self.apps.len() {
            within(async {
                loop {
                    let mark = self.mark();
                    psql.run(&format!("insert into marks (data) values ('{{\"n\": {mark}}}')")).await;
                    if self.apps[reader].1.comes_to(0, |last| is(last, mark)).await {
                        return;
                    }
                }
            })
            .await;
        }
        self.rested().await;
    }

    async fn rested(&self) {
        for (app, _) in &self.apps {
            app.rest().await;
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
