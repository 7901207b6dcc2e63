/**
 * `ctx.db.query(table)`: a scan put together step by step. Each step gives a new builder, and only `collect`, `take`
 * and `first` send anything. The range is checked against the index here, so that mistakes have the caller's stack.
 */

import type { TableTypes } from '../schema/index.js';
import { ConvoyError } from '../values/errors.js';
import { storageProblem } from '../values/json.js';
import type { Call, ScanBound, ScanOperation } from './call.js';
import type { Direction, RangeBuilder, TableQuery } from './database.js';
import type { Table } from './program.js';

/** What a scan needs of the call it belongs to. */
export interface ScanSource {
  readonly call: Call;
  /** Fills defaults into the documents just read, in place. */
  receive(table: Table, documents: unknown): Record<string, unknown>[];
}

type Plan = Omit<ScanOperation, 'op' | 'table'>;

const WHOLE_TABLE: Plan = { index: null, eq: [], order: 'asc', limit: null };

const SYSTEM_INDEXES: ReadonlyMap<string, readonly string[]> = new Map([
  ['by_id', ['id']],
  ['by_creation_time', ['_creationTime']],
]);

/** The running form of `TableQuery`; the types are checked where `ctx.db` is typed. */
export class TableScan implements TableQuery<TableTypes> {
  readonly #source: ScanSource;
  readonly #table: Table;
  readonly #plan: Plan;

  constructor(source: ScanSource, table: Table, plan: Plan = WHOLE_TABLE) {
    this.#source = source;
    this.#table = table;
    this.#plan = plan;
  }

  withIndex(index: string, range?: (q: RangeBuilder<object, never>) => unknown): TableScan {
    const fields = indexFields(this.#table, index);
    const recorder = new RangeRecorder(this.#table.name, index, fields);
    range?.(recorder as unknown as RangeBuilder<object, never>);
    const { order, limit } = this.#plan;
    return this.#with({ index, ...recorder.bounds(), order, limit });
  }

  order(direction: Direction): TableScan {
    if (direction !== 'asc' && direction !== 'desc') throw invalid("order() takes 'asc' or 'desc'");
    return this.#with({ ...this.#plan, order: direction });
  }

  limit(count: number): TableScan {
    if (!Number.isInteger(count) || count < 0 || count > MAX_LIMIT) {
      throw invalid(`limit() takes a whole number from 0 to ${MAX_LIMIT}, not ${String(count)}`);
    }
    return this.#with({ ...this.#plan, limit: count });
  }

  take(count: number): Promise<object[]> {
    const { limit } = this.limit(count).#plan;
    const before = this.#plan.limit;
    return this.#with({ ...this.#plan, limit: before === null ? limit : Math.min(before, count) }).collect();
  }

  collect(): Promise<object[]> {
    return this.#run((documents) => documents);
  }

  first(): Promise<object | null> {
    return this.#with({ ...this.#plan, limit: this.#plan.limit === 0 ? 0 : 1 }).#run(([first]) => first ?? null);
  }

  #with(plan: Plan): TableScan {
    return new TableScan(this.#source, this.#table, plan);
  }

  #run<T>(finish: (documents: Record<string, unknown>[]) => T): Promise<T> {
    const operation: ScanOperation = { op: 'scan', table: this.#table.name, ...this.#plan };
    return this.#source.call.issue(operation, (found) => finish(this.#source.receive(this.#table, found)));
  }
}

/** The engine counts documents in 32 bits. */
const MAX_LIMIT = 4_294_967_295;

type Comparison = 'gt' | 'gte' | 'lt' | 'lte';

/** Records what a range callback says, in any order, and then makes of it a prefix and bounds on the next field. */
class RangeRecorder {
  readonly #place: string;
  readonly #fields: readonly string[];
  readonly #equal = new Map<string, unknown>();
  #lower: ({ readonly field: string } & ScanBound) | undefined;
  #upper: ({ readonly field: string } & ScanBound) | undefined;

  constructor(table: string, index: string, fields: readonly string[]) {
    this.#place = `${table}.${index}`;
    this.#fields = fields;
  }

  eq(field: string, value: unknown): this {
    this.#check(field, value);
    if (this.#equal.has(field)) throw invalid(`${this.#place}: eq('${field}') is said twice`);
    this.#equal.set(field, value);
    return this;
  }

  gt(field: string, value: unknown): this {
    return this.#bound('gt', field, value);
  }

  gte(field: string, value: unknown): this {
    return this.#bound('gte', field, value);
  }

  lt(field: string, value: unknown): this {
    return this.#bound('lt', field, value);
  }

  lte(field: string, value: unknown): this {
    return this.#bound('lte', field, value);
  }

  /** The recorded range as the engine takes it. */
  bounds(): Pick<Plan, 'eq' | 'lower' | 'upper'> {
    const prefix = this.#fields.slice(0, this.#equal.size);
    for (const field of this.#equal.keys()) {
      if (prefix.includes(field)) continue;
      const missing = prefix.find((before) => !this.#equal.has(before));
      throw invalid(`${this.#place}: eq('${field}') also needs eq('${missing}'), which comes before it in the index`);
    }
    const next = this.#fields[this.#equal.size];
    for (const bound of [this.#lower, this.#upper]) {
      if (bound === undefined || bound.field === next) continue;
      throw invalid(
        this.#equal.has(bound.field)
          ? `${this.#place}: '${bound.field}' has both an equality and a bound`
          : `${this.#place}: a bound on '${bound.field}' also needs eq('${next}'), which comes before it in the index`,
      );
    }
    return {
      eq: prefix.map((field) => this.#equal.get(field)),
      ...(this.#lower && { lower: { value: this.#lower.value, inclusive: this.#lower.inclusive } }),
      ...(this.#upper && { upper: { value: this.#upper.value, inclusive: this.#upper.inclusive } }),
    };
  }

  #bound(comparison: Comparison, field: string, value: unknown): this {
    this.#check(field, value);
    const bound = { field, value, inclusive: comparison === 'gte' || comparison === 'lte' };
    const lower = comparison === 'gt' || comparison === 'gte';
    if ((lower ? this.#lower : this.#upper) !== undefined) {
      throw invalid(`${this.#place}: there are two ${lower ? 'lower' : 'upper'} bounds; keep one`);
    }
    if (lower) this.#lower = bound;
    else this.#upper = bound;
    return this;
  }

  #check(field: string, value: unknown): void {
    if (!this.#fields.includes(field)) {
      throw invalid(`${this.#place} has no field '${field}'; its fields are ${this.#fields.join(', ')}`);
    }
    const problem = storageProblem(value);
    if (problem !== null) throw invalid(`${this.#place}: the value for '${field}' ${problem.reason}`);
  }
}

function indexFields(table: Table, index: string): readonly string[] {
  const { indexes } = table.definition;
  const fields = Object.hasOwn(indexes, index) ? indexes[index] : SYSTEM_INDEXES.get(index);
  if (fields !== undefined) return fields;
  const known = [...Object.keys(indexes), ...SYSTEM_INDEXES.keys()].join(', ');
  throw invalid(`${table.name} has no index '${String(index)}'; its indexes are ${known}`);
}

function invalid(message: string): ConvoyError {
  return new ConvoyError('INVALID_ARGS', `${message}.`);
}
