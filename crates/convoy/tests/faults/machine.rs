//! Calls and live queries while something of the machine is missing: calls that fail say so with
//! `UNAVAILABLE`, and everything goes on by itself afterwards.

use std::collections::BTreeSet;

use convoy_testkit::{App, Client, Psql, Reply, within};
use serde_json::{Value, json};

use crate::pairs::{Damage, Stored, Watcher, Way, functions, tables, with_limits};

/// Opens an engine on this URL.
pub(crate) async fn open(url: &str, mut options: Value) -> App {
    options["databaseUrl"] = json!(url);
    App::open(with_limits(options), tables(), functions()).await
}

/// Calls a mutation with a key until it is acknowledged. Until then it is `UNAVAILABLE`, with a
/// sentence; returns the sentences.
pub(crate) async fn write_when_available(client: &Client, number: u64, way: Way) -> BTreeSet<String> {
    let client = client.with_header("idempotency-key", &format!("key-{number}"));
    let mut sentences = BTreeSet::new();
    within(async {
        loop {
            let reply = client.mutate(way.function(), json!({ "number": number })).await;
            if reply.status == 200 {
                return;
            }
            sentences.insert(unavailable(&reply));
        }
    })
    .await;
    sentences
}

/// The sentence of a reply, which is `UNAVAILABLE`.
pub(crate) fn unavailable(reply: &Reply) -> String {
    assert_eq!((reply.status, reply.code()), (503, "UNAVAILABLE"), "{}", reply.body);
    let message = reply.body["error"]["message"].as_str().expect("a message");
    assert!(message.ends_with('.') && message.contains("try"), "{message}");
    message.to_owned()
}

/// The damage after a fault, by the rows of the database.
pub(crate) async fn damage(
    psql: &mut Psql,
    watchers: &mut [(&App, Watcher)],
    acknowledged: &BTreeSet<u64>,
    numbers: std::ops::Range<u64>,
) -> Damage {
    let stored = Stored::read(psql).await;
    let mut damage = Damage::of(&stored, acknowledged);
    for (app, watcher) in watchers {
        damage.stale.extend(watcher.stale(Some(app), &stored).await);
        damage.wrong.extend(crate::pairs::wrong_queries(&app.client(), numbers.clone(), &stored).await);
    }
    damage
}
