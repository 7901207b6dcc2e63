//! Statements that differ only by their values, as one.

use xxhash_rust::xxh3::xxh3_64;

use super::{Bind, Statement};

/// The alias of the list of values.
const VALUES: &str = "joined_values";

impl Statement {
    /// A hash of the text.
    pub(crate) fn text_hash(&self) -> u64 {
        xxh3_64(self.text.as_bytes())
    }

    /// Whether it can be joined with others of the same text.
    pub(crate) fn is_joinable(&self) -> bool {
        // A placeholder that is written in another way than by `bind` has no place. A table may
        // have the name of the list of values, and would hide it.
        !self.binds.is_empty() && self.places.len() == self.binds.len() && !self.text.contains(VALUES)
    }

    /// One statement that returns the rows of all, with the number of the statement (`int8`,
    /// from 1) as an additional last column; `None` if their texts differ, or if one has values
    /// that cannot be columns. The rows of a statement keep their order, because Postgres joins
    /// a lateral subquery by a nested loop, whose outer side is the list of values.
    pub(crate) fn joined(statements: &[&Statement]) -> Option<Statement> {
        let first = statements.first()?;
        if !first.is_joinable() || statements.iter().any(|statement| statement.text != first.text) {
            return None;
        }
        let mut sql = Statement { table: first.table.clone(), operation: Some(first.operation()), ..Statement::new() };
        sql.push("select j.*, ").push(VALUES).push(".n\nfrom unnest(");
        for column in 0..first.binds.len() {
            let values = statements.iter().map(|statement| statement.binds.get(column)).collect::<Option<Vec<_>>>()?;
            let (array, cast) = array_of(&values)?;
            sql.push(if column == 0 { "" } else { ", " }).bind(array).push(cast);
        }
        sql.push(") with ordinality as ").push(VALUES).push(" (");
        for column in 0..first.binds.len() {
            sql.push("a").number(column as u64).push(", ");
        }
        sql.push("n), lateral (\n");
        let mut done = 0;
        for (column, place) in first.places.iter().enumerate() {
            sql.text.push_str(first.text.get(done..place.start)?);
            sql.push(VALUES).push(".a").number(column as u64);
            done = place.end;
        }
        sql.text.push_str(first.text.get(done..)?);
        sql.push("\n) as j");
        Some(sql)
    }
}

/// Values of one kind as an array, with its cast.
fn array_of(values: &[&Bind]) -> Option<(Bind, &'static str)> {
    macro_rules! all {
        ($kind:ident, $array:ident, $cast:literal) => {{
            let each = values.iter().map(|value| match value {
                Bind::$kind(value) => Some(value.clone()),
                _ => None,
            });
            Some((Bind::$array(each.collect::<Option<_>>()?), $cast))
        }};
    }
    match values.first()? {
        Bind::Text(_) => all!(Text, Texts, "::text[]"),
        Bind::Bool(_) => all!(Bool, Bools, "::bool[]"),
        Bind::Json(_) => all!(Json, Jsons, "::jsonb[]"),
        Bind::Uuid(_) => all!(Uuid, Uuids, "::uuid[]"),
        Bind::Time(_) => all!(Time, Times, "::timestamptz[]"),
        Bind::Int(_) | Bind::Uuids(_) | Bind::Jsons(_) | Bind::Texts(_) | Bind::Bools(_) | Bind::Times(_) => None,
    }
}
