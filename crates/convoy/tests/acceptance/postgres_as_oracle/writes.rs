//! Random writes, by mutations and by external statements.

use convoy_testkit::{Connection, Psql};
use rand::RngExt;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use serde_json::{Value, json};

use super::shape::{FIELDS, Table, document};

/// The approximate number of documents of a table.
const DOCUMENTS: usize = 60;

/// The ids of a table's documents, unordered.
pub(super) async fn ids(psql: &mut Psql, table: &Table) -> Vec<String> {
    psql.column(&format!("select id::text from {}", table.name)).await
}

/// One mutation of `operations` operations.
pub(super) async fn mutate(
    writer: &mut Connection,
    operations: usize,
    tables: &[Table],
    known: &[Vec<String>],
    random: &mut StdRng,
) {
    let ops: Vec<Value> = (0..operations).map(|_| operation(tables, known, random)).collect();
    let reply = writer.mutate("write", &json!({ "ops": ops })).await;
    // It may conflict with another writer of the same document, and is then rolled back.
    assert!(reply.status == 200 || reply.code() == "CONFLICT", "{reply:?}");
}

fn operation(tables: &[Table], known: &[Vec<String>], random: &mut StdRng) -> Value {
    let at = random.random_range(0..tables.len());
    let (table, ids) = (&tables[at].name, &known[at]);
    let grows = random.random_bool(if ids.len() < DOCUMENTS { 0.5 } else { 0.2 });
    let Some(id) = ids.choose(random).filter(|_| !grows) else {
        let id = convoy::id::mint().to_string();
        return json!({ "op": "insert", "table": table, "id": id, "doc": document(random) });
    };
    match random.random_range(0..10) {
        0..5 => {
            let field = FIELDS.choose(random).expect("there are fields");
            // A nested field is set with its whole object.
            let (key, inner) = field.path.split_once('.').map_or((field.path, None), |(key, inner)| (key, Some(inner)));
            let value = field.kind.random(random);
            let value = inner.map_or(value.clone(), |inner| json!({ inner: value }));
            let (set, unset) =
                if random.random_bool(0.8) { (json!({ key: value }), json!([])) } else { (json!({}), json!([key])) };
            json!({ "op": "patch", "table": table, "id": id, "set": set, "unset": unset })
        }
        5 => json!({ "op": "replace", "table": table, "id": id, "doc": document(random) }),
        6 => json!({ "op": "increment", "table": table, "id": id, "field": "n", "by": 1.5, "base": 0 }),
        _ => json!({ "op": "delete", "table": table, "id": id }),
    }
}

/// One external statement.
pub(super) async fn write_externally(psql: &mut Psql, tables: &[Table], known: &[Vec<String>], random: &mut StdRng) {
    let at = random.random_range(0..tables.len());
    let table = &tables[at].name;
    let pivot = known[at].choose(random).map_or("00000000-0000-0000-0000-000000000000", String::as_str);
    let some = format!("id >= '{pivot}' and (data ->> 'tag')::int % 7 = {}", random.random_range(0..7));
    let sql = match random.random_range(0..4) {
        0 => {
            let rows: Vec<String> =
                (0..random.random_range(1..=6)).map(|_| format!("('{}')", document(random))).collect();
            format!("insert into {table} (data) values {}", rows.join(", "))
        }
        1 => format!("update {table} set data = data || '{}' where {some}", document(random)),
        2 => format!("update {table} set data = data - 's' - 'n' where {some}"),
        _ => format!("delete from {table} where {some}"),
    };
    psql.run(&sql).await;
}
