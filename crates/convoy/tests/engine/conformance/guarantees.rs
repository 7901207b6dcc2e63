//! The guarantees of mutations. A check returns `None`, or the reason why the guarantee does
//! not apply to the strategy.

use std::pin::Pin;

use convoy_testkit::{Cut, Reply, within};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use super::strategies::{Served, Strategy};

type Kept = Pin<Box<dyn Future<Output = Option<&'static str>> + Send>>;

/// A guarantee, and its check.
type Guarantee = (&'static str, fn(Strategy) -> Kept);

pub(super) const GUARANTEES: [Guarantee; 10] = [
    ("a failed call has no effects, whether it fails early or late", |strategy| Box::pin(thrown(strategy))),
    ("a constraint checked at commit fails only the call that violates it", |strategy| Box::pin(constraint(strategy))),
    ("calls are retried after conflicts, and no write is lost", |strategy| Box::pin(conflict(strategy))),
    ("a keyed call whose commit answer is lost takes effect once", |strategy| Box::pin(lost_keyed(strategy))),
    ("a lost commit answer is reported correctly, and live queries are correct", |strategy| {
        Box::pin(lost_unkeyed(strategy))
    }),
    ("a call continues after its caller disconnects", |strategy| Box::pin(hang_up(strategy))),
    ("a rollback to a savepoint undoes the later writes", |strategy| Box::pin(savepoint(strategy))),
    ("a call that exceeds a limit commits nothing", |strategy| Box::pin(budget(strategy))),
    ("a call with a used key gets the answer of the first", |strategy| Box::pin(keyed(strategy))),
    ("shutdown waits for running calls", |strategy| Box::pin(drained(strategy))),
];

const AUTOCOMMITS: &str = "each operation is committed by itself";
const KEYS: &str = "keys are for transactions";

async fn thrown(strategy: Strategy) -> Option<&'static str> {
    let served = Served::by(strategy).await.warmed().await;
    let client = served.app.client();
    let early = served.run(&client, json!([{ "throw": true }, { "insert": 1 }])).await;
    assert_eq!((early.status, early.code()), (403, "FORBIDDEN"));
    assert_eq!(served.stored().await, [""; 0]);
    let late = served.run(&client, json!([{ "insert": 1 }, { "throw": true }])).await;
    assert_eq!(late.code(), "FORBIDDEN");
    if strategy == Strategy::Autocommit {
        assert_eq!(served.stored().await, ["1"]);
        served.close().await;
        return Some(AUTOCOMMITS);
    }
    assert_eq!(served.stored().await, [""; 0]);
    // The failure does not affect the next call.
    served.run(&client, json!([{ "insert": 2 }])).await.data();
    assert_eq!(served.stored().await, ["2"]);
    served.close().await;
    None
}

const REFUSE_THIRTEEN: &str = "
create function refuse() returns trigger language plpgsql as $$ begin
  raise exception 'no thirteen' using errcode = '23514', constraint = 'no_thirteen';
end $$;
create constraint trigger no_thirteen after insert on guarded deferrable initially deferred
for each row when ((new.data ->> 'n')::int = 13) execute function refuse()";

async fn constraint(strategy: Strategy) -> Option<&'static str> {
    let served = Served::with(strategy, json!({}), REFUSE_THIRTEEN).await.warmed().await;
    let calls: Vec<_> = (10..20)
        .map(|n| {
            let (client, steps) = (served.app.client(), json!([{ "guarded": n }]));
            tokio::spawn(async move { client.mutate("script", json!({ "steps": steps })).await })
        })
        .collect();
    for (n, call) in (10..20).zip(calls) {
        let reply = within(call).await.expect("an answer");
        match n {
            13 => {
                let message = reply.body["error"]["message"].as_str().unwrap_or_default().to_owned();
                assert_eq!(reply.code(), "CONFLICT", "{reply:?}");
                assert!(message.contains("no_thirteen"), "{message}");
            }
            _ => drop(reply.data()),
        }
    }
    let mut psql = served.db.psql().await;
    let stored = psql.column("select data ->> 'n' from guarded order by 1").await;
    assert_eq!(stored, ["10", "11", "12", "14", "15", "16", "17", "18", "19"]);
    served.close().await;
    (strategy == Strategy::Optimistic).then_some("a table with constraints is written in a transaction")
}

async fn conflict(strategy: Strategy) -> Option<&'static str> {
    match strategy {
        Strategy::InsertBatching => return Some("it reads nothing"),
        Strategy::Autocommit => return Some("it promises no more than its statements"),
        _ => {}
    }
    let served = Served::with(strategy, json!({ "poolSize": 8 }), "").await.warmed().await;
    let client = served.app.client();
    served.run(&client, json!([{ "insert": 0 }])).await.data();
    let id = served.db.psql().await.column("select id::text from notes").await.remove(0);
    let calls: Vec<_> = (0..12)
        .map(|_| {
            let (client, steps) = (client.clone(), json!([{ "add": id }]));
            tokio::spawn(async move { client.mutate("script", json!({ "steps": steps })).await })
        })
        .collect();
    for call in calls {
        within(call).await.expect("an answer").data();
    }
    assert_eq!(served.stored().await, ["12"]);
    served.close().await;
    None
}

/// Cuts the connection at the commit of a call. Returns status, code, and the number of notes.
async fn cut_at_commit(served: &Served, strategy: Strategy, cut: Cut, key: Option<&str>) -> (u16, String, usize) {
    let client = served.app.client();
    let client = key.map_or(client.clone(), |key| client.with_header("idempotency-key", key));
    served.wire.cut(cut);
    let reply = served.run(&client, json!([{ "insert": 1 }])).await;
    assert!(!served.wire.cut_is_pending(), "{strategy:?}: {cut:?}");
    (reply.status, reply.code().to_owned(), served.stored().await.len())
}

fn cuts(strategy: Strategy) -> [Cut; 2] {
    [Cut::Before(strategy.commits_by()), Cut::After(strategy.commits_by())]
}

async fn lost_keyed(strategy: Strategy) -> Option<&'static str> {
    if !strategy.is_transactional() {
        return Some(KEYS);
    }
    let served = Served::by(strategy).await.warmed().await;
    for (cut, key) in cuts(strategy).into_iter().zip(["a", "b"]) {
        let before = served.stored().await.len();
        let (status, code, stored) = cut_at_commit(&served, strategy, cut, Some(key)).await;
        assert_eq!((status, &*code, stored), (200, "none", before + 1), "{cut:?}");
        let client = served.app.client().with_header("idempotency-key", key);
        let again = served.run(&client, json!([{ "insert": 1 }])).await;
        assert_eq!(again.header("idempotency-replayed"), Some("true"), "{cut:?}");
        assert_eq!(served.stored().await.len(), before + 1, "{cut:?}");
    }
    served.close().await;
    None
}

async fn lost_unkeyed(strategy: Strategy) -> Option<&'static str> {
    let served = Served::by(strategy).await.warmed().await;
    let mut watch = served.app.client().watch("count", json!({})).await;
    assert_eq!(watch.next().await, json!(0));
    let mut before = 0;
    for cut in cuts(strategy) {
        let (status, code, stored) = cut_at_commit(&served, strategy, cut, None).await;
        // The call is answered with its real result, or as in doubt.
        match status {
            200 => assert_eq!(stored, before + 1, "{cut:?}"),
            _ => assert_eq!((status, &*code), (503, "UNAVAILABLE"), "{cut:?}"),
        }
        before = stored;
        served.db.psql().await.run(r#"insert into notes (data) values ('{"n": 9}')"#).await;
        before += 1;
        watch.until(|count| *count == json!(before)).await;
    }
    served.close().await;
    None
}

/// Starts a call whose function waits at the gate before it inserts.
async fn begun(served: &Served) -> JoinHandle<Reply> {
    let runs = served.app.engine.stats().handler_runs;
    let (client, steps) = (served.app.client(), json!([{ "wait": true }, { "insert": 1 }]));
    let call = tokio::spawn(async move { client.mutate("script", json!({ "steps": steps })).await });
    within(async {
        while served.app.engine.stats().handler_runs == runs {
            tokio::task::yield_now().await;
        }
    })
    .await;
    call
}

async fn hang_up(strategy: Strategy) -> Option<&'static str> {
    let served = Served::by(strategy).await.warmed().await;
    let mut watch = served.app.client().watch("count", json!({})).await;
    assert_eq!(watch.next().await, json!(0));
    let call = begun(&served).await;
    call.abort();
    assert!(call.await.is_err_and(|ended| ended.is_cancelled()));
    served.gate.add_permits(8);
    watch.until(|count| *count == json!(1)).await;
    served.close().await;
    None
}

async fn savepoint(strategy: Strategy) -> Option<&'static str> {
    match strategy {
        Strategy::InsertBatching => return Some("held inserts are sent at the end"),
        Strategy::Autocommit => return Some(AUTOCOMMITS),
        _ => {}
    }
    let served = Served::by(strategy).await.warmed().await;
    let steps: Value = json!([
        { "insert": 1 }, { "savepoint": 1 }, { "insert": 2 }, { "savepoint": 2 }, { "insert": 3 },
        { "rollback": 1 }, { "insert": 4 }, { "rollback": 1 }, { "insert": 5 },
    ]);
    served.run(&served.app.client(), steps).await.data();
    assert_eq!(served.stored().await, ["1", "5"]);
    served.close().await;
    None
}

async fn budget(strategy: Strategy) -> Option<&'static str> {
    let limits = json!({ "limits": { "maxDocumentsWritten": 3 } });
    let served = Served::with(strategy, limits, "").await.warmed().await;
    let inserts = |count: i64| Value::Array((0..count).map(|n| json!({ "insert": n })).collect());
    served.run(&served.app.client(), inserts(3)).await.data();
    assert_eq!(served.stored().await.len(), 3);
    let refused = served.run(&served.app.client(), inserts(4)).await;
    assert_eq!((refused.status, refused.code()), (413, "PAYLOAD_TOO_LARGE"));
    let stored = served.stored().await.len();
    served.close().await;
    if strategy == Strategy::Autocommit {
        assert_eq!(stored, 6);
        return Some(AUTOCOMMITS);
    }
    assert_eq!(stored, 3);
    None
}

async fn keyed(strategy: Strategy) -> Option<&'static str> {
    if !strategy.is_transactional() {
        return Some(KEYS);
    }
    let served = Served::by(strategy).await.warmed().await;
    let client = served.app.client().with_header("idempotency-key", "k");
    let calls: Vec<_> = (0..4)
        .map(|_| {
            let (client, steps) = (client.clone(), json!([{ "insert": 1 }]));
            tokio::spawn(async move { client.mutate("script", json!({ "steps": steps })).await })
        })
        .collect();
    let mut replayed = 0;
    for call in calls {
        let reply = within(call).await.expect("an answer");
        replayed += usize::from(reply.header("idempotency-replayed") == Some("true"));
        reply.data();
    }
    assert_eq!((replayed, served.stored().await.len()), (3, 1));
    let other = served.run(&client, json!([{ "insert": 2 }])).await;
    assert_eq!(other.code(), "CONFLICT");
    served.close().await;
    None
}

async fn drained(strategy: Strategy) -> Option<&'static str> {
    let served = Served::by(strategy).await.warmed().await;
    let call = begun(&served).await;
    let engine = served.app.engine.clone();
    let closing = tokio::spawn(async move { engine.close().await });
    served.gate.add_permits(8);
    within(call).await.expect("an answer").data();
    within(closing).await.expect("it closes");
    assert_eq!(served.stored().await, ["1"]);
    None
}
