//! Finds missing privileges of a role, and the statement that grants each.

use super::{Bind, Statement};

/// A quoted identifier for statements that are shown to people.
pub(crate) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Privileges that a schema sync of these tables needs and the session's role lacks, with the
/// statement that grants them: `what, remedy`, one per row.
pub(crate) fn missing_for_sync(tables: &[&str]) -> Statement {
    let mut sql = Statement::fixed(
        "with me as (
  select current_user as role, current_database() as base, current_schema() as schema
)
select what, remedy from (
  select 1 as step, 'create the schema _convoy' as what, format('grant create on database %I to %I', base, role) as remedy
  from me
  where to_regnamespace('_convoy') is null and not has_database_privilege(role, base, 'create')
  union all
  select 2, 'change the schema _convoy', format('alter schema _convoy owner to %I', role)
  from me, pg_namespace as n
  where n.nspname = '_convoy'
    and not (has_schema_privilege(role, n.oid, 'usage') and has_schema_privilege(role, n.oid, 'create'))
  union all
  select 3, format('change the table _convoy.%I', c.relname), format('alter table _convoy.%I owner to %I', c.relname, role)
  from me, pg_class as c
  where c.relnamespace = to_regnamespace('_convoy') and c.relkind in ('r', 'p') and not pg_has_role(role, c.relowner, 'usage')
  union all
  select
    4,
    format('change the function _convoy.%I', p.proname),
    format('alter function _convoy.%I(%s) owner to %I', p.proname, pg_get_function_identity_arguments(p.oid), role)
  from me, pg_proc as p
  where p.pronamespace = to_regnamespace('_convoy') and not pg_has_role(role, p.proowner, 'usage')
  union all
  select
    5,
    format('use any schema of its search_path (%s)', current_setting('search_path')),
    format('grant usage, create on schema public to %I', role)
  from me
  where schema is null
  union all
  select
    6, format('create tables and indexes in the schema %I', schema), format('grant usage, create on schema %I to %I', schema, role)
  from me
  where schema is not null and not has_schema_privilege(role, schema, 'create')
  union all
  select
    7,
    format('create indexes and triggers on the table %I.%I, which %I owns', schema, c.relname, pg_get_userbyid(c.relowner)),
    format('alter table %I.%I owner to %I', schema, c.relname, role)
  from me, pg_class as c
  where c.relnamespace = to_regnamespace(quote_ident(schema)) and c.relkind in ('r', 'p')
    and not pg_has_role(role, c.relowner, 'usage') and c.relname = any(",
    );
    sql.bind(Bind::Texts(tables.iter().map(|name| (*name).to_owned()).collect()));
    sql.push(")\n) as lacks\norder by step, what");
    sql
}

/// Privileges on Convoy's own schema and on the schema of the tables that calls need and the
/// session's role lacks, with the statement that grants them: `what, remedy`. Nothing while
/// `_convoy` does not exist.
pub(crate) fn missing_for_opening() -> Statement {
    Statement::fixed(
        "with me as (
  select current_user as role, n.oid as own from pg_namespace as n where n.nspname = '_convoy'
)
select what, remedy from (
  select 1 as step, 'use the schema _convoy' as what, format('grant usage on schema _convoy to %I', role) as remedy
  from me
  where not has_schema_privilege(role, own, 'usage')
  union all
  select
    2, 'read and write the tables of _convoy', format('grant select, insert, update, delete on all tables in schema _convoy to %I', role)
  from me
  where exists (
    select from pg_class as c, unnest(array['select', 'insert', 'update', 'delete']) as word
    where c.relnamespace = own and c.relkind in ('r', 'p') and not has_table_privilege(role, c.oid, word)
  )
  union all
  select
    3,
    format('use any schema of its search_path (%s)', current_setting('search_path')),
    format('grant usage on schema public to %I', role)
  from me
  where current_schema() is null
) as lacks
order by step",
    )
}

/// Privileges to read and write these tables that the session's role lacks: `name, rights,
/// remedy`, one table per row; the rights are words such as `insert, update`.
pub(crate) fn missing_for_calls(tables: &[&str]) -> Statement {
    let mut sql = Statement::fixed(
        "select c.relname::text, lacks.rights, format(
  'grant %s on table %I.%I to %I', lacks.rights, current_schema(), c.relname, current_user
)
from pg_class as c,
lateral (
  select string_agg(word, ', ' order by n) as rights
  from unnest(array['select', 'insert', 'update', 'delete']) with ordinality as wanted (word, n)
  where not has_table_privilege(c.oid, word)
) as lacks
where c.relnamespace = to_regnamespace(quote_ident(current_schema())) and c.relkind in ('r', 'p')
  and lacks.rights is not null and c.relname = any(",
    );
    sql.bind(Bind::Texts(tables.iter().map(|name| (*name).to_owned()).collect())).push(")\norder by 1");
    sql
}

/// Whether the server is a standby, the statement that lets the session's role write again, and
/// whether its sessions only read: `standby, remedy, read_only`.
pub(crate) fn read_only() -> Statement {
    Statement::fixed(
        "select pg_is_in_recovery(), case s.source
  when 'database user' then format('alter role %I in database %I reset default_transaction_read_only', current_user, current_database())
  when 'user' then format('alter role %I reset default_transaction_read_only', current_user)
  when 'database' then format('alter database %I reset default_transaction_read_only', current_database())
  when 'client' then '-- and take default_transaction_read_only out of options in DATABASE_URL'
  else format('alter role %I set default_transaction_read_only = off', current_user)
end, s.setting = 'on'
from pg_settings as s
where s.name = 'default_transaction_read_only'",
    )
}
