//! State that raw statements leave in their Postgres session never reaches later calls.

mod pooler;

use convoy_testkit::{App, Ctx, Functions, TestDb, Thrown, table};
use hyper::Method;
use serde_json::{Value, json};

use crate::shared::raw;

/// Functions to make every leak with, since `raw` prepares its statements.
const LEAKS: &str = "
create function run(statement text) returns void language plpgsql as $$ begin execute statement; end $$;
create table secrets (owner text, secret text);
insert into secrets values ('ann', 'of ann'), ('bob', 'of bob');
";

/// The state of a session that a leak may change.
const STATE: &str = "select jsonb_build_object(
  'role', current_user = session_user,
  'session', session_user = (select usename from pg_stat_activity where pid = pg_backend_pid()),
  'user', coalesce(current_setting('app.user', true), ''),
  'settings', (select jsonb_object_agg(name, setting) from pg_settings where name in (
    'search_path', 'statement_timeout', 'lock_timeout', 'idle_in_transaction_session_timeout', 'work_mem',
    'default_transaction_isolation', 'default_transaction_read_only', 'default_transaction_deferrable',
    'session_replication_role', 'row_security', 'TimeZone', 'DateStyle', 'extra_float_digits', 'application_name',
    'client_encoding', 'plan_cache_mode', 'role', 'session_authorization')),
  'locks', (select count(*) from pg_locks where locktype = 'advisory' and pid = pg_backend_pid()),
  'channels', (select count(*) from pg_listening_channels()),
  'cursors', (select count(*) from pg_cursors where is_holdable),
  'temporary', (select count(*) from pg_class where relpersistence = 't'),
  'prepared', (select count(*) from pg_prepared_statements where from_sql and name not like 'convoy\\_%')
) as state";

/// Name, statement.
const CASES: [(&str, &str); 23] = [
    ("a setting", "select set_config('app.user', 'ann', false)"),
    ("a setting by SET", "select run('set app.\"user\" = ''ann''')"),
    ("the search path", "select set_config('search_path', 'pg_catalog', false)"),
    ("a timeout", "select set_config('statement_timeout', '12345', false)"),
    ("isolation", "select set_config('default_transaction_isolation', 'read uncommitted', false)"),
    ("a session that writes", "select set_config('default_transaction_read_only', 'off', false)"),
    ("a session that only reads", "select set_config('default_transaction_read_only', 'on', false)"),
    ("no triggers", "select set_config('session_replication_role', 'replica', false)"),
    ("a time zone", "select set_config('timezone', 'Asia/Tokyo', false)"),
    ("a date style", "select set_config('datestyle', 'German', false)"),
    ("an encoding", "select set_config('client_encoding', 'LATIN1', false)"),
    ("the plan mode", "select set_config('plan_cache_mode', 'force_custom_plan', false)"),
    ("a role", "select set_config('role', 'pg_monitor', false)"),
    ("a role by SET", "select run('set role pg_monitor')"),
    ("another session's user", "select run('set session authorization pg_monitor')"),
    ("an advisory lock", "select pg_advisory_lock(7)"),
    ("a shared advisory lock", "select pg_advisory_lock_shared(7, 8)"),
    ("a table", "select run('create temp table messages (id int)')"),
    ("a prepared statement", "select run('prepare mine as select 1')"),
    ("one of the driver's prepared statements deallocated", "select run('deallocate sqlx_s_1')"),
    ("none left prepared", "select run('deallocate all')"),
    ("a channel", "select run('listen convoy_test')"),
    ("a cursor", "select run('declare mine cursor with hold for select 1')"),
];

async fn leaks(ctx: Ctx, input: Value) -> Result<Value, Thrown> {
    let ran = ctx.op(raw(input["sql"].as_str().expect("SQL"), &json!([]))).await;
    match input["then"].as_str() {
        // It fails where only reads are allowed.
        _ if ran.is_err() => ran,
        Some("throw") => Err(Thrown::Broke("as requested".into())),
        Some("wait") => std::future::pending().await,
        _ => ran,
    }
}

async fn leaks_in_transaction(ctx: Ctx, input: Value) -> Result<Value, Thrown> {
    ctx.op(json!({ "op": "begin" })).await?;
    let ran = leaks(ctx.clone(), input).await?;
    ctx.op(json!({ "op": "commit" })).await?;
    Ok(ran)
}

fn count() -> Value {
    json!({ "op": "count", "table": "messages", "index": null, "eq": [], "order": "asc", "limit": null })
}

/// The number of rows that a user sees, by `raw` and as documents.
async fn rows_of_user(ctx: Ctx, input: Value) -> Result<Value, Thrown> {
    ctx.op(raw("select set_config('app.user', $1, true)", &json!([input["user"]]))).await?;
    let rows = ctx.op(raw("select count(*)::int as n from messages", &json!([]))).await?;
    Ok(json!([rows[0]["n"], ctx.op(count()).await?]))
}

async fn rows_of_user_in_transaction(ctx: Ctx, input: Value) -> Result<Value, Thrown> {
    ctx.op(json!({ "op": "begin" })).await?;
    let seen = rows_of_user(ctx.clone(), input).await?;
    ctx.op(json!({ "op": "commit" })).await?;
    Ok(seen)
}

async fn state(ctx: Ctx, _: Value) -> Result<Value, Thrown> {
    Ok(ctx.op(raw(STATE, &json!([]))).await?[0]["state"].clone())
}

async fn twice(ctx: Ctx, input: Value) -> Result<Value, Thrown> {
    ctx.op(raw("select 1 as one", &json!([]))).await?;
    leaks(ctx, input).await
}

fn functions() -> Functions {
    Functions::new()
        .query("query", leaks)
        .query("queryTwice", twice)
        .query("quoted", |ctx, input| async move {
            let setting = json!([input["setting"], input["to"]]);
            ctx.op(raw("select set_config($1, $2, true)", &setting)).await?;
            ctx.op(raw(input["sql"].as_str().expect("SQL"), &json!([]))).await
        })
        .query("stateOfReader", state)
        .mutation("mutation", leaks)
        .mutation("mutationTwice", twice)
        .mutation("stateOfWriter", state)
        .add(json!({ "name": "apart", "kind": "mutation", "transaction": false }), leaks)
        .add(json!({ "name": "apartWithin", "kind": "mutation", "transaction": false }), leaks_in_transaction)
        .add(json!({ "name": "stateOfApart", "kind": "mutation", "transaction": false }), state)
        .action("action", leaks)
        .query("own.query", rows_of_user)
        .mutation("own.mutation", rows_of_user)
        .add(json!({ "name": "own.apart", "kind": "mutation", "transaction": false }), rows_of_user_in_transaction)
        .mutation("documents.add", |ctx, input| async move {
            let id = json!(ctx.insert("messages", input).await?);
            ctx.op(count()).await?;
            Ok(id)
        })
        .query("documents.count", |ctx, _| async move { ctx.op(count()).await })
}

async fn send(app: &App, kind: &str, name: &str, args: &Value) -> Value {
    let reply = app.client().send(Method::POST, &format!("/api/{kind}/{name}"), args.to_string()).await;
    if reply.status == 200 { reply.data() } else { json!(reply.code()) }
}

/// The states that the next calls find in the same sessions.
async fn session_states(app: &App) -> Value {
    json!([
        send(app, "query", "stateOfReader", &json!({})).await,
        send(app, "mutation", "stateOfWriter", &json!({})).await,
        send(app, "mutation", "stateOfApart", &json!({})).await,
    ])
}

const KINDS: [(&str, &str); 7] = [
    ("query", "query"),
    ("query", "queryTwice"),
    ("mutation", "mutation"),
    ("mutation", "mutationTwice"),
    ("mutation", "apart"),
    ("mutation", "apartWithin"),
    ("action", "action"),
];

/// Runs every leak in every kind of function, and compares the states that later calls find.
async fn assert_no_leak(db: &TestDb, app: &App, then: &str) {
    db.psql().await.run(LEAKS).await;
    // Lets the engine learn that functions need a snapshot, and prepare statements.
    session_states(app).await;
    let clean = session_states(app).await;
    let mut sent = 0;
    for (kind, function) in KINDS {
        for (name, sql) in CASES {
            let given = send(app, kind, function, &json!({ "sql": sql, "then": then })).await;
            let expected = if then == "throw" { json!("INTERNAL") } else { Value::Null };
            // A statement that deallocates itself fails, and so does one that writes in a query.
            let refused =
                if name.starts_with("none") || name.starts_with("one of") { "CONFLICT" } else { "INVALID_ARGS" };
            assert!(given.is_array() || given == expected || given == json!(refused), "{name}, {function}: {given}");
            assert_eq!(session_states(app).await, clean, "{name} is left by {function}");
            send(app, "mutation", "documents.add", &json!({ "channel": "a" })).await.as_str().expect("an id");
            sent += 1;
            assert_eq!(send(app, "query", "documents.count", &json!({})).await, json!(sent), "{name}, {function}");
        }
    }
}

/// A caller disconnects while the function waits.
#[tokio::test(flavor = "multi_thread")]
async fn a_disconnected_caller_leaves_no_session_state() {
    let db = TestDb::new().await;
    let limits = json!({ "queryMs": 300, "mutationMs": 300, "actionMs": 300 });
    let app = serve(&db, json!({ "poolSize": 1, "limits": limits })).await;
    session_states(&app).await;
    let clean = session_states(&app).await;
    let sql = "select pg_advisory_lock(7), set_config('app.user', 'ann', false), set_config('search_path', 'pg_catalog', false)";
    let mut psql = db.psql().await;
    let locks = "select count(*)::text from pg_locks where locktype = 'advisory' and objid = 7
        and database = (select oid from pg_database where datname = current_database())";
    for (kind, function) in KINDS {
        let path = format!("/api/{kind}/{function}");
        // Without a transaction, the lock is held only while its statement runs.
        let alone = matches!(function, "query" | "apart" | "action");
        let sql = if alone { format!("{sql}, pg_sleep(60)::text") } else { sql.to_owned() };
        let args = json!({ "sql": sql, "then": "wait" }).to_string();
        let start = || {
            let (client, path, args) = (app.client(), path.clone(), args.clone());
            tokio::spawn(async move { client.send(Method::POST, &path, args).await })
        };
        let mut call = start();
        convoy_testkit::within(async {
            while psql.column(locks).await != ["1"] {
                // It timed out before its lock was observed.
                if call.is_finished() {
                    call = start();
                }
            }
        })
        .await;
        call.abort();
        convoy_testkit::within(async { while psql.column(locks).await != ["0"] {} }).await;
        assert_eq!(session_states(&app).await, clean, "{function}");
    }
    app.engine.close().await;
}

/// A setting for the transaction of one call, which policies read.
#[tokio::test(flavor = "multi_thread")]
async fn row_security_holds_for_two_users_on_one_connection() {
    let db = TestDb::new().await;
    let role = format!("member_{}", convoy::id::mint().simple());
    let mut psql = db.psql().await;
    psql.run(&format!(
        "create role {role} login password 'x';
         do $$ begin execute format('alter database %I owner to {role}', current_database()); end $$;
         alter schema public owner to {role}"
    ))
    .await;
    let url = db.url();
    let (_, place) = url.rsplit_once('@').expect("a role");
    let app = serve(&db, json!({ "databaseUrl": format!("postgres://{role}:x@{place}"), "poolSize": 1 })).await;
    psql.run(
        r#"insert into messages (data) values ('{"owner": "ann"}'), ('{"owner": "bob"}'), ('{"owner": "bob"}');
        alter table messages enable row level security; alter table messages force row level security;
        create policy own on messages using (data ->> 'owner' = current_setting('app.user', true))"#,
    )
    .await;
    for call in 0..40 {
        let (user, expected) = if call % 2 == 0 { ("ann", 1) } else { ("bob", 2) };
        for (kind, name) in [("query", "own.query"), ("mutation", "own.mutation"), ("mutation", "own.apart")] {
            assert_eq!(
                send(&app, kind, name, &json!({ "user": user })).await,
                json!([expected, expected]),
                "{user}, {name}"
            );
            assert_eq!(send(&app, "query", "documents.count", &json!({})).await, json!(0), "after {name}");
        }
    }
    app.engine.close().await;
    let drop = format!(
        "do $$ begin execute format('alter database %I owner to current_user', current_database()); end $$;
        reassign owned by {role} to current_user; drop owned by {role}; drop role {role}"
    );
    psql.run(&drop).await;
}

fn one_connection() -> Value {
    json!({ "poolSize": 1 })
}

async fn serve(db: &TestDb, options: Value) -> App {
    db.app_with(options, json!([table("messages", &[])]), functions()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_returns_leaves_no_session_state() {
    let db = TestDb::new().await;
    let app = serve(&db, one_connection()).await;
    assert_no_leak(&db, &app, "return").await;
    app.engine.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_throws_leaves_no_session_state() {
    let db = TestDb::new().await;
    let app = serve(&db, one_connection()).await;
    assert_no_leak(&db, &app, "throw").await;
    app.engine.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_cannot_make_its_session_writable() {
    let db = TestDb::new().await;
    let app = serve(&db, one_connection()).await;
    let off = json!({ "sql": "select set_config('default_transaction_read_only', 'off', false)" });
    let in_transaction = json!({ "sql": "select set_config('transaction_read_only', 'off', false)" });
    let write = json!({ "sql": "insert into messages (data) values ('{}') returning id" });
    for function in ["query", "queryTwice"] {
        for _ in 0..3 {
            assert!(send(&app, "query", function, &off).await.is_array());
            assert!(send(&app, "query", function, &in_transaction).await.is_string());
            assert_eq!(send(&app, "query", function, &write).await, json!("INVALID_ARGS"));
        }
    }
    assert_eq!(db.psql().await.column("select count(*)::text from messages").await, ["0"]);
    app.engine.close().await;
}

/// Statements that fail when they are prepared, bound, run, or committed.
const FAILING: [&str; 7] = [
    "select 'x'::int",
    "select no_such_column",
    "select from where",
    "select 1 / count(*) from messages where false",
    "select set_config('app.user', 'ann', false), pg_advisory_lock(7), run('prepare mine as select 1'), 1 / 0",
    "select run('insert into unique_numbers values (1)')",
    "select run('insert into checked_late values (1)')",
];

/// Any caller may send an invalid value, and opening a connection takes longer than most
/// calls.
#[tokio::test(flavor = "multi_thread")]
async fn a_failed_statement_keeps_its_connection_and_leaves_no_state() {
    let db = TestDb::new().await;
    let app = serve(&db, one_connection()).await;
    let mut psql = db.psql().await;
    psql.run(LEAKS).await;
    psql.run(
        "create table unique_numbers (n int unique); insert into unique_numbers values (1);
         create table checked_late (n int references unique_numbers (n) deferrable initially deferred);
         create function refuse() returns trigger language plpgsql as $$ begin raise 'no'; end $$;
         create constraint trigger late after insert on checked_late deferrable initially deferred
         for each row execute function refuse()",
    )
    .await;
    session_states(&app).await;
    let clean = session_states(&app).await;
    let sessions = "select string_agg(pid::text, ' ' order by pid) from pg_stat_activity
        where datname = current_database() and application_name = 'convoy' and pid <> pg_backend_pid()";
    for sql in FAILING {
        // Statements that fail at commit, or prepare others, may cost the connection.
        let may_cost = sql.contains("checked_late") || sql.contains("mine");
        for (kind, function) in KINDS {
            let before = psql.column(sessions).await;
            for _ in 0..3 {
                let failed = send(&app, kind, function, &json!({ "sql": sql })).await;
                assert!(failed.is_string(), "{sql}, {function}: {failed}");
                assert_eq!(session_states(&app).await, clean, "{sql} is left by {function}");
            }
            assert!(may_cost || psql.column(sessions).await == before, "{sql}, {function}: another session");
        }
    }
    app.engine.close().await;
}

/// A number taken from a sequence is used up, but no other call can read it.
async fn assert_no_sequence_leak(db: &TestDb, app: &App) {
    db.psql().await.run("create sequence numbers start 41").await;
    for function in ["mutation", "mutationTwice", "apart", "apartWithin", "action"] {
        let kind = if function == "action" { "action" } else { "mutation" };
        for then in ["return", "throw"] {
            send(app, kind, function, &json!({ "sql": "select nextval('numbers')", "then": then })).await;
            for caller in ["mutation", "apart"] {
                let last = send(app, "mutation", caller, &json!({ "sql": "select lastval()" })).await;
                assert_eq!(last, json!("INTERNAL"), "{function}, {then}: {caller} reads a number");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sequence_state_does_not_leak_to_other_calls() {
    let db = TestDb::new().await;
    let app = serve(&db, one_connection()).await;
    assert_no_sequence_leak(&db, &app).await;
    app.engine.close().await;
}

/// One statement under the default setting, and three under the other.
const QUOTED: [(&str, &str, &str, &str); 2] = [
    (
        "standard_conforming_strings",
        "on",
        "off",
        r"select 'a\' as x, '; commit; begin read write; insert into leaked values (1); commit; --' as y",
    ),
    // In SJIS the last byte of the character and the backslash are one character.
    (
        "client_encoding",
        "UTF8",
        "SJIS",
        r"select E'\u{c1}\'' as x, E'; commit; begin read write; insert into leaked values (1); commit; --' as y",
    ),
];

#[tokio::test(flavor = "multi_thread")]
async fn one_statement_is_never_parsed_as_several() {
    let db = TestDb::new().await;
    db.psql().await.run("create table leaked (n int)").await;
    let app = db.app_with(json!({ "poolSize": 1 }), json!([]), functions()).await;
    for (setting, default, to, sql) in QUOTED {
        let sql = sql.replace(r"\u{c1}", "\u{c1}");
        let asked = |to: &str| json!({ "setting": setting, "to": to, "sql": sql });
        let first = send(&app, "query", "quoted", &asked(default)).await;
        assert!(first.is_array(), "{setting}: {first}");
        send(&app, "query", "quoted", &asked(to)).await;
        assert_eq!(db.psql().await.column("select n::text from leaked").await, [""; 0], "{setting}");
    }
    app.engine.close().await;
}
