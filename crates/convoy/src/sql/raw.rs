//! Statements of the user's own, by PREPARE and EXECUTE: so Postgres itself finds
//! out what type each value has, from its text, whatever types there are.

use std::collections::BTreeSet;

use xxhash_rust::xxh3::xxh3_128;

use super::plan::Plan;
use super::session::Script;
use super::{Bind, Statement};
use crate::op::Raw;

/// What the statement is known by.
pub(crate) fn fingerprint(raw: &Raw) -> u128 {
    xxh3_128(body(raw).as_bytes())
}

/// The name of the `n`th statement of a session.
pub(crate) fn name(n: u64) -> String {
    format!("convoy_{n}")
}

/// Whether its quotes mean the same under every `standard_conforming_strings` and
/// `client_encoding`.
pub(crate) fn parses_the_same_always(raw: &Raw) -> bool {
    raw.text.is_ascii() && !raw.text.contains('\\')
}

/// Prepares it. What is no single query is refused by Postgres.
pub(crate) fn prepare(name: &str, raw: &Raw) -> Statement {
    let mut sql = Statement::new();
    sql.prepared(name, raw);
    sql
}

/// Forgets a prepared statement.
pub(crate) fn forget(script: &mut Script, name: &str) {
    script.then("deallocate ").ident(name);
}

/// How our own statements are planned, which follow in the same transaction.
pub(crate) const RESTORE_PLAN_MODE: &str = "set local plan_cache_mode = force_generic_plan";

/// Prepares it, runs it with its values, and forgets it, inside a transaction. Only a text
/// that is known to be one statement.
///
/// It does not stay prepared: its values would keep the types that its columns had then,
/// and after `alter column … type` would lose on their way what the old type cannot hold.
/// Our sessions plan for values unknown; this is planned for its own.
///
/// Where it may write, the triggers log it like any other writer's: the mark is set to
/// a random value, `mark`, which no transaction has. A statement that changes the mark
/// to its own transaction's silences the triggers, so then every table counts as
/// changed.
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
        // The user's own code, as they wrote it: that is what this operation is for.
        self.text.push_str(body(raw));
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

/// Asks how it would be run, one row of JSON. Planned for values unknown, as our
/// sessions do; a plan for the values at hand may leave out what others need.
pub(crate) fn explain(name: &str, raw: &Raw) -> Statement {
    let mut sql = Statement::fixed("savepoint convoy_look; ");
    sql.prepared(name, raw);
    sql.push("; explain (verbose, format json) ").executed(name, raw);
    sql.push("; deallocate ").ident(name);
    sql
}

/// Undoes what looking at a statement may have spoilt.
pub(crate) const UNDO_EXPLAIN: &str = "rollback to savepoint convoy_look; release savepoint convoy_look";

/// Functions of Postgres' own that run statements, or read what has no table.
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

/// What the catalog knows of a plan's names, one row: `hides`, whether something may
/// read behind the plan's back; and `tables`, those of the plan, with all they are
/// part of and all that is part of them, with their schema unless that is ours.
pub(crate) fn look_up(plan: &Plan) -> Statement {
    let texts = |names: &BTreeSet<String>| Bind::Texts(names.iter().cloned().collect());
    let (schemas, names) = plan.relations.iter().cloned().unzip();
    let mut sql = Statement::fixed("with recursive user_function as (\n  select p.oid, p.proname, l.lanname");
    sql.push("\n  from pg_proc as p\n  join pg_language as l on l.oid = p.prolang\n  where p.pronamespace <> ");
    sql.push("'pg_catalog'::regnamespace\n),\nview (oid) as (\n  select oid from pg_class where relkind = 'v' and relname = any(");
    sql.bind(texts(&plan.words)).push(
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

fn body(raw: &Raw) -> &str {
    raw.text.trim_end_matches(|c: char| c == ';' || c.is_whitespace())
}
