//! Mutations with conflicts over the same documents: no write is lost, no call waits for
//! ever, and a fault of one call does not fail another.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use convoy_testkit::{App, Conditions, Cut, End, Flow, Proxy, Reply, TestDb, Wire, within};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::bank::{accounts, bank, bank_of, bank_with, functions, get, set};

fn send(app: &App, name: &'static str, args: Value) -> JoinHandle<Reply> {
    let client = app.client();
    tokio::spawn(async move { client.mutate(name, args).await })
}

fn transfer(from: &Value, to: &Value) -> Value {
    json!({ "from": from, "to": to, "amount": 1 })
}

/// Clients that transfer money between two accounts until the traffic is ended.
struct Traffic {
    stop: Arc<AtomicBool>,
    clients: Vec<JoinHandle<u32>>,
}

impl Traffic {
    fn over(app: &App, ids: &[Value], clients: usize) -> Traffic {
        let stop = Arc::new(AtomicBool::new(false));
        let clients = (0..clients)
            .map(|at| {
                let (client, stop) = (app.client(), stop.clone());
                // In both directions, so that no account runs empty.
                let (from, to) = if at % 2 == 0 { (&ids[0], &ids[1]) } else { (&ids[1], &ids[0]) };
                let args = transfer(from, to);
                tokio::spawn(async move {
                    let mut done = 0;
                    while !stop.load(Ordering::Relaxed) {
                        let reply = client.mutate("bank.transfer", args.clone()).await;
                        assert_eq!(reply.status, 200, "{:?}", reply.body);
                        done += 1;
                    }
                    done
                })
            })
            .collect();
        Traffic { stop, clients }
    }

    async fn end(self) -> u32 {
        self.stop.store(true, Ordering::Relaxed);
        let mut done = 0;
        for client in self.clients {
            done += within(client).await.expect("no transfer failed");
        }
        done
    }
}

async fn until_queued(app: &App, calls: u64) {
    let goal = app.engine.stats().queued_calls + calls;
    within(async {
        while app.engine.stats().queued_calls < goal {
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        }
    })
    .await;
}

async fn books_balance(app: &App, accounts: i64) {
    let books = app.client().query("bank.total", json!({})).await.data();
    assert_eq!(books["total"], json!(1_000 * accounts));
    assert!(books["least"].as_i64() >= Some(0), "{books}");
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_over_one_document_are_queued_while_it_is_hot() {
    let db = TestDb::new().await;
    let (app, ids) = bank(&db, 4).await;
    // Without conflicts, calls are not queued.
    for _ in 0..20 {
        app.client().mutate("bank.transfer", transfer(&ids[0], &ids[1])).await.data();
    }
    assert_eq!(app.engine.stats().queued_calls, 0);
    let traffic = Traffic::over(&app, &ids, 16);
    until_queued(&app, 200).await;
    // Transfers between other accounts run outside of the queue.
    let before = app.engine.stats().queued_calls;
    app.client().mutate("bank.transfer", transfer(&ids[2], &ids[3])).await.data();
    let runs = traffic.end().await;
    assert!(runs > 200 && app.engine.stats().queued_calls > before);
    books_balance(&app, 4).await;
    // Without overlapping calls, the key stops being hot.
    within(async {
        loop {
            let before = app.engine.stats().queued_calls;
            app.client().mutate("bank.transfer", transfer(&ids[0], &ids[1])).await.data();
            if app.engine.stats().queued_calls == before {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    })
    .await;
    app.engine.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn writes_of_a_serial_queue_reach_live_queries() {
    let db = TestDb::new().await;
    let (app, ids) = bank(&db, 2).await;
    let mut total = app.client().watch("bank.total", json!({})).await;
    total.next().await;
    let traffic = Traffic::over(&app, &ids, 8);
    until_queued(&app, 100).await;
    traffic.end().await;
    app.client().mutate("bank.open", json!({ "balance": 5 })).await.data();
    total.until(|books| books["total"] == json!(2_005)).await;
    app.engine.close().await;
}

/// Calls of a queue share a transaction, unless a function runs `raw`, because it may set
/// something for the rest of the transaction.
#[tokio::test(flavor = "multi_thread")]
async fn settings_of_raw_in_a_serial_queue_hold_for_one_call() {
    let db = TestDb::new().await;
    let (app, ids) = bank(&db, 2).await;
    let bumps = 400;
    let traffic = Traffic::over(&app, &ids, 8);
    within(async {
        for round in 0..bumps / 8 {
            let input = |n: i32| json!({ "id": ids[0], "user": format!("user {round} {n}") });
            let calls: Vec<_> = (0..8).map(|n| send(&app, "bank.bumpAs", input(n))).collect();
            for call in calls {
                assert_eq!(call.await.expect("an answer").data(), "");
            }
        }
    })
    .await;
    assert!(app.engine.stats().queued_calls > 0);
    traffic.end().await;
    let books = app.client().query("bank.total", json!({})).await.data();
    assert_eq!(books["total"], json!(2_000 + bumps));
    app.engine.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queued_call_that_throws_after_writing_leaves_nothing() {
    let db = TestDb::new().await;
    let (app, ids) = bank(&db, 2).await;
    let traffic = Traffic::over(&app, &ids, 8);
    // Its own conflicts get the throwing function queued.
    let refused = AtomicU32::new(0);
    within(async {
        let mut args = transfer(&ids[0], &ids[1]);
        for round in 0.. {
            args["throw"] = json!(round % 3 == 0);
            let replies: Vec<_> = (0..8).map(|_| send(&app, "bank.transferThenThrow", args.clone())).collect();
            for reply in replies {
                let reply = reply.await.expect("an answer");
                match args["throw"].as_bool() {
                    Some(true) if reply.status == 403 && reply.code() == "FORBIDDEN" => {
                        assert!(reply.body["error"]["message"].as_str().is_some_and(|text| !text.is_empty()));
                        refused.fetch_add(1, Ordering::Relaxed);
                    }
                    // An account may be empty for a moment.
                    _ => assert!(reply.status == 200 || reply.code() == "FORBIDDEN", "{:?}", reply.body),
                }
            }
            if round >= 30 && app.engine.stats().queued_calls > 300 {
                return;
            }
        }
    })
    .await;
    traffic.end().await;
    assert!(refused.load(Ordering::Relaxed) > 0);
    books_balance(&app, 2).await;
    app.engine.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_unique_index_refuses_one_call_of_a_group_and_no_other() {
    let db = TestDb::new().await;
    let (app, ids) = bank(&db, 2).await;
    let traffic = Traffic::over(&app, &ids, 8);
    until_queued(&app, 50).await;
    let mut conflicts = 0;
    for number in 0..20 {
        let mut args = transfer(&ids[number % 2], &ids[1 - number % 2]);
        args["number"] = json!(number / 2);
        let same: Vec<_> = (0..2).map(|_| send(&app, "bank.transferWithSlip", args.clone())).collect();
        for reply in same {
            let reply = within(reply).await.expect("an answer");
            if reply.status != 200 {
                assert_eq!(reply.code(), "CONFLICT");
                assert!(reply.body["error"]["message"].as_str().is_some_and(|text| text.contains("by_number")));
                conflicts += 1;
            }
        }
    }
    traffic.end().await;
    // Ten numbers, used four times each.
    assert_eq!(conflicts, 30);
    assert_eq!(db.psql().await.column("select count(*)::text from slips").await, ["10"]);
    books_balance(&app, 2).await;
    app.engine.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_constraint_that_is_checked_at_commit_refuses_one_call_of_a_group_and_no_other() {
    let db = TestDb::new().await;
    let refused_runs = Arc::new(AtomicU32::new(0));
    let counter = refused_runs.clone();
    let functions = functions().mutation("bank.bumpWithSlip", move |ctx, input| {
        if input["number"].as_i64() >= Some(1_000) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
        async move {
            let balance = ctx.op(get(&input["id"])).await?["balance"].as_i64().expect("a balance");
            ctx.op(set(&input["id"], balance + 1)).await?;
            ctx.insert("slips", json!({ "number": input["number"], "from": input["id"] })).await?;
            Ok(Value::Null)
        }
    });
    let (app, ids) = bank_of(&db, 1, json!({}), functions).await;
    db.psql().await.run(SMALL_NUMBERS).await;
    let bump = |number: u32| send(&app, "bank.bumpWithSlip", json!({ "id": ids[0], "number": number }));
    let mut number = 0;
    while app.engine.stats().queued_calls < 50 {
        let calls: Vec<_> = (0..16).map(|more| bump(number + more)).collect();
        number += 16;
        for call in calls {
            within(call).await.expect("an answer").data();
        }
    }
    let before = refused_runs.load(Ordering::Relaxed);
    for round in 0..10 {
        let refused = bump(1_000 + round);
        let others: Vec<_> = (0..8).map(|more| bump(number + more)).collect();
        number += 8;
        let refused = within(refused).await.expect("an answer");
        assert_eq!(refused.code(), "CONFLICT");
        let message = refused.body["error"]["message"].as_str().unwrap_or_default();
        assert!(message.contains("small_numbers"), "{message}");
        for other in others {
            within(other).await.expect("an answer").data();
        }
    }
    let runs = refused_runs.load(Ordering::Relaxed) - before;
    assert!(runs <= 30, "ten calls that are refused ran {runs} times: with others, and alone for the error");
    let balance = app.client().query("bank.get", json!({ "id": ids[0] })).await.data();
    assert_eq!(balance["balance"], json!(1_000 + number));
    app.engine.close().await;
}

/// Refuses slips with large numbers, when they are committed.
const SMALL_NUMBERS: &str = "
    create function refuse() returns trigger language plpgsql as $$
    begin
      raise exception 'no' using errcode = '23514', constraint = 'small_numbers';
    end $$;
    create constraint trigger small_numbers after insert on slips deferrable initially deferred
    for each row when ((new.data ->> 'number')::int >= 1000) execute function refuse()";

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_or_stuck_function_is_evicted_and_blocks_no_other_call() {
    let db = TestDb::new().await;
    let (app, ids) = bank(&db, 3).await;
    let traffic = Traffic::over(&app, &ids, 8);
    until_queued(&app, 50).await;
    // Conflicting calls, so that they are queued.
    let mut slow = transfer(&ids[0], &ids[1]);
    slow["ms"] = json!(40);
    let calls: Vec<_> = (0..6).map(|_| send(&app, "bank.slowTransfer", slow.clone())).collect();
    let stuck: Vec<_> = (0..4).map(|_| send(&app, "bank.stuck", json!({ "from": ids[2] }))).collect();
    let began = Instant::now();
    until_queued(&app, 500).await;
    assert!(began.elapsed().as_secs() < 15, "the queue goes on meanwhile");
    for call in calls {
        // Slow calls may run out of retries, and then fail with CONFLICT.
        let reply = within(call).await.expect("an answer");
        assert!(reply.status == 200 || reply.code() == "CONFLICT", "{:?}", reply.body);
    }
    for call in &stuck {
        call.abort();
    }
    traffic.end().await;
    books_balance(&app, 3).await;
    app.engine.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_document_in_the_input_the_function_is_the_hot_key() {
    let db = TestDb::new().await;
    let (app, _ids) = bank(&db, 1).await;
    let mut ticks = 0;
    within(async {
        while app.engine.stats().queued_calls < 100 {
            let calls: Vec<_> = (0..8).map(|_| send(&app, "counter.tick", json!({}))).collect();
            for call in calls {
                call.await.expect("an answer").data();
                ticks += 1;
            }
        }
    })
    .await;
    let books = app.client().query("bank.total", json!({})).await.data();
    assert_eq!(books["total"], json!(1_000 + ticks));
    app.engine.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn buffered_writes_are_visible_to_functions_with_a_savepoint() {
    let db = TestDb::new().await;
    let (app, ids) = bank(&db, 1).await;
    let mut bumped = 0;
    within(async {
        for round in 0.. {
            let calls: Vec<_> = (0..24)
                .map(|at| match at % 3 {
                    0 => send(&app, "bank.bump", json!({ "id": ids[0], "throw": at == 3 && round % 2 == 0 })),
                    _ => send(&app, "bank.bumpPlainly", json!({ "id": ids[0] })),
                })
                .collect();
            for call in calls {
                let reply = call.await.expect("an answer");
                match reply.status {
                    200 => bumped += 1,
                    _ => assert_eq!(reply.code(), "FORBIDDEN", "{:?}", reply.body),
                }
            }
            if app.engine.stats().queued_calls > 600 {
                return;
            }
        }
    })
    .await;
    let books = app.client().query("bank.total", json!({})).await.data();
    assert_eq!(books["total"], json!(1_000 + bumped));
    app.engine.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn writes_of_other_calls_survive_the_eviction_of_a_call() {
    let db = TestDb::new().await;
    let (app, ids) = bank(&db, 25).await;
    let hot = &ids[0];
    for name in ["bank.bump", "bank.ponder"] {
        let before = app.engine.stats().queued_calls;
        within(async {
            while app.engine.stats().queued_calls < before + 20 {
                let calls: Vec<_> = (0..12)
                    .map(|at| send(&app, if at % 2 == 0 { name } else { "bank.bump" }, json!({ "id": hot })))
                    .collect();
                for call in calls {
                    call.await.expect("an answer");
                }
            }
        })
        .await;
    }
    let mut watches = Vec::new();
    for id in &ids[1..] {
        let mut watch = app.client().watch("bank.get", json!({ "id": id })).await;
        watch.next().await;
        watches.push((id, watch));
    }
    let mut calls = Vec::new();
    for (at, id) in ids[1..].iter().enumerate() {
        calls.push(send(&app, "bank.bump", json!({ "id": hot, "own": id })));
        if at % 4 == 0 {
            calls.push(send(&app, "bank.ponder", json!({ "id": hot, "wait": true })));
        }
    }
    for call in calls {
        within(call).await.expect("an answer").data();
    }
    for (id, mut watch) in watches {
        let stored = app.client().query("bank.get", json!({ "id": id })).await.data()["balance"].clone();
        assert_ne!(stored, json!(1_000));
        watch.until(|account| account["balance"] == stored).await;
    }
    app.engine.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_to_a_savepoint_undoes_buffered_writes_and_statements() {
    let db = TestDb::new().await;
    // Without the short limit: outside of the queue such calls deadlock, and Postgres takes a
    // second to detect each, so five seconds may not suffice on a busy machine.
    let (app, ids) = bank_with(&db, 1, json!({})).await;
    let mut done = 0;
    within(async {
        while app.engine.stats().queued_calls < 100 {
            let calls: Vec<_> = (0..12)
                .map(|at| send(&app, "bank.rollBackAPart", json!({ "id": ids[0], "bufferedFirst": at % 2 == 0 })))
                .collect();
            for call in calls {
                call.await.expect("an answer").data();
                done += 1;
            }
        }
    })
    .await;
    let books = app.client().query("bank.total", json!({})).await.data();
    assert_eq!(books, json!({ "total": 1_000 + done, "least": 1_000 + done }));
    assert_eq!(db.psql().await.column("select count(*)::text from slips").await, ["0"]);
    app.engine.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queued_call_survives_a_lock_held_by_another_writer() {
    let db = TestDb::new().await;
    let options = json!({ "poolSize": 8, "failpoints": ["alwaysSerialQueue"] });
    let app = db.app_with(options, accounts(), functions()).await;
    let mut ids = Vec::new();
    for _ in 0..2 {
        ids.push(app.client().mutate("bank.open", json!({ "balance": 1_000 })).await.data());
    }
    let (mut holder, mut observer) = (db.psql().await, db.psql().await);
    holder.run("begin; update accounts set data = data").await;
    let call = send(&app, "bank.transfer", transfer(&ids[0], &ids[1]));
    // The first transaction waits to flush its buffer, the second to write without one; a third
    // shows that the call is still retried.
    let mut waiters = std::collections::HashSet::new();
    within(async {
        while waiters.len() < 3 {
            let sql = "select virtualtransaction from pg_locks join pg_stat_activity using (pid)
                where not granted and datname = current_database()";
            waiters.extend(observer.column(sql).await);
        }
    })
    .await;
    holder.run("commit").await;
    within(call).await.expect("an answer").data();
    books_balance(&app, 2).await;
    app.engine.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_nodes_take_turns() {
    let db = TestDb::new().await;
    let (one, ids) = bank(&db, 2).await;
    let two = db.app_with(json!({ "poolSize": 8 }), accounts(), functions()).await;
    let (here, there) = (Traffic::over(&one, &ids, 8), Traffic::over(&two, &ids, 8));
    until_queued(&one, 200).await;
    until_queued(&two, 200).await;
    here.end().await;
    there.end().await;
    books_balance(&one, 2).await;
    one.engine.close().await;
    two.engine.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_with_a_lost_commit_answer_is_resolved_by_its_outcome() {
    let db = TestDb::new().await;
    let (direct, ids) = bank(&db, 2).await;
    let (wire, url) = Wire::before(&db.url()).await;
    let app = db.app_with(json!({ "databaseUrl": url, "poolSize": 8 }), accounts(), functions()).await;
    let traffic = Traffic::over(&app, &ids, 8);
    until_queued(&app, 50).await;
    for cut in [Cut::After("commit"), Cut::Before("commit"), Cut::After("commit")] {
        wire.cut(cut);
        within(async {
            while wire.cut_is_pending() {
                tokio::time::sleep(std::time::Duration::from_millis(1)).await;
            }
        })
        .await;
        until_queued(&app, 50).await;
    }
    // Each transfer was answered with success. They go in both directions, so only the sum of
    // the balances is checked.
    traffic.end().await;
    books_balance(&direct, 2).await;
    app.engine.close().await;
    direct.engine.close().await;
}

/// What a group reads in advance may take longer than a group takes calls.
#[tokio::test(flavor = "multi_thread")]
async fn calls_of_a_queue_end_where_each_statement_takes_long() {
    let db = TestDb::new().await;
    let (proxy, url) = Proxy::before(&db.url()).await;
    let options = json!({ "databaseUrl": url, "poolSize": 8, "failpoints": ["alwaysSerialQueue"] });
    let app = db.app_with(options, accounts(), functions()).await;
    let mut ids = Vec::new();
    for _ in 0..2 {
        ids.push(app.client().mutate("bank.open", json!({ "balance": 1_000 })).await.data());
    }
    proxy.set(&[Flow::ANSWERS], Conditions { delay: Duration::from_millis(30), ..Conditions::default() });
    let calls: Vec<_> = (0..6).map(|_| send(&app, "bank.transfer", transfer(&ids[0], &ids[1]))).collect();
    for call in calls {
        within(call).await.expect("an answer").data();
    }
    books_balance(&app, 2).await;
    app.engine.close().await;
}

/// A connection without answers is neither closed nor reset, so only time tells.
#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_falls_silent_stops_no_queue() {
    let db = TestDb::new().await;
    let (proxy, url) = Proxy::before(&db.url()).await;
    let limits = json!({ "queryMs": 1_000, "mutationMs": 1_000 });
    let options = json!({ "databaseUrl": url, "poolSize": 8, "failpoints": ["alwaysSerialQueue"], "limits": limits });
    let app = db.app_with(options, accounts(), functions()).await;
    let mut ids = Vec::new();
    for _ in 0..2 {
        ids.push(app.client().mutate("bank.open", json!({ "balance": 1_000 })).await.data());
    }
    // The first statement of a group, and the documents that it reads in advance.
    for lost in ["LOCK TABLE", "SELECT"] {
        let calls: Vec<_> = (0..6).map(|_| send(&app, "bank.transfer", transfer(&ids[0], &ids[1]))).collect();
        proxy.lose_answer(lost, End::Silence).await;
        let mut statuses = Vec::new();
        for call in calls {
            statuses.push(within(call).await.expect("an answer").status);
        }
        assert!(statuses.iter().all(|status| [200, 503, 504].contains(status)), "{lost}: {statuses:?}");
        within(send(&app, "bank.transfer", transfer(&ids[1], &ids[0]))).await.expect("an answer").data();
    }
    books_balance(&app, 2).await;
    app.engine.close().await;
}
