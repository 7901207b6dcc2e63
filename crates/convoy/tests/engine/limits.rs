//! Limits at their edges: at the limit a call works, and one beyond it fails with the named
//! error and has no effect. `tests/limits.test.mjs` lists the test of each limit.

mod documents;
mod times;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::time::Duration;

use convoy::{Config, Engine};
use convoy_testkit::{App, Functions, Psql, Reply, TestDb, within};
use hyper::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;

use crate::shared::{functions, tables};

fn refusal(reply: &Reply) -> (u16, &str) {
    (reply.status, reply.code())
}

async fn count(app: &App) -> usize {
    app.client().query("messages.all", json!({})).await.data().as_array().expect("a list").len()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_of_the_limit_is_read_and_one_byte_more_is_not() {
    let db = TestDb::new().await;
    let app = db.app_with(json!({ "limits": { "bodyBytes": 100 } }), tables(), functions()).await;
    let body = |size: usize| {
        let empty = r#"{"channel":"a","n":1,"body":""}"#;
        empty.replace(r#""body":"""#, &format!(r#""body":"{}""#, "x".repeat(size - empty.len())))
    };
    let send = async |size| app.client().send(Method::POST, "/api/mutation/messages.sendNow", body(size)).await;
    assert_eq!(refusal(&send(101).await), (413, "PAYLOAD_TOO_LARGE"));
    assert_eq!(count(&app).await, 0);
    assert_eq!(send(100).await.status, 200);
    // Without a declared length.
    for (size, status) in [(101, "413"), (100, "200")] {
        let mut socket = TcpStream::connect(app.address).await.expect("the server listens");
        let head = "POST /api/mutation/messages.sendNow HTTP/1.1\r\nhost: a\r\nconnection: close\r\n";
        let chunked = format!("{head}transfer-encoding: chunked\r\n\r\n{size:x}\r\n{}\r\n0\r\n\r\n", body(size));
        socket.write_all(chunked.as_bytes()).await.expect("sent");
        let mut answer = String::new();
        within(socket.read_to_string(&mut answer)).await.expect("an answer");
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{answer}");
    }
    assert_eq!(count(&app).await, 2);
    app.engine.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_of_the_limit_are_read_and_one_byte_more_is_not() {
    let db = TestDb::new().await;
    let app = db.app_with(json!({ "limits": { "headerBytes": 2_000 } }), tables(), functions()).await;
    // `host: a`, `connection: close`, `content-length: 2` and `x: …`, by names and values.
    let others = "hostaconnectionclosecontent-length2x".len();
    for (size, status) in [(2_000, "200"), (2_001, "431"), (10_000, "431")] {
        let request = format!(
            "POST /api/query/messages.all HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: 2\r\nx: {}\r\n\r\n{{}}",
            "x".repeat(size - others)
        );
        let mut socket = TcpStream::connect(app.address).await.expect("the server listens");
        socket.write_all(request.as_bytes()).await.expect("sent");
        let mut answer = String::new();
        within(socket.read_to_string(&mut answer)).await.expect("an answer");
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{size}: {answer}");
        assert_eq!(answer.contains("limits.headerBytes"), size > 2_000, "{answer}");
    }
    app.engine.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_url_and_a_number_of_headers_of_the_limit_are_read_and_one_more_is_not() {
    let db = TestDb::new().await;
    let header_bytes = 2_000;
    let app = db.app_with(json!({ "limits": { "headerBytes": header_bytes } }), tables(), functions()).await;
    // All limits of the head of a request are reached at once.
    let request = |url: usize, headers: usize| {
        let others: Vec<String> = (2..headers - 1).map(|n| format!("x-{n:03}: v\r\n")).collect();
        let path = "/api/health?x=";
        let mut left = header_bytes - "hostaconnectionclose".len() - others.len() * "x-000v".len();
        left -= "y".len();
        let (pad, value) = ("x".repeat(url - path.len()), "y".repeat(left));
        let others = others.concat();
        format!("GET {path}{pad} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n{others}y: {value}\r\n\r\n")
    };
    for (url, headers, status, message) in [
        (32 << 10, 100, "200", "\"ok\""),
        ((32 << 10) + 1, 100, "414", "has 32769 bytes; at most 32768 are read"),
        (100, 101, "431", ""),
    ] {
        let mut socket = TcpStream::connect(app.address).await.expect("the server listens");
        socket.write_all(request(url, headers).as_bytes()).await.expect("sent");
        let mut answer = String::new();
        within(socket.read_to_string(&mut answer)).await.expect("an answer");
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")) && answer.contains(message), "{url}: {answer}");
        assert_eq!(answer.contains("PAYLOAD_TOO_LARGE"), status == "414", "{answer}");
    }
    app.engine.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_result_of_the_limit_is_sent_and_one_byte_more_undoes_its_mutation() {
    let db = TestDb::new().await;
    let sized = |input: &Value| json!("x".repeat(input["size"].as_u64().expect("a size") as usize - 2));
    let functions = functions().query("sized", move |_, input| async move { Ok(sized(&input)) }).mutation(
        "sizedWrite",
        move |ctx, input| async move {
            ctx.insert("messages", json!({ "channel": "a", "n": 1, "body": "" })).await?;
            Ok(sized(&input))
        },
    );
    let app = db.app_with(json!({ "limits": { "resultBytes": 500 } }), tables(), functions).await;
    let client = app.client();
    assert_eq!(client.query("sized", json!({ "size": 500 })).await.status, 200);
    let refused = client.query("sized", json!({ "size": 501 })).await;
    assert_eq!(refusal(&refused), (413, "PAYLOAD_TOO_LARGE"));
    assert!(refused.body.to_string().contains("has 501 bytes, and limits.resultBytes is 500"), "{}", refused.body);
    assert_eq!(refusal(&client.mutate("sizedWrite", json!({ "size": 501 })).await), (413, "PAYLOAD_TOO_LARGE"));
    assert_eq!(count(&app).await, 0);
    assert_eq!(client.mutate("sizedWrite", json!({ "size": 500 })).await.status, 200);
    assert_eq!(count(&app).await, 1);
    app.engine.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_within_its_time_ends_and_one_beyond_has_no_effect() {
    let db = TestDb::new().await;
    let (release, released) = watch::channel(false);
    let wait = move |input: &Value| {
        let (mut released, endless) = (released.clone(), input["endless"] == true);
        async move {
            if endless {
                std::future::pending::<()>().await;
            }
            released.wait_for(|released| *released).await.expect("the test runs");
        }
    };
    let [for_query, for_mutation, for_action] = [wait.clone(), wait.clone(), wait];
    let functions = functions()
        .query("wait", move |_, input| {
            let waiting = for_query(&input);
            async move {
                waiting.await;
                Ok(json!(1))
            }
        })
        .mutation("waitAndWrite", move |ctx, input| {
            let waiting = for_mutation(&input);
            async move {
                let id = ctx.insert("messages", json!({ "channel": "a", "n": 1, "body": "" })).await?;
                waiting.await;
                Ok(json!(id))
            }
        })
        .action("waitOutside", move |_, input| {
            let waiting = for_action(&input);
            async move {
                waiting.await;
                Ok(json!(1))
            }
        });
    let within_ms = async |ms: u64| {
        let limits = json!({ "limits": { "queryMs": ms, "mutationMs": ms, "actionMs": ms } });
        db.app_with(limits, tables(), functions.clone()).await
    };
    let app = within_ms(900).await;
    let names = [
        ("query", "wait", "queryMs"),
        ("mutation", "waitAndWrite", "mutationMs"),
        ("action", "waitOutside", "actionMs"),
    ];
    for (kind, name, limit) in names {
        let path = format!("/api/{kind}/{name}");
        let refused = app.client().send(Method::POST, &path, r#"{"endless":true}"#).await;
        assert_eq!(refusal(&refused), (504, "TIMEOUT"));
        assert!(refused.body.to_string().contains(&format!("within 900 ms (limits.{limit})")), "{}", refused.body);
    }
    app.engine.close().await;
    // Not with a short limit, which a slow machine may exceed.
    let app = within_ms(600_000).await;
    assert_eq!(count(&app).await, 0);
    for (kind, name, _) in names {
        let (client, path) = (app.client(), format!("/api/{kind}/{name}"));
        release.send_replace(false);
        let call = tokio::spawn(async move { client.send(Method::POST, &path, "{}").await });
        within(async {
            while app.engine.stats().running == 0 {
                tokio::task::yield_now().await;
            }
        })
        .await;
        release.send_replace(true);
        assert_eq!(call.await.expect("an answer").status, 200, "{name}");
    }
    assert_eq!(count(&app).await, 1);
    app.engine.close().await;
}

/// A mutation that conflicts `conflicts` times, each after longer than half a second, so that the
/// time in which all mutations are retried is over after two attempts.
fn conflicting(psql: Psql, runs: &Arc<AtomicU32>, own_retries: Option<u32>) -> Functions {
    let psql = Arc::new(tokio::sync::Mutex::new(psql));
    let runs = runs.clone();
    let mut description = json!({ "name": "conflicts", "kind": "mutation" });
    if let Some(retries) = own_retries {
        description["limits"] = json!({ "retries": retries });
    }
    functions().add(description, move |ctx, input| {
        let (runs, psql) = (runs.clone(), psql.clone());
        async move {
            let get = json!({ "op": "get", "table": "messages", "id": input["id"] });
            ctx.op(get.clone()).await?;
            // Another write in between.
            if runs.fetch_add(1, Ordering::Relaxed) < input["conflicts"].as_u64().expect("a number") as u32 {
                psql.lock().await.run("update messages set data = data || jsonb_build_object('n', (data->>'n')::int + 1)").await;
                tokio::time::sleep(Duration::from_millis(600)).await;
            }
            ctx.op(json!({ "op": "patch", "table": "messages", "id": input["id"], "set": { "body": "mine" }, "unset": [] })).await
        }
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mutation_is_retried_as_often_as_the_limit_and_no_more() {
    let db = TestDb::new().await;
    for (limit, own) in [(2, None), (0, Some(2))] {
        let runs = Arc::new(AtomicU32::new(0));
        let options = json!({ "failpoints": ["noSerialQueue"], "limits": { "retries": limit } });
        let app = db.app_with(options, tables(), conflicting(db.psql().await, &runs, own)).await;
        let id =
            app.client().mutate("messages.sendNow", json!({ "channel": "a", "n": 0, "body": "first" })).await.data();
        let call = async |conflicts: u32| {
            runs.store(0, Ordering::Relaxed);
            let reply = app.client().mutate("conflicts", json!({ "id": id, "conflicts": conflicts })).await;
            (reply.status, reply.code().to_owned(), runs.load(Ordering::Relaxed))
        };
        assert_eq!(call(3).await, (409, "CONFLICT".to_owned(), 3), "{own:?}");
        let body = async || app.client().query("messages.get", json!({ "id": id })).await.data()["body"].clone();
        assert_eq!(body().await, "first");
        assert_eq!(call(2).await, (200, "none".to_owned(), 3), "{own:?}");
        assert_eq!(body().await, "mine");
        app.engine.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_waits_for_a_connection_no_longer_than_the_limit() {
    let db = TestDb::new().await;
    let functions = functions().mutation("lock", |ctx, _| async move {
        let text = "select pg_advisory_xact_lock(7)::text";
        ctx.op(json!({ "op": "raw", "text": text, "values": [], "tables": null })).await
    });
    let options = json!({ "poolSize": 1, "limits": { "connectionMs": 3_000 } });
    let app = db.app_with(options, tables(), functions).await;
    let mut psql = db.psql().await;
    psql.run("select pg_advisory_lock(7)").await;
    let client = app.client();
    let holding = tokio::spawn(async move { client.mutate("lock", json!({})).await });
    psql.until_a_session_waits_for_a_lock().await;
    let message = json!({ "channel": "a", "n": 1, "body": "" });
    let refused = app.client().mutate("messages.sendNow", message.clone()).await;
    assert_eq!(refusal(&refused), (503, "UNAVAILABLE"), "{}", refused.body);
    psql.run("select pg_advisory_unlock(7)").await;
    assert_eq!(holding.await.expect("an answer").status, 200);
    assert_eq!(app.client().mutate("messages.sendNow", message).await.status, 200);
    assert_eq!(count(&app).await, 1);
    app.engine.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_context_of_a_quiet_stream_is_made_again_at_its_interval_and_not_before() {
    let db = TestDb::new().await;
    for (interval, repeats) in [(50, true), (86_400_000, false)] {
        let made = Arc::new(AtomicUsize::new(0));
        let counter = made.clone();
        let with_context = functions().context(move |ctx| {
            counter.fetch_add(1, Ordering::Relaxed);
            async move {
                ctx.saw_nothing();
                Ok(Value::Null)
            }
        });
        // A heartbeat shows that the stream was quiet for a while.
        let options = json!({ "limits": { "contextRefreshMs": interval, "heartbeatMs": 100 } });
        let app = db.app_with(options, tables(), Functions::new()).await;
        app.load(with_context, true).await;
        let mut session = app.client().live(json!([{ "id": 1, "name": "messages.all" }])).await;
        session.until(1, |_| true).await;
        let before = made.load(Ordering::Relaxed);
        match repeats {
            true => {
                within(async {
                    while made.load(Ordering::Relaxed) < before + 3 {
                        assert!(session.receive().await, "the stream is open");
                    }
                })
                .await;
            }
            false => {
                assert!(session.receive().await && session.receive().await, "two heartbeats");
                assert_eq!(made.load(Ordering::Relaxed), before);
            }
        }
        app.engine.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn static_files_of_the_limits_are_served_and_one_more_or_one_byte_more_is_not() {
    let db = TestDb::new().await;
    let folder = std::env::temp_dir().join(format!("convoy-limits-{}", convoy::id::mint()));
    std::fs::create_dir_all(&folder).expect("created");
    for (name, text) in [("index.html", "12345"), ("a.js", "12345")] {
        std::fs::write(folder.join(name), text).expect("written");
    }
    for (bytes, files, fits) in [(10, 2, true), (9, 2, false), (10, 1, false)] {
        let limits = json!({ "staticBytes": bytes, "staticFiles": files });
        let config = json!({ "databaseUrl": db.url(), "static": folder, "limits": limits });
        let config: Config = serde_json::from_value(config).expect("options the engine knows");
        match Engine::open(config).await {
            Ok(engine) => {
                engine.close().await;
                assert!(fits, "{bytes} {files}");
            }
            Err(error) => {
                let message = error.to_failure().message;
                assert!(
                    !fits && message.contains("limits.staticBytes") && message.contains("limits.staticFiles"),
                    "{message}"
                );
            }
        }
    }
    std::fs::remove_dir_all(&folder).expect("removed");
}
