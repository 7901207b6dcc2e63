//! Statements about row-level security: whether policies hold for a role, and what they read.

use super::{Bind, Statement};

/// Lets a role log what it writes to `_convoy`, as its own statements do.
pub(crate) fn grant_log(role: &str) -> [Statement; 2] {
    ["grant usage on schema _convoy to ", "grant insert on _convoy.changes to "].map(|grant| {
        let mut sql = Statement::fixed(grant);
        sql.ident(role);
        sql
    })
}

/// Whether the role exists and lacks a privilege that [`grant_log`] grants: one boolean.
pub(crate) fn lacks_log(role: &str) -> Statement {
    let mut sql = Statement::fixed(
        "select not has_schema_privilege(r.oid, '_convoy', 'usage')
  or not has_table_privilege(r.oid, '_convoy.changes', 'insert')
from pg_roles as r
where to_regclass('_convoy.changes') is not null and r.rolname = ",
    );
    sql.bind(Bind::Text(role.to_owned()));
    sql
}

/// Why the policies of these tables cannot hold for a role, or why it cannot be used:
/// `what, remedy`, one per row.
pub(crate) fn problems(role: &str, tables: &[&str]) -> Statement {
    let mut sql = Statement::fixed("with wanted (name) as (select ");
    sql.bind(Bind::Text(role.to_owned())).push(
        "::text),
role as (select r.* from pg_roles as r join wanted as w on w.name = r.rolname),
own as (
  select c.oid, c.relname, c.relowner
  from pg_class as c
  where c.relkind in ('r', 'p') and not c.relforcerowsecurity and c.oid in ",
    );
    sql.named(tables).push(
        "
)
select what, remedy from (
  select 1 as step, 'it does not exist' as what, format('create role %I nologin; grant %I to %I', name, name, current_user) as remedy
  from wanted
  where not exists (select from role)
  union all
  select 2, format('%I may not switch to it', current_user), format('grant %I to %I', rolname, current_user)
  from role
  where not pg_has_role(
    oid, case when current_setting('server_version_num')::int4 >= 160000 then 'set' else 'member' end
  )
  union all
  select 3, 'it is a superuser', format('alter role %I nosuperuser', rolname) from role where rolsuper
  union all
  select 4, 'it has BYPASSRLS', format('alter role %I nobypassrls', rolname) from role where rolbypassrls
  union all
  select
    5,
    format('it owns the table %I, whose policies do not hold for its owner', o.relname),
    format('alter table %I force row level security', o.relname)
  from role as r, own as o
  where pg_has_role(r.oid, o.relowner, 'usage') and not r.rolsuper
  union all
  select 6, format('it may not use the schema %I', n.nspname), format('grant usage on schema %I to %I', n.nspname, r.rolname)
  from role as r, pg_namespace as n
  where (n.nspname = '_convoy' or n.nspname = any(current_schemas(false))) and not has_schema_privilege(r.oid, n.oid, 'usage')
  union all
  select 7, 'it may not log its writes', format('grant insert on _convoy.changes to %I', rolname)
  from role
  where to_regclass('_convoy.changes') is not null and not has_table_privilege(oid, '_convoy.changes', 'insert')
  union all
  select
    8,
    format('$user in the search_path is another schema under it, since the schema %I exists', n.nspname),
    format('alter role %I set search_path = %s', current_user, array_to_string(array(
      select quote_ident(name) from unnest(current_schemas(false)) with ordinality as path (name, at) order by at
    ), ', '))
  from role as r, pg_namespace as n
  where n.nspname in (current_user, r.rolname) and r.rolname <> current_user
    and strpos(current_setting('search_path'), '$user') > 0
  union all
  select
    9,
    'it is the role of the connection, which the system needs for itself',
    'create another role, and name it in rls'
  from role
  where rolname = current_user
  union all
  select 10, 'row_security is off', format('alter role %I set row_security = on', current_user)
  from role
  where current_setting('row_security') = 'off'
) as found
order by step, what",
    );
    sql
}

/// Those of these tables for which a role has a privilege and no policy holds: `name`. A view
/// reads as its owner, unless it is told otherwise, and only tables have policies.
pub(crate) fn unprotected(role: &str, tables: &[&str]) -> Statement {
    let mut sql = Statement::fixed(
        "select c.relname::text
from pg_roles as r, pg_class as c
where not c.relrowsecurity
  and not (c.relkind = 'v' and exists (
    select from unnest(c.reloptions) as option where option in ('security_invoker=true', 'security_invoker=on')
  ))
  and (
    has_table_privilege(r.oid, c.oid, 'select, insert, update, delete')
    or has_any_column_privilege(r.oid, c.oid, 'select, insert, update')
  )
  and r.rolname = ",
    );
    sql.bind(Bind::Text(role.to_owned())).push(" and c.oid in ").named(tables).push("\norder by 1");
    sql
}

impl Statement {
    /// The tables of these names that the session finds, as a subquery.
    fn named(&mut self, tables: &[&str]) -> &mut Statement {
        let names = tables.iter().map(|name| (*name).to_owned()).collect();
        self.push("(select to_regclass(quote_ident(name)) from unnest(").bind(Bind::Texts(names));
        self.push("::text[]) as named (name))")
    }
}

/// What the policies of these tables depend on beside the row and the settings: `table, name`,
/// one per row. A name is that of another table, with its schema unless that is the current
/// one; or that of a function whose result may change.
///
/// The policies of the tables that policies read hold as well. All policies are included, not
/// only those for one role. The expression trees name the functions and catalogs of Postgres
/// too, which its list of dependencies leaves out. A text may be cast to a time that depends on
/// the current one, as in `'today'`.
pub(crate) fn policy_reads(tables: &[&str]) -> Statement {
    let mut sql = Statement::fixed(
        r"with recursive policy as (
  select p.oid, p.polrelid as relation, concat(p.polqual::text, p.polwithcheck::text) as tree
  from pg_policy as p
  join pg_class as c on c.oid = p.polrelid
  where c.relrowsecurity
),
read (relation, other) as (
  select p.relation, d.refobjid
  from policy as p
  join pg_depend as d on d.classid = 'pg_policy'::regclass and d.objid = p.oid and d.refclassid = 'pg_class'::regclass
  where d.refobjid <> p.relation
  union
  select p.relation, m[1]::oid
  from policy as p, regexp_matches(p.tree, ':relid (\d+)', 'g') as m
  where m[1]::oid not in (0, p.relation)
),
called (relation, oid) as (
  select p.relation, m[1]::oid
  from policy as p, regexp_matches(p.tree, ':funcid (\d+)', 'g') as m
  union
  select p.relation, o.oprcode
  from policy as p, regexp_matches(p.tree, ':opno (\d+)', 'g') as m
  join pg_operator as o on o.oid = m[1]::oid
),
reached (root, relation) as (
  select c.oid, c.oid from pg_class as c where c.oid in ",
    );
    sql.named(tables).push(
        r"
  union
  select r.root, d.other from reached as r join read as d on d.relation = r.relation
),
found (root, name) as (
  select r.root, case when n.nspname = current_schema() then c.relname::text else n.nspname || '.' || c.relname end
  from reached as r
  join pg_class as c on c.oid = r.relation
  join pg_namespace as n on n.oid = c.relnamespace
  where r.root <> r.relation
  union
  select r.root, f.oid::regprocedure::text
  from reached as r
  join called as d on d.relation = r.relation
  join pg_proc as f on f.oid = d.oid
  where f.provolatile <> 'i' and f.oid not in ('current_setting(text)'::regprocedure, 'current_setting(text, boolean)'::regprocedure)
  union
  select r.root, 'current_timestamp'
  from reached as r
  join policy as p on p.relation = r.relation
  where p.tree ~ '\{SQLVALUEFUNCTION :op [0-8] ' or p.tree ~ ':resulttype (1082|1083|1114|1184|1266) '
)
select c.relname::text, f.name
from found as f
join pg_class as c on c.oid = f.root
order by 1, 2",
    );
    sql
}

/// A text that changes with the policies and with the privileges on these tables.
pub(crate) fn fingerprint(role: &str, tables: &[&str]) -> Statement {
    let mut sql = Statement::fixed(
        "select md5(concat(
  (select string_agg(p::text, ';' order by p.oid) from pg_policy as p),
  (select string_agg(concat_ws(' ', m.roleid, m.member, m.xmin), ';' order by m.roleid, m.member, m.xmin::text) from pg_auth_members as m),
  (
    select string_agg(concat_ws(' ', f.oid, f.xmin), ';' order by f.oid)
    from pg_proc as f
    where f.oid in (
      select m[1]::oid
      from pg_policy as p, regexp_matches(concat(p.polqual::text, p.polwithcheck::text), ':funcid (\\d+)', 'g') as m
    )
  ),
  (
    select string_agg(concat_ws(' ', a.attrelid, a.attname, a.attacl), ';' order by a.attrelid, a.attname)
    from pg_attribute as a
    where a.attacl is not null and a.attrelid in ",
    );
    sql.named(tables).push(
        "
  ),
  (
    select string_agg(
      concat_ws(' ', c.oid, c.relowner, c.relacl, c.relrowsecurity, c.relforcerowsecurity, c.reloptions), ';' order by c.oid
    )
    from pg_class as c
    where c.relrowsecurity or c.oid in ",
    );
    sql.named(tables).push(
        "
  ),
  (
    select string_agg(g.oid::text, ' ' order by g.oid)
    from pg_roles as r
    join pg_roles as g on pg_has_role(r.oid, g.oid, 'usage')
    where r.rolname = ",
    );
    sql.bind(Bind::Text(role.to_owned())).push("\n  )\n))");
    sql
}
