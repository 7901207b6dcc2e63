//! The snapshot of a group in a serial queue: a call sees everything that was committed before
//! it was sent.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use convoy_testkit::{Functions, TestDb, table, within};
use serde_json::{Value, json};
use tokio::sync::mpsc;

const FIRST: &str = "00000000-0000-4000-8000-000000000001";
const SECOND: &str = "00000000-0000-4000-8000-000000000002";

fn get(id: &str) -> Value {
    json!({ "op": "get", "table": "notes", "id": id })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queued_call_sees_what_was_committed_before_it_was_sent() {
    assert_eq!(stale_reads(json!(["alwaysSerialQueue"])).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn control_a_call_that_joins_an_older_group_is_detected() {
    assert!(stale_reads(json!(["alwaysSerialQueue", "lateCallsJoin"])).await > 0, "the failpoint was not detected");
}

/// How often a call did not see a commit. A group is open while another program commits and the
/// call is sent: it may not join that group, whose snapshot is older.
async fn stale_reads(failpoints: Value) -> u64 {
    let (began, mut reading) = mpsc::channel(1);
    let may_end = Arc::new(AtomicBool::new(false));
    let ends = may_end.clone();
    let functions = Functions::new()
        .mutation("notes.create", |ctx, _| async move {
            for id in [FIRST, SECOND] {
                ctx.op(json!({ "op": "insert", "table": "notes", "id": id, "doc": { "n": 0 } })).await?;
            }
            Ok(Value::Null)
        })
        // One function, since each has a queue of its own.
        .mutation("notes.read", move |ctx, input| {
            let (began, ends) = (began.clone(), ends.clone());
            async move {
                if input["long"] == false {
                    return ctx.op(get(SECOND)).await;
                }
                let first = ctx.op(get(FIRST)).await?;
                began.try_send(()).ok();
                // A function that does nothing would leave the queue.
                let mut more = 20;
                while more > 0 {
                    ctx.op(json!({ "op": "get", "table": "notes", "id": convoy::id::mint().to_string() })).await?;
                    more -= i32::from(ends.load(Ordering::Relaxed));
                }
                Ok(first)
            }
        });
    let db = TestDb::new().await;
    let queued = json!({ "failpoints": failpoints });
    let app = db.app_with(queued, json!([table("notes", &[])]), functions).await;
    let client = app.client();
    client.mutate("notes.create", json!({})).await.data();
    let mut psql = db.psql().await;
    let mut next = client.connect().await;
    let mut stale = 0;
    for n in 1..=20 {
        may_end.store(false, Ordering::Relaxed);
        let long = tokio::spawn({
            let client = client.clone();
            async move { client.mutate("notes.read", json!({ "long": true })).await }
        });
        within(reading.recv()).await.expect("the function begins");
        psql.run(&format!("update notes set data = '{{\"n\": {n}}}' where id = '{SECOND}'")).await;
        let ending = async {
            // The request is on its way once the other future has been polled.
            tokio::task::yield_now().await;
            may_end.store(true, Ordering::Relaxed);
        };
        let args = json!({ "long": false });
        let (seen, ()) = tokio::join!(next.mutate("notes.read", &args), ending);
        stale += u64::from(seen.data()["n"] != n);
        long.await.expect("it ends").data();
        // Its retries may have sent more.
        while reading.try_recv().is_ok() {}
    }
    app.engine.close().await;
    stale
}
