/**
 * `where` as SQL, for what the query builder of Convoy cannot express: parts of texts, and texts regardless of case. No
 * index helps there, so Postgres reads the table; only ids are returned.
 */

import { type SqlFragment, sql } from '@avvos/convoy/sql';
import type { IdForm } from './ids.js';
import { GIVEN_ID } from './layout.js';
import type { Clause, Stored, Where } from './where.js';

/** How the ids of matching documents are selected. */
export interface IdSelection {
  readonly table: string;
  readonly where: Where;
  readonly form: IdForm;
  readonly sort?: { readonly field: string; readonly direction: 'asc' | 'desc' } | undefined;
  readonly limit?: number | undefined;
  readonly offset?: number | undefined;
}

/** Whether `where` needs SQL. */
export function needsSql({ all, any }: Where): boolean {
  return [...all, ...any].some(
    ({ operator, ignoresCase }) => ignoresCase || operator === 'contains' || operator === 'ends_with',
  );
}

/** Selects the ids, `<table>:<uuid>`, of matching documents. */
export function selectIds(selection: IdSelection): SqlFragment {
  const { table, sort, limit, offset } = selection;
  const direction = sql.raw(sort?.direction === 'desc' ? 'desc' : 'asc');
  const order = sort === undefined ? sql.empty() : sql`${sortKey(sort.field)} ${direction}, `;
  return sql`
    select ${`${table}:`}::text || id::text as id
    from ${sql.identifier(table)}
    where ${condition(selection)}
    order by ${order}created_at ${direction}, id ${direction}
    limit ${limit ?? null}::bigint
    offset ${offset ?? 0}::bigint`;
}

/** Counts the matching documents. */
export function countMatching(selection: IdSelection): SqlFragment {
  return sql`select count(*) as count from ${sql.identifier(selection.table)} where ${condition(selection)}`;
}

function condition({ table, where: { all, any }, form }: IdSelection): SqlFragment {
  const parts = all.map((clause) => clauseSql(table, clause, form));
  if (any.length > 0) {
    parts.push(
      sql`(${sql.join(
        any.map((clause) => clauseSql(table, clause, form)),
        sql` or `,
      )})`,
    );
  }
  return parts.length === 0 ? sql`true` : sql.join(parts, sql` and `);
}

function clauseSql(table: string, clause: Clause, form: IdForm): SqlFragment {
  const { field, operator, values, ignoresCase } = clause;
  const [value = null] = values;
  const equals = (each: Stored): SqlFragment => equalTo(table, field, each, ignoresCase);
  switch (operator) {
    case 'eq':
      return equals(value);
    case 'ne':
      return sql`not ${equals(value)}`;
    case 'in':
      return anyOf(values.map(equals));
    case 'not_in':
      return sql`not ${anyOf(values.map(equals))}`;
    case 'contains':
    case 'starts_with':
    case 'ends_with':
      return textPart(operator, textOf(table, field, form), String(value), ignoresCase);
    default:
      return compared(operator, field, value, textOf(table, field, form));
  }
}

function anyOf(conditions: readonly SqlFragment[]): SqlFragment {
  return conditions.length === 0 ? sql`false` : sql`(${sql.join(conditions, sql` or `)})`;
}

/** Never null, so that its negation is exact. */
function equalTo(table: string, field: string, value: Stored, ignoresCase: boolean): SqlFragment {
  if (field === 'id') return sql`(${`${table}:`}::text || id::text = ${value}::text)`;
  const text = sql`(data->>${field}::text)`;
  if (value === null) return sql`(${text} is null)`;
  if (ignoresCase) return sql`coalesce(lower(${text}) = lower(${value}::text), false)`;
  return sql`coalesce(data->${field}::text = ${JSON.stringify(value)}::jsonb, false)`;
}

function textPart(operator: string, text: SqlFragment, part: string, ignoresCase: boolean): SqlFragment {
  const whole = ignoresCase ? sql`lower(${text})` : text;
  const wanted = ignoresCase ? sql`lower(${part}::text)` : sql`${part}::text`;
  switch (operator) {
    case 'contains':
      return sql`coalesce(position(${wanted} in ${whole}) > 0, false)`;
    case 'starts_with':
      return sql`coalesce(starts_with(${whole}, ${wanted}), false)`;
    default:
      return sql`coalesce(right(${whole}, length(${wanted})) = ${wanted}, false)`;
  }
}

const COMPARISON: Readonly<Record<string, string>> = { gt: '>', gte: '>=', lt: '<', lte: '<=' };

function compared(operator: string, field: string, value: Stored, text: SqlFragment): SqlFragment {
  const symbol = sql.raw(COMPARISON[operator] as string);
  if (value === null) return sql`false`;
  if (typeof value === 'string') return sql`coalesce(${text} collate "C" ${symbol} ${value}::text collate "C", false)`;
  // JSON compares numbers by value; the kinds have to be the same.
  const json = sql`${JSON.stringify(value)}::jsonb`;
  return sql`coalesce(jsonb_typeof(data->${field}::text) = jsonb_typeof(${json}) and data->${field}::text ${symbol} ${json}, false)`;
}

/** The text of a field; of the id, the one that Better Auth sees. */
function textOf(table: string, field: string, form: IdForm): SqlFragment {
  if (field !== 'id') return sql`(data->>${field}::text)`;
  const prefix = form === 'uuid' ? '' : `${table}:`;
  return sql`coalesce(data->>${GIVEN_ID}::text, ${prefix}::text || id::text)`;
}

function sortKey(field: string): SqlFragment {
  if (field === 'id') return sql`id`;
  return sql`(case when jsonb_typeof(data->${field}::text) <> 'string' then data->${field}::text end), data->>${field}::text collate "C"`;
}
