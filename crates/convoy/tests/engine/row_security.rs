//! Row-level security of Postgres: calls of clients under a role, with settings.

use convoy_testkit::{App, Ctx, Functions, Psql, TestDb, Thrown, Wire, table};
use serde_json::{Value, json};

use crate::shared::raw;

/// A role of this database, dropped by [`Rig::close`].
pub(crate) struct Rig {
    pub db: TestDb,
    pub app: App,
    pub psql: Psql,
    pub role: String,
}

/// Runs the batches of its input, one after the other. The result is that of each operation,
/// or the code of its error.
async fn run(ctx: Ctx, input: Value) -> Result<Value, Thrown> {
    if let Some(identity) = input["identity"].as_str() {
        ctx.identify(identity);
    }
    // Which results may be shared is decided by hosts.
    if let Some(user) = input["user"].as_str() {
        ctx.saw("user", Some(&json!(user)));
    }
    let mut results = Vec::new();
    for batch in input["batches"].as_array().expect("batches") {
        for result in ctx.ops(batch.clone()).await? {
            results.push(match result {
                Ok(value) => value,
                Err(Thrown::Refused(code, _)) => json!({ "code": code.as_str() }),
                Err(Thrown::Broke(message)) => panic!("{message}"),
            });
        }
    }
    Ok(json!(results))
}

pub(crate) fn functions(role: &str) -> Functions {
    Functions::new()
        .query("read", run)
        .mutation("write", run)
        .action("act", run)
        .add(json!({ "name": "separate", "kind": "mutation", "transaction": false }), run)
        .under_role(role)
}

fn tables() -> Value {
    json!([table("notes", &[("by_owner", false, &[("owner", "text")])]), table("members", &[])])
}

/// The first Postgres whose views may read as their caller; those of earlier ones read as their owner.
const VIEWS_OF_INVOKERS: u32 = 15;

pub(crate) const OWN: &str = "create policy own on notes using (data->>'owner' = current_setting('app.user', true))";

impl Rig {
    async fn new() -> Rig {
        Rig::with(json!({}), OWN).await
    }

    async fn with(options: Value, policies: &str) -> Rig {
        let db = TestDb::new().await;
        let rig = Rig::without_program(db, options).await;
        let Rig { app, mut psql, role, db } = rig;
        psql.run(policies).await;
        app.load(functions(&role), true).await;
        Rig { db, app, psql, role }
    }

    /// The tables with row-level security and the role with its privileges, but no policies.
    pub(crate) async fn without_program(db: TestDb, options: Value) -> Rig {
        let app = db.app_with(options, tables(), Functions::new()).await;
        let mut psql = db.psql().await;
        let role = psql.column("select replace(current_database(), 'convoy_test', 'convoy_test_role')").await.remove(0);
        let set_up = format!(
            "create role {role} nologin; grant {role} to current_user;
             grant usage on schema public to {role};
             grant select, insert, update, delete on notes, members to {role};
             alter table notes enable row level security; alter table members enable row level security"
        );
        psql.run(&set_up).await;
        Rig { db, app, psql, role }
    }

    pub(crate) async fn close(mut self) {
        self.app.engine.close().await;
        self.psql.run(&format!("drop owned by {0}; drop role {0}", self.role)).await;
    }

    /// Runs batches of operations.
    pub(crate) async fn run(&self, function: &str, batches: Value) -> Value {
        let (client, input) = (self.app.client(), json!({ "batches": batches }));
        match function {
            "read" => client.query(function, input).await,
            "act" => client.act(function, input).await,
            _ => client.mutate(function, input).await,
        }
        .data()
    }

    /// The code with which the call, or its only operation, fails.
    async fn run_failing(&self, function: &str, batches: Value) -> String {
        let (client, input) = (self.app.client(), json!({ "batches": batches }));
        let reply = match function {
            "read" => client.query(function, input).await,
            "act" => client.act(function, input).await,
            _ => client.mutate(function, input).await,
        };
        match reply.status == 200 {
            true => reply.data()[0]["code"].as_str().expect("a failed operation").to_owned(),
            false => reply.code().to_owned(),
        }
    }

    async fn owners(&mut self) -> Vec<String> {
        self.psql.column("select data->>'owner' from notes order by id").await
    }
}

/// The operation for a caller.
pub(crate) fn by(user: &str, mut op: Value) -> Value {
    op["settings"] = json!({ "app.user": user });
    op
}

pub(crate) fn system(mut op: Value) -> Value {
    op["system"] = json!(true);
    op
}

pub(crate) fn note(owner: &str) -> Value {
    json!({ "op": "insert", "table": "notes", "id": convoy::id::mint().to_string(), "doc": { "owner": owner } })
}

fn scan(table: &str) -> Value {
    json!({ "op": "scan", "table": table, "index": null, "eq": [], "order": "asc", "limit": null })
}

pub(crate) fn count() -> Value {
    json!({ "op": "count", "table": "notes", "index": null, "eq": [], "order": "asc", "limit": null })
}

fn get(insert: &Value) -> Value {
    json!({ "op": "get", "table": "notes", "id": insert["id"] })
}

fn patch(insert: &Value, set: Value) -> Value {
    json!({ "op": "patch", "table": "notes", "id": insert["id"], "set": set, "unset": [] })
}

fn delete(insert: &Value) -> Value {
    json!({ "op": "delete", "table": "notes", "id": insert["id"] })
}

const NUMBER_OF_NOTES: &str = "select count(*)::int4 as n from notes";
const CURRENT_ROLE: &str = "select current_user::text as role, coalesce(current_setting('app.user', true), '') as name";

#[tokio::test(flavor = "multi_thread")]
async fn policies_hold_for_reads_and_writes_of_every_kind() {
    let mut rig = Rig::new().await;
    let (ada, eve) = (note("ada"), note("eve"));
    assert_eq!(rig.run("write", json!([[system(ada.clone()), system(eve.clone())]])).await, json!([null, null]));
    for function in ["read", "write", "act", "separate"] {
        let reads = [scan("notes"), count(), get(&ada), get(&eve), raw(NUMBER_OF_NOTES, &json!([]))];
        let seen = rig.run(function, json!([reads.map(|op| by("ada", op))])).await;
        assert_eq!(seen[0].as_array().map(Vec::len), Some(1), "{function}");
        assert_eq!((&seen[1], &seen[2]["owner"], &seen[3]), (&json!(1), &json!("ada"), &Value::Null), "{function}");
        assert_eq!(seen[4], json!([{ "n": 1 }]), "{function}");
        let all = rig.run(function, json!([[system(count()), system(raw(NUMBER_OF_NOTES, &json!([])))]])).await;
        assert_eq!(all, json!([2, [{ "n": 2 }]]), "{function}");
        // What the system has read is not kept for the role.
        for _ in 0..2 {
            let both = [
                json!([[system(get(&eve)), by("ada", get(&eve))]]),
                json!([[system(get(&eve))], [by("ada", get(&eve))]]),
            ];
            for batches in both {
                let results = rig.run(function, batches).await;
                assert_eq!((&results[0]["owner"], &results[1]), (&json!("eve"), &Value::Null), "{function}");
            }
        }
        let anonymous = rig.run(function, json!([[by("", count())]])).await;
        assert_eq!(anonymous, json!([0]), "{function}");
    }
    for function in ["write", "act", "separate"] {
        let hidden = [patch(&eve, json!({ "n": 1 })), delete(&eve)].map(|op| by("ada", op));
        assert_eq!(rig.run(function, json!([hidden])).await, json!([null, false]), "{function}");
        for refused in [note("eve"), patch(&ada, json!({ "owner": "eve" }))] {
            let failed = rig.run_failing(function, json!([[by("ada", refused)]])).await;
            assert_eq!(failed, "FORBIDDEN", "{function}");
        }
        let own = [note("ada"), patch(&ada, json!({ "n": 1 }))].map(|op| by("ada", op));
        assert_eq!(rig.run(function, json!([own])).await[1]["n"], json!(1), "{function}");
    }
    assert_eq!(rig.owners().await, ["ada", "eve", "ada", "ada", "ada"]);
    rig.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operation_that_names_no_role_is_refused() {
    let rig = Rig::new().await;
    let both = system(by("ada", count()));
    for function in ["read", "write", "act", "separate"] {
        let refused = json!([{ "code": "INVALID_ARGS" }, { "code": "INVALID_ARGS" }]);
        assert_eq!(rig.run(function, json!([[count(), both.clone()]])).await, refused, "{function}");
    }
    let setting = |name: &str| json!({ "op": "count", "table": "notes", "order": "asc", "settings": { name: "on" } });
    for name in ["row_security", "convoy.writer", "role", "a.b'; reset role; --"] {
        assert_eq!(rig.run("read", json!([[setting(name)]])).await, json!([{ "code": "INVALID_ARGS" }]), "{name}");
    }
    rig.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_role_holds_again_after_a_rollback_and_after_raw() {
    let rig = Rig::new().await;
    let eve = note("eve");
    rig.run("write", json!([[system(eve.clone())]])).await;
    let savepoint = json!({ "op": "savepoint", "name": 1 });
    let rollback = json!({ "op": "rollback", "to": 1 });
    // The role was set after the savepoint.
    let later =
        json!([[savepoint, system(count())], [by("ada", count())], [rollback, by("ada", count()), system(count())]]);
    assert_eq!(rig.run("write", later).await, json!([null, 1, 0, null, 0, 1]));
    // The role of the savepoint was that of the connection.
    let back = json!([[by("ada", count()), savepoint, system(count())], [rollback], [by("ada", get(&eve))]]);
    assert_eq!(rig.run("write", back).await, json!([0, null, 1, null, null]));
    let escapes = [
        "select set_config('role', 'none', true)",
        "select set_config('role', 'none', false)",
        "select set_config('app.user', 'eve', true)",
        "select set_config('app.user', 'eve', false)",
    ];
    for escape in escapes {
        for function in ["read", "write", "separate", "act"] {
            let batches = json!([[by("ada", raw(escape, &json!([]))), by("ada", count())], [by("ada", scan("notes"))]]);
            let results = rig.run(function, batches).await;
            assert_eq!((&results[1], &results[2]), (&json!(0), &json!([])), "{function}: {escape}");
        }
    }
    rig.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn neither_role_nor_settings_reach_the_next_call_of_a_connection() {
    let rig = Rig::with(json!({ "poolSize": 1 }), OWN).await;
    let login = rig.run("read", json!([[system(raw(CURRENT_ROLE, &json!([])))]])).await;
    for function in ["read", "write", "separate", "act"] {
        let own = rig.run(function, json!([[by("ada", raw(CURRENT_ROLE, &json!([]))), by("ada", count())]])).await;
        assert_eq!(own[0], json!([{ "role": rig.role, "name": "ada" }]), "{function}");
        let failed = rig.run_failing("write", json!([[by("ada", note("eve"))]])).await;
        assert_eq!(failed, "FORBIDDEN");
        for next in ["read", "write", "separate", "act"] {
            assert_eq!(
                rig.run(next, json!([[system(raw(CURRENT_ROLE, &json!([])))]])).await,
                login,
                "{function}, {next}"
            );
        }
        let other = rig.run(function, json!([[by("", raw(CURRENT_ROLE, &json!([])))]])).await;
        assert_eq!(other[0], json!([{ "role": rig.role, "name": "" }]), "{function}");
    }
    rig.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn operations_after_a_failed_begin_do_not_run_alone() {
    let mut rig = Rig::new().await;
    let begin = json!({ "op": "begin" });
    // The second begin fails, and with it what follows, also under another role.
    let batches = json!([[begin, begin, by("ada", note("ada")), system(note("eve"))], [{ "op": "rollback" }]]);
    let results = rig.run("separate", batches).await;
    let refused = json!({ "code": "INVALID_ARGS" });
    assert_eq!(results, json!([null, refused, refused, refused, null]));
    assert!(rig.owners().await.is_empty());
    let hidden = note("eve");
    rig.psql
        .run(&format!("insert into notes (id, data) values ('{}', '{{}}')", hidden["id"].as_str().expect("an id")))
        .await;
    let read = json!([[begin, system(get(&hidden)), by("ada", get(&hidden))], [{ "op": "rollback" }]]);
    assert_eq!(rig.run("separate", read).await[2], Value::Null);
    rig.psql.run("delete from notes").await;
    let both = json!([[begin, by("ada", note("ada")), system(note("eve"))], [{ "op": "commit" }]]);
    assert_eq!(rig.run("separate", both).await, json!([null, null, null, null]));
    assert_eq!(rig.owners().await, ["ada", "eve"]);
    rig.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_with_a_key_takes_effect_once() {
    let mut rig = Rig::new().await;
    let client = rig.app.client().with_header("Idempotency-Key", "k1");
    let input = json!({ "identity": "ada", "batches": [[by("ada", note("ada"))]] });
    for _ in 0..2 {
        assert_eq!(client.mutate("write", input.clone()).await.data(), json!([null]));
    }
    assert_eq!(rig.owners().await, ["ada"]);
    rig.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn live_queries_follow_the_rows_that_policies_show() {
    let rig = Rig::new().await;
    let (ada, eve) = (note("ada"), note("eve"));
    rig.run("write", json!([[system(ada.clone()), system(eve.clone())]])).await;
    let watched = json!({ "user": "ada", "batches": [[by("ada", scan("notes"))]] });
    let mut live = rig.app.client().watch("read", watched).await;
    let owners = |result: &Value| result[0].as_array().map_or(0, Vec::len);
    assert_eq!(owners(&live.next().await), 1);
    rig.run("write", json!([[system(patch(&eve, json!({ "owner": "ada" })))]])).await;
    assert_eq!(owners(&live.next().await), 2);
    rig.run("write", json!([[by("ada", delete(&ada))]])).await;
    assert_eq!(owners(&live.next().await), 1);
    rig.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn live_queries_follow_what_policies_read() {
    let limits = json!({ "limits": { "untrackedPollMs": 50, "triggerCheckMs": 50 } });
    let policies = "create table teams (name text);
        create function listed(name text) returns boolean stable security definer language sql as
            $$ select exists (select from teams as t where t.name = $1) $$;
        create policy all_members on members using (exists (select from teams as t where t.name = members.data->>'team'));
        create policy member on notes using (
            exists (select from members as m where m.data->>'user' = current_setting('app.user', true))
            and data->>'n' is distinct from '0'
        );
        create policy late on notes as restrictive using (created_at <= now() and listed('a'));
        create policy dated on notes as restrictive using ((created_at < (data->>'at')::timestamptz) is not true);
        create policy described on notes as restrictive using ((select count(*) from pg_description) >= 0)";
    let mut rig = Rig::with(limits, policies).await;
    rig.psql.run(&format!("grant select on teams to {}", rig.role)).await;
    rig.run("write", json!([[system(note("ada"))]])).await;
    let watched = json!({ "user": "ada", "batches": [[by("ada", count())]] });
    let mut live = rig.app.client().watch("read", watched).await;
    assert_eq!(live.next().await, json!([0]));
    let mut read = rig.app.engine.tables_read();
    read.retain(|name| !name.contains("text"));
    assert_eq!(read, ["current_timestamp", "members", "notes", "now()", "pg_catalog.pg_description", "teams"]);
    // A table of the schema is tracked, and one of the user is polled.
    let member = json!({ "op": "insert", "table": "members", "id": convoy::id::mint().to_string(), "doc": { "user": "ada", "team": "a" } });
    rig.run("write", json!([[system(member)]])).await;
    rig.psql.run("insert into teams values ('a')").await;
    live.until(|result| *result == json!([1])).await;
    rig.psql.run("delete from teams").await;
    live.until(|result| *result == json!([0])).await;
    // A policy that is replaced counts as a change of everything.
    rig.psql
        .run("drop policy late on notes; drop policy member on notes; create policy all_notes on notes using (true)")
        .await;
    live.until(|result| *result == json!([1])).await;
    rig.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_for_which_policies_do_not_hold_is_refused() {
    let mut rig = Rig::without_program(TestDb::new().await, json!({})).await;
    rig.psql.run(OWN).await;
    let role = rig.role.clone();
    let login = rig.psql.column("select current_user::text").await.remove(0);
    let refusal =
        async |role: &str| rig.app.try_load(functions(role), true).await.expect_err("it is refused").to_failure();
    let hidden = |text: String| text.replace(&role, "<role>").replace(&login, "<login>");
    let mut refusals = vec![hidden(refusal(&format!("{role}_missing")).await.message)];
    let mut psql = rig.db.psql().await;
    for (before, after) in [
        (format!("alter role {role} superuser bypassrls"), format!("alter role {role} nosuperuser nobypassrls")),
        (format!("alter table notes owner to {role}"), "alter table notes owner to current_user".to_owned()),
        (format!("grant {login} to {role}_in"), format!("drop role {role}_in")),
        (
            format!("revoke usage on schema public from public, {role}"),
            format!("grant usage on schema public to public, {role}"),
        ),
    ] {
        if before.contains("_in") {
            psql.run(&format!("create role {role}_in; grant {role}_in to current_user")).await;
            // It owns nothing, but it is a member of the owner.
            psql.run(&format!(
                "create role {role}_owner; grant {role}_owner to {role}_in; alter table notes owner to {role}_owner"
            ))
            .await;
            psql.run(&format!("grant usage on schema public to {role}_in")).await;
            refusals.push(hidden(refusal(&format!("{role}_in")).await.message));
            psql.run(&format!(
                "alter table notes owner to current_user; drop owned by {role}_in; drop role {role}_in, {role}_owner"
            ))
            .await;
            continue;
        }
        psql.run(&before).await;
        refusals.push(hidden(refusal(&role).await.message));
        psql.run(&after).await;
    }
    for schema in [&role, &login] {
        psql.run(&format!("create schema {schema}")).await;
        refusals.push(hidden(refusal(&role).await.message));
        psql.run(&format!("drop schema {schema} cascade")).await;
    }
    insta::assert_snapshot!(refusals.join("\n\n"));
    psql.run(&format!("grant select, insert, update, delete on notes to {role}")).await;
    rig.app.load(functions(&role), true).await;
    psql.run("alter table members disable row level security").await;
    let report = rig.app.try_load(functions(&role), true).await.expect("it is allowed");
    assert_eq!(
        report.warnings.iter().map(|warning| hidden(warning.clone())).collect::<Vec<_>>(),
        ["row-level security is off for members: every client may do there what is granted to the role <role>"]
    );
    rig.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_are_refused_while_the_role_bypasses_policies() {
    let limits = json!({ "poolSize": 1, "limits": { "triggerCheckMs": 500 } });
    let mut rig = Rig::with(limits, OWN).await;
    rig.run("write", json!([[system(note("ada"))]])).await;
    let input = json!({ "batches": [[by("eve", scan("notes"))]] });
    let client = rig.app.client();
    let status = async || {
        let (read, written) = (client.query("read", input.clone()).await, client.mutate("write", input.clone()).await);
        (read.status, written.status)
    };
    let role = rig.role.clone();
    // Before it is noticed, Postgres makes plans without the policies, and keeps them.
    let mut planned = false;
    while !planned {
        rig.psql.run(&format!("alter role {role} nobypassrls")).await;
        convoy_testkit::within(async { while status().await != (200, 200) {} }).await;
        // The plans are discarded, so the next statement is planned again.
        rig.psql.run(&format!("alter role {role} bypassrls; analyze notes")).await;
        convoy_testkit::within(async {
            loop {
                match status().await {
                    (503, 503) => break,
                    answered => planned |= answered == (200, 200),
                }
            }
        })
        .await;
    }
    assert_eq!(rig.run("read", json!([[system(count())]])).await, json!([1]));
    rig.psql.run(&format!("alter role {} nobypassrls", rig.role)).await;
    convoy_testkit::within(async { while status().await != (200, 200) {} }).await;
    for function in ["read", "write", "act"] {
        assert_eq!(rig.run(function, json!([[by("eve", scan("notes"))]])).await, json!([[]]), "{function}");
    }
    rig.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn live_queries_follow_the_memberships_of_the_role() {
    let limits = json!({ "limits": { "triggerCheckMs": 50 } });
    let mut rig = Rig::with(limits, "select 1").await;
    let role = rig.role.clone();
    // The role inherits the one that the policy is for through another one.
    let set_up = format!(
        "create role {role}_of; create role {role}_in; grant {role}_in to {role}_of; grant {role}_of to {role};
         create policy own on notes to {role}_in using (true)"
    );
    rig.psql.run(&set_up).await;
    rig.run("write", json!([[system(note("ada"))]])).await;
    let watched = json!({ "user": "ada", "batches": [[by("ada", count())]] });
    let mut live = rig.app.client().watch("read", watched).await;
    live.until(|result| *result == json!([1])).await;
    for (change, expected) in [
        (format!("revoke {role}_in from {role}_of"), json!([0])),
        (format!("grant {role}_in to {role}_of"), json!([1])),
        (format!("revoke {role}_of from {role}"), json!([0])),
    ] {
        rig.psql.run(&change).await;
        live.until(|result| *result == expected).await;
    }
    rig.psql.run(&format!("drop policy own on notes; drop role {role}_in, {role}_of")).await;
    rig.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn raw_depends_on_a_table_of_which_it_sees_nothing() {
    let limits = json!({ "limits": { "triggerCheckMs": 600_000, "untrackedPollMs": 600_000 } });
    let mut rig = Rig::with(limits, "").await;
    let mut texts = vec![NUMBER_OF_NOTES, "select 0 as n union all select count(*)::int4 from \"notes\""];
    if rig.psql.major_version().await >= VIEWS_OF_INVOKERS {
        rig.psql.run("create view all_notes with (security_invoker = true) as select * from notes").await;
        rig.psql.run(&format!("grant select on all_notes to {}", rig.role)).await;
        texts.push("select count(*)::int4 as n from all_notes");
    }
    let mut live = Vec::new();
    for text in texts {
        // Without a policy, Postgres plans nothing but a constant.
        let watched = json!({ "user": "ada", "batches": [[by("ada", raw(text, &json!([])))]] });
        let mut watch = rig.app.client().watch("read", watched).await;
        assert!(!watch.next().await.to_string().contains('1'), "{text}");
        live.push(watch);
    }
    assert!(!rig.app.engine.tables_read().contains(&"everything".to_owned()));
    rig.psql.run("create policy all_rows on notes using (true)").await;
    rig.run("write", json!([[by("ada", note("ada"))]])).await;
    for mut watch in live {
        watch.until(|result| result.to_string().contains('1')).await;
    }
    rig.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_no_policies_is_named_in_a_warning() {
    let mut rig = Rig::new().await;
    let role = rig.role.clone();
    let relations = format!(
        "create view plain as select * from notes; grant select on plain to {role};
         create materialized view kept as select * from notes; grant select on kept to {role};
         create table columns (like notes); grant select (id, data) on columns to {role};
         create table secret (like notes)"
    );
    rig.psql.run(&relations).await;
    let mut names = vec!["plain", "kept", "columns", "secret"];
    if rig.psql.major_version().await >= VIEWS_OF_INVOKERS {
        rig.psql.run("create view own with (security_invoker = true) as select * from notes").await;
        rig.psql.run(&format!("grant select on own to {role}")).await;
        names.push("own");
    }
    let unmanaged = |name| json!({ "name": name, "physicalName": name, "managed": false, "indexes": [] });
    let all: Vec<Value> = names.into_iter().map(unmanaged).collect();
    let app = rig.db.app(json!([]), Functions::new()).await;
    let app = App { tables: json!(all), ..app };
    let report = app.try_load(functions(&role), true).await.expect("it is allowed");
    let warning = report.warnings.iter().find(|warning| warning.contains("row-level")).expect("a warning");
    assert!(warning.starts_with("row-level security is off for columns, kept, plain: "), "{warning}");
    app.engine.close().await;
    rig.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_costs_a_transaction_and_no_statement_more() {
    let db = TestDb::new().await;
    let (wire, url) = Wire::before(&db.url()).await;
    // A long interval, because polls of the log would be counted.
    let options = json!({ "databaseUrl": url, "limits": { "pollMs": 600_000, "triggerCheckMs": 600_000 } });
    let Rig { db, app, mut psql, role } = Rig::without_program(db, options).await;
    psql.run(OWN).await;
    app.load(functions(&role), true).await;
    let rig = Rig { db, app, psql, role };
    let own = note("ada");
    rig.run("write", json!([[system(own.clone())]])).await;
    for (function, batches, expected) in [
        ("read", json!([[by("ada", count())]]), "begin execute rollback"),
        ("read", json!([[by("ada", count())], [by("ada", get(&own))]]), "begin execute execute rollback"),
        ("write", json!([[by("ada", patch(&own, json!({ "n": 1 })))]]), "begin execute commit"),
        ("act", json!([[by("ada", count())]]), "begin execute rollback"),
        ("act", json!([[by("ada", patch(&own, json!({ "n": 2 })))]]), "begin execute commit"),
        ("write", json!([[by("ada", count()), system(count())]]), "begin execute set execute commit"),
    ] {
        // The first run prepares statements. The check of the triggers after the load may still run.
        let statements = convoy_testkit::within(async {
            loop {
                wire.take_statements();
                rig.run(function, batches.clone()).await;
                let statements = wire.take_statements();
                let words = statements.iter().map(|sql| sql.split_whitespace().next().unwrap_or_default());
                if words.collect::<Vec<_>>().join(" ") == expected {
                    break statements;
                }
            }
        });
        let begin = &statements.await[0];
        assert!(begin.ends_with(r#"; set local "app"."user" = 'ada'"#), "{begin}");
    }
    rig.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_whose_commit_is_refused_fails() {
    let refuse = "create function refuse() returns trigger language plpgsql as $$ begin
            if new.data ? 'bad' then raise check_violation; end if;
            return null;
        end $$;
        create constraint trigger refuse after insert on notes deferrable initially deferred
            for each row execute function refuse()";
    let mut rig = Rig::with(json!({}), &format!("{OWN}; {refuse}")).await;
    let mut bad = by("ada", note("ada"));
    bad["doc"]["bad"] = json!(true);
    for function in ["write", "act", "separate"] {
        assert_eq!(rig.run_failing(function, json!([[bad]])).await, "CONFLICT", "{function}");
    }
    assert!(rig.owners().await.is_empty());
    rig.close().await;
}
