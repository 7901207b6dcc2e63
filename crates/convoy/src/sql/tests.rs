//! Snapshots of every statement about documents, with names that try to escape from their
//! quotes.

use std::sync::Arc;

use serde_json::value::RawValue;
use uuid::Uuid;

use super::idempotency::Entry;
use super::optimistic::{Joined, LockWait};
use super::session::Script;
use super::{Statement, document, optimistic, raw, scan};
use crate::key::{Bound, KeyValue};
use crate::op::{Cursor, Edit, Filter, Order, Page, Position, Raw, Scan, Write, WriteSet};
use crate::schema::{FieldPath, IndexField, KeyKind, Schema, Table, TableTraits};
use crate::time::Time;

fn table() -> Arc<Table> {
    let description = r#"{"tables":[{"name":"m","physicalName":"my \"table\"","managed":true,"indexes":[
        {"name":"by_c","unique":false,"fields":[{"path":"it's.\\o","kind":"text"},{"path":"n","kind":"number"}]},
        {"name":"by_any","unique":false,"fields":[{"path":"any","kind":"json"},{"path":"on","kind":"boolean"}]}]}]}"#;
    let schema = Schema::parse(serde_json::from_str(description).expect("a description")).expect("a schema");
    schema.table("m").expect("the table").clone()
}

fn table_without_side_effects() -> Arc<Table> {
    let table = table();
    table.learn(TableTraits { created_at: true, updated_at: true, no_side_effects: true, never_rejects: true });
    table
}

fn json(text: &str) -> Box<RawValue> {
    RawValue::from_string(text.to_owned()).expect("JSON")
}

fn full_scan(table: &Arc<Table>, index: &str) -> Scan {
    Scan {
        table: table.clone(),
        index: table.index(index).expect("an index").0,
        eq: vec![],
        lower: None,
        upper: None,
        filter: None,
        by: None,
        order: Order::Asc,
        offset: 0,
        limit: None,
    }
}

fn number(text: &str, inclusive: bool) -> Option<Bound> {
    Some(Bound { value: KeyValue::Number(text.into()), inclusive })
}

fn path(text: &str) -> FieldPath {
    FieldPath::parse(text).expect("a path")
}

#[test]
fn reading_by_id() {
    let table = table();
    insta::assert_snapshot!("get_one", document::get(&table, &[Uuid::nil()]).text());
    insta::assert_snapshot!("get_many", document::get(&table, &[Uuid::nil(), Uuid::max()]).text());
}

#[test]
fn scanning() {
    let table = table();
    let range = Scan {
        eq: vec![KeyValue::Text("x".into())],
        lower: number("1", true),
        upper: number("2", false),
        order: Order::Desc,
        limit: Some(20),
        ..full_scan(&table, "by_c")
    };
    insta::assert_snapshot!("scan_range", scan::scan(&range, 32_001).text());
    insta::assert_snapshot!("count_range", scan::count(&Scan { limit: None, ..range.clone() }).text());
    insta::assert_snapshot!("count_some", scan::count(&Scan { offset: 3, ..range }).text());
    insta::assert_snapshot!("scan_all", scan::scan(&full_scan(&table, "by_creation_time"), 32_001).text());
    let mixed = Scan { eq: vec![KeyValue::Json(r#""x""#.into()), KeyValue::Null], ..full_scan(&table, "by_any") };
    insta::assert_snapshot!("scan_mixed_text", scan::scan(&mixed, 10).text());
    let long = KeyValue::Text("x".repeat(600));
    let long = Scan { eq: vec![long.clone()], ..full_scan(&table, "by_c") };
    insta::assert_snapshot!("scan_long_text", scan::scan(&long, 10).text());
    let long = Bound { value: KeyValue::Text("x".repeat(600)), inclusive: false };
    let above = Scan { lower: Some(long.clone()), upper: Some(long), ..full_scan(&table, "by_c") };
    insta::assert_snapshot!("scan_long_bounds", scan::scan(&above, 10).text());
    let by = Some(IndexField { path: path("any.\"thing"), kind: KeyKind::Text });
    let ordered = Scan { by, order: Order::Desc, offset: 5, limit: Some(3), ..full_scan(&table, "by_id") };
    insta::assert_snapshot!("scan_by_field", scan::scan(&ordered, 10).text());
}

#[test]
fn filtering() {
    let text = |text: &str| KeyValue::Text(text.into());
    let bound = |value| Bound { value, inclusive: true };
    let filter = Filter::All(vec![
        Filter::Any(vec![
            Filter::Equal(path("it's"), text("'; drop table m; --")),
            Filter::Equal(path("a.b"), KeyValue::Null),
            Filter::Not(Box::new(Filter::In(path("n"), vec![KeyValue::Number("1".into()), KeyValue::Null]))),
        ]),
        Filter::Above(path("s"), bound(text("a"))),
        Filter::Below(path("n"), bound(KeyValue::Number("3".into()))),
        Filter::Below(path("on"), bound(KeyValue::Boolean(true))),
        Filter::Above(path("_creationTime"), bound(KeyValue::Time(Time::of_postgres(5)))),
        Filter::In(path("id"), vec![KeyValue::Id(Uuid::nil())]),
        Filter::Any(vec![]),
    ]);
    let scan = Scan { filter: Some(filter), ..full_scan(&table(), "by_creation_time") };
    insta::assert_snapshot!("scan_filtered", scan::scan(&scan, 10).text());
}

#[test]
fn paging() {
    let table = table();
    let cursor = |key: Option<&str>, micros| Cursor {
        keys: vec![key.map(str::to_owned)],
        created: Time::of_postgres(micros),
        id: Uuid::nil(),
    };
    let eq = vec![KeyValue::Text("x".into())];
    let page = |order, after, until| Page {
        scan: Scan { eq: eq.clone(), order, ..full_scan(&table, "by_c") },
        fingerprint: 1,
        after,
        until,
        size: 2,
        cursors: false,
    };
    let text = |page: Page| scan::page(&page, 3).text().to_owned();
    insta::assert_snapshot!("page_first", text(page(Order::Asc, None, None)));
    insta::assert_snapshot!("page_after", text(page(Order::Asc, Some(cursor(Some("1"), 5)), None)));
    insta::assert_snapshot!("page_after_null", text(page(Order::Asc, Some(cursor(None, 5)), None)));
    insta::assert_snapshot!("page_after_desc", text(page(Order::Desc, Some(cursor(Some("1"), 5)), None)));
    insta::assert_snapshot!(
        "page_between",
        text(page(Order::Asc, Some(cursor(Some("1"), 5)), Some(Position::Row(cursor(Some("2"), 7)))))
    );
    insta::assert_snapshot!(
        "page_between_equal",
        text(page(Order::Asc, Some(cursor(Some("1"), 5)), Some(Position::Row(cursor(Some("1"), 7)))))
    );
    insta::assert_snapshot!("page_until", text(page(Order::Desc, None, Some(Position::Row(cursor(None, 7))))));
}

#[test]
fn writing() {
    let table = table();
    let node = Uuid::nil();
    let one = [(Uuid::nil(), json("{}"))];
    insta::assert_snapshot!("insert_one", document::insert(&table, node, &one).text());
    let two = [(Uuid::nil(), json("{}")), (Uuid::max(), json("{}"))];
    insta::assert_snapshot!("insert_two", document::insert(&table, node, &two).text());
    let patch = |unset: &[&str]| Edit::Patch {
        set: json(r#"{"body":"b"}"#),
        unset: unset.iter().map(|key| (*key).to_owned()).collect(),
    };
    let edit = |table: &Table, edit: &Edit| document::edit(table, node, &[(Uuid::max(), edit)], None).text().to_owned();
    insta::assert_snapshot!("patch", edit(&table, &patch(&["k"])));
    insta::assert_snapshot!("patch_keys_unchanged", edit(&table_without_side_effects(), &patch(&["k"])));
    let moving = Edit::Patch { set: json(r#"{"n":5}"#), unset: vec![] };
    insta::assert_snapshot!("patch_keys_changed", edit(&table_without_side_effects(), &moving));
    let both = [(Uuid::nil(), &patch(&[])), (Uuid::max(), &moving)];
    insta::assert_snapshot!("patch_two", document::edit(&table_without_side_effects(), node, &both, None).text());
    insta::assert_snapshot!(
        "patch_two_keys_unchanged",
        document::edit(&table_without_side_effects(), node, &[both[0], both[0]], None).text()
    );
    insta::assert_snapshot!("patch_measured", document::edit(&table, node, &both[..1], Some(1 << 20)).text());
    insta::assert_snapshot!("replace", edit(&table_without_side_effects(), &Edit::Replace { doc: json("{}") }));
    let increment = Edit::Increment { path: vec!["stats".into(), "it's".into()], by: "1".into(), base: "0".into() };
    insta::assert_snapshot!("increment", edit(&table_without_side_effects(), &increment));
    insta::assert_snapshot!("delete", document::delete(&table, node, &[Uuid::max()]).text());
    insta::assert_snapshot!("delete_two", document::delete(&table, node, &[Uuid::nil(), Uuid::max()]).text());
}

#[test]
fn user_statements() {
    let statement = Raw {
        text: "select $1::int, $2;\n".into(),
        values: vec![Some("5'; drop table m; --\\".into()), None],
        tables: None,
        read_only: false,
    };
    let script = |mark| {
        let mut script = Script::default();
        raw::run(&mut script, "convoy_1", &statement, mark);
        script.sql
    };
    let texts =
        [raw::prepare("convoy_1", &statement), script(None), script(Some(7)), raw::explain("convoy_1", &statement)];
    insta::assert_snapshot!("raw", texts.map(|statement| statement.text().to_owned()).join("\n\n"));
}

#[test]
fn optimistic_commits() {
    let apply = |write_sets: &[&WriteSet], node, responses: &[(&Entry, &str)], wait| {
        optimistic::apply(&Joined::of(write_sets.iter().copied()), node, responses, wait)
    };
    let (table, node) = (table_without_side_effects(), Uuid::nil());
    let write = |id: Uuid, data: Option<&str>| Write {
        table: table.clone(),
        id,
        version: "7".into(),
        data: data.map(str::to_owned),
        old_keys: "{}".into(),
        fields: None,
    };
    insta::assert_snapshot!("optimistic_get", optimistic::get(&table, &[Uuid::nil()]).text());
    let one = WriteSet { writes: vec![write(Uuid::nil(), Some("{}"))], ..WriteSet::default() };
    insta::assert_snapshot!("optimistic_one", apply(&[&one], node, &[], LockWait::Unlimited).text());
    let everything = WriteSet {
        reads: vec![(table.clone(), Uuid::nil(), Some("5".into())), (table.clone(), Uuid::max(), None)],
        writes: vec![write(Uuid::nil(), Some("{}")), write(Uuid::max(), Some("{}")), write(Uuid::max(), None)],
        inserts: vec![(table.clone(), Uuid::max(), json("{}"))],
    };
    let entry = Entry { function: "f".into(), identity: String::new(), key: "k".into(), body: Uuid::nil() };
    let statement = apply(&[&everything], node, &[(&entry, "null")], LockWait::Unlimited);
    insta::assert_snapshot!("optimistic_everything", statement.text());
    let insert = |id| WriteSet { inserts: vec![(table.clone(), id, json("{}"))], ..WriteSet::default() };
    let (first, second) = (insert(Uuid::nil()), insert(Uuid::max()));
    insta::assert_snapshot!("optimistic_insert", apply(&[&first], node, &[], LockWait::Short).text());
    insta::assert_snapshot!("optimistic_inserts", apply(&[&first, &second], node, &[], LockWait::Short).text());
    let of = |id| WriteSet { writes: vec![write(id, Some("{}"))], ..WriteSet::default() };
    let (one, other) = (of(Uuid::max()), of(Uuid::nil()));
    let joined = apply(&[&one, &other], node, &[], LockWait::Short);
    insta::assert_snapshot!("optimistic_joined", joined.text());
    // How many there are is not in the text: each text is a prepared statement.
    let more = apply(&[&one, &other, &of(Uuid::from_u128(3))], node, &[], LockWait::Short);
    assert_eq!(joined.text(), more.text());
}

#[test]
fn scans_that_differ_by_their_values_are_joined() {
    let table = table();
    let statement = |index: &str, eq: &[KeyValue], limit| {
        let scan = Scan { eq: eq.to_vec(), limit: Some(limit), ..full_scan(&table, index) };
        scan::scan(&scan, 1_000)
    };
    let text = |text: &str| KeyValue::Text(text.to_owned());
    let [one, other] = [("a", "5"), ("$1", "-1e3")]
        .map(|(channel, n)| statement("by_c", &[text(channel), KeyValue::Number(n.to_owned())], 20));
    let joined = Statement::joined(&[&one, &other]).expect("they can be joined");
    insta::assert_snapshot!("joined_scans", joined.text());
    assert_eq!(joined.into_parts().1.len(), 2);
    let [yes, no] =
        [true, false].map(|on| statement("by_any", &[KeyValue::Json("7".to_owned()), KeyValue::Boolean(on)], 20));
    insta::assert_snapshot!("joined_mixed_scans", Statement::joined(&[&yes, &no]).expect("they can be joined").text());
    // Another text, no values, and a value with a placeholder of its own.
    assert!(Statement::joined(&[&one, &statement("by_c", &[text("a")], 20)]).is_none());
    assert!(
        Statement::joined(&[&one, &statement("by_c", &[text("a"), KeyValue::Number("5".to_owned())], 21)]).is_none()
    );
    let whole = statement("by_c", &[], 20);
    assert!(Statement::joined(&[&whole, &whole]).is_none());
    let long = statement("by_c", &[text(&"x".repeat(600))], 20);
    assert!(Statement::joined(&[&long, &long]).is_none());
}
