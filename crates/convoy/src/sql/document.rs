//! One statement per document operation. Every write logs itself: the rows it
//! returned, not the rows it was asked to write, go to `_convoy.changes` in the
//! same statement, since a user's trigger may have changed or dropped them.
//!
//! The writes mark their transaction as ours (`convoy.writer`), which keeps the
//! triggers quiet that log everyone else's. The mark is a materialized CTE that
//! the write selects from, so it is always set before the write.

use serde_json::value::RawValue;
use uuid::Uuid;

use super::{Bind, Statement};
use crate::key::KeyValue;
use crate::op::{Order, Scan};
use crate::schema::{FieldPath, IndexField, KeyKind, Table};

const MARK: &str = "with mark as materialized (
  select set_config('convoy.writer', pg_current_xact_id()::text, true)
), ";

/// Documents by id: `id, created_at, data`.
pub fn get(table: &Table, ids: &[Uuid]) -> Statement {
    let mut sql = Statement::new();
    sql.push("select id, created_at, data\nfrom ").ident(&table.physical).push("\nwhere id = ");
    match ids {
        [id] => sql.bind(Bind::Uuid(*id)),
        _ => sql.push("any(").bind(Bind::Uuids(ids.to_vec())).push(")"),
    };
    sql
}

/// Documents in index order, at most `most`: `id, created_at, data`.
pub fn scan(scan: &Scan, most: u32) -> Statement {
    let index = &scan.table.indexes[scan.index];
    let mut sql = Statement::new();
    sql.push("select id, created_at, data\nfrom ").ident(&scan.table.physical);
    let mut joiner = "\nwhere ";
    for (field, value) in index.fields.iter().zip(&scan.eq) {
        sql.push(joiner);
        equal(&mut sql, field, value);
        joiner = "\n  and ";
    }
    let bounds = [(&scan.lower, " > ", " >= "), (&scan.upper, " < ", " <= ")];
    for (bound, exclusive, inclusive) in bounds {
        if let Some(bound) = bound {
            let field = &index.fields[scan.eq.len()];
            sql.push(joiner).key(&field.path, field.kind);
            compare(&mut sql, if bound.inclusive { inclusive } else { exclusive }, &bound.value);
            joiner = "\n  and ";
        }
    }
    order_by(&mut sql, &index.order_from(scan.eq.len()), scan.order);
    // Part of the text: a bound limit lets the planner assume a tenth of the
    // table, and it may sort where it should walk the index.
    let limit = scan.limit.map_or(most, |limit| limit.min(most));
    sql.push("\nlimit ").number(u64::from(limit));
    sql
}

fn order_by(sql: &mut Statement, fields: &[IndexField], order: Order) {
    let direction = match order {
        Order::Asc => "",
        Order::Desc => " desc",
    };
    let mut separator = "\norder by ";
    for field in fields {
        sql.push(separator).key(&field.path, field.kind).push(direction);
        separator = ", ";
    }
}

fn equal(sql: &mut Statement, field: &IndexField, value: &KeyValue) {
    match (value, field.kind) {
        // A stored `null` is a jsonb value where the key is jsonb itself.
        (KeyValue::Null, KeyKind::Json) => {
            sql.push("(").key(&field.path, field.kind).push(" is null or ");
            sql.key(&field.path, field.kind).push(" = 'null')");
        }
        // Equality with null means absence.
        (KeyValue::Null, _) => {
            sql.key(&field.path, field.kind).push(" is null");
        }
        _ => {
            sql.key(&field.path, field.kind);
            compare(sql, " = ", value);
        }
    }
}

fn compare(sql: &mut Statement, operator: &'static str, value: &KeyValue) {
    match value {
        // A comparison with null never holds.
        KeyValue::Null => sql.push(operator).push("null"),
        KeyValue::Text(text) => sql.push(operator).bind(Bind::Text(text.clone())),
        KeyValue::Number(text) => sql.push(operator).push("(").bind(Bind::Text(text.clone())).push("::text)::numeric"),
        KeyValue::Boolean(value) => sql.push(operator).bind(Bind::Bool(*value)),
        KeyValue::Json(text) => sql.push(operator).bind(Bind::Json(text.clone())),
        KeyValue::Time(micros) => sql
            .push(operator)
            .push("timestamptz 'epoch' + ")
            .bind(Bind::Int(*micros))
            .push(" * interval '1 microsecond'"),
        KeyValue::Id(id) => sql.push(operator).bind(Bind::Uuid(*id)),
    };
}

/// New documents of one table: `id, created_at, keys` of what was written.
pub fn insert(table: &Table, node: Uuid, rows: &[(Uuid, Box<RawValue>)]) -> Statement {
    let mut sql = Statement::new();
    sql.push(MARK).push("written as (\n  insert into ").ident(&table.physical).push(" (id, data)\n  select ");
    match rows {
        [(id, doc)] => {
            sql.bind(Bind::Uuid(*id)).push("::uuid, ").bind(Bind::Json(doc.get().to_owned()));
            sql.push("::jsonb\n  from mark");
        }
        _ => {
            let ids = rows.iter().map(|(id, _)| *id).collect();
            let docs = rows.iter().map(|(_, doc)| doc.get().to_owned()).collect();
            sql.push("input.id, input.data\n  from mark, unnest(").bind(Bind::Uuids(ids)).push("::uuid[], ");
            sql.bind(Bind::Jsons(docs)).push("::jsonb[]) as input (id, data)");
        }
    }
    sql.push("\n  returning id, created_at, ").keys_object("", &table.key_paths).push(" as keys\n), ");
    sql.push("logged as (\n  insert into _convoy.changes (node, tab, id, new_at, new_keys)\n  select ");
    sql.bind(Bind::Uuid(node)).push("::uuid, ").literal(&table.physical);
    sql.push(", id, created_at, keys\n  from written\n)\nselect id, created_at, keys\nfrom written");
    sql
}

/// Sets and removes keys of one document:
/// `id, created_at, data, keys, old_created_at, old_keys`.
///
/// The row as it was comes from a locking self-join: `returning old.…` exists
/// only from Postgres 18 on.
pub fn patch(table: &Table, node: Uuid, id: Uuid, set: &RawValue, unset: &[String]) -> Statement {
    let mut sql = Statement::new();
    sql.push(MARK).push("before as materialized (\n  select id, created_at, ");
    sql.keys_object("", &table.key_paths).push(" as keys\n  from ").ident(&table.physical);
    sql.push("\n  where id = ").bind(Bind::Uuid(id)).push("\n  for update\n), written as (\n  update ");
    sql.ident(&table.physical).push(" as t\n  set data = (t.data - ").bind(Bind::Texts(unset.to_vec()));
    sql.push("::text[]) || ").bind(Bind::Json(set.get().to_owned())).push("::jsonb");
    if table.managed {
        // A table of the user's own need not have the column.
        sql.push(", updated_at = now()");
    }
    sql.push("\n  from before, mark\n  where t.id = before.id\n  returning t.id, t.created_at, t.data, ");
    sql.keys_object("t.", &table.key_paths);
    sql.push(" as keys, before.created_at as old_at, before.keys as old_keys\n), ");
    sql.push(
        "logged as (\n  insert into _convoy.changes (node, tab, id, old_at, old_keys, new_at, new_keys)\n  select ",
    );
    sql.bind(Bind::Uuid(node)).push("::uuid, ").literal(&table.physical);
    sql.push(", id, old_at, old_keys, created_at, keys\n  from written\n)");
    sql.push("\nselect id, created_at, data, keys, old_at, old_keys\nfrom written");
    sql
}

/// Removes one document: `id, created_at, keys` of what was removed.
pub fn delete(table: &Table, node: Uuid, id: Uuid) -> Statement {
    let mut sql = Statement::new();
    sql.push(MARK).push("written as (\n  delete from ").ident(&table.physical).push("\n  using mark\n  where id = ");
    sql.bind(Bind::Uuid(id)).push("\n  returning id, created_at, ").keys_object("", &table.key_paths);
    sql.push(" as keys\n), logged as (\n  insert into _convoy.changes (node, tab, id, old_at, old_keys)\n  select ");
    sql.bind(Bind::Uuid(node)).push("::uuid, ").literal(&table.physical);
    sql.push(", id, created_at, keys\n  from written\n)\nselect id, created_at, keys\nfrom written");
    sql
}

/// The paths a trigger on the table must log, in the spelling it takes them.
pub fn logged_paths(table: &Table) -> Vec<String> {
    table.key_paths.iter().filter(|path| matches!(path, FieldPath::Stored(_))).map(FieldPath::dotted).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::Bound;
    use crate::schema::Schema;
    use std::sync::Arc;

    /// A table whose every name tries to leave its place.
    fn table() -> Arc<Table> {
        let description = r#"{"tables":[{"name":"m","physicalName":"my \"table\"","managed":true,"indexes":[
            {"name":"by_c","unique":false,"fields":[{"path":"it's.\\o","kind":"text"},{"path":"n","kind":"number"}]}]}]}"#;
        let schema = Schema::parse(serde_json::from_str(description).expect("a description")).expect("a schema");
        schema.table("m").expect("the table").clone()
    }

    fn raw(json: &str) -> Box<RawValue> {
        RawValue::from_string(json.to_owned()).expect("JSON")
    }

    #[test]
    fn reading() {
        let table = table();
        insta::assert_snapshot!("get_one", get(&table, &[Uuid::nil()]).text());
        insta::assert_snapshot!("get_many", get(&table, &[Uuid::nil(), Uuid::max()]).text());
        let number = |text: &str, inclusive| Some(Bound { value: KeyValue::Number(text.into()), inclusive });
        let range = Scan {
            table: table.clone(),
            index: table.index("by_c").expect("an index").0,
            eq: vec![KeyValue::Text("x".into())],
            lower: number("1", true),
            upper: number("2", false),
            order: Order::Desc,
            limit: Some(20),
        };
        let statement = scan(&range, 32_001);
        insta::assert_snapshot!("scan_range", statement.text());
        let everything = Scan { table, index: 0, eq: vec![], lower: None, upper: None, order: Order::Asc, limit: None };
        insta::assert_snapshot!("scan_all", scan(&everything, 32_001).text());
    }

    #[test]
    fn writing() {
        let table = table();
        let one = [(Uuid::nil(), raw("{}"))];
        insta::assert_snapshot!("insert_one", insert(&table, Uuid::nil(), &one).text());
        let two = [(Uuid::nil(), raw("{}")), (Uuid::max(), raw("{}"))];
        insta::assert_snapshot!("insert_two", insert(&table, Uuid::nil(), &two).text());
        let patched = patch(&table, Uuid::nil(), Uuid::max(), &raw("{}"), &["k".to_owned()]);
        insta::assert_snapshot!("patch", patched.text());
        insta::assert_snapshot!("delete", delete(&table, Uuid::nil(), Uuid::max()).text());
    }
}
