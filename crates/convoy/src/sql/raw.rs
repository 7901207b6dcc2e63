//! User statements, run by PREPARE and EXECUTE: Postgres determines the type of each value and
//! parses it from text, for all types.

use std::collections::BTreeSet;

use xxhash_rust::xxh3::xxh3_128;

use super::plan::Plan;
use super::session::Script;
use super::{Bind, Statement};
use crate::op::Raw;

/// The hash by which a statement is cached.
pub(crate) fn fingerprint(raw: &Raw) -> u128 {
    xxh3_128(trimmed_text(raw).as_bytes())
}

/// The name of the `n`th statement of a session.
pub(crate) fn name(n: u64) -> String {
    format!("convoy_{n}")
}

/// Whether the text is parsed the same under every `standard_conforming_strings` and
/// `client_encoding`.
pub(crate) fn parses_the_same_always(raw: &Raw) -> bool {
    raw.text.is_ascii() && !raw.text.contains('\\')
}

/// Prepares a statement. Postgres rejects a text of several statements.
pub(crate) fn prepare(name: &str, raw: &Raw) -> Statement {
    let mut sql = Statement::new();
    sql.prepared(name, raw);
    sql
}

/// Deallocates a prepared statement.
pub(crate) fn forget(script: &mut Script, name: &str) {
    script.then("deallocate ").ident(name);
}

/// Restores the plan mode for Convoy's statements in the same transaction.
pub(crate) const RESTORE_PLAN_MODE: &str = "set local plan_cache_mode = force_generic_plan";

/// Prepares a statement, runs it with its values, and deallocates it, inside a transaction.
/// The text must be known to be one statement.
///
/// The statement does not stay prepared: its values would keep the types that the columns had
/// then, and after `alter column … type` they would lose what the old type cannot hold.
/// It is planned for its values, unlike Convoy's statements.
///
/// A statement that may write is logged by the triggers, like any other writer: the mark is
/// set to a random value, `mark`, which is no transaction's. If the statement changes the
/// mark, it may have made the triggers skip its writes, so every table counts as changed.
pub(crate) fn run(script: &mut Script, name: &str, raw: &Raw, mark: Option<u128>) {
    script.then("").prepared(name, raw);
    if let Some(mark) = mark {
        script.then("set local convoy.writer = ").literal(&format!("{mark:032x}"));
    }
    script.then("set local plan_cache_mode = auto");
    script.rows_of(|sql| sql.executed(name, raw));
    if let Some(mark) = mark {
        script.then("do $$ begin\nif current_setting('convoy.writer', true) is distinct from ");
        script.sql.literal(&format!("{mark:032x}")).push(
            " then
  insert into _convoy.changes (tab)
  select distinct c.relname
  from pg_catalog.pg_trigger as t
  join pg_catalog.pg_class as c on c.oid = t.tgrelid
  where t.tgname = '_convoy_insert';
end if;
end $$",
        );
    }
    forget(script, name);
}

impl Statement {
    fn prepared(&mut self, name: &str, raw: &Raw) {
        self.push("prepare ").ident(name).push(" as ");
        // User code, verbatim: that is the purpose of this operation.
        self.text.push_str(trimmed_text(raw));
        // It may end with a comment.
        self.push("\n");
    }

    fn executed(&mut self, name: &str, raw: &Raw) -> &mut Statement {
        self.push("execute ").ident(name);
        let mut separator = " (";
        for value in &raw.values {
            self.push(separator);
            match value {
                Some(text) => self.literal(text),
                None => self.push("null"),
            };
            separator = ", ";
        }
        if !raw.values.is_empty() {
            self.push(")");
        }
        self
    }
}

/// Returns the plan of a statement, as one row of JSON. It is planned without values, because a
/// plan for specific values may leave out tables that other values need.
pub(crate) fn explain(name: &str, raw: &Raw) -> Statement {
    let mut sql = Statement::fixed("savepoint convoy_look; ");
    sql.prepared(name, raw);
    sql.push("; explain (verbose, format json) ").executed(name, raw);
    sql.push("; deallocate ").ident(name);
    sql
}

/// Undoes the effects of explaining a statement.
pub(crate) const UNDO_EXPLAIN: &str = "rollback to savepoint convoy_look; release savepoint convoy_look";

/// Functions of Postgres that run statements, or read data that is in no table.
const OPAQUE_FUNCTIONS: [&str; 18] = [
    "query_to_xml",
    "query_to_xmlschema",
    "query_to_xml_and_xmlschema",
    "table_to_xml",
    "table_to_xmlschema",
    "table_to_xml_and_xmlschema",
    "schema_to_xml",
    "schema_to_xmlschema",
    "schema_to_xml_and_xmlschema",
    "database_to_xml",
    "database_to_xmlschema",
    "database_to_xml_and_xmlschema",
    "cursor_to_xml",
    "ts_stat",
    "ts_rewrite",
    "lo_get",
    "loread",
    "pg_read_file",
];

/// Looks up the names of a plan in the catalog. Returns one row: `hides`, whether something
/// may read tables that the plan does not show; and `tables`, the tables of the plan with all
/// their parents and children, with their schema unless it is the current one. A table of which
/// policies show nothing is not in the plan, so each table with policies counts that has a name
/// in the text, or is behind a view in it.
pub(crate) fn resolve_plan(plan: &Plan) -> Statement {
    let texts = |names: &BTreeSet<String>| Bind::Texts(names.iter().cloned().collect());
    let (schemas, names) = plan.relations.iter().cloned().unzip();
    let mut sql = Statement::fixed("with recursive user_function as (\n  select p.oid, p.proname, l.lanname");
    sql.push("\n  from pg_proc as p\n  join pg_language as l on l.oid = p.prolang\n  where p.pronamespace <> ");
    sql.push("'pg_catalog'::regnamespace\n),\nview (oid) as (\n  select oid from pg_class where relkind = 'v' and relname = any(");
    sql.bind(texts(&plan.names)).push(
        ")
  union
  select d.refobjid
  from view as v
  join pg_rewrite as r on r.ev_class = v.oid
  join pg_depend as d on d.classid = 'pg_rewrite'::regclass and d.objid = r.oid and d.refclassid = 'pg_class'::regclass
  join pg_class as c on c.oid = d.refobjid and c.relkind = 'v'
),
named (oid) as (
  select c.oid
  from unnest(",
    );
    sql.bind(Bind::Texts(schemas)).push("::text[], ").bind(Bind::Texts(names)).push(
        "::text[]) as name (schema, name)
  join pg_namespace as n on n.nspname = name.schema
  join pg_class as c on c.relnamespace = n.oid and c.relname = name.name
  union
  select c.oid
  from pg_class as c
  where c.relrowsecurity and (
    exists (
      select from view as v
      join pg_rewrite as r on r.ev_class = v.oid
      join pg_depend as d on d.classid = 'pg_rewrite'::regclass and d.objid = r.oid
      where d.refclassid = 'pg_class'::regclass and d.refobjid = c.oid
    )
    or c.relname = any(",
    );
    sql.bind(texts(&plan.names)).push(
        ")
  )
),
above (oid) as (
  select oid from named
  union
  select h.inhparent from above as a join pg_inherits as h on h.inhrelid = a.oid
),
family (oid) as (
  select oid from above
  union
  select h.inhrelid from family as f join pg_inherits as h on h.inhparent = f.oid
)
select
  exists (select from user_function where proname = any(",
    );
    sql.bind(texts(&plan.functions)).push("))\n  or ").bind(texts(&plan.functions)).push("::text[] && ");
    sql.bind(Bind::Texts(OPAQUE_FUNCTIONS.map(str::to_owned).into())).push(
        "::text[]
  or exists (
    select from view as v
    join pg_rewrite as r on r.ev_class = v.oid
    join pg_depend as d on d.classid = 'pg_rewrite'::regclass and d.objid = r.oid and d.refclassid = 'pg_proc'::regclass
  )
  or exists (
    select from pg_operator as o
    join user_function as f on f.oid = o.oprcode and f.lanname not in ('c', 'internal')
    where o.oprname = any(",
    );
    sql.bind(texts(&plan.operators)).push(
        ")
  )
  or exists (
    select from pg_cast as k
    join user_function as f on f.oid = k.castfunc and f.lanname not in ('c', 'internal')
  )
  or exists (
    select from pg_constraint as k
    join pg_depend as d on d.classid = 'pg_constraint'::regclass and d.objid = k.oid and d.refclassid = 'pg_proc'::regclass
    where k.contypid <> 0
  ) as hides,
  array(
    select case when n.nspname = current_schema() then c.relname::text else n.nspname || '.' || c.relname end
    from family as f
    join pg_class as c on c.oid = f.oid
    join pg_namespace as n on n.oid = c.relnamespace
  ) as tables",
    );
    sql
}

fn trimmed_text(raw: &Raw) -> &str {
    raw.text.trim_end_matches(|c: char| c == ';' || c.is_whitespace())
}
