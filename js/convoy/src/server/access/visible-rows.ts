/**
 * The visible rows of a scan: reads on over hidden rows until there are enough. What it returns is the same as if hidden
 * rows did not exist: limit and offset count visible rows, and cursors and `isDone` depend on these alone. The limit on
 * the documents that a call may read bounds it.
 */

import type { DocumentOperations, PageRange } from '../document-operations.js';
import type { Document } from '../documents.js';
import type { PageOperation, Plan } from '../operations.js';
import type { Table } from '../program.js';
import { MAX_PAGE } from '../scan.js';
import type { Scope } from '../scope.js';
import type { Page } from '../table-query.js';

/** The scan, and who may see its rows. */
export interface VisibleScan {
  readonly scope: Scope;
  readonly table: Table;
  readonly plan: Plan;
  /** Puts `null` in the place of each hidden document. */
  readonly visible: (documents: Document[]) => Promise<(Document | null)[]>;
}

/** The number of rows that a statement after the first reads at least, and up to which it doubles with each statement. */
const MIN_BATCH = 100;
const MAX_BATCH = 1_000;

/** A page with the cursors of its start and of each row. */
interface PageWithCursors extends Page<Document> {
  readonly cursors: readonly string[];
}

interface Row {
  readonly document: Document;
  readonly cursor: string;
}

/** The first rows of a range. */
interface Rows {
  readonly rows: readonly Row[];
  /** Whether the range has no further visible row. */
  readonly atEnd: boolean;
  /** The cursor of its start. */
  readonly start: string;
}

export class VisibleRows {
  readonly #documents: DocumentOperations;
  readonly #scan: VisibleScan;

  constructor(documents: DocumentOperations, scan: VisibleScan) {
    this.#documents = documents;
    this.#scan = scan;
  }

  /** All visible documents, within limit and offset. */
  async all(): Promise<Document[]> {
    const { scope, table, plan, visible } = this.#scan;
    const { limit, offset = 0, ...whole } = plan;
    if (limit === 0) return [];
    if (limit !== null) {
      const { rows } = await this.#first(offset + limit, { cursor: null, end: null });
      return rows.slice(offset, offset + limit).map(({ document }) => document);
    }
    const found = await this.#documents.scan(scope, table, { ...whole, limit }, (documents) => documents);
    return (await visible(found)).filter((document) => document !== null).slice(offset);
  }

  async page({ cursor, end, size }: PageRange): Promise<Page<Document>> {
    const { offset = 0 } = this.#scan.plan;
    // One row more than the page shows whether there is a next one.
    const wanted = end === null ? offset + size + 1 : Number.POSITIVE_INFINITY;
    const { rows: found, atEnd, start } = await this.#first(wanted, { cursor, end });
    const rows = end === null ? found.slice(offset, offset + size) : found.slice(offset);
    const middle = end !== null && rows.length > 2 * size ? rows[Math.floor(rows.length / 2) - 1] : undefined;
    return {
      page: rows.map(({ document }) => document),
      isDone: end === null && atEnd && found.length <= offset + size,
      continueCursor: end ?? rows.at(-1)?.cursor ?? start,
      ...(middle !== undefined && { splitCursor: middle.cursor }),
    };
  }

  /** At least the first `wanted` visible rows after `cursor`, as far as there are so many; all of them up to `end`. */
  async #first(wanted: number, { cursor, end }: Pick<PageRange, 'cursor' | 'end'>): Promise<Rows> {
    const { scope, table, plan, visible } = this.#scan;
    const { offset: _, ...whole } = plan;
    const operation = { op: 'page', table: table.name, ...whole, limit: null, end, cursors: true } as const;
    const rows: Row[] = [];
    let start: string | null = null;
    let from = cursor;
    let size = Math.min(wanted, MAX_PAGE);
    for (;;) {
      const next: PageOperation = { ...operation, cursor: from, size };
      const read = await this.#documents.rawPage<PageWithCursors>(scope, next, table);
      start ??= read.cursors[0] as string;
      const documents = await visible(read.page);
      documents.forEach((document, index) => {
        if (document !== null) rows.push({ document, cursor: read.cursors[index + 1] as string });
      });
      const atEnd = read.isDone || end !== null;
      if (atEnd || rows.length >= wanted) return { rows, atEnd, start };
      from = read.continueCursor;
      const more = Math.min(Math.max(2 * size, MIN_BATCH), MAX_BATCH);
      size = Math.min(Math.max(wanted - rows.length, more), MAX_PAGE);
    }
  }
}
