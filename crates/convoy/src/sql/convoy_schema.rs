//! Statements that create the `_convoy` schema, and find its missing objects: the change log
//! with its epoch, stored responses, locks, and the functions of triggers.

use super::Statement;

/// Creates the `_convoy` schema with its tables and functions. Each statement can be repeated.
pub(crate) fn create() -> Vec<Statement> {
    [
        "create schema if not exists _convoy",
        "create unlogged table if not exists _convoy.epoch (
  one boolean primary key default true check (one),
  id uuid not null default gen_random_uuid(),
  trimmed_below xid8 not null default '0'
)",
        // A new log gets a new epoch.
        "do $do$
begin
  if to_regclass('_convoy.changes') is null then
    create unlogged table _convoy.changes (
      xid xid8 not null default pg_current_xact_id(),
      node uuid,
      tab text not null,
      id uuid,
      old_at timestamptz,
      old_keys jsonb,
      new_at timestamptz,
      new_keys jsonb
    );
    delete from _convoy.epoch;
  end if;
end
$do$",
        // `create index if not exists` would wait for every open write transaction, and have
        // later ones wait behind it, even where the index exists.
        "do $do$
begin
  if to_regclass('_convoy.changes_xid') is null then
    create index changes_xid on _convoy.changes (xid);
  end if;
end
$do$",
        "insert into _convoy.epoch default values on conflict do nothing",
        "create table if not exists _convoy.idempotency (
  function text not null,
  identity text not null,
  key text not null,
  body uuid not null,
  result text not null,
  at timestamptz not null default now(),
  constraint idempotency_key primary key (key, function, identity)
)",
        "do $do$
begin
  if to_regclass('_convoy.idempotency_at') is null then
    create index idempotency_at on _convoy.idempotency (at);
  end if;
end
$do$",
        // Lost when Postgres crashes: then the buckets are full.
        "create unlogged table if not exists _convoy.rate_limits (
  key uuid primary key,
  full_at timestamptz not null
)",
        "create table if not exists _convoy.lane_0 ()",
        "create table if not exists _convoy.lane_1 ()",
        "create table if not exists _convoy.lane_2 ()",
        "create table if not exists _convoy.lane_3 ()",
        "create or replace function _convoy.keys_of(data jsonb, paths text[]) returns jsonb
language sql immutable set search_path = pg_catalog, pg_temp as $$
  select coalesce(jsonb_object_agg(path, data #> string_to_array(path, '.')), '{}')
  from unnest(paths) as path
$$",
        "create or replace function _convoy.log_insert() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  if (select count(*) from (select 1 from new_rows limit 1001) as few) > 1000 then
    insert into _convoy.changes (tab) values (tg_table_name);
  else
    insert into _convoy.changes (tab, id, new_at, new_keys)
    select tg_table_name, id, created_at, _convoy.keys_of(data, tg_argv)
    from new_rows;
  end if;
  return null;
end
$$",
        "create or replace function _convoy.log_update() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  if (select count(*) from (select 1 from new_rows limit 1001) as few) > 1000 then
    insert into _convoy.changes (tab) values (tg_table_name);
  else
    insert into _convoy.changes (tab, id, old_at, old_keys, new_at, new_keys)
    select
      tg_table_name,
      id,
      o.created_at,
      case when o.data is not null then _convoy.keys_of(o.data, tg_argv) end,
      n.created_at,
      case when n.data is not null then _convoy.keys_of(n.data, tg_argv) end
    from old_rows as o
    full join new_rows as n using (id);
  end if;
  return null;
end
$$",
        "create or replace function _convoy.log_delete() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  if (select count(*) from (select 1 from old_rows limit 1001) as few) > 1000 then
    insert into _convoy.changes (tab) values (tg_table_name);
  else
    insert into _convoy.changes (tab, id, old_at, old_keys)
    select tg_table_name, id, created_at, _convoy.keys_of(data, tg_argv)
    from old_rows;
  end if;
  return null;
end
$$",
        "create or replace function _convoy.log_truncate() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  insert into _convoy.changes (tab) values (tg_table_name);
  return null;
end
$$",
        // Rows deleted by hand may be unread: a new epoch makes every process treat everything
        // as changed.
        "create or replace function _convoy.log_changed() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  update _convoy.epoch set id = gen_random_uuid();
  return null;
end
$$",
        "create or replace function _convoy.log_thinned() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  if exists (select from gone where xid >= (select trimmed_below from _convoy.epoch)) then
    update _convoy.epoch set id = gen_random_uuid();
  end if;
  return null;
end
$$",
        // Responses deleted before they expire are reported through the log.
        "create or replace function _convoy.answers_emptied() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  insert into _convoy.changes (tab) values ('_convoy.idempotency');
  return null;
end
$$",
        "create or replace function _convoy.answers_thinned() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  if exists (select from gone where at >= now() - interval '24 hours') then
    insert into _convoy.changes (tab) values ('_convoy.idempotency');
  end if;
  return null;
end
$$",
        // `create or replace trigger` would wait for every open write transaction.
        "do $do$
declare
  relation text;
  trigger_name text;
  event text;
  calls text;
begin
  for relation, trigger_name, event, calls in values
    ('changes', '_convoy_changed', 'update or truncate on _convoy.changes', 'log_changed'),
    ('changes', '_convoy_thinned', 'delete on _convoy.changes referencing old table as gone', 'log_thinned'),
    ('idempotency', '_convoy_emptied', 'truncate on _convoy.idempotency', 'answers_emptied'),
    ('idempotency', '_convoy_thinned', 'delete on _convoy.idempotency referencing old table as gone', 'answers_thinned')
  loop
    if not exists (
      select from pg_trigger where tgrelid = ('_convoy.' || relation)::regclass and tgname = trigger_name
    ) then
      execute format(
        'create trigger %I after %s for each statement execute function _convoy.%I()', trigger_name, event, calls
      );
      execute format('alter table _convoy.%I enable always trigger %I', relation, trigger_name);
    end if;
  end loop;
end
$do$",
    ]
    .map(Statement::fixed)
    .into()
}

/// The table name under which the log reports that stored responses were deleted.
pub(crate) const RESPONSES_LOST: &str = "_convoy.idempotency";

/// Missing objects of the `_convoy` schema, such as `table epoch`, one per row.
pub(crate) fn missing_objects() -> Statement {
    Statement::fixed(
        "select 'table ' || name from unnest(array[
  'changes', 'epoch', 'idempotency', 'rate_limits', 'lane_0', 'lane_1', 'lane_2', 'lane_3'
]) as name
where to_regclass('_convoy.' || name) is null
union all
select 'function ' || name from unnest(array[
  'keys_of(jsonb, text[])', 'log_insert()', 'log_update()', 'log_delete()', 'log_truncate()',
  'log_changed()', 'log_thinned()', 'answers_emptied()', 'answers_thinned()'
]) as name
where to_regprocedure('_convoy.' || name) is null
union all
select 'trigger ' || name || ' of ' || tab from (values
  ('changes', '_convoy_changed'), ('changes', '_convoy_thinned'),
  ('idempotency', '_convoy_emptied'), ('idempotency', '_convoy_thinned')
) as wanted (tab, name)
where not exists (
  select from pg_trigger as t
  where t.tgrelid = to_regclass('_convoy.' || tab) and t.tgname = name and not t.tgisinternal
)",
    )
}
