/** A table in memory that does what the documentation says, by looking at every document each time. */
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

/** That a field of the index has a value. */
export interface Equality {
  readonly field: string;
  readonly value: unknown;
}

export type Filter =
  | { readonly is: 'eq' | 'neq' | 'gt' | 'gte' | 'lt' | 'lte'; readonly field: string; readonly value: unknown }
  | { readonly is: 'in'; readonly field: string; readonly values: readonly unknown[] }
  | { readonly is: 'and' | 'or'; readonly of: readonly Filter[] }
  | { readonly is: 'not'; readonly of: Filter };

/** A query, as it is said to `ctx.db` and to the model. */
export interface Plan {
  readonly index: string | null;
  /** Values of the index's first fields. */
  readonly eq: readonly unknown[];
  /** Of the field behind them. */
  readonly lower: Bound | null;
  readonly upper: Bound | null;
  /** Equalities on fields behind a gap, which are filters. */
  readonly beside: readonly Equality[];
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

  /** The document as it is read: with its constant default where the key is missing. */
  document(id: string): Record<string, unknown> | null {
    const row = this.#rows.get(id);
    return row === undefined ? null : read(row);
  }

  /** Stores what a parsed document is as JSON. */
  put(id: string, created: number, input: unknown): void {
    this.#rows.set(id, { id, created, data: asJson(Thing.parse(input)) });
  }

  /** Stores it whatever the schema says. */
  putForeign(row: Row): void {
    this.#rows.set(row.id, row);
  }

  /** Null where the document is gone, false where what it would become does not fit. */
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

  /** The rows of a plan, without and within its limit and offset. */
  rows(plan: Plan): { readonly all: Row[]; readonly within: Row[] } {
    const rows = [...this.#rows.values()].filter((row) => this.#inRange(row, plan));
    const all = rows.filter((row) => plan.filters.every((filter) => this.#holds(row, filter)));
    all.sort(this.comparing(plan));
    const end = plan.limit === null ? undefined : plan.offset + plan.limit;
    return { all, within: all.slice(plan.offset, end) };
  }

  /** The rows behind a place in the order of a plan, which is a row as it once was. */
  rowsBehind(plan: Plan, place: Row | null): Row[] {
    const compare = this.comparing(plan);
    const { all } = this.rows(plan);
    return place === null ? all : all.filter((row) => compare(row, place) > 0);
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

  #inRange(row: Row, { index, eq, lower, upper, beside }: Plan): boolean {
    const fields = index === null ? [] : (INDEXES[index] as readonly string[]);
    if (!beside.every(({ field, value }) => equals(fieldOf(row, field), value))) return false;
    if (!eq.every((wanted, place) => equals(fieldOf(row, fields[place] as string), wanted))) return false;
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

/** Indexes, filters and orders see what is stored. */
export function fieldOf({ id, created, data }: Row, field: string): unknown {
  if (field === 'id') return id;
  return field === '_creationTime' ? created : valueAt(data, field);
}

function kindOf(field: string) {
  return FIELDS[field] ?? 'json';
}

/** What JSON makes of a value; of -0 that is 0. */
function asJson(value: unknown): Stored {
  return JSON.parse(JSON.stringify(value)) as Stored;
}
