/**
 * The implementation of `ctx.db.query(table)`: an immutable builder of a scan. Each step returns a new builder, and only
 * the executing methods send an operation. Ranges, filters and names are checked in the step itself, so that errors have
 * the caller's stack.
 */

import type { TableTypes } from '../schema/index.js';
import { ConvoyError } from '../values/errors.js';
import { storageProblem } from '../values/storable-json.js';
import { describeValue, invalid } from './argument-errors.js';
import type { DevWarnings, Step, Steps } from './dev-warnings.js';
import type { PageRange } from './document-operations.js';
import type { Document } from './documents.js';
import { knownField } from './fields.js';
import { filterOf } from './filter.js';
import type { Filter, OrderField, Plan } from './operations.js';
import type { Table } from './program.js';
import { type IndexRange, rangeOf, WHOLE_TABLE } from './range.js';
import type {
  Condition,
  Direction,
  FilterBuilder,
  Page,
  PageOptions,
  RangeBuilder,
  TableQuery,
} from './table-query.js';

/** The methods of the database that a scan uses. */
export interface ScanSource {
  /** Reads documents and resolves to them mapped by `finish`. */
  scan<T>(table: Table, plan: Plan, finish: (documents: Document[]) => T): Promise<T>;
  count(table: Table, plan: Plan): Promise<number>;
  /** The plan has no limit. */
  page(table: Table, plan: Plan, range: PageRange): Promise<Page<Document>>;
  /** `null` outside of development. */
  readonly warnings: DevWarnings | null;
}

/** The parameters of a scan, collected by the steps. */
interface ScanSpec {
  readonly range: IndexRange;
  readonly filters: readonly Filter[];
  readonly by: OrderField | null;
  readonly order: Direction;
  readonly offset: number;
  readonly limit: number | null;
}

const EMPTY_SPEC: ScanSpec = { range: WHOLE_TABLE, filters: [], by: null, order: 'asc', offset: 0, limit: null };

/** The engine counts documents in 32 bits. */
export const MAX_COUNT = 4_294_967_295;
/** A page is read as a whole, and this is the number of documents a call may read. */
export const MAX_PAGE = 32_000;
/** The number of documents that `for await` reads at a time. */
const ITERATION_BATCH = 200;

/** The implementation of `TableQuery`; the public types are those of `ctx.db`. */
export class TableScan implements TableQuery<TableTypes> {
  readonly #source: ScanSource;
  readonly #table: Table;
  readonly #spec: ScanSpec;
  /** In development: all builders of this query, and the entry of this one. */
  readonly #steps: Steps | null;
  readonly #step: Step | null;

  constructor(source: ScanSource, table: Table, spec: ScanSpec = EMPTY_SPEC, steps?: Steps | null, name = 'query') {
    this.#source = source;
    this.#table = table;
    this.#spec = spec;
    this.#steps = steps === undefined ? (source.warnings?.watchSteps(table.name) ?? null) : steps;
    this.#step = this.#steps?.add(name) ?? null;
  }

  withIndex(index: string, range?: (q: RangeBuilder<object, never>) => unknown): TableScan {
    const recorded = rangeOf(this.#table, index, range);
    for (const equality of recorded.residual) this.#warnResidual(index, recorded, equality);
    return this.#with('withIndex', { range: recorded });
  }

  filter(condition: (q: FilterBuilder<object>) => Condition): TableScan {
    return this.#with('filter', { filters: [...this.#spec.filters, filterOf(this.#table, condition)] });
  }

  order(direction: Direction, field?: string): TableScan {
    if (direction !== 'asc' && direction !== 'desc') {
      throw invalid(`${this.#table.name}: order() takes 'asc' or 'desc', and optionally a field`);
    }
    const by = field === undefined ? null : { field, kind: knownField(this.#table, field, 'order()') };
    return this.#with('order', { order: direction, by });
  }

  limit(count: number): TableScan {
    return this.#with('limit', { limit: wholeNumber('limit', count, 0, MAX_COUNT) });
  }

  offset(count: number): TableScan {
    return this.#with('offset', { offset: wholeNumber('offset', count, 0, MAX_COUNT) });
  }

  first(): Promise<Document | null> {
    return this.#scan(1, ([first]) => first ?? null);
  }

  unique(): Promise<Document | null> {
    return this.#scan(2, ([only, second]) => {
      if (second === undefined) return only ?? null;
      throw new ConvoyError(
        'CONFLICT',
        `unique() found more than one document of ${this.#table.name}; use first() to take the first of several.`,
      );
    });
  }

  count(): Promise<number> {
    this.#executed();
    return this.#source.count(this.#table, planOf(this.#spec));
  }

  take(count: number): Promise<Document[]> {
    return this.#scan(wholeNumber('take', count, 0, MAX_COUNT), (documents) => documents);
  }

  collect(): Promise<Document[]> {
    return this.#scan(null, (documents) => documents);
  }

  paginate(options: PageOptions): Promise<Page<Document>> {
    const { cursor, numItems, endCursor } = (options ?? {}) as Partial<PageOptions>;
    const size = wholeNumber('paginate({ numItems })', numItems, 1, MAX_PAGE);
    if (this.#spec.limit !== null || this.#spec.offset > 0) {
      const step = this.#spec.limit === null ? 'offset' : 'limit';
      throw invalid(`${this.#table.name}: paginate() cannot be combined with ${step}(); numItems is the page size`);
    }
    return this.#page(parseCursor('cursor', cursor), parseCursor('endCursor', endCursor), size);
  }

  async *[Symbol.asyncIterator](): AsyncIterator<Document> {
    let left = this.#spec.limit ?? Number.POSITIVE_INFINITY;
    let cursor: string | null = null;
    while (left > 0) {
      const next: Page<Document> = await this.#page(cursor, null, Math.min(left, ITERATION_BATCH));
      yield* next.page;
      if (next.isDone) return;
      left -= next.page.length;
      cursor = next.continueCursor;
    }
  }

  #with(name: string, changes: Partial<ScanSpec>): TableScan {
    if (this.#step !== null) this.#step.used = true;
    return new TableScan(this.#source, this.#table, { ...this.#spec, ...changes }, this.#steps, name);
  }

  /** Reads at most `max` documents, and no more than the limit. */
  #scan<T>(max: number | null, finish: (documents: Document[]) => T): Promise<T> {
    this.#executed();
    const { limit } = this.#spec;
    const plan = planOf({
      ...this.#spec,
      limit: limit === null || max === null ? (limit ?? max) : Math.min(limit, max),
    });
    return this.#source.scan(this.#table, plan, finish);
  }

  #page(cursor: string | null, end: string | null, size: number): Promise<Page<Document>> {
    this.#executed();
    // A cursor is already past the documents that the offset skips.
    const plan = planOf({ ...this.#spec, limit: null, offset: cursor === null ? this.#spec.offset : 0 });
    return this.#source.page(this.#table, plan, { cursor, end, size });
  }

  #executed(): void {
    if (this.#step !== null) this.#steps?.executed(this.#step);
  }

  #warnResidual(index: string, range: IndexRange, equality: Filter): void {
    if (this.#source.warnings === null || equality.is !== 'eq') return;
    const { indexes } = this.#table.definition;
    const missing = indexes[index]?.[range.eq.length];
    this.#source.warnings.warn(
      `${this.#table.name}.${index}: eq('${equality.field}') has no eq('${missing}') before it, so it does not narrow ` +
        'the range of the index; every document of the range is read and then filtered.',
    );
  }
}

function planOf({ range, filters, by, order, offset, limit }: ScanSpec): Plan {
  const { residual, ...named } = range;
  const all = [...residual, ...filters];
  const [only] = all;
  return {
    ...named,
    ...(only !== undefined && { filter: all.length === 1 ? only : { is: 'and', of: all } }),
    ...(by !== null && { by }),
    order,
    ...(offset > 0 && { offset }),
    limit,
  };
}

function wholeNumber(method: string, value: unknown, min: number, max: number): number {
  if (typeof value === 'number' && Number.isInteger(value) && value >= min && value <= max) return value;
  const name = method.endsWith(')') ? method : `${method}()`;
  throw invalid(`${name} takes a whole number from ${min} to ${max}, not ${describeValue(value)}`);
}

function parseCursor(name: string, value: unknown): string | null {
  // '' was the cursor after an empty result, and is the beginning.
  if (value === undefined || value === null || value === '') return null;
  // A string that Postgres cannot store is not a cursor, and cannot be sent to the engine.
  if (typeof value === 'string' && storageProblem(value) === null) return value;
  throw invalid(`paginate({ ${name} }) takes null, or the continueCursor of another page, not ${describeValue(value)}`);
}
