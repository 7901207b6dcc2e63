//! Random queries, each in two forms: the engine's operation, and plain SQL written from the
//! documentation.

use rand::RngExt;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use serde_json::{Value, json};

use super::shape::{FIELDS, Field, Kind, Table};

/// A query and its expected answer.
pub(super) struct RandomQuery {
    /// The operation for the engine.
    pub op: Value,
    /// The condition, as plain SQL, of the documents whose changes make it run again.
    pub range: String,
    pub expected: Expected,
}

/// The expected answer, as plain SQL.
pub(super) enum Expected {
    /// These rows, as documents without their times.
    Documents(String),
    /// The first of these rows, or null.
    Document(String),
    /// This number.
    Count(String),
    /// The page of these rows. They are one more than the page's size; without the extra row
    /// the page is the last.
    Page(String, usize),
    /// The answer of an engine without live queries.
    Fresh,
}

impl RandomQuery {
    /// `ids` are the ids of existing documents, for queries by id.
    pub(super) fn random(tables: &[Table], ids: &[Vec<String>], random: &mut StdRng) -> RandomQuery {
        let at = random.random_range(0..tables.len());
        let table = &tables[at];
        if random.random_bool(0.1)
            && let Some(id) = ids[at].choose(random)
        {
            let sql = format!("select {} from {} where id = '{id}'", document(&table.name), table.name);
            return RandomQuery {
                op: json!({ "op": "get", "table": table.name, "id": id }),
                range: format!("id = '{id}'"),
                expected: Expected::Document(sql),
            };
        }
        Scan::random(table, random).into_query(random)
    }

    /// The second page of the same query; `first` is its first.
    pub(super) fn page_after(&self, first: &Value) -> RandomQuery {
        let mut op = self.op.clone();
        op["cursor"] = first["continueCursor"].clone();
        RandomQuery { op, range: self.range.clone(), expected: Expected::Fresh }
    }
}

/// The parts of a scan.
struct Scan {
    op: Value,
    table: String,
    conditions: Vec<String>,
    /// The condition of the range that is tracked.
    range: String,
    order: Vec<String>,
    direction: &'static str,
}

impl Scan {
    fn random(table: &Table, random: &mut StdRng) -> Scan {
        let by_creation = random.random_bool(0.15);
        let index = table.indexes.choose(random).filter(|_| !by_creation);
        let direction = if random.random() { "asc" } else { "desc" };
        let mut op = json!({
            "table": table.name, "index": index.map(|(name, _)| name), "eq": [], "order": direction,
        });
        let (mut conditions, mut order) = (Vec::new(), Vec::new());
        let fields = index.map_or(&[][..], |(_, fields)| fields);
        // The order of mixed types is not modelled, so these fields have equality only.
        let mixed = fields.iter().rposition(|field| field.kind == Kind::Mixed).map_or(0, |at| at + 1);
        let equal = random.random_range(mixed..=fields.len());
        for field in &fields[..equal] {
            let value = if random.random_bool(0.1) { Value::Null } else { field.kind.random(random) };
            conditions.push(equals(*field, &value));
            op["eq"].as_array_mut().expect("a list").push(value);
        }
        // Change tracking treats every value of a mixed field as possible, and covers all numbers that round
        // to the same one, so the range ends before the first and after the other.
        let tracked = fields[..equal].iter().position(|field| field.kind == Kind::Mixed).unwrap_or(equal);
        let number = fields[..tracked].iter().position(|field| field.kind == Kind::Number);
        let tracked = number.map_or(tracked, |at| at + 1);
        let has_bounds = tracked == equal && number.is_none();
        let mut range = conditions[..tracked].to_vec();
        if let Some(field) = fields.get(equal).filter(|field| field.kind != Kind::Boolean) {
            for (side, operators) in [("lower", [">", ">="]), ("upper", ["<", "<="])] {
                if random.random_bool(0.3) {
                    let (value, inclusive) = (field.kind.random(random), random.random::<bool>());
                    conditions.push(compares(*field, operators[usize::from(inclusive)], &value));
                    // A value at a bound counts as inside where its key may be that of another number.
                    range.extend(has_bounds.then(|| compares(*field, operators[1], &value)));
                    op[side] = json!({ "value": value, "inclusive": inclusive });
                }
            }
        }
        if random.random_bool(0.3) {
            let (filter, condition) = random_filter(random, 2);
            op["filter"] = filter;
            conditions.push(condition);
        }
        order.extend(fields[equal..].iter().map(|field| expression(*field)));
        order.extend(["created_at".to_owned(), "id".to_owned()]);
        Scan { op, table: table.name.clone(), conditions, range: all_of(&range), order, direction }
    }

    fn into_query(mut self, random: &mut StdRng) -> RandomQuery {
        match random.random_range(0..10) {
            0..2 => {
                self.op["op"] = json!("count");
                let sql = format!("select count(*)::text from ({}) as found", self.rows(""));
                RandomQuery { op: self.op, range: self.range, expected: Expected::Count(sql) }
            }
            2..4 => {
                let size = random.random_range(1..=8);
                self.op["op"] = json!("page");
                self.op["size"] = json!(size);
                let sql = self.rows(&format!("limit {}", size + 1));
                RandomQuery { op: self.op, range: self.range, expected: Expected::Page(sql, size) }
            }
            _ => {
                let mut end = String::new();
                if random.random_bool(0.15) {
                    self.order_by_one_field(random);
                }
                if random.random_bool(0.65) {
                    let limit = random.random_range(1..=10);
                    self.op["limit"] = json!(limit);
                    end = format!("limit {limit}");
                }
                if random.random_bool(0.2) {
                    let offset = random.random_range(0..5);
                    self.op["offset"] = json!(offset);
                    end += &format!(" offset {offset}");
                }
                self.op["op"] = json!("scan");
                let sql = self.rows(&end);
                RandomQuery { op: self.op, range: self.range, expected: Expected::Documents(sql) }
            }
        }
    }

    fn order_by_one_field(&mut self, random: &mut StdRng) {
        let typed: Vec<Field> = FIELDS.into_iter().filter(|field| field.kind != Kind::Mixed).collect();
        let field = *typed.choose(random).expect("some fields have one type");
        self.op["by"] = json!({ "field": field.path, "kind": field.kind.word() });
        self.order = vec![expression(field), "created_at".to_owned(), "id".to_owned()];
    }

    fn rows(&self, end: &str) -> String {
        let conditions = all_of(&self.conditions);
        let order = self.order.iter().map(|by| format!("{by} {}", self.direction)).collect::<Vec<_>>().join(", ");
        let (document, table) = (document(&self.table), &self.table);
        format!("select {document} from {table} where {conditions} order by {order} {end}")
    }
}

fn all_of(conditions: &[String]) -> String {
    if conditions.is_empty() { "true".to_owned() } else { conditions.join(" and ") }
}

/// A filter and the equivalent condition in SQL.
fn random_filter(random: &mut StdRng, depth: u32) -> (Value, String) {
    if depth > 0 && random.random_bool(0.4) {
        let (one, first) = random_filter(random, depth - 1);
        if random.random_bool(0.3) {
            return (json!({ "is": "not", "of": one }), format!("(not {first})"));
        }
        let (other, second) = random_filter(random, depth - 1);
        let word = if random.random() { "and" } else { "or" };
        return (json!({ "is": word, "of": [one, other] }), format!("({first} {word} {second})"));
    }
    let field = *FIELDS.choose(random).expect("there are fields");
    if random.random() || matches!(field.kind, Kind::Boolean | Kind::Mixed) {
        let value = if random.random_bool(0.2) { Value::Null } else { field.kind.random(random) };
        return (json!({ "is": "eq", "field": field.path, "value": value }), equals(field, &value));
    }
    let (is, operator) =
        *[("gt", ">"), ("gte", ">="), ("lt", "<"), ("lte", "<=")].choose(random).expect("there are comparisons");
    let value = field.kind.random(random);
    (json!({ "is": is, "field": field.path, "value": value }), compares(field, operator, &value))
}

/// The row as its document, without its time.
fn document(table: &str) -> String {
    format!("(data || jsonb_build_object('id', '{table}:' || id))::text")
}

/// The stored value, as jsonb; null where it is missing.
fn stored(field: Field) -> String {
    format!("(data #> '{{{}}}')", field.path.replace('.', ","))
}

/// The stored value as an expression with the correct order in Postgres.
fn expression(field: Field) -> String {
    let text = format!("(data #>> '{{{}}}')", field.path.replace('.', ","));
    match field.kind {
        Kind::Text => format!("{text} collate \"C\""),
        Kind::Number => format!("{text}::numeric"),
        Kind::Boolean => format!("{text}::boolean"),
        Kind::Mixed => unreachable!("mixed fields are not ordered"),
    }
}

fn equals(field: Field, value: &Value) -> String {
    if value.is_null() {
        return format!("coalesce({} = 'null', true)", stored(field));
    }
    format!("coalesce({} = {}::jsonb, false)", stored(field), literal(&value.to_string()))
}

fn compares(field: Field, operator: &str, value: &Value) -> String {
    let bound = value.as_str().map_or_else(|| value.to_string(), literal);
    format!("coalesce({} {operator} {bound}, false)", expression(field))
}

fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}
