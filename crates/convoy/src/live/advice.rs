//! What would avoid runs whose answer stays the same: derived from the read that a change has
//! hit, its conditions and the effect of the change on it. Pure.
//!
//! Invariant: a query that follows the advice returns the same documents in the same order.

use serde::Serialize;

use super::cause::{CauseKind, Effect, Hit, HitRead, RunCause};
use crate::change::ChangeSource;
use crate::key::KeyValue;
use crate::op::{Filter, Order, Scan};
use crate::schema::{BY_CREATION, FieldPath, Schema, Table};

/// What would avoid the runs that changes to one read cause.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Advice {
    /// Why the runs are made, and what to do.
    pub text: String,
    /// The table in the schema.
    pub table: String,
    /// The line to add to the table in the schema, such as `.index('by_author', ['author'])`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub schema: Option<String>,
    /// The fields to move to a table of their own.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub fields: Vec<String>,
    /// The steps of the query, such as `.withIndex('by_author', (q) => q.eq('author', author))`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub query: Option<String>,
}

impl Advice {
    fn text(table: &str, text: String) -> Advice {
        Advice { text, table: table.to_owned(), schema: None, fields: Vec::new(), query: None }
    }
}

/// The advice for runs with this cause, whose answers were equal; `None` if it is no change.
pub(crate) fn advise(cause: &RunCause, schema: &Schema) -> Option<Advice> {
    let RunCause::Change(hit) = cause else { return None };
    let table = schema.tables().find(|table| table.key == hit.table);
    let name = table.map_or(&*hit.table, |table| &table.name);
    if cause.kind() == CauseKind::Poll {
        return Some(polled(table.map(|table| &**table), name));
    }
    Some(match &hit.read {
        HitRead::Everything => Advice::text(
            name,
            "The tables that its `raw` reads are unknown, so it runs after every write to any table. Name them: \
             `raw(…, { tables: ['…'] })`."
                .to_owned(),
        ),
        HitRead::Table => Advice::text(
            name,
            format!(
                "Its `raw` reads `{name}`, and which rows is unknown, so it runs after every write to the table. \
             `ctx.db.query('{name}').withIndex(…)` depends on a range of an index only."
            ),
        ),
        HitRead::Point => left_out(hit, name),
        HitRead::Range { scan, effect, cut } => match narrower(scan) {
            Some(advice) => advice,
            None if *effect == Effect::InPlace => left_out(hit, name),
            None if scan.eq.is_empty() && !cut => Advice::text(
                name,
                format!(
                    "It reads all of `{name}`, without a condition that the database knows. Put the condition that the \
                 function checks into `withIndex`, or read fewer documents with `take(n)`."
                ),
            ),
            None => Advice::text(
                name,
                format!(
                    "It reads more of `{name}` by `{}` than its answer shows. A further field in the index and in \
                 `withIndex`, a bound, or `take(n)` narrows that.",
                    scan.index().name
                ),
            ),
        },
    })
}

/// Advice for a table that counts as changed at intervals.
fn polled(table: Option<&Table>, name: &str) -> Advice {
    match table {
        Some(table) if !table.managed => Advice::text(
            name,
            format!(
                "Writes to `{name}` by other programs are not reported, so it counts as changed at intervals. Without \
                 `.unmanaged()` Convoy adds its triggers, and the query runs only after writes."
            ),
        ),
        Some(_) => Advice::text(name, format!(
            "`{name}` lacks the triggers that report writes, so it counts as changed at intervals; `convoy check` says \
             what is missing."
        )),
        None => Advice::text(
            name,
            "It reads by `raw` from a table that is not in the schema, which counts as changed at intervals. A table in \
             the schema has triggers that report writes."
                .to_owned(),
        ),
    }
}

/// Advice for a document of which only fields have changed that the answer does not show.
fn left_out(hit: &Hit, name: &str) -> Advice {
    let writer = match &hit.by {
        ChangeSource::Function(function) => format!("`{function}`"),
        _ => "Another program".to_owned(),
    };
    let mut fields: Vec<String> = hit.fields.iter().flat_map(|fields| fields.iter()).cloned().collect();
    fields.sort();
    fields.dedup();
    let (written, moved) = match fields.as_slice() {
        [] => ("fields".to_owned(), "these fields"),
        [field] => (format!("the field `{field}`"), "it"),
        several => (format!("the fields `{}`", several.join("`, `")), "them"),
    };
    let text = format!(
        "{writer} writes {written} of documents of `{name}`, which the answer does not show. A read depends on the whole \
         document: move {moved} to a table of its own, which this query does not read."
    );
    Advice { fields, ..Advice::text(name, text) }
}

/// A condition of a range: a field, its comparisons in `withIndex`.
struct Compared<'a> {
    path: &'a FieldPath,
    comparisons: Vec<&'static str>,
}

/// A read of a narrower range of another index with the same answer; `None` if the conditions
/// and the order of the scan give none.
pub(crate) fn narrower(scan: &Scan) -> Option<Advice> {
    let index = scan.index();
    let (used, rest) = index.fields.split_at(scan.eq.len());
    let conditions = scan.filter.as_ref().map_or(&[][..], all_of);
    let mut equal: Vec<(&FieldPath, &KeyValue)> = used.iter().map(|field| &field.path).zip(&scan.eq).collect();
    for condition in conditions {
        if let Filter::Equal(path @ FieldPath::Stored(_), value) = condition
            && equal.iter().all(|(other, _)| *other != path)
        {
            equal.push((path, value));
        }
    }
    equal.sort_by_key(|(_, value)| rank(value));
    let values = equal.iter().map(|(_, value)| *value);
    let adds = tracked(values) > tracked(scan.eq.iter());
    let is_ordered = equal.iter().all(|(_, value)| rank(value) == 0);
    let eq: Vec<&FieldPath> = equal.into_iter().map(|(path, _)| path).collect();
    // The fields that the documents are in the order of, after those with one value.
    let has_bounds = scan.lower.is_some() || scan.upper.is_some();
    let sorts = scan.by.is_some() && scan.limit.is_some() && !has_bounds;
    let order: Vec<&FieldPath> = match &scan.by {
        Some(field) if sorts => vec![&field.path],
        Some(_) => Vec::new(),
        None if index.name == BY_CREATION => Vec::new(),
        None => rest.iter().map(|field| &field.path).collect(),
    };
    let order: Vec<&FieldPath> = order.into_iter().filter(|path| !eq.contains(path)).collect();
    let bounded = bounded_field(scan, conditions, order.first().copied());
    let narrows = is_ordered && bounded.as_ref().is_some_and(|field| is_new_bound(scan, field));
    if !adds && !narrows && !sorts {
        return None;
    }
    let mut fields = eq.clone();
    fields.extend(bounded.iter().map(|field| field.path).filter(|path| order.first() != Some(path)));
    fields.extend(order);
    let existing = existing_index(&scan.table, &eq, &fields);
    let name = existing.clone().unwrap_or_else(|| index_name(&scan.table, &fields));
    let table = &scan.table.name;
    let schema = existing.is_none().then(|| {
        let names: Vec<String> = fields.iter().map(|path| format!("'{}'", path.dotted())).collect();
        format!(".index('{name}', [{}])", names.join(", "))
    });
    let rest = conditions.iter().filter(|condition| !is_used(condition, &eq, bounded.as_ref())).count();
    let query = steps(scan, &name, (&eq, bounded.as_ref()), sorts);
    let keeps = match rest {
        0 => "",
        _ => " Keep its other conditions in `filter`.",
    };
    let reason = match (adds || narrows, sorts) {
        (true, _) => "only a filter leaves out documents that it has read",
        (false, _) => "it sorts all of them to take the first",
    };
    let what = match scan.eq.is_empty() && !has_bounds {
        true => format!("all of `{table}`"),
        false => format!("more of `{table}` by `{}` than it needs", index.name),
    };
    let text = format!("It reads {what}: {reason}.{keeps}");
    Some(Advice { text, table: table.clone(), schema, fields: Vec::new(), query: Some(query) })
}

/// The place of an equal value in an index. The tracked range ends after the first number, because
/// it covers all numbers that round to the same one, and before a value of several types.
fn rank(value: &KeyValue) -> u8 {
    match value {
        KeyValue::Null | KeyValue::Text(_) | KeyValue::Boolean(_) | KeyValue::Time(_) | KeyValue::Id(_) => 0,
        KeyValue::Number(_) => 1,
        KeyValue::Json(_) => 2,
    }
}

/// How many of these equal values the tracked range has.
fn tracked<'a>(values: impl Iterator<Item = &'a KeyValue>) -> usize {
    let mut count = 0;
    for value in values {
        match rank(value) {
            0 => count += 1,
            1 => return count + 1,
            _ => return count,
        }
    }
    count
}

/// The conditions that must all hold.
fn all_of(filter: &Filter) -> &[Filter] {
    match filter {
        Filter::All(conditions) => conditions,
        condition => std::slice::from_ref(condition),
    }
}

/// The field of the range after the equal ones, with its comparisons: that of the present
/// bounds, the one that the documents are in the order of, or, where the order does not change,
/// one of a filter.
fn bounded_field<'a>(scan: &'a Scan, conditions: &'a [Filter], sorted: Option<&'a FieldPath>) -> Option<Compared<'a>> {
    let present = (scan.lower.is_some() || scan.upper.is_some()).then(|| &scan.index().fields[scan.eq.len()].path);
    let in_filter = || {
        let paths = conditions.iter().filter_map(|condition| match condition {
            Filter::Above(path, _) | Filter::Below(path, _) => Some(path),
            _ => None,
        });
        // The range of any other field has another order, unless the query sorts all documents.
        let sorts_all = scan.by.is_some() && scan.limit.is_none();
        paths.into_iter().find(|path| sorts_all || **path == FieldPath::CreationTime && sorted.is_none())
    };
    let path = present.or(sorted).or_else(in_filter)?;
    let word = |inclusive: bool, with: &'static str, without: &'static str| if inclusive { with } else { without };
    let mut comparisons = Vec::new();
    if present == Some(path) {
        comparisons.extend(scan.lower.as_ref().map(|bound| word(bound.inclusive, "gte", "gt")));
        comparisons.extend(scan.upper.as_ref().map(|bound| word(bound.inclusive, "lte", "lt")));
    }
    for condition in conditions {
        let comparison = match condition {
            Filter::Above(of, bound) if of == path => word(bound.inclusive, "gte", "gt"),
            Filter::Below(of, bound) if of == path => word(bound.inclusive, "lte", "lt"),
            _ => continue,
        };
        // A range has one bound on each side.
        if !comparisons.iter().any(|other| other[..1] == comparison[..1]) {
            comparisons.push(comparison);
        }
    }
    Some(Compared { path, comparisons })
}

/// Whether the field has a comparison that is no bound of the present range.
fn is_new_bound(scan: &Scan, field: &Compared<'_>) -> bool {
    let present = usize::from(scan.lower.is_some()) + usize::from(scan.upper.is_some());
    let is_present = scan.index().fields.get(scan.eq.len()).is_some_and(|of| of.path == *field.path);
    field.comparisons.len() > if is_present { present } else { 0 }
}

/// Whether a condition of the filter is part of the range.
fn is_used(condition: &Filter, eq: &[&FieldPath], bounded: Option<&Compared<'_>>) -> bool {
    match condition {
        Filter::Equal(path, _) => eq.contains(&path),
        Filter::Above(path, _) | Filter::Below(path, _) => bounded.is_some_and(|field| field.path == path),
        Filter::In(..) | Filter::All(_) | Filter::Any(_) | Filter::Not(_) => false,
    }
}

/// An index with the equal fields first, in any order, and then the others.
fn existing_index(table: &Table, eq: &[&FieldPath], fields: &[&FieldPath]) -> Option<String> {
    let fits = table.indexes.iter().find(|index| {
        let paths: Vec<&FieldPath> = index.fields.iter().map(|field| &field.path).collect();
        paths.len() == fields.len()
            && eq.iter().all(|path| paths[..eq.len()].contains(path))
            && paths[eq.len()..] == fields[eq.len()..]
    });
    fits.map(|index| index.name.clone())
}

/// A name that no index of the table has.
fn index_name(table: &Table, fields: &[&FieldPath]) -> String {
    let words: Vec<String> = fields.iter().map(|path| path.dotted().replace('.', "_")).collect();
    let mut name = format!("by_{}", words.join("_and_").trim_start_matches('_'));
    while table.index(&name).is_some() {
        name.push_str("_2");
    }
    name
}

/// The steps of the query, up to the call that runs it. `sorts`: the index has its order.
fn steps(scan: &Scan, index: &str, (eq, bounded): (&[&FieldPath], Option<&Compared<'_>>), sorts: bool) -> String {
    // The order of the fields of an existing index may be another.
    let ordered = scan.table.index(index).map(|(_, index)| &index.fields[..eq.len()]);
    let paths: Vec<&FieldPath> = match ordered {
        Some(fields) => fields.iter().map(|field| &field.path).collect(),
        None => eq.to_vec(),
    };
    let mut range: String = paths.iter().map(|path| format!(".eq('{}', {})", path.dotted(), variable(path))).collect();
    for (path, comparison) in bounded.iter().flat_map(|field| field.comparisons.iter().map(|word| (field.path, word))) {
        range.push_str(&format!(".{comparison}('{}', {})", path.dotted(), variable(path)));
    }
    let with = match range.is_empty() {
        true => format!(".withIndex('{index}')"),
        false => format!(".withIndex('{index}', (q) => q{range})"),
    };
    let direction = if scan.order == Order::Desc { "desc" } else { "asc" };
    match &scan.by {
        Some(field) if !sorts => format!("{with}.order('{direction}', '{}')", field.path.dotted()),
        _ if scan.order == Order::Desc => format!("{with}.order('desc')"),
        _ => with,
    }
}

/// A variable with the name of a field.
fn variable(path: &FieldPath) -> String {
    let dotted = path.dotted();
    dotted.rsplit('.').next().unwrap_or(&dotted).trim_start_matches('_').to_owned()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use std::time::Instant;

    use super::*;
    use crate::change::CommitOrigin;
    use crate::op::Op;

    fn schema() -> Schema {
        let schema = r#"{"tables":[{"name":"m","physicalName":"m","managed":true,"indexes":[
            {"name":"by_c","unique":false,"fields":[{"path":"c","kind":"text"},{"path":"n","kind":"number"}]}]}]}"#;
        Schema::parse(serde_json::from_str(schema).expect("a description")).expect("a schema")
    }

    /// The schema line and the steps that are advised for a scan.
    fn advised(scan: &str) -> Option<(Option<String>, String)> {
        let ops = format!(r#"[{{"op":"scan","table":"m",{scan}}}]"#);
        let mut ops = Op::parse_batch(&ops, &schema()).expect("the protocol is kept");
        let Ok(Op::Scan(scan)) = ops.remove(0) else { panic!("a scan") };
        narrower(&scan).map(|advice| (advice.schema, advice.query.expect("steps")))
    }

    fn pair(schema: &str, query: &str) -> Option<(Option<String>, String)> {
        Some(((!schema.is_empty()).then(|| schema.to_owned()), query.to_owned()))
    }

    #[test]
    fn equal_conditions_of_a_filter_become_an_index() {
        assert_eq!(
            advised(r#""order":"desc","limit":5,"filter":{"is":"eq","field":"author","value":"ann"}"#),
            pair(
                ".index('by_author', ['author'])",
                ".withIndex('by_author', (q) => q.eq('author', author)).order('desc')"
            )
        );
        assert_eq!(
            advised(
                r#""index":"by_c","eq":["a"],"filter":{"is":"and","of":[
                    {"is":"eq","field":"place.city","value":"Ulm"},{"is":"gte","field":"n","value":3}]}"#
            ),
            pair(
                ".index('by_c_and_place_city_and_n', ['c', 'place.city', 'n'])",
                ".withIndex('by_c_and_place_city_and_n', (q) => q.eq('c', c).eq('place.city', city).gte('n', n))"
            )
        );
    }

    #[test]
    fn an_index_that_exists_is_used() {
        assert_eq!(
            advised(r#""index":"by_c","eq":["a"],"filter":{"is":"gt","field":"n","value":3}"#),
            pair("", ".withIndex('by_c', (q) => q.eq('c', c).gt('n', n))")
        );
        let recent = r#""filter":{"is":"gte","field":"_creationTime","value":3}"#;
        assert_eq!(
            advised(recent),
            pair("", ".withIndex('by_creation_time', (q) => q.gte('_creationTime', creationTime))")
        );
    }

    #[test]
    fn an_order_with_a_limit_becomes_the_order_of_an_index() {
        assert_eq!(
            advised(r#""order":"desc","limit":3,"by":{"field":"score","kind":"number"}"#),
            pair(".index('by_score', ['score'])", ".withIndex('by_score').order('desc')")
        );
        let all = r#""order":"desc","by":{"field":"score","kind":"number"}"#;
        assert_eq!(advised(all), None, "all documents are read in any order");
    }

    #[test]
    fn numbers_come_last_because_the_tracked_range_ends_with_the_first() {
        let both = r#""filter":{"is":"and","of":[
            {"is":"eq","field":"level","value":3},{"is":"eq","field":"team","value":"red"}]}"#;
        assert_eq!(
            advised(both),
            pair(
                ".index('by_team_and_level', ['team', 'level'])",
                ".withIndex('by_team_and_level', (q) => q.eq('team', team).eq('level', level))"
            )
        );
        let after_number = r#""index":"by_c","eq":["a",1],"filter":{"is":"eq","field":"level","value":3}"#;
        assert_eq!(advised(after_number), None);
    }

    #[test]
    fn conditions_without_a_range_give_no_index() {
        for filter in [
            r#"{"is":"in","field":"author","values":["a","b"]}"#,
            r#"{"is":"not","of":{"is":"eq","field":"author","value":"a"}}"#,
            r#"{"is":"gt","field":"likes","value":3}"#,
        ] {
            assert_eq!(advised(&format!(r#""filter":{filter}"#)), None, "{filter}");
        }
    }

    #[test]
    fn polled_tables_and_unknown_reads_have_advice_of_their_own() {
        let hit = |by, read| {
            let origin = CommitOrigin { at: Instant::now(), span: None };
            RunCause::Change(Box::new(Hit {
                commit: 1,
                by,
                origin,
                table: Arc::from("m"),
                document: None,
                fields: None,
                read,
            }))
        };
        let text = |cause| advise(&cause, &schema()).expect("advice").text;
        assert!(text(hit(ChangeSource::Outside, HitRead::Everything)).contains("tables: ["));
        assert!(text(hit(ChangeSource::Outside, HitRead::Table)).contains("ctx.db.query('m')"));
        assert!(text(hit(ChangeSource::Poll, HitRead::Table)).contains("convoy check"));
        assert_eq!(advise(&RunCause::Event(CauseKind::Reload), &schema()), None);
    }
}
