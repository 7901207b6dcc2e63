//! Rows of the change log that cannot be decoded: documents whose creation time is out of
//! range, and rows inserted into `_convoy.changes` by hand. Other rows of the same read are
//! not lost.

use convoy_testkit::TestDb;
use serde_json::{Value, json};

use crate::barrier::Barrier;
use crate::chat::{bodies, serve};
use crate::scale::report;

const MESSAGE: &str = r#"insert into messages (data) values ('{"channel": "w", "n": 1, "body": "news"}')"#;

/// Statements in the same transaction, before the message.
const ODD: &[(&str, &str)] = &[
    ("an infinite time", r#"insert into roles (data, created_at) values ('{"name": "z"}', 'infinity')"#),
    ("a time before all others", r#"insert into roles (data, created_at) values ('{"name": "z"}', '-infinity')"#),
    ("a year before 0", r#"insert into roles (data, created_at) values ('{"name": "z"}', '4000-01-01 BC')"#),
    ("a year after 9999", r#"insert into roles (data, created_at) values ('{"name": "z"}', '294276-01-01')"#),
    (
        "an infinite time that changes",
        "insert into marks (data, created_at) values ('{}', 'infinity'); update marks set created_at = '-infinity'; delete from marks",
    ),
    (
        "keys that are no object",
        "insert into _convoy.changes (tab, id, new_at, new_keys)
         select 'roles', gen_random_uuid(), now(), keys from unnest(array['[]', '1', 'null', '\"x\"', 'true']::jsonb[]) as keys",
    ),
    ("keys without a time", "insert into _convoy.changes (tab, id, new_keys) values ('roles', gen_random_uuid(), '{}')"),
    ("a time without keys", "insert into _convoy.changes (tab, id, old_at) values ('roles', gen_random_uuid(), now())"),
    ("only a table", "insert into _convoy.changes (tab) values ('roles'), (''), ('no such table')"),
    ("no id", "insert into _convoy.changes (tab, new_at, new_keys) values ('roles', now(), '{}')"),
    (
        "keys nested too deeply",
        "insert into _convoy.changes (tab, id, new_at, new_keys)
         values ('roles', gen_random_uuid(), now(), (repeat('{\"a\":', 300) || '1' || repeat('}', 300))::jsonb)",
    ),
];

#[tokio::test(flavor = "multi_thread")]
async fn an_undecodable_row_does_not_affect_other_rows() {
    for (name, odd) in ODD {
        assert!(is_seen(json!([]), &format!("{odd}; {MESSAGE}")).await, "lost beside {name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_undecodable_row_counts_as_a_change_of_its_whole_table() {
    let by_hand = |values: &str| {
        format!(
            "set session_replication_role = replica; {MESSAGE}; reset session_replication_role;
             insert into _convoy.changes (tab, id, old_at, old_keys, new_at, new_keys) values ('messages', {values})"
        )
    };
    for values in [
        "gen_random_uuid(), null, null, 'infinity', '{}'",
        r#"gen_random_uuid(), null, null, now(), '["channel"]'"#,
        "gen_random_uuid(), null, null, now(), null",
        "gen_random_uuid(), null, null, null, '{}'",
        r#"gen_random_uuid(), now(), '{"channel": "z", "n": 1}', now(), null"#,
        r#"gen_random_uuid(), now(), '{"channel": "z", "n": 1}', null, '{}'"#,
        "gen_random_uuid(), null, null, null, null",
        "null, null, null, now(), '{}'",
        // Decodable, but with the keys of other indexes.
        r#"gen_random_uuid(), null, null, now(), '{"room": "z"}'"#,
    ] {
        assert!(is_seen(json!([]), &by_hand(values)).await, "lost with ({values})");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn control_a_log_that_counts_as_read_before_it_is_decoded_is_detected() {
    let failpoints = json!(["readBeforeUnderstood"]);
    let (_, odd) = ODD.iter().find(|(name, _)| *name == "keys that are no object").expect("one of them");
    assert!(!is_seen(failpoints, &format!("{odd}; {MESSAGE}")).await, "the message is seen all the same");
}

/// Whether a stream shows a message that `sql` writes in one transaction once the log has
/// been read past it.
async fn is_seen(failpoints: Value, sql: &str) -> bool {
    let db = TestDb::new().await;
    let app = serve(&db, json!({ "failpoints": failpoints })).await;
    let watch = app.client().watch("messages.list", json!({ "channel": "w" })).await.read_continuously();
    assert!(watch.reaches(0, |list| bodies(list).is_empty()).await);
    let mut barrier = Barrier::of(&[&app]).await;
    let mut psql = db.psql().await;
    psql.run(&format!("begin; {sql}; commit")).await;
    barrier.wait_for_log(&mut psql).await;
    let seen = watch.reaches(0, |list| bodies(list) == ["news"]).await;
    report(&format!("{} beside {}", if seen { "seen" } else { "lost" }, sql.split(';').next().unwrap_or_default()));
    app.engine.close().await;
    seen
}
