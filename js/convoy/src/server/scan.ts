/**
 * `ctx.db.query(table)`: a scan put together step by step. Each step gives a new builder, and only what executes sends
 * anything. Ranges, filters and names are checked as they are said, so that mistakes have the caller's stack.
 */

import type { TableTypes } from '../schema/index.js';
import { ConvoyError } from '../values/errors.js';
import { storageProblem } from '../values/json.js';
import { inspectValue, invalid } from './argument-errors.js';
import type { DevWarnings, Step, Steps } from './dev-warnings.js';
import type { Document } from './documents.js';
import { knownField } from './fields.js';
import { filterOf } from './filter.js';
import type { Filter, OrderField, Plan, ReadOperation } from './operations.js';
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

/** Makes documents of rows just read: fills defaults into them, in place. */
export type Receive = (documents: unknown) => Document[];

/** What a scan needs of the database it belongs to. */
export interface ScanSource {
  /** Sends `operation` and resolves to what `finish` makes of its answer. */
  read<T>(table: Table, operation: ReadOperation, finish: (answer: unknown, receive: Receive) => T): Promise<T>;
  /** `null` outside of development. */
  readonly warnings: DevWarnings | null;
}

/** What has been said of a scan so far. */
interface Said {
  readonly range: IndexRange;
  readonly filters: readonly Filter[];
  readonly by: OrderField | null;
  readonly order: Direction;
  readonly offset: number;
  readonly limit: number | null;
}

const NOTHING_SAID: Said = { range: WHOLE_TABLE, filters: [], by: null, order: 'asc', offset: 0, limit: null };

/** The engine counts documents in 32 bits. */
const MAX_COUNT = 4_294_967_295;
/** A page is read as a whole, and a call may not read more. */
const MAX_PAGE = 32_000;
/** How many documents `for await` reads at a time. */
const PORTION = 200;

/** The running form of `TableQuery`; the types are checked where `ctx.db` is typed. */
export class TableScan implements TableQuery<TableTypes> {
  readonly #source: ScanSource;
  readonly #table: Table;
  readonly #said: Said;
  /** In development: the builders of this query, and this one among them. */
  readonly #steps: Steps | null;
  readonly #step: Step | null;

  constructor(source: ScanSource, table: Table, said: Said = NOTHING_SAID, steps?: Steps | null, name = 'query') {
    this.#source = source;
    this.#table = table;
    this.#said = said;
    this.#steps = steps === undefined ? (source.warnings?.watchSteps(table.name) ?? null) : steps;
    this.#step = this.#steps?.add(name) ?? null;
  }

  withIndex(index: string, range?: (q: RangeBuilder<object, never>) => unknown): TableScan {
    const said = rangeOf(this.#table, index, range);
    for (const equality of said.residual) this.#warnBeside(index, said, equality);
    return this.#with('withIndex', { range: said });
  }

  filter(condition: (q: FilterBuilder<object>) => Condition): TableScan {
    return this.#with('filter', { filters: [...this.#said.filters, filterOf(this.#table, condition)] });
  }

  order(direction: Direction, field?: string): TableScan {
    if (direction !== 'asc' && direction !== 'desc') {
      throw invalid(`${this.#table.name}: order() takes 'asc' or 'desc', and then, if at all, a field`);
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
        `unique() found more than one document of ${this.#table.name}; use first() where one of several will do.`,
      );
    });
  }

  count(): Promise<number> {
    this.#executed();
    const operation = { op: 'count', table: this.#table.name, ...planOf(this.#said) } as const;
    return this.#source.read(this.#table, operation, (answer) => answer as number);
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
    if (this.#said.limit !== null || this.#said.offset > 0) {
      const step = this.#said.limit === null ? 'offset' : 'limit';
      throw invalid(`${this.#table.name}: paginate() has no place for ${step}(); numItems is the size of a page`);
    }
    return this.#page(parseCursor('cursor', cursor), parseCursor('endCursor', endCursor), size);
  }

  async *[Symbol.asyncIterator](): AsyncIterator<Document> {
    let left = this.#said.limit ?? Number.POSITIVE_INFINITY;
    let cursor: string | null = null;
    while (left > 0) {
      const next: Page<Document> = await this.#page(cursor, null, Math.min(left, PORTION));
      yield* next.page;
      if (next.isDone) return;
      left -= next.page.length;
      cursor = next.continueCursor;
    }
  }

  #with(name: string, said: Partial<Said>): TableScan {
    if (this.#step !== null) this.#step.used = true;
    return new TableScan(this.#source, this.#table, { ...this.#said, ...said }, this.#steps, name);
  }

  /** At most `most` documents, and no more than the limit. */
  #scan<T>(most: number | null, finish: (documents: Document[]) => T): Promise<T> {
    this.#executed();
    const { limit } = this.#said;
    const plan = planOf({
      ...this.#said,
      limit: limit === null || most === null ? (limit ?? most) : Math.min(limit, most),
    });
    const operation = { op: 'scan', table: this.#table.name, ...plan } as const;
    return this.#source.read(this.#table, operation, (answer, receive) => finish(receive(answer)));
  }

  #page(cursor: string | null, end: string | null, size: number): Promise<Page<Document>> {
    this.#executed();
    // A cursor is behind what the offset leaves out.
    const plan = planOf({ ...this.#said, limit: null, offset: cursor === null ? this.#said.offset : 0 });
    const operation = { op: 'page', table: this.#table.name, ...plan, cursor, end, size } as const;
    return this.#source.read(this.#table, operation, (answer, receive) => {
      const { page, isDone, continueCursor } = answer as Page<Document>;
      return { page: receive(page), isDone, continueCursor };
    });
  }

  #executed(): void {
    if (this.#step !== null) this.#steps?.executed(this.#step);
  }

  #warnBeside(index: string, range: IndexRange, equality: Filter): void {
    if (this.#source.warnings === null || equality.is !== 'eq') return;
    const { indexes } = this.#table.definition;
    const missing = indexes[index]?.[range.eq.length];
    this.#source.warnings.warn(
      `${this.#table.name}.${index}: eq('${equality.field}') has no eq('${missing}') before it, so it does not narrow ` +
        'what is read from the index; every document of the range is read and then filtered.',
    );
  }
}

function planOf({ range, filters, by, order, offset, limit }: Said): Plan {
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

function wholeNumber(place: string, value: unknown, least: number, most: number): number {
  if (typeof value === 'number' && Number.isInteger(value) && value >= least && value <= most) return value;
  const name = place.endsWith(')') ? place : `${place}()`;
  throw invalid(`${name} takes a whole number from ${least} to ${most}, not ${inspectValue(value)}`);
}

function parseCursor(name: string, value: unknown): string | null {
  // Where there was nothing at all, the next page is the first.
  if (value === undefined || value === null || value === '') return null;
  // What no text in Postgres holds is no cursor, and could not cross to the engine.
  if (typeof value === 'string' && storageProblem(value) === null) return value;
  throw invalid(`paginate({ ${name} }) takes null, or the continueCursor of another page, not ${inspectValue(value)}`);
}
