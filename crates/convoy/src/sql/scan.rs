//! Documents in order: all of a range, how many they are, or one page of them.

use super::key::{Longest, Part, Side, parts_of};
use super::{Bind, Statement};
use crate::key::KeyValue;
use crate::op::{Cursor, Filter, Order, Page, Scan};
use crate::schema::{FieldPath, IndexField};
use crate::time::Time;

/// Documents in order, at most `most`: `id, created_at, data`.
pub(crate) fn scan(scan: &Scan, most: u32) -> Statement {
    let mut sql = Statement::of(&scan.table);
    sql.push("select id, ").created("").push(", data").from(scan);
    order_by(&mut sql, scan);
    // Part of the text: a bound limit lets the planner assume a tenth of the
    // table, and it may sort where it should walk the index.
    let limit = scan.limit.map_or(most, |limit| limit.min(most));
    sql.push("\nlimit ").number(u64::from(limit));
    if scan.offset > 0 {
        sql.push("\noffset ").bind(Bind::Int(i64::from(scan.offset)));
    }
    sql
}

/// How many documents the scan would give: one `int8`.
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

/// One page: `id, created_at, data`, then a text for each key of a [`Cursor`].
///
/// What lies between two places is a few stretches of the index, each of them
/// read in order and only if those before it did not fill the page. So a page
/// costs the same wherever it lies. The stretches are limited themselves, which
/// also keeps Postgres from reading them in parallel, out of order.
pub(crate) fn page(page: &Page, most: u32) -> Statement {
    let scan = &page.scan;
    let fields = scan.order_fields();
    let levels = levels(scan, &fields);
    let stretches = stretches(&levels, page.after.as_ref(), page.until.as_ref(), scan.order);
    let mut sql = Statement::of(&scan.table);
    let mut separator = "(";
    for stretch in &stretches {
        sql.push(separator).push("\nselect id, ").created("").push(", data");
        for part in levels.iter().filter_map(Level::key) {
            sql.push(", ").part(part).push("::text");
        }
        sql.from(scan);
        for condition in stretch {
            let joiner = sql.joiner;
            sql.push(joiner);
            condition.write(&mut sql);
            sql.joiner = "\n  and ";
        }
        order_by(&mut sql, scan);
        sql.push("\nlimit ").number(u64::from(most));
        if scan.offset > 0 && page.after.is_none() {
            sql.push("\noffset ").bind(Bind::Int(i64::from(scan.offset)));
        }
        separator = "\n) union all (";
    }
    if stretches.is_empty() {
        sql.push("(\nselect id, ").created("").push(", data");
        for part in levels.iter().filter_map(Level::key) {
            sql.push(", ").part(part).push("::text");
        }
        sql.push("\nfrom ").ident(&scan.table.physical).push("\nwhere false");
    }
    sql.push("\n)");
    if stretches.len() > 1 {
        sql.push("\nlimit ").number(u64::from(most));
    }
    sql
}

impl Statement {
    /// `from … where …`: the range of the scan and its filter.
    fn from(&mut self, scan: &Scan) -> &mut Statement {
        let index = scan.index();
        let longest = Longest::of(index);
        self.push("\nfrom ").ident(&scan.table.physical);
        self.joiner = "\nwhere ";
        for (field, value) in index.fields.iter().zip(&scan.eq) {
            self.and().equals(field, longest, value);
        }
        for (side, bound) in [(Side::Lower, &scan.lower), (Side::Upper, &scan.upper)] {
            if let Some(bound) = bound {
                self.and().bounded(&index.fields[scan.eq.len()], longest, side, bound);
            }
        }
        if let Some(filter) = &scan.filter {
            self.and().filter(filter);
        }
        self
    }

    /// Joins one more condition to those before.
    fn and(&mut self) -> &mut Statement {
        let joiner = std::mem::replace(&mut self.joiner, "\n  and ");
        self.push(joiner)
    }

    /// A condition that is true or false for every row, never unknown.
    fn filter(&mut self, filter: &Filter) -> &mut Statement {
        match filter {
            Filter::All(inner) => self.joined(inner, " and ", "true"),
            Filter::Any(inner) => self.joined(inner, " or ", "false"),
            Filter::Not(inner) => self.push("not ").filter(inner),
            Filter::Equal(path, value) => self.filter_equal(path, value),
            Filter::In(path, values) => self.filter_in(path, values),
            Filter::Above(path, bound) => self.filter_bound(path, &bound.value, Side::Lower.operator(bound.inclusive)),
            Filter::Below(path, bound) => self.filter_bound(path, &bound.value, Side::Upper.operator(bound.inclusive)),
        }
    }

    fn joined(&mut self, inner: &[Filter], operator: &'static str, empty: &'static str) -> &mut Statement {
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
        self.joined(&equal, " or ", "false")
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
        // Rows that have no time of their own have it in common.
        if part == Part::Created && sql.timeless {
            continue;
        }
        sql.push(separator).part(part).push(direction);
        separator = ", ";
    }
}

fn order_parts<'a>(scan: &Scan, fields: &'a [IndexField]) -> Vec<Part<'a>> {
    // An order of its own has no index to fit into.
    let longest = if scan.by.is_some() { Longest::Whole } else { Longest::of(scan.index()) };
    fields.iter().flat_map(|field| parts_of(field, longest)).collect()
}

/// What decides the order, one after the other. Creation time and id, where they
/// end it, are compared together.
enum Level<'a> {
    One(Part<'a>),
    Tail,
}

impl<'a> Level<'a> {
    /// The part, if a cursor holds its text.
    fn key(&self) -> Option<Part<'a>> {
        match self {
            Level::One(Part::Created | Part::Id) | Level::Tail => None,
            Level::One(part) => Some(*part),
        }
    }
}

fn levels<'a>(scan: &Scan, fields: &'a [IndexField]) -> Vec<Level<'a>> {
    let mut parts = order_parts(scan, fields);
    let tail = parts.ends_with(&[Part::Created, Part::Id]);
    if tail {
        parts.truncate(parts.len() - 2);
    }
    let levels = parts.into_iter().map(Level::One);
    if tail { levels.chain([Level::Tail]).collect() } else { levels.collect() }
}

/// How rows lie to a place, at one level.
#[derive(Clone, Copy)]
enum Relation {
    Equal,
    Behind,
    Before,
    /// Before, or at the place itself.
    Until,
}

/// One condition of a stretch.
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
            Condition::Tail(operator, place) if sql.timeless => {
                sql.push("id").push(operator).bind(Bind::Uuid(place.id))
            }
            Condition::Tail(operator, place) => {
                sql.push("(").created("").push(", id)").push(operator).push("(");
                sql.bind(Bind::Time(place.created)).push(", ").bind(Bind::Uuid(place.id)).push(")")
            }
        };
    }
}

/// Rows next to each other in the order: those that meet all the conditions.
type Stretch<'a> = Vec<Condition<'a>>;

/// The stretches between two places, in order.
fn stretches<'a>(
    levels: &[Level<'a>],
    after: Option<&'a Cursor>,
    until: Option<&'a Cursor>,
    order: Order,
) -> Vec<Stretch<'a>> {
    let last = levels.len() - 1;
    // Up to here both places are equal.
    let common = match (after, until) {
        (Some(after), Some(until)) => (0..last).take_while(|at| same(levels, *at, after, until)).count(),
        _ => 0,
    };
    let alternatives = |at: usize, relations: &[(Relation, &'a Cursor)]| {
        let mut alternatives: Vec<Stretch<'a>> = vec![Vec::new()];
        let prefix = relations[0].1;
        let all = (0..at).map(|level| (level, Relation::Equal, prefix));
        let all = all.chain(relations.iter().map(|(relation, place)| (at, *relation, *place)));
        for (level, relation, place) in all {
            let branches = conditions(levels, level, relation, place, order);
            let before = std::mem::take(&mut alternatives);
            for stretch in before {
                for branch in &branches {
                    alternatives.push([stretch.as_slice(), branch.as_slice()].concat());
                }
            }
        }
        alternatives
    };
    let ends = |at: usize| if at == last { Relation::Until } else { Relation::Before };
    let mut found = Vec::new();
    if let Some(after) = after {
        for at in (common + 1..=last).rev() {
            found.extend(alternatives(at, &[(Relation::Behind, after)]));
        }
    }
    match (after, until) {
        (Some(after), Some(until)) => {
            found.extend(alternatives(common, &[(Relation::Behind, after), (ends(common), until)]));
        }
        (Some(after), None) => found.extend(alternatives(0, &[(Relation::Behind, after)])),
        (None, Some(until)) => found.extend(alternatives(0, &[(ends(0), until)])),
        (None, None) => found.push(Vec::new()),
    }
    if let Some(until) = until {
        for at in common + 1..=last {
            found.extend(alternatives(at, &[(ends(at), until)]));
        }
    }
    found
}

/// What rows meet that lie so to a place at one level: alternatives, in order.
/// Nulls come last, so in descending order first.
fn conditions<'a>(
    levels: &[Level<'a>],
    at: usize,
    relation: Relation,
    place: &'a Cursor,
    order: Order,
) -> Vec<Stretch<'a>> {
    let operator = match (relation, order) {
        (Relation::Equal, _) => " = ",
        (Relation::Behind, Order::Asc) | (Relation::Before, Order::Desc) => " > ",
        (Relation::Behind, Order::Desc) | (Relation::Before, Order::Asc) => " < ",
        (Relation::Until, Order::Asc) => " <= ",
        (Relation::Until, Order::Desc) => " >= ",
    };
    let part = match &levels[at] {
        Level::Tail => return vec![vec![Condition::Tail(operator, place)]],
        Level::One(Part::Created) => return vec![vec![Condition::Created(operator, place.created)]],
        Level::One(Part::Id) => return vec![vec![Condition::Id(operator, place.id)]],
        Level::One(part) => *part,
    };
    let compared = key_at(levels, at, place).map(|key| vec![Condition::Compared(part, operator, key.to_owned())]);
    match (relation, order, compared) {
        (Relation::Equal, _, Some(compared)) => vec![compared],
        (Relation::Equal, _, None) => vec![vec![Condition::Null(part)]],
        (Relation::Behind, Order::Asc, Some(compared)) => vec![compared, vec![Condition::Null(part)]],
        (Relation::Before | Relation::Until, Order::Desc, Some(compared)) => {
            vec![vec![Condition::Null(part)], compared]
        }
        (_, _, Some(compared)) => vec![compared],
        (Relation::Behind, Order::Desc, None) | (Relation::Before | Relation::Until, Order::Asc, None) => {
            vec![vec![Condition::NotNull(part)]]
        }
        (_, _, None) => Vec::new(),
    }
}

fn key_at<'c>(levels: &[Level<'_>], at: usize, place: &'c Cursor) -> Option<&'c str> {
    let keys_before = levels[..at].iter().filter(|level| level.key().is_some()).count();
    place.keys.get(keys_before)?.as_deref()
}

/// Whether two places are equal at one level.
fn same(levels: &[Level<'_>], at: usize, one: &Cursor, other: &Cursor) -> bool {
    match &levels[at] {
        Level::One(Part::Created) => one.created == other.created,
        Level::One(Part::Id) => one.id == other.id,
        Level::Tail => (one.created, one.id) == (other.created, other.id),
        Level::One(_) => key_at(levels, at, one) == key_at(levels, at, other),
    }
}
