/** A table in memory with the documented behaviour, which scans all documents for every query. */
import { compareField, compareToBound, equals, type Rules, type Stored, valueAt } from './order.js';
import { FIELDS, INDEXES, Thing } from './things.js';

export interface Row {
  readonly id: string;
  /** `_creationTime`. */
  readonly created: number;
  readonly data: Stored;
}

export interface Bound {
  readonly value: unknown;
  readonly inclusive: boolean;
}

/** A condition that a field of the index equals a value. */
export interface Equality {
  readonly field: string;
  readonly value: unknown;
}

export type Filter =
  | { readonly is: 'eq' | 'neq' | 'gt' | 'gte' | 'lt' | 'lte'; readonly field: string; readonly value: unknown }
  | { readonly is: 'in'; readonly field: string; readonly values: readonly unknown[] }
  | { readonly is: 'and' | 'or'; readonly of: readonly Filter[] }
  | { readonly is: 'not'; readonly of: Filter };

/** A query, for `ctx.db` and for the model. */
export interface Plan {
  readonly index: string | null;
  /** The values of the index's first fields. */
  readonly eq: readonly unknown[];
  /** The bounds of the next field. */
  readonly lower: Bound | null;
  readonly upper: Bound | null;
  /** Equalities on fields after a gap, which are filters. */
  readonly offPrefix: readonly Equality[];
  readonly filters: readonly Filter[];
  readonly direction: 'asc' | 'desc';
  readonly by: string | null;
  readonly offset: number;
  readonly limit: number | null;
}

export class ModelTable {
  readonly #rules: Rules;
  readonly #rows: Map<string, Row>;

  constructor(rules: Rules, rows: Iterable<Row> = []) {
    this.#rules = rules;
    this.#rows = new Map([...rows].map((row) => [row.id, row]));
  }

  copy(): ModelTable {
    return new ModelTable(this.#rules, this.#rows.values());
  }

  get size(): number {
    return this.#rows.size;
  }

  get ids(): string[] {
    return [...this.#rows.keys()];
  }

  row(id: string): Row | null {
    return this.#rows.get(id) ?? null;
  }

  /** The document as reads return it: with its constant default where the key is missing. */
  document(id: string): Record<string, unknown> | null {
    const row = this.#rows.get(id);
    return row === undefined ? null : read(row);
  }

  /** Stores a document as parsed by the schema, as JSON. */
  put(id: string, created: number, input: unknown): void {
    this.#rows.set(id, { id, created, data: asJson(Thing.parse(input)) });
  }

  /** Stores a row without applying the schema. */
  putForeign(row: Row): void {
    this.#rows.set(row.id, row);
  }

  /** Returns null where the document does not exist, false where the result would violate the schema. */
  patch(id: string, changes: Stored): Record<string, unknown> | null | false {
    const row = this.#rows.get(id);
    if (row === undefined) return null;
    const merged: Record<string, unknown> = { ...read(row), ...changes };
    const parsed = Thing.safeParse(merged);
    if (!parsed.success) return false;
    const data: Record<string, unknown> = { ...row.data };
    for (const key of Object.keys(changes)) {
      const value = Object.hasOwn(parsed.data, key) ? parsed.data[key as keyof typeof parsed.data] : undefined;
      if (changes[key] === undefined) delete data[key];
      else if (value !== undefined) data[key] = value;
    }
    this.#rows.set(id, { ...row, data: asJson(data) });
    return this.document(id);
  }

  replace(id: string, input: unknown): Record<string, unknown> | null {
    const row = this.#rows.get(id);
    if (row === undefined) return null;
    this.put(id, row.created, input);
    return this.document(id);
  }

  increment(id: string, field: string, by: number): Record<string, unknown> | null {
    const row = this.#rows.get(id);
    if (row === undefined) return null;
    const before = row.data[field];
    this.#rows.set(id, {
      ...row,
      data: asJson({ ...row.data, [field]: (typeof before === 'number' ? before : 0) + by }),
    });
    return this.document(id);
  }

  delete(id: string): boolean {
    return this.#rows.delete(id);
  }

  /** The rows of a plan: `all` of them, and those `within` its limit and offset. */
  rows(plan: Plan): { readonly all: Row[]; readonly within: Row[] } {
    const rows = [...this.#rows.values()].filter((row) => this.#inRange(row, plan));
    const all = rows.filter((row) => plan.filters.every((filter) => this.#holds(row, filter)));
    all.sort(this.comparing(plan));
    const end = plan.limit === null ? undefined : plan.offset + plan.limit;
    return { all, within: all.slice(plan.offset, end) };
  }

  /** The rows after a position in the order of a plan, given as an earlier version of a row. */
  rowsAfter(plan: Plan, position: Row | null): Row[] {
    const compare = this.comparing(plan);
    const { all } = this.rows(plan);
    return position === null ? all : all.filter((row) => compare(row, position) > 0);
  }

  comparing({ direction, by, index, eq }: Plan): (one: Row, other: Row) => number {
    const fields = by === null ? (index === null ? [] : (INDEXES[index] as readonly string[]).slice(eq.length)) : [by];
    const ties = this.#rules.tiesByCreation ? ['_creationTime', 'id'] : ['id'];
    const sign = direction === 'asc' ? 1 : -1;
    return (one, other) => {
      for (const field of [...fields, ...ties]) {
        const order = compareField(this.#rules, kindOf(field), fieldOf(one, field), fieldOf(other, field));
        if (order !== 0) return sign * order;
      }
      return 0;
    };
  }

  #inRange(row: Row, { index, eq, lower, upper, offPrefix }: Plan): boolean {
    const fields = index === null ? [] : (INDEXES[index] as readonly string[]);
    if (!offPrefix.every(({ field, value }) => equals(fieldOf(row, field), value))) return false;
    if (!eq.every((expected, at) => equals(fieldOf(row, fields[at] as string), expected))) return false;
    const next = fields[eq.length];
    if (next === undefined) return true;
    const value = fieldOf(row, next);
    return this.#isBeyond(value, lower, 1) && this.#isBeyond(value, upper, -1);
  }

  #isBeyond(value: unknown, bound: Bound | null, sign: 1 | -1): boolean {
    if (bound === null) return true;
    const order = compareToBound(this.#rules, value, bound.value);
    if (order === null) return false;
    return order * sign > 0 || (order === 0 && bound.inclusive && this.#rules.inclusive);
  }

  #holds(row: Row, filter: Filter): boolean {
    switch (filter.is) {
      case 'and':
        return filter.of.every((each) => this.#holds(row, each));
      case 'or':
        return filter.of.some((each) => this.#holds(row, each));
      case 'not':
        return !this.#holds(row, filter.of);
      case 'in':
        return filter.values.some((value) => equals(fieldOf(row, filter.field), value));
      case 'eq':
      case 'neq':
        return equals(fieldOf(row, filter.field), filter.value) === (filter.is === 'eq');
      default: {
        const bound = { value: filter.value, inclusive: filter.is.endsWith('e') };
        return this.#isBeyond(fieldOf(row, filter.field), bound, filter.is.startsWith('g') ? 1 : -1);
      }
    }
  }
}

export function read({ id, created, data }: Row): Record<string, unknown> {
  return { count: 0, ...data, id, _creationTime: created };
}

/** The stored value of a field: indexes, filters and orders ignore defaults. */
export function fieldOf({ id, created, data }: Row, field: string): unknown {
  if (field === 'id') return id;
  return field === '_creationTime' ? created : valueAt(data, field);
}

function kindOf(field: string) {
  return FIELDS[field] ?? 'json';
}

/** The value after JSON, in which -0 is 0. */
function asJson(value: unknown): Stored {
  return JSON.parse(JSON.stringify(value)) as Stored;
}
