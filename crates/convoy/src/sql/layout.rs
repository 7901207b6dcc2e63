//! Statements that create and inspect the tables of the user, their indexes, and the triggers
//! that log the writes of others.
//!
//! They only create or replace objects of Convoy. The only objects they drop are invalid
//! indexes, left by failed builds of Convoy.

use xxhash_rust::xxh3::xxh3_64;

use super::key::{TextLimit, key_parts};
use super::{Bind, Statement, WRITER_SEPARATOR};
use crate::schema::{BY_ID, FieldPath, Index, KeyKind, MAX_NAME, Table};

/// The names of the triggers of every managed table.
pub(crate) const TRIGGERS: [&str; 4] = ["_convoy_insert", "_convoy_update", "_convoy_delete", "_convoy_truncate"];

/// Begins the transaction that holds the lock of schema syncs. It may last as long as an index
/// build, and holds no snapshot.
pub(crate) fn begin_locking() -> Statement {
    Statement::fixed("begin isolation level read committed; set local idle_in_transaction_session_timeout = 0")
}

/// Takes the lock of schema syncs if it is free.
pub(crate) fn try_lock() -> Statement {
    Statement::fixed("select pg_try_advisory_xact_lock(hashtext('convoy.layout'))")
}

/// The state of the named tables that exist, one per row:
/// `name, columns, indexes, broken_indexes, unique_indexes, constrained, triggers, non_empty, has_side_effects, partitioned, used`.
pub(crate) fn catalog(tables: &[&str]) -> Statement {
    let mut sql = Statement::new();
    sql.push(
        "select
  c.relname::text as name,
  array(
    select a.attname::text || ' ' || t.typname::text from pg_attribute as a
    join pg_type as t on t.oid = a.atttypid
    where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
  ) as columns,
  array(
    select i.relname::text from pg_index as x
    join pg_class as i on i.oid = x.indexrelid
    where x.indrelid = c.oid and x.indisvalid
  ) as indexes,
  array(
    select i.relname::text from pg_index as x
    join pg_class as i on i.oid = x.indexrelid
    where x.indrelid = c.oid and not x.indisvalid
  ) as broken_indexes,
  array(
    select i.relname::text from pg_index as x
    join pg_class as i on i.oid = x.indexrelid
    where x.indrelid = c.oid and x.indisunique and not x.indisprimary and (x.indisvalid or x.indisready)
  ) as unique_indexes,
  exists (
    select from pg_constraint as k
    where k.conrelid = c.oid and k.contype not in ('p', 'n')
  ) or exists (
    select from pg_attribute as a
    where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
      and a.attnotnull and not a.atthasdef and a.attidentity = ''
      and a.attname not in ('id', 'data')
  ) or exists (
    select from pg_attribute as a
    join pg_type as t on t.oid = a.atttypid
    left join pg_attrdef as d on d.adrelid = c.oid and d.adnum = a.attnum
    where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
      and a.attname not in ('id', 'created_at', 'updated_at', 'data')
      and (t.typtype = 'd' or a.attgenerated <> '' or pg_get_expr(d.adbin, c.oid) like '%(%')
  ) or exists (
    -- Casts and functions in indexes of others can fail for a document.
    select from pg_index as x
    join pg_class as i on i.oid = x.indexrelid
    where x.indrelid = c.oid and x.indisready and i.relname !~ '^convoy_.*_[0-9a-f]{16}$'
      and regexp_replace(
        concat(pg_get_expr(x.indexprs, c.oid), pg_get_expr(x.indpred, c.oid)), '''([^'']|'''')*''::text', '', 'g'
      ) ~ '::|[a-z0-9_]\\('
  ) as constrained,
  (
    select coalesce(jsonb_agg(jsonb_build_object(
      'name', t.tgname, 'enabled', t.tgenabled in ('O', 'A'), 'args', encode(t.tgargs, 'hex'),
      'guarded', pg_get_triggerdef(t.oid) like '%SESSION_USER%' and pg_get_triggerdef(t.oid) like '%string_to_array%'
    )), '[]') from pg_trigger as t
    where t.tgrelid = c.oid and not t.tgisinternal
  )::text as triggers,
  c.reltuples <> 0 and pg_relation_size(c.oid) > 0 as non_empty,
  c.relhasrules or c.relrowsecurity or exists (
    select from pg_constraint as k
    where k.confrelid = c.oid
  ) as has_side_effects,
  exists (
    select from pg_inherits as h
    where h.inhparent = c.oid
  ) as partitioned,
  c.relkind = 'p' or pg_relation_size(c.oid) > 0 as used
from pg_class as c
where c.relnamespace = to_regnamespace(quote_ident(current_schema()))
  and c.relkind in ('r', 'p')
  and c.relname = any(",
    );
    sql.bind(Bind::Texts(tables.iter().map(|name| (*name).to_owned()).collect())).push(")");
    sql
}

/// Creates a managed table, with the same columns since Convoy 0.0.1.
pub(crate) fn create_table(table: &Table) -> Statement {
    let mut sql = Statement::new();
    sql.push("create table if not exists ").ident(&table.physical);
    sql.push(
        " (
  id uuid primary key default gen_random_uuid(),
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  data jsonb not null default '{}'
)",
    );
    sql
}

/// The name of an index in Postgres. It contains a hash of the definition, so a changed index
/// gets another name, and long names do not collide.
pub(crate) fn index_name(table: &Table, index: &Index) -> String {
    let definition = index_definition(table, index);
    let name = format!("convoy_{}_{}", table.physical, index.name);
    let hash = format!("_{:016x}", xxh3_64(definition.text().as_bytes()));
    let room = MAX_NAME - hash.len();
    let mut end = room.min(name.len());
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}{hash}", &name[..end])
}

/// `on "t" (…)`: the definition of an index.
fn index_definition(table: &Table, index: &Index) -> Statement {
    let mut sql = Statement::new();
    sql.push(if index.unique { "unique on " } else { "on " }).ident(&table.physical).push(" (");
    sql.index_parts(index, ", ");
    sql.push(")");
    sql
}

/// How many values of a unique index more than one row of the table has, 1,000 at most.
pub(crate) fn duplicates(table: &Table, index: &Index) -> Statement {
    let mut sql = Statement::fixed("select count(*) from (\n  select 1 from ");
    sql.ident(&table.physical).push("\n  where ");
    sql.index_parts(index, " is not null and ");
    sql.push(" is not null\n  group by ");
    sql.index_parts(index, ", ");
    sql.push("\n  having count(*) > 1 limit 1000\n) as duplicates");
    sql
}

/// How many rows Postgres estimates the table to have; null before it has counted them.
pub(crate) fn estimated_rows(table: &Table) -> Statement {
    let mut sql =
        Statement::fixed("select nullif(reltuples, -1)::int8 from pg_class where oid = to_regclass(quote_ident(");
    sql.bind(Bind::Text(table.physical.clone())).push("))");
    sql
}

/// Begins a transaction whose statements wait for a lock for two seconds at most.
pub(crate) fn begin_with_lock_timeout() -> Statement {
    Statement::fixed("begin isolation level read committed; set local lock_timeout = '2s'")
}

/// The other sessions that hold a lock on the table, or wait for one, the oldest first.
pub(crate) fn lock_holders(table: &Table) -> Statement {
    let mut sql = Statement::fixed(
        "select format(
  'process %s (%s, %s, in a transaction for %s s)', a.pid, a.usename, a.state, extract(epoch from now() - a.xact_start)::int
)
from pg_stat_activity as a
where a.pid <> pg_backend_pid() and a.pid in (
  select pid from pg_locks where locktype = 'relation' and granted and relation = to_regclass(quote_ident(",
    );
    sql.bind(Bind::Text(table.physical.clone())).push("))\n)\norder by a.xact_start\nlimit 5");
    sql
}

impl Statement {
    /// The expressions of an index, in order.
    fn index_parts(&mut self, index: &Index, between: &'static str) {
        let text_limit = TextLimit::of(index);
        let ordered = if index.unique { index.fields.clone() } else { index.order_from(0) };
        let mut separator = "";
        for field in &ordered {
            match &field.path {
                FieldPath::Stored(path) if index.unique && field.kind == KeyKind::Json => {
                    self.push(separator).value_hash(path, "0").push(between).value_hash(path, "1");
                    separator = between;
                }
                _ => {
                    for part in key_parts(field, text_limit) {
                        self.push(separator).part(part);
                        separator = between;
                    }
                }
            }
        }
    }

    /// A hash that is equal for equal values of any type, and null for a missing one. It makes
    /// fields without a type unique, since nulls never count as equal.
    fn value_hash(&mut self, path: &[String], seed: &'static str) -> &mut Statement {
        self.push("(case when ").type_at(path).push(" <> 'null' then jsonb_hash_extended(").json_at("", path);
        self.push(", ").push(seed).push(") end)")
    }
}

/// Whether the index has to be created; the primary key exists anyway.
pub(crate) fn needs_index(index: &Index) -> bool {
    index.name != BY_ID
}

/// Creates an index; `concurrently` if the table has rows that must stay writable.
pub(crate) fn create_index(table: &Table, index: &Index, concurrently: bool) -> Statement {
    let mut sql = Statement::new();
    sql.push(if index.unique { "create unique index " } else { "create index " });
    if concurrently {
        sql.push("concurrently ");
    }
    sql.push("if not exists ").ident(&index_name(table, index)).push(" ");
    let definition = index_definition(table, index);
    sql.text.push_str(definition.text.strip_prefix("unique ").unwrap_or(&definition.text));
    sql
}

/// The progress of an index build of a table: its `phase`, and the percentage done, if known.
pub(crate) fn progress(table: &Table) -> Statement {
    let mut sql = Statement::fixed(
        "select phase, coalesce(
  100 * blocks_done / nullif(blocks_total, 0),
  100 * tuples_done / nullif(tuples_total, 0)
)::int8
from pg_stat_progress_create_index
where datname = current_database() and relid = to_regclass(quote_ident(",
    );
    sql.bind(Bind::Text(table.physical.clone())).push("))");
    sql
}

/// Running index builds of the named tables: `index, pid, since`.
pub(crate) fn builds(tables: &[&str]) -> Statement {
    let mut sql = Statement::fixed(
        "select coalesce(p.index_relid::regclass::text, c.relname::text), p.pid::int8, a.query_start::text
from pg_stat_progress_create_index as p
join pg_class as c on c.oid = p.relid
join pg_stat_activity as a on a.pid = p.pid and a.state = 'active'
where p.datname = current_database()
  and c.relnamespace = to_regnamespace(quote_ident(current_schema()))
  and c.relname = any(",
    );
    sql.bind(Bind::Texts(tables.iter().map(|name| (*name).to_owned()).collect())).push(")");
    sql
}

/// Returns a row as long as the session runs the statement that it began at `since`.
pub(crate) fn still_runs(pid: i64, since: &str) -> Statement {
    let mut sql = Statement::fixed("select 1 from pg_stat_activity where state = 'active' and pid = ");
    sql.bind(Bind::Int(pid)).push(" and query_start::text = ").bind(Bind::Text(since.to_owned()));
    sql
}

/// Tables with Convoy's triggers that are not among these: left over from another schema.
pub(crate) fn left_over_tables(tables: &[&str]) -> Statement {
    let mut sql = Statement::fixed(
        "select distinct c.relname::text
from pg_trigger as t
join pg_class as c on c.oid = t.tgrelid
where t.tgname = '_convoy_insert'
  and c.relnamespace = to_regnamespace(quote_ident(current_schema()))
  and c.relname <> all(",
    );
    sql.bind(Bind::Texts(tables.iter().map(|name| (*name).to_owned()).collect())).push(")\norder by 1");
    sql
}

/// Drops the invalid index of a failed build, which Postgres keeps. Indexes of partitioned
/// tables cannot be dropped concurrently.
pub(crate) fn drop_broken_index(name: &str, concurrently: bool) -> Statement {
    let mut sql = Statement::new();
    sql.push("drop index ").push(if concurrently { "concurrently " } else { "" }).push("if exists ").ident(name);
    sql
}

/// Whether the name is one that Convoy gives to an index of the table, in any version of the
/// schema.
pub(crate) fn is_convoy_index(table: &Table, name: &str) -> bool {
    let Some((stem, hash)) = name.rsplit_once('_') else { return false };
    let is_hash = hash.len() == 16 && hash.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let prefix = format!("convoy_{}_", table.physical);
    // A long index name is truncated within the name of the table.
    is_hash && (stem.starts_with(&prefix) || (name.len() + 3 >= MAX_NAME && prefix.starts_with(stem)))
}

/// The four triggers that log the writes of others to the table. `paths` are the indexed
/// fields to log. They skip writes whose mark names the transaction and the table, in a
/// session of the engine's `role`, but not the writes of users' triggers and cascades.
pub(crate) fn create_triggers(table: &Table, paths: &[String], role: &str) -> Vec<Statement> {
    let parts = [
        (" after insert on ", "\nreferencing new table as new_rows", "_convoy.log_insert("),
        (" after update on ", "\nreferencing old table as old_rows new table as new_rows", "_convoy.log_update("),
        (" after delete on ", "\nreferencing old table as old_rows", "_convoy.log_delete("),
        (" after truncate on ", "", "_convoy.log_truncate("),
    ];
    let mut statements = Vec::with_capacity(parts.len());
    for (name, (event, referencing, function)) in TRIGGERS.into_iter().zip(parts) {
        let mut sql = Statement::new();
        sql.push("create or replace trigger ").ident(name).push(event).ident(&table.physical).push(referencing);
        sql.push(
            "
for each statement
when (
  string_to_array(current_setting('convoy.writer', true), ",
        );
        sql.literal(WRITER_SEPARATOR).push(") @> array[pg_current_xact_id_if_assigned()::text, ");
        sql.literal(&table.physical).push("] is not true\n  or session_user <> ");
        sql.literal(role).push(
            "
  or pg_trigger_depth() > 0
)
execute function ",
        );
        sql.push(function);
        let mut separator = "";
        for path in paths {
            sql.push(separator).literal(path);
            separator = ", ";
        }
        sql.push(")");
        statements.push(sql);
    }
    statements
}

/// The role of this session, whose mark the triggers accept.
pub(crate) fn role() -> Statement {
    Statement::fixed("select session_user::text")
}

/// Creates the database of a URL.
pub(crate) fn create_database(name: &str) -> Statement {
    let mut sql = Statement::new();
    sql.push("create database ").ident(name);
    sql
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::Schema;

    fn schema(table: &str) -> Schema {
        let description = format!(
            r#"{{"tables":[{{"name":"m","physicalName":"{table}","managed":true,"indexes":[
                {{"name":"by_name","unique":true,"fields":[{{"path":"name","kind":"text"}}]}},
                {{"name":"by_state","unique":false,"fields":[
                    {{"path":"done","kind":"boolean"}},{{"path":"a.b","kind":"json"}},{{"path":"_creationTime","kind":"number"}}]}}]}}]}}"#
        );
        Schema::parse(serde_json::from_str(&description).expect("a description")).expect("a schema")
    }

    #[test]
    fn a_table_with_its_indexes_and_triggers() {
        let schema = schema("m");
        let table = schema.table("m").expect("the table");
        let mut statements = vec![create_table(table)];
        let indexes = table.indexes.iter().filter(|index| needs_index(index));
        statements.extend(indexes.map(|index| create_index(table, index, true)));
        statements.extend(create_triggers(table, &["name".to_owned(), "it's".to_owned()], "app"));
        let texts: Vec<&str> = statements.iter().map(Statement::text).collect();
        insta::assert_snapshot!(texts.join("\n\n"));
    }

    #[test]
    fn truncated_index_names_do_not_collide() {
        let long = "t".repeat(MAX_NAME);
        let schema = schema(&long);
        let table = schema.table("m").expect("the table");
        let names: Vec<String> = table.indexes.iter().map(|index| index_name(table, index)).collect();
        for (at, name) in names.iter().enumerate() {
            assert!(name.len() <= MAX_NAME && !names[..at].contains(name), "{names:?}");
        }
    }
}
