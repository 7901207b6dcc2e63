/**
 * A server with one list, which answers pages of it as the engine does, over a `HandTransport`. Results are delivered
 * when the test says so: all at once, or some of them.
 */
import type { PageResult, PaginationOptions } from '../src/protocol/pages.js';
import { type HandSubscription, HandTransport } from './hand-transport.js';

export interface ListRow {
  readonly id: string;
  readonly n: number;
}

const OPEN = { connectionState: 'open', isReconnecting: false } as const;

export class ListServer {
  readonly transport = new HandTransport();
  #rows: readonly ListRow[] = [];
  readonly #delivered = new Map<HandSubscription, string>();

  constructor(rows: readonly ListRow[] = []) {
    this.rows = rows;
  }

  /** All rows, in the order of the query. */
  get rows(): readonly ListRow[] {
    return this.#rows;
  }

  set rows(rows: readonly ListRow[]) {
    this.#rows = [...rows].sort(compareRows);
  }

  /** The open subscriptions, in the order in which they were opened. */
  get subscriptions(): HandSubscription[] {
    return this.transport.subscriptions.filter(({ closed }) => !closed);
  }

  /** The pages that are subscribed to. */
  get pages(): PaginationOptions[] {
    return this.subscriptions.map((subscription) => pageOf(subscription));
  }

  /** Sends the current results, where they differ from the last ones, to the subscriptions that `which` accepts. */
  deliver(which: (page: PaginationOptions) => boolean = () => true): void {
    for (const subscription of this.subscriptions) {
      const options = pageOf(subscription);
      if (!which(options)) continue;
      const text = JSON.stringify(this.paginate(options));
      if (this.#delivered.get(subscription) === text) continue;
      this.#delivered.set(subscription, text);
      subscription.sink.connection(OPEN);
      subscription.sink.result(JSON.parse(text));
    }
  }

  paginate({ cursor, endCursor, numItems }: PaginationOptions): PageResult<ListRow> {
    const after = this.#rows.filter((row) => cursor === null || compareRows(row, parsed(cursor)) > 0);
    if (typeof endCursor !== 'string') {
      const page = after.slice(0, numItems);
      return { page, isDone: after.length <= numItems, continueCursor: cursorAt(page.at(-1)) ?? cursor ?? 'start' };
    }
    const page = endCursor === 'start' ? [] : after.filter((row) => compareRows(row, parsed(endCursor)) <= 0);
    const middle = page.length > 2 * numItems ? cursorAt(page[Math.floor(page.length / 2) - 1]) : null;
    return { page, isDone: false, continueCursor: endCursor, ...(middle !== null && { splitCursor: middle }) };
  }
}

/** The rows with these numbers, whose ids are `r` and the number. */
export function rowsOf(...numbers: readonly number[]): ListRow[] {
  return numbers.map((n) => ({ id: `r${n}`, n }));
}

function pageOf({ args }: HandSubscription): PaginationOptions {
  return (JSON.parse(args) as { paginationOpts: PaginationOptions }).paginationOpts;
}

function cursorAt(row: ListRow | undefined): string | null {
  return row === undefined ? null : `${row.n} ${row.id}`;
}

function parsed(cursor: string): ListRow {
  const [n, id = ''] = cursor.split(' ');
  return { id, n: Number(n) };
}

/** The order of the query. */
export function compareRows(a: ListRow, b: ListRow): number {
  return a.n - b.n || (a.id < b.id ? -1 : Number(a.id > b.id));
}
