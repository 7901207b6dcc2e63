//! Functions that run the steps of their input on lists, one for each way to commit.
//!
//! A step is `{ list, key }`, which reads the list, or `{ list, key, value }`, which appends.
//! Results have the lists that were read, in order.

use convoy::Code;
use convoy_testkit::{Ctx, Functions, Thrown, table};
use serde_json::{Value, json};

/// A way in which a mutation reads and commits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Reads and patches by id: optimistic, or queued.
    Plain,
    /// The same after an operation that needs a transaction.
    Within,
    /// A transaction that a mutation without one begins and commits.
    OwnTransaction,
    /// The same in an action.
    Action,
    /// One statement of the user's, in the mutation's transaction.
    Statement,
    /// One statement of the user's, in autocommit mode.
    Autocommit,
}

impl Kind {
    pub(crate) const ALL: [Kind; 6] =
        [Kind::Plain, Kind::Within, Kind::OwnTransaction, Kind::Action, Kind::Statement, Kind::Autocommit];

    /// The path of its function below `/api/`.
    pub(super) fn path(self) -> &'static str {
        match self {
            Kind::Plain => "mutation/lists.plain",
            Kind::Within => "mutation/lists.within",
            Kind::OwnTransaction => "mutation/lists.own",
            Kind::Action => "action/lists.act",
            Kind::Statement => "mutation/lists.statement",
            Kind::Autocommit => "mutation/lists.autocommit",
        }
    }

    /// Whether an idempotency key counts.
    pub(super) fn takes_key(self) -> bool {
        matches!(self, Kind::Plain | Kind::Within | Kind::Statement)
    }

    /// Whether it appends one value, and reads the list after that.
    pub(super) fn is_statement(self) -> bool {
        matches!(self, Kind::Statement | Kind::Autocommit)
    }
}

pub(crate) fn tables() -> Value {
    json!([table("lists", &[])])
}

/// The id of a list, without its table.
pub(super) fn id(key: u64) -> String {
    format!("00000000-0000-4000-8000-{key:012}")
}

/// The list of a document.
pub(super) fn key_of(document: &Value) -> u64 {
    let id = document["id"].as_str().expect("an id");
    id[id.len() - 12..].parse().expect("an id of a list")
}

pub(crate) fn add_to(functions: Functions) -> Functions {
    functions
        .mutation("lists.create", |ctx, input| async move {
            for key in 0..input["count"].as_u64().expect("a count") {
                let insert = json!({ "op": "insert", "table": "lists", "id": id(key), "doc": { "list": [] } });
                ctx.op(insert).await?;
            }
            Ok(Value::Null)
        })
        .query("lists.all", |ctx, _| async move {
            ctx.op(json!({ "op": "scan", "table": "lists", "index": null, "eq": [], "order": "asc", "limit": null }))
                .await
        })
        .mutation("lists.plain", |ctx, input| async move { run(&ctx, &input).await })
        .mutation("lists.within", |ctx, input| async move {
            let one = json!({ "op": "scan", "table": "lists", "index": null, "eq": [], "order": "asc", "limit": 1 });
            ctx.op(one).await?;
            run(&ctx, &input).await
        })
        .add(json!({ "name": "lists.own", "kind": "mutation", "transaction": false }), in_own_transaction)
        .action("lists.act", in_own_transaction)
        .mutation("lists.statement", append)
        .add(json!({ "name": "lists.autocommit", "kind": "mutation", "transaction": false }), append)
}

/// Runs the steps on documents, by reads and patches like those of users.
async fn run(ctx: &Ctx, input: &Value) -> Result<Value, Thrown> {
    let mut read = Vec::new();
    for step in input["steps"].as_array().expect("steps") {
        let id = id(step["key"].as_u64().expect("a key"));
        let document = ctx.op(json!({ "op": "get", "table": "lists", "id": id })).await?;
        let mut list = document["list"].as_array().cloned().expect("a list");
        match &step["value"] {
            Value::Null => read.push(json!(list)),
            value => {
                list.push(value.clone());
                let set = json!({ "list": list });
                ctx.op(json!({ "op": "patch", "table": "lists", "id": id, "set": set, "unset": [] })).await?;
            }
        }
    }
    Ok(json!(read))
}

/// Like `ctx.db.transaction`, with one attempt.
async fn in_own_transaction(ctx: Ctx, input: Value) -> Result<Value, Thrown> {
    ctx.op(json!({ "op": "begin" })).await?;
    match run(&ctx, &input).await {
        Ok(read) => ctx.op(json!({ "op": "commit" })).await.map(|_| read),
        Err(thrown) => {
            let refused = matches!(thrown, Thrown::Refused(Code::Conflict, _));
            // After a lost connection there is nothing to roll back.
            if refused {
                ctx.op(json!({ "op": "rollback" })).await?;
            }
            Err(thrown)
        }
    }
}

async fn append(ctx: Ctx, input: Value) -> Result<Value, Thrown> {
    let step = &input["steps"][0];
    let (id, value) = (id(step["key"].as_u64().expect("a key")), &step["value"]);
    let update = format!(
        "update lists set data = jsonb_set(data, '{{list}}', (data -> 'list') || '{value}') where id = '{id}'
         returning data -> 'list' as list"
    );
    let rows = ctx.op(json!({ "op": "raw", "text": update, "values": [], "tables": null })).await?;
    Ok(json!([rows[0]["list"]]))
}
