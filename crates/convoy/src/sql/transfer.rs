//! Statements that read tables as a whole and write documents with their ids and times:
//! for export, import, and the check of stored documents.

use uuid::Uuid;

use super::{Bind, Statement};
use crate::schema::Table;

/// Begins the transaction of an export: one snapshot, and no limit of time.
pub(crate) fn begin_snapshot() -> Statement {
    Statement::fixed(
        "begin isolation level repeatable read, read only; set local statement_timeout = 0; \
         set local idle_in_transaction_session_timeout = 0",
    )
}

/// The rows of a table that a [`copy`] returns.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Rows {
    /// All rows whose ids come after this one, in the order of their ids.
    After(Option<Uuid>),
    /// About this many rows, chosen at random, of a table of `percent` times as many.
    Sample {
        /// The upper limit.
        limit: u64,
        /// The part of the table's blocks to read.
        percent: u64,
    },
}

/// Copies documents out in Postgres' binary format: `id, created_at, updated_at, data`, the times as ISO texts or null.
/// COPY takes no binds.
pub(crate) fn copy(table: &Table, rows: Rows) -> Statement {
    let mut sql = Statement::new();
    sql.push("copy (\n  select id, ").time_text("created_at", table.traits().created_at);
    sql.push(", ").time_text("updated_at", table.traits().updated_at);
    sql.push(", data\n  from ").ident(&table.physical);
    match rows {
        Rows::After(id) => {
            if let Some(id) = id {
                sql.push("\n  where id > ").literal(&id.to_string()).push("::uuid");
            }
            sql.push("\n  order by id");
        }
        Rows::Sample { limit, percent } => {
            sql.push(" tablesample system (").number(percent.min(100)).push(")\n  order by random()\n  limit ");
            sql.number(limit);
        }
    }
    sql.push("\n) to stdout (format binary)");
    sql
}

/// How many rows a table has according to its statistics; four for each block where it has none: `rows`.
pub(crate) fn estimate(table: &Table) -> Statement {
    let mut sql = Statement::fixed(
        "select (case when reltuples > 0 then reltuples else pg_relation_size(oid) / 8192 * 4 end)::int8
from pg_class
where oid = to_regclass(quote_ident(",
    );
    sql.bind(Bind::Text(table.physical.clone())).push("))");
    sql
}

/// The time of the transaction, as ISO text.
pub(crate) fn now() -> Statement {
    Statement::fixed("select to_json(now()) #>> '{}'")
}

/// Columns of these tables that are no part of documents: `table, column`.
pub(crate) fn other_columns(tables: &[&str]) -> Statement {
    let mut sql = Statement::fixed(
        "select c.relname::text, a.attname::text
from pg_class as c
join pg_attribute as a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
where a.attname not in ('id', 'created_at', 'updated_at', 'data')
  and c.relnamespace = to_regnamespace(quote_ident(current_schema())) and c.relkind in ('r', 'p')
  and c.relname = any(",
    );
    sql.bind(Bind::Texts(tables.iter().map(|name| (*name).to_owned()).collect())).push(")\norder by 1, 2");
    sql
}

/// One document to write. Times are texts as [`Statement::stamp`] reads them; empty for the time of the import.
#[derive(Debug, Clone)]
pub(crate) struct StoredDocument {
    /// The uuid of its id.
    pub id: Uuid,
    /// The creation time.
    pub created: String,
    /// The time of the last change.
    pub updated: String,
    /// JSON.
    pub data: String,
}

/// Writes documents with the given ids. One row for each document that was not written:
/// `id, is_there, is_same`; with neither, a unique index refused it. With `replace`, documents
/// that exist are overwritten, and those that are the same already are returned.
pub(crate) fn write(table: &Table, documents: &[StoredDocument], replace: bool) -> Statement {
    let mut sql = Statement::new();
    let texts = |of: fn(&StoredDocument) -> &String| documents.iter().map(|each| of(each).clone()).collect();
    let has_times = (table.traits().created_at, table.traits().updated_at);
    sql.push("with input as (\n  select id, ").stamp("created").push(" as created_at, ").stamp("updated");
    sql.push(" as updated_at, data\n  from unnest(");
    sql.bind(Bind::Uuids(documents.iter().map(|each| each.id).collect())).push("::uuid[], ");
    sql.bind(Bind::Texts(texts(|each| &each.created))).push("::text[], ");
    sql.bind(Bind::Texts(texts(|each| &each.updated))).push("::text[], ");
    sql.bind(Bind::Jsons(texts(|each| &each.data))).push("::jsonb[]) as given (id, created, updated, data)\n), ");
    sql.push("written as (\n  insert into ").ident(&table.physical).push(" as t (id, data");
    sql.times(has_times, ", created_at", ", updated_at").push(")\n  select input.id, input.data");
    if replace {
        // A document whose time is not given keeps its own.
        sql.times(has_times, ", coalesce(input.created_at, old.created_at, now())", "");
        sql.times((false, has_times.1), "", ", coalesce(input.updated_at, input.created_at, now())");
        sql.push("\n  from input\n  left join ").ident(&table.physical).push(" as old on old.id = input.id");
    } else {
        sql.times(has_times, ", coalesce(created_at, now())", ", coalesce(updated_at, created_at, now())");
        sql.push("\n  from input");
    }
    sql.push("\n  on conflict ");
    if replace {
        sql.push("(id) do update set data = excluded.data");
        sql.times(has_times, ", created_at = excluded.created_at", ", updated_at = excluded.updated_at");
        sql.push("\n  where (t.data").times(has_times, ", t.created_at", "").push(") is distinct from (excluded.data");
        sql.times(has_times, ", excluded.created_at", "").push(")");
    } else {
        sql.push("do nothing");
    }
    sql.push("\n  returning id\n)\nselect input.id, t.id is not null, coalesce(t.data = input.data");
    sql.times(has_times, " and (input.created_at is null or t.created_at = input.created_at)", "");
    sql.push(", false)\nfrom input\nleft join ").ident(&table.physical);
    sql.push(" as t on t.id = input.id\nwhere input.id not in (select id from written)");
    sql
}

impl Statement {
    fn time_text(&mut self, column: &'static str, exists: bool) -> &mut Statement {
        if !exists {
            return self.push("null::text");
        }
        self.push("to_json(").push(column).push(") #>> '{}'")
    }

    /// A time from its text: ISO 8601, or `us:` and microseconds since 2000, which is how Postgres counts.
    fn stamp(&mut self, text: &'static str) -> &mut Statement {
        self.push("case\n    when starts_with(").push(text);
        self.push(", 'us:') then timestamptz '2000-01-01 00:00:00+00' + substr(").push(text);
        self.push(", 4)::int8 * interval '1 microsecond'\n    else nullif(").push(text);
        self.push(", '')::timestamptz\n  end")
    }

    fn times(
        &mut self,
        (has_created, has_updated): (bool, bool),
        created: &'static str,
        updated: &'static str,
    ) -> &mut Statement {
        self.push(if has_created { created } else { "" }).push(if has_updated { updated } else { "" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::Schema;

    #[test]
    fn tables_are_copied_in_the_order_of_their_ids_and_written_with_ids_and_times() {
        let description = r#"{"tables":[{"name":"m","physicalName":"m \"s\"","managed":true,"indexes":[]}]}"#;
        let schema = Schema::parse(serde_json::from_str(description).expect("a description")).expect("a schema");
        let table = schema.table("m").expect("the table");
        let document =
            StoredDocument { id: Uuid::nil(), created: String::new(), updated: String::new(), data: "{}".to_owned() };
        let statements = [
            copy(table, Rows::After(Some(Uuid::nil()))),
            copy(table, Rows::Sample { limit: 5, percent: 200 }),
            write(table, std::slice::from_ref(&document), false),
            write(table, &[document], true),
        ];
        insta::assert_snapshot!(statements.each_ref().map(Statement::text).join("\n\n"));
    }
}
