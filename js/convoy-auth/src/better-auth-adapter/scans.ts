/**
 * `where` as queries of Convoy: the index that fits most clauses, and a filter for the rest, which Postgres evaluates. An
 * `in` on an indexed field becomes one query for each value.
 */

import type { Condition, FilterBuilder, RangeBuilder, TableQuery } from '@avvos/convoy';
import type { UntypedDb } from './context.js';
import type { IndexLayout, TableLayout } from './layout.js';
import type { Clause, Where } from './where.js';

// biome-ignore lint/suspicious/noExplicitAny: the documents of any table.
type Untyped = any;
type Query = TableQuery<Untyped>;

/** The order of a query. */
export interface Sort {
  readonly field: string;
  readonly direction: 'asc' | 'desc';
}

/** More values are compared by a filter. */
export const MAX_QUERIES = 100;

const BY_ID: IndexLayout = { name: 'by_id', fields: ['id'], unique: true };

/** Queries that together return each matching document once; several only without an order. */
export function scansOf(db: Pick<UntypedDb, 'query'>, table: TableLayout, where: Where, sort?: Sort): Query[] {
  const split = sort === undefined ? clauseToSplit(table, where) : null;
  if (split === null) return [scan(db, table, where, sort)];
  const rest = where.all.filter((clause) => clause !== split);
  return [...new Set(split.values)].map((value) => {
    const equal: Clause = { ...split, operator: 'eq', values: [value] };
    return scan(db, table, { all: [equal, ...rest], any: where.any }, sort);
  });
}

function scan(db: Pick<UntypedDb, 'query'>, table: TableLayout, where: Where, sort: Sort | undefined): Query {
  const chosen = chosenIndex(table, where.all);
  let query: Query = db.query(table.table);
  if (chosen !== null) {
    query = query.withIndex(chosen.index.name, (range: RangeBuilder<Untyped, string>) => {
      for (const { field, values } of chosen.equal) range.eq(field, values[0]);
      for (const { field, operator, values } of chosen.bounds) range[operator as 'gt'](field, values[0]);
    });
  }
  const used = new Set<Clause>(chosen === null ? [] : [...chosen.equal, ...chosen.bounds]);
  const rest = where.all.filter((clause) => !used.has(clause));
  if (rest.length > 0 || where.any.length > 0) {
    query = query.filter((q: FilterBuilder<Untyped>) => {
      const all = rest.map((clause) => conditionOf(q, clause));
      if (where.any.length > 0) all.push(q.or(...where.any.map((clause) => conditionOf(q, clause))));
      return q.and(...all);
    });
  }
  return sort === undefined ? query : query.order(sort.direction, sort.field);
}

/** An index, and the clauses that define its range. */
interface ChosenIndex {
  readonly index: IndexLayout;
  readonly equal: readonly Clause[];
  readonly bounds: readonly Clause[];
}

/** The index with the longest prefix of equalities, a unique one before others; then one with a bound. */
export function chosenIndex(table: TableLayout, clauses: readonly Clause[]): ChosenIndex | null {
  let best: { readonly chosen: ChosenIndex; readonly rank: number } | null = null;
  for (const index of [BY_ID, ...table.indexes]) {
    const equal: Clause[] = [];
    for (const field of index.fields) {
      const clause = clauses.find((each) => each.field === field && each.operator === 'eq');
      if (clause === undefined) break;
      equal.push(clause);
    }
    const next = index.fields[equal.length];
    const bounds = next === undefined || index === BY_ID ? [] : boundsOf(clauses, next);
    const isOne = index.unique && equal.length === index.fields.length;
    const rank = (isOne ? 100 : 0) + equal.length * 2 + (bounds.length > 0 ? 1 : 0);
    if (rank > (best?.rank ?? 0)) best = { chosen: { index, equal, bounds }, rank };
  }
  return best?.chosen ?? null;
}

/** At most one lower and one upper bound of a field. */
function boundsOf(clauses: readonly Clause[], field: string): Clause[] {
  const bound = (operators: readonly string[]): Clause[] =>
    clauses.filter((each) => each.field === field && operators.includes(each.operator) && each.values[0] !== null);
  return [...bound(['gt', 'gte']).slice(0, 1), ...bound(['lt', 'lte']).slice(0, 1)];
}

/** The `in` whose values are queried one by one: on the first field of an index, where no equality finds the documents. */
function clauseToSplit(table: TableLayout, { all }: Where): Clause | null {
  if ((chosenIndex(table, all)?.equal.length ?? 0) > 0) return null;
  const isFirst = (field: string): boolean => [BY_ID, ...table.indexes].some(({ fields }) => fields[0] === field);
  return all.find((each) => each.operator === 'in' && each.values.length <= MAX_QUERIES && isFirst(each.field)) ?? null;
}

function conditionOf(q: FilterBuilder<Untyped>, { field: name, operator, values }: Clause): Condition {
  const field = q.field(name);
  const [value = null] = values;
  switch (operator) {
    case 'eq':
      return q.eq(field, value);
    case 'ne':
      return q.neq(field, value);
    case 'in':
      return q.in(field, values);
    case 'not_in':
      return q.not(q.in(field, values));
    case 'starts_with':
      return prefixed(q, field, String(value));
    default:
      // Nothing is greater or less than null.
      return value === null ? q.or() : q[operator as 'gt'](field, value);
  }
}

function prefixed(q: FilterBuilder<Untyped>, field: Untyped, prefix: string): Condition {
  const end = textAfter(prefix);
  return end === null ? q.gte(field, prefix) : q.and(q.gte(field, prefix), q.lt(field, end));
}

const LAST_CODE_POINT = 0x10ffff;
const SURROGATES = { first: 0xd800, after: 0xe000 };

/** The first text after all those that start with `prefix`, in the order of code points; `null` if there is none. */
export function textAfter(prefix: string): string | null {
  const points = Array.from(prefix, (character) => character.codePointAt(0) as number);
  while (points.at(-1) === LAST_CODE_POINT) points.pop();
  const last = points.pop();
  if (last === undefined) return null;
  const next = last + 1 === SURROGATES.first ? SURROGATES.after : last + 1;
  return String.fromCodePoint(...points, next);
}
