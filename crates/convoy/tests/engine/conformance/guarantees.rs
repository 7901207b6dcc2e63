//! The guarantees of mutations. A check returns `None`, or the reason why the guarantee does
//! not apply to the strategy.

use std::pin::Pin;
use std::time::Duration;

use convoy_testkit::{Client, Cut, within};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::strategies::{Served, Strategy};

type Kept = Pin<Box<dyn Future<Output = Option<&'static str>> + Send>>;

/// A guarantee, and its check.
type Guarantee = (&'static str, fn(Strategy) -> Kept);

pub(super) const GUARANTEES: [Guarantee; 11] = [
    ("a failed call has no effects, whether it fails early or late", |strategy| Box::pin(thrown(strategy))),
    ("a constraint checked at commit fails only the call that violates it", |strategy| Box::pin(constraint(strategy))),
    ("calls are retried after conflicts, and no write is lost", |strategy| Box::pin(conflict(strategy))),
    ("a keyed call whose commit answer is lost takes effect once", |strategy| Box::pin(lost_keyed(strategy))),
    ("a lost commit answer is reported correctly, and live queries are correct", |strategy| {
        Box::pin(lost_unkeyed(strategy))
    }),
    ("a call without a database fails, and its failure excludes effects", |strategy| Box::pin(unreachable(strategy))),
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
    served.close_with_other_strategy().await;
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
    let mut psql = served.db.psql().await;
    let id = psql.column("select id::text from notes").await.remove(0);
    let add = |client: Client| {
        let steps = json!([{ "add": id }]);
        tokio::spawn(async move { client.mutate("script", json!({ "steps": steps })).await })
    };

    // A writer outside of Convoy has the row locked while the call reads it.
    let mut outside = served.db.psql().await;
    outside.run(r#"begin; update notes set data = '{"n": 100}'"#).await;
    let runs = served.runs();
    let call = add(client.clone());
    let waits = "select count(*)::text from pg_stat_activity
        where datname = current_database() and wait_event_type = 'Lock'";
    within(async { while psql.column(waits).await == ["0"] {} }).await;
    outside.run("commit").await;
    within(call).await.expect("an answer").data();
    assert_eq!(served.stored().await, ["101"]);
    assert!(served.runs() - runs > 1, "there was no conflict");

    let calls: Vec<_> = (0..12).map(|_| add(client.clone())).collect();
    for call in calls {
        within(call).await.expect("an answer").data();
    }
    assert_eq!(served.stored().await, ["113"]);
    served.close_with_other_strategy().await;
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
        loop {
            let (status, code, stored) = cut_at_commit(&served, strategy, cut, None).await;
            let answered = status == 200;
            match answered {
                true => assert_eq!(stored, before + 1, "{cut:?}"),
                false => assert_eq!((status, &*code), (503, "UNAVAILABLE"), "{cut:?}"),
            }
            // No other write follows that could update the live query in its place.
            if stored != before {
                watch.until(|count| *count == json!(stored)).await;
            }
            before = stored;
            // The outcome of a transaction is looked up. That of a single statement is unknown,
            // unless the cut has hit a statement of the live query instead.
            match strategy.commits_by() {
                "commit" => assert!(answered, "{cut:?}: {code}"),
                _ if answered => continue,
                _ => {}
            }
            break;
        }
    }
    served.close().await;
    None
}

async fn unreachable(strategy: Strategy) -> Option<&'static str> {
    let served = Served::by(strategy).await.warmed().await;
    let client = served.app.client();
    served.wire.set_down(true);
    // The first call may find an open connection, and loses it.
    served.run(&client, json!([{ "insert": 1 }])).await;
    let refused = served.run(&client, json!([{ "insert": 2 }])).await;
    assert_eq!((refused.status, refused.code()), (503, "UNAVAILABLE"));
    let message = refused.body["error"]["message"].as_str().unwrap_or_default();
    assert!(message.starts_with("The database is not reachable"), "{message}");
    served.wire.set_down(false);
    within(async { while served.run(&client, json!([{ "insert": 3 }])).await.status != 200 {} }).await;
    assert!(!served.stored().await.contains(&"2".to_owned()));
    served.close().await;
    None
}

/// Starts a call whose function waits at the gate before it inserts, and whose caller
/// disconnects. The server has noticed that when this returns.
async fn abandoned(served: &Served) {
    let runs = served.app.engine.stats().handler_runs;
    let address = served.app.address;
    let mut socket = TcpStream::connect(address).await.expect("the server listens");
    let body = r#"{"steps":[{"wait":true},{"insert":1}]}"#;
    let head = format!(
        "POST /api/mutation/script HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    socket.write_all(format!("{head}{body}").as_bytes()).await.expect("an open connection");
    within(async {
        while served.app.engine.stats().handler_runs == runs {
            tokio::task::yield_now().await;
        }
    })
    .await;
    socket.shutdown().await.expect("an open connection");
    let mut answer = Vec::new();
    within(socket.read_to_end(&mut answer)).await.expect("the server closes the connection");
    assert!(answer.is_empty(), "the call was answered");
}

async fn hang_up(strategy: Strategy) -> Option<&'static str> {
    let served = Served::by(strategy).await.warmed().await;
    let mut watch = served.app.client().watch("count", json!({})).await;
    assert_eq!(watch.next().await, json!(0));
    abandoned(&served).await;
    served.gate.add_permits(8);
    watch.until(|count| *count == json!(1)).await;
    served.close_with_other_strategy().await;
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
    let limits = json!({ "limits": { "maxDocumentsWritten": 3, "maxDocumentsRead": 3 } });
    let served = Served::with(strategy, limits, "").await.warmed().await;
    let inserts = |count: i64| Value::Array((0..count).map(|n| json!({ "insert": n })).collect());
    served.run(&served.app.client(), inserts(3)).await.data();
    assert_eq!(served.stored().await.len(), 3);
    let refused = served.run(&served.app.client(), inserts(4)).await;
    assert_eq!((refused.status, refused.code()), (413, "PAYLOAD_TOO_LARGE"));
    let stored = served.stored().await.len();
    if strategy == Strategy::Autocommit {
        assert_eq!(stored, 6);
    } else {
        assert_eq!(stored, 3);
    }
    if strategy != Strategy::InsertBatching {
        read_budget(&served).await;
    }
    served.close().await;
    (strategy == Strategy::Autocommit).then_some(AUTOCOMMITS)
}

/// Three documents may be read, and a fourth may not.
async fn read_budget(served: &Served) {
    let mut psql = served.db.psql().await;
    psql.run("delete from notes; insert into notes (data) select '{\"n\": 0}' from generate_series(1, 4)").await;
    let ids = psql.column("select id::text from notes").await;
    let reads = |count: usize| Value::Array(ids.iter().take(count).map(|id| json!({ "get": id })).collect());
    served.run(&served.app.client(), reads(3)).await.data();
    let refused = served.run(&served.app.client(), reads(4)).await;
    assert_eq!((refused.status, refused.code()), (413, "PAYLOAD_TOO_LARGE"));
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
    // No request is open that the server would wait for.
    abandoned(&served).await;
    let engine = served.app.engine.clone();
    let mut closing = tokio::spawn(async move { engine.close().await });
    within(async { while !served.app.engine.unready().await.contains_key("shutdown") {} }).await;
    // Nothing announces that `close` waits, so this cannot wait for an event.
    let closed = tokio::time::timeout(Duration::from_millis(200), &mut closing).await;
    assert!(closed.is_err(), "it closed while a call was running");
    served.gate.add_permits(8);
    within(closing).await.expect("it closes");
    assert_eq!(served.stored().await, ["1"]);
    None
}
