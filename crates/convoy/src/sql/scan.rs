//! Scans of documents in order: all of a range, their count, or one page of them.

use super::key::{Part, Side, TextLimit, key_parts};
use super::{Bind, Statement};
use crate::key::KeyValue;
use crate::op::{Cursor, Filter, Order, Page, Scan};
use crate::schema::{FieldPath, IndexField};
use crate::time::Time;

/// The documents of a scan, at most `max_rows`: `id, created_at, data`.
pub(crate) fn scan(scan: &Scan, max_rows: u32) -> Statement {
    let mut sql = Statement::of(&scan.table);
    sql.push("select id, ").created("").push(", data").from(scan);
    order_by(&mut sql, scan);
    // Part of the text: with a bound limit, the planner assumes a tenth of the table, and may
    // sort instead of following the index.
    let limit = scan.limit.map_or(max_rows, |limit| limit.min(max_rows));
    sql.push("\nlimit ").number(u64::from(limit));
    if scan.offset > 0 {
        sql.push("\noffset ").bind(Bind::Int(i64::from(scan.offset)));
    }
    sql
}

/// The number of documents of a scan, as one `int8`.
pub(crate) fn count(scan: &Scan) -> Statement {
    let mut sql = Statement::of(&scan.table);
    if scan.limit.is_none() && scan.offset == 0 {
        sql.push("select count(*)").from(scan);
        return sql;
    }
    sql.push("select count(*)\nfrom (\nselect").from(scan);
    if let Some(limit) = scan.limit {
        sql.push("\nlimit ").bind(Bind::Int(i64::from(limit)));
    }
    sql.push("\noffset ").bind(Bind::Int(i64::from(scan.offset))).push("\n) as counted");
    sql
}

/// One page, by keyset pagination: `id, created_at, data`, then a text for each key of a
/// [`Cursor`].
///
/// The rows between two cursors form a few ranges of the index. Each is read in order, and
/// only if the ranges before it did not fill the page, so a page costs the same at any
/// position. Each range has a limit of its own, which also keeps Postgres from reading the
/// ranges in parallel, out of order.
pub(crate) fn page(page: &Page, max_rows: u32) -> Statement {
    let scan = &page.scan;
    let fields = scan.order_fields();
    let sort_keys = sort_keys(scan, &fields);
    let ranges = ranges(&sort_keys, page.after.as_ref(), page.last_row(), scan.order);
    let mut sql = Statement::of(&scan.table);
    let mut separator = "(";
    for range in &ranges {
        sql.push(separator).push("\nselect id, ").created("").push(", data");
        for part in sort_keys.iter().filter_map(SortKey::key) {
            sql.push(", ").part(part).push("::text");
        }
        sql.from(scan);
        for condition in range {
            let joiner = sql.joiner;
            sql.push(joiner);
            condition.write(&mut sql);
            sql.joiner = "\n  and ";
        }
        order_by(&mut sql, scan);
        sql.push("\nlimit ").number(u64::from(max_rows));
        if scan.offset > 0 && page.after.is_none() {
            sql.push("\noffset ").bind(Bind::Int(i64::from(scan.offset)));
        }
        separator = "\n) union all (";
    }
    if ranges.is_empty() {
        sql.push("(\nselect id, ").created("").push(", data");
        for part in sort_keys.iter().filter_map(SortKey::key) {
            sql.push(", ").part(part).push("::text");
        }
        sql.push("\nfrom ").ident(&scan.table.physical).push("\nwhere false");
    }
    sql.push("\n)");
    if ranges.len() > 1 {
        sql.push("\nlimit ").number(u64::from(max_rows));
    }
    sql
}

impl Statement {
    /// `from … where …`: the range of the scan and its filter.
    fn from(&mut self, scan: &Scan) -> &mut Statement {
        let index = scan.index();
        let text_limit = TextLimit::of(index);
        self.push("\nfrom ").ident(&scan.table.physical);
        self.joiner = "\nwhere ";
        for (field, value) in index.fields.iter().zip(&scan.eq) {
            self.and().equals(field, text_limit, value);
        }
        for (side, bound) in [(Side::Lower, &scan.lower), (Side::Upper, &scan.upper)] {
            if let Some(bound) = bound {
                self.and().bounded(&index.fields[scan.eq.len()], text_limit, side, bound);
            }
        }
        if let Some(filter) = &scan.filter {
            self.and().filter(filter);
        }
        self
    }

    /// Begins another condition of the `where` clause.
    fn and(&mut self) -> &mut Statement {
        let joiner = std::mem::replace(&mut self.joiner, "\n  and ");
        self.push(joiner)
    }

    /// A condition that is true or false for every row, and never null.
    fn filter(&mut self, filter: &Filter) -> &mut Statement {
        match filter {
            Filter::All(inner) => self.join_filters(inner, " and ", "true"),
            Filter::Any(inner) => self.join_filters(inner, " or ", "false"),
            Filter::Not(inner) => self.push("not ").filter(inner),
            Filter::Equal(path, value) => self.filter_equal(path, value),
            Filter::In(path, values) => self.filter_in(path, values),
            Filter::Above(path, bound) => self.filter_bound(path, &bound.value, Side::Lower.operator(bound.inclusive)),
            Filter::Below(path, bound) => self.filter_bound(path, &bound.value, Side::Upper.operator(bound.inclusive)),
        }
    }

    fn join_filters(&mut self, inner: &[Filter], operator: &'static str, empty: &'static str) -> &mut Statement {
        if inner.is_empty() {
            return self.push(empty);
        }
        self.push("(");
        for (at, filter) in inner.iter().enumerate() {
            if at > 0 {
                self.push(operator);
            }
            self.filter(filter);
        }
        self.push(")")
    }

    fn filter_equal(&mut self, path: &FieldPath, value: &KeyValue) -> &mut Statement {
        match (path, value) {
            (FieldPath::Stored(path), KeyValue::Null) => {
                self.push("coalesce(").json_at("", path).push(" = 'null', true)")
            }
            (FieldPath::Stored(path), value) => {
                self.push("coalesce(").json_at("", path).push(" = ").bind(Bind::Json(value.to_json())).push(", false)")
            }
            (_, KeyValue::Null) => self.push("false"),
            (FieldPath::CreationTime, value) => self.push("(").created("").push(" = ").value(value).push(")"),
            (FieldPath::Id, value) => self.push("(id = ").value(value).push(")"),
        }
    }

    fn filter_in(&mut self, path: &FieldPath, values: &[KeyValue]) -> &mut Statement {
        if let FieldPath::Stored(path) = path {
            let json = values.iter().map(KeyValue::to_json).collect();
            let or_missing = if values.contains(&KeyValue::Null) { ", true)" } else { ", false)" };
            self.push("coalesce(").json_at("", path).push(" = any(").bind(Bind::Jsons(json));
            return self.push("::jsonb[])").push(or_missing);
        }
        let equal: Vec<Filter> = values.iter().map(|value| Filter::Equal(path.clone(), value.clone())).collect();
        self.join_filters(&equal, " or ", "false")
    }

    fn filter_bound(&mut self, path: &FieldPath, value: &KeyValue, operator: &'static str) -> &mut Statement {
        let path = match path {
            FieldPath::CreationTime => return self.push("(").created("").push(operator).value(value).push(")"),
            FieldPath::Id => return self.push("(id").push(operator).value(value).push(")"),
            FieldPath::Stored(path) => path,
        };
        self.push("coalesce(case when ").type_at(path);
        match value {
            KeyValue::Text(text) => {
                self.push(" = 'string' then (").text_at(path).push(") collate \"C\"").push(operator);
                self.bind(Bind::Text(text.clone()))
            }
            KeyValue::Boolean(value) => {
                self.push(" = 'boolean' then (").json_at("", path).push(")::boolean").push(operator);
                self.bind(Bind::Bool(*value))
            }
            value => {
                self.push(" = 'number' then (").json_at("", path).push(")::numeric").push(operator);
                self.value(value)
            }
        };
        self.push(" end, false)")
    }
}

fn order_by(sql: &mut Statement, scan: &Scan) {
    let fields = scan.order_fields();
    let direction = match scan.order {
        Order::Asc => "",
        Order::Desc => " desc",
    };
    let mut separator = "\norder by ";
    for part in order_parts(scan, &fields) {
        // Without creation times, this key is the same for all rows.
        if part == Part::Created && sql.lacks_created_at {
            continue;
        }
        sql.push(separator).part(part).push(direction);
        separator = ", ";
    }
}

fn order_parts<'a>(scan: &Scan, fields: &'a [IndexField]) -> Vec<Part<'a>> {
    // A scan ordered by another field than its index's needs no limit for texts.
    let text_limit = if scan.by.is_some() { TextLimit::Unlimited } else { TextLimit::of(scan.index()) };
    fields.iter().flat_map(|field| key_parts(field, text_limit)).collect()
}

/// One key of the sort order. Creation time and id at the end of an order are compared
/// together.
enum SortKey<'a> {
    One(Part<'a>),
    Tail,
}

impl<'a> SortKey<'a> {
    /// The expression, if a cursor has its value.
    fn key(&self) -> Option<Part<'a>> {
        match self {
            SortKey::One(Part::Created | Part::Id) | SortKey::Tail => None,
            SortKey::One(part) => Some(*part),
        }
    }
}

fn sort_keys<'a>(scan: &Scan, fields: &'a [IndexField]) -> Vec<SortKey<'a>> {
    let mut parts = order_parts(scan, fields);
    let tail = parts.ends_with(&[Part::Created, Part::Id]);
    if tail {
        parts.truncate(parts.len() - 2);
    }
    let sort_keys = parts.into_iter().map(SortKey::One);
    if tail { sort_keys.chain([SortKey::Tail]).collect() } else { sort_keys.collect() }
}

/// The position of rows relative to a cursor, by one sort key.
#[derive(Clone, Copy)]
enum Relation {
    Equal,
    After,
    Before,
    /// Before the cursor, or at it.
    UpTo,
}

/// One condition of a range.
#[derive(Clone)]
enum Condition<'a> {
    Null(Part<'a>),
    NotNull(Part<'a>),
    Compared(Part<'a>, &'static str, String),
    Created(&'static str, Time),
    Id(&'static str, uuid::Uuid),
    Tail(&'static str, &'a Cursor),
}

impl Condition<'_> {
    fn write(&self, sql: &mut Statement) {
        match self {
            Condition::Null(part) => sql.part(*part).push(" is null"),
            Condition::NotNull(part) => sql.part(*part).push(" is not null"),
            Condition::Compared(part, operator, text) => {
                sql.part(*part).push(operator);
                match part {
                    Part::Text { .. } | Part::Words { .. } => sql.bind(Bind::Text(text.clone())),
                    Part::Boolean { .. } => sql.bind(Bind::Bool(text == "true")),
                    Part::Rank { .. } => sql.push("(").bind(Bind::Text(text.clone())).push("::text)::int"),
                    _ => sql.push("(").bind(Bind::Text(text.clone())).push("::text)::numeric"),
                }
            }
            Condition::Created(operator, time) => sql.created("").push(operator).bind(Bind::Time(*time)),
            Condition::Id(operator, id) => sql.push("id").push(operator).bind(Bind::Uuid(*id)),
            Condition::Tail(operator, cursor) if sql.lacks_created_at => {
                sql.push("id").push(operator).bind(Bind::Uuid(cursor.id))
            }
            Condition::Tail(operator, cursor) => {
                sql.push("(").created("").push(", id)").push(operator).push("(");
                sql.bind(Bind::Time(cursor.created)).push(", ").bind(Bind::Uuid(cursor.id)).push(")")
            }
        };
    }
}

/// A contiguous range of rows: those that meet all conditions.
type Range<'a> = Vec<Condition<'a>>;

/// The ranges between two cursors, in order.
fn ranges<'a>(
    sort_keys: &[SortKey<'a>],
    after: Option<&'a Cursor>,
    until: Option<&'a Cursor>,
    order: Order,
) -> Vec<Range<'a>> {
    let last = sort_keys.len() - 1;
    // The number of leading sort keys that are equal in both cursors.
    let equal_keys = match (after, until) {
        (Some(after), Some(until)) => (0..last).take_while(|at| is_equal(sort_keys, *at, after, until)).count(),
        _ => 0,
    };
    let branches = |at: usize, relations: &[(Relation, &'a Cursor)]| {
        let mut branches: Vec<Range<'a>> = vec![Vec::new()];
        let prefix = relations[0].1;
        let all = (0..at).map(|sort_key| (sort_key, Relation::Equal, prefix));
        let all = all.chain(relations.iter().map(|(relation, cursor)| (at, *relation, *cursor)));
        for (sort_key, relation, cursor) in all {
            let options = conditions(sort_keys, sort_key, relation, cursor, order);
            let prefixes = std::mem::take(&mut branches);
            for range in prefixes {
                for option in &options {
                    branches.push([range.as_slice(), option.as_slice()].concat());
                }
            }
        }
        branches
    };
    let ends = |at: usize| if at == last { Relation::UpTo } else { Relation::Before };
    let mut found = Vec::new();
    if let Some(after) = after {
        for at in (equal_keys + 1..=last).rev() {
            found.extend(branches(at, &[(Relation::After, after)]));
        }
    }
    match (after, until) {
        (Some(after), Some(until)) => {
            found.extend(branches(equal_keys, &[(Relation::After, after), (ends(equal_keys), until)]));
        }
        (Some(after), None) => found.extend(branches(0, &[(Relation::After, after)])),
        (None, Some(until)) => found.extend(branches(0, &[(ends(0), until)])),
        (None, None) => found.push(Vec::new()),
    }
    if let Some(until) = until {
        for at in equal_keys + 1..=last {
            found.extend(branches(at, &[(ends(at), until)]));
        }
    }
    found
}

/// The conditions for rows in this position relative to a cursor, by one sort key, as
/// alternatives in order. Nulls come last, and so first in descending order.
fn conditions<'a>(
    sort_keys: &[SortKey<'a>],
    at: usize,
    relation: Relation,
    cursor: &'a Cursor,
    order: Order,
) -> Vec<Range<'a>> {
    let operator = match (relation, order) {
        (Relation::Equal, _) => " = ",
        (Relation::After, Order::Asc) | (Relation::Before, Order::Desc) => " > ",
        (Relation::After, Order::Desc) | (Relation::Before, Order::Asc) => " < ",
        (Relation::UpTo, Order::Asc) => " <= ",
        (Relation::UpTo, Order::Desc) => " >= ",
    };
    let part = match &sort_keys[at] {
        SortKey::Tail => return vec![vec![Condition::Tail(operator, cursor)]],
        SortKey::One(Part::Created) => return vec![vec![Condition::Created(operator, cursor.created)]],
        SortKey::One(Part::Id) => return vec![vec![Condition::Id(operator, cursor.id)]],
        SortKey::One(part) => *part,
    };
    let compared = key_at(sort_keys, at, cursor).map(|key| vec![Condition::Compared(part, operator, key.to_owned())]);
    match (relation, order, compared) {
        (Relation::Equal, _, Some(compared)) => vec![compared],
        (Relation::Equal, _, None) => vec![vec![Condition::Null(part)]],
        (Relation::After, Order::Asc, Some(compared)) => vec![compared, vec![Condition::Null(part)]],
        (Relation::Before | Relation::UpTo, Order::Desc, Some(compared)) => {
            vec![vec![Condition::Null(part)], compared]
        }
        (_, _, Some(compared)) => vec![compared],
        (Relation::After, Order::Desc, None) | (Relation::Before | Relation::UpTo, Order::Asc, None) => {
            vec![vec![Condition::NotNull(part)]]
        }
        (_, _, None) => Vec::new(),
    }
}

fn key_at<'c>(sort_keys: &[SortKey<'_>], at: usize, cursor: &'c Cursor) -> Option<&'c str> {
    let keys_before = sort_keys[..at].iter().filter(|sort_key| sort_key.key().is_some()).count();
    cursor.keys.get(keys_before)?.as_deref()
}

/// Whether two cursors are equal in one sort key.
fn is_equal(sort_keys: &[SortKey<'_>], at: usize, one: &Cursor, other: &Cursor) -> bool {
    match &sort_keys[at] {
        SortKey::One(Part::Created) => one.created == other.created,
        SortKey::One(Part::Id) => one.id == other.id,
        SortKey::Tail => (one.created, one.id) == (other.created, other.id),
        SortKey::One(_) => key_at(sort_keys, at, one) == key_at(sort_keys, at, other),
    }
}
