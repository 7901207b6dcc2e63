/** Records the range of an index from a callback and checks it against the index, so that errors have its stack. */

import { storageProblem } from '../values/storable-json.js';
import { invalid, quoteName } from './argument-errors.js';
import type { Filter, Plan, ScanBound } from './operations.js';
import type { Table } from './program.js';

const SYSTEM_INDEXES: ReadonlyMap<string, readonly string[]> = new Map([
  ['by_id', ['id']],
  ['by_creation_time', ['_creationTime']],
]);

/** A part of an index. */
export interface IndexRange extends Pick<Plan, 'index' | 'eq' | 'lower' | 'upper'> {
  /** Equalities that are not part of the range, because a field before theirs has no equality; applied as filters. */
  readonly residual: readonly Filter[];
}

/** All documents, in creation order. */
export const WHOLE_TABLE: IndexRange = { index: null, eq: [], residual: [] };

/** The range of `index` defined by `callback`. */
export function rangeOf(table: Table, index: unknown, callback: ((q: never) => unknown) | undefined): IndexRange {
  const fields = indexFields(table, index);
  if (callback !== undefined && typeof callback !== 'function') {
    throw invalid(`withIndex() takes a callback, as in withIndex('${String(index)}', (q) => q.eq('${fields[0]}', …))`);
  }
  const recorder = new RangeRecorder(table.name, index as string, fields);
  callback?.(recorder as never);
  return recorder.range();
}

function indexFields(table: Table, index: unknown): readonly string[] {
  const { indexes } = table.definition;
  if (typeof index === 'string') {
    const fields = Object.hasOwn(indexes, index) ? indexes[index] : SYSTEM_INDEXES.get(index);
    if (fields !== undefined) return fields;
  }
  const known = [...Object.keys(indexes), ...SYSTEM_INDEXES.keys()].join(', ');
  throw invalid(`${table.name} has no index ${quoteName(index)}; its indexes are ${known}`);
}

type Comparison = 'gt' | 'gte' | 'lt' | 'lte';
type FieldBound = ScanBound & { readonly field: string };

/** Records the conditions of a range callback, in any order, and turns them into a prefix and bounds on the next field. */
class RangeRecorder {
  readonly #index: string;
  readonly #place: string;
  readonly #fields: readonly string[];
  readonly #equal = new Map<string, unknown>();
  #lower: FieldBound | undefined;
  #upper: FieldBound | undefined;

  constructor(table: string, index: string, fields: readonly string[]) {
    this.#index = index;
    this.#place = `${table}.${index}`;
    this.#fields = fields;
  }

  eq(field: string, value: unknown): this {
    this.#check(field, value);
    if (this.#equal.has(field)) throw invalid(`${this.#place}: eq('${field}') was given twice`);
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

  /** The recorded range, in the form of an operation. */
  range(): IndexRange {
    const firstOpen = this.#fields.findIndex((field) => !this.#equal.has(field));
    const prefix = firstOpen < 0 ? this.#fields : this.#fields.slice(0, firstOpen);
    this.#checkBounds(firstOpen < 0 ? undefined : this.#fields[firstOpen]);
    const residual = [...this.#equal].filter(([field]) => !prefix.includes(field));
    return {
      index: this.#index,
      eq: prefix.map((field) => this.#equal.get(field)),
      ...(this.#lower && { lower: { value: this.#lower.value, inclusive: this.#lower.inclusive } }),
      ...(this.#upper && { upper: { value: this.#upper.value, inclusive: this.#upper.inclusive } }),
      residual: residual.map(([field, value]) => ({ is: 'eq', field, value })),
    };
  }

  #checkBounds(next: string | undefined): void {
    for (const bound of [this.#lower, this.#upper]) {
      if (bound === undefined || bound.field === next) continue;
      throw invalid(
        this.#equal.has(bound.field)
          ? `${this.#place}: '${bound.field}' has both an equality and a bound`
          : `${this.#place}: a bound on '${bound.field}' also needs eq('${next}'), which comes before it in the index`,
      );
    }
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
      throw invalid(`${this.#place} has no field ${quoteName(field)}; its fields are ${this.#fields.join(', ')}`);
    }
    const problem = storageProblem(value);
    if (problem !== null) throw invalid(`${this.#place}: the value for '${field}' ${problem.reason}`);
  }
}
