/**
 * Writes constant defaults into stored documents that lack them. An internal mutation, added to every program, handles
 * one batch; the caller repeats it until the table ends. A batch that was committed stays, so an interrupted backfill
 * can be repeated.
 */

import * as z from 'zod';
import { sql } from '../sql/index.js';
import { isConvoyError } from '../values/errors.js';
import { formatId } from '../values/ids.js';
import type { CallDatabase } from './call-database.js';
import { type AnyConvoyFunction, internalMutation } from './functions.js';
import type { FunctionDescription } from './native.js';
import type { Table } from './program.js';

/** The name of the mutation. No user function can have it, since no key of a module contains a colon and spaces. */
export const BACKFILL_NAME = 'convoy: write defaults';

/** The description of the mutation, for the engine. */
export const BACKFILL_DESCRIPTION: FunctionDescription = {
  name: BACKFILL_NAME,
  kind: 'mutation',
  internal: true,
  share: true,
  transaction: true,
};

/** The progress or result of the backfill of one table. */
export interface TableBackfill {
  /** The name of the table in the schema. */
  readonly table: string;
  /** The documents that were read. */
  readonly documents: number;
  /** Those that lacked defaults and have them now. */
  readonly written: number;
  /** Those that lack defaults and do not fit the schema, so that they were left as they are. */
  readonly unfit: number;
}

interface BatchResult {
  readonly documents: number;
  readonly written: number;
  readonly unfit: number;
  /** The bare uuid of the last document; `null` at the end of the table. */
  readonly last: string | null;
}

/** The documents of one batch. */
const BATCH_SIZE = 200;
/** How often a batch that lost to concurrent writes is tried again, each time with half the documents. */
const CONFLICT_RETRIES = 10;

/** Creates the mutation for a program with these tables. */
export function defaultBackfill(tables: ReadonlyMap<string, Table>): AnyConvoyFunction {
  return internalMutation({
    input: z.object({ table: z.string(), after: z.string().nullable(), limit: z.number() }),
    handler: ({ db }, { table: name, after, limit }): Promise<BatchResult> => {
      const table = tables.get(name);
      if (table === undefined) throw new Error(`There is no table ${name}.`);
      // The implementation class, because there is no data model here.
      return writeBatch((db as unknown as CallDatabase).system, table, after, limit);
    },
  });
}

async function writeBatch(db: CallDatabase, table: Table, after: string | null, limit: number): Promise<BatchResult> {
  if (table.fill === null || !table.definition.managed) return { documents: 0, written: 0, unfit: 0, last: null };
  const physical = sql.identifier(table.definition.name ?? table.name);
  const rows = (await db.raw(sql`
    select id, data from ${physical} where ${after}::uuid is null or id > ${after}::uuid order by id limit ${limit}::int`)) as {
    id: string;
    data: Record<string, unknown>;
  }[];
  let [written, unfit] = [0, 0];
  for (const { id, data } of rows) {
    const missing = missingDefaults(table, data);
    if (missing === null) continue;
    try {
      await db.patch(table.name, formatId(table.name, id), missing);
      written++;
    } catch (error) {
      // The document does not fit the schema for another reason, which `convoy check` reports.
      if (!isConvoyError(error) || error.code !== 'INVALID_ARGS') throw error;
      unfit++;
    }
  }
  const last = rows.length < limit ? null : (rows.at(-1)?.id ?? null);
  return { documents: rows.length, written, unfit, last };
}

/** The keys that filling in defaults changes, with their new values; `null` if there are none. */
function missingDefaults(table: Table, data: unknown): Record<string, unknown> | null {
  if (typeof data !== 'object' || data === null || Array.isArray(data)) return null;
  const filled = structuredClone(data) as Record<string, unknown>;
  table.fill?.(filled);
  const before = data as Record<string, unknown>;
  const changed = Object.entries(filled).filter(
    ([key, value]) => JSON.stringify(value) !== JSON.stringify(before[key]),
  );
  return changed.length === 0 ? null : Object.fromEntries(changed);
}

/** Calls the mutation until the table ends. Resolves to the totals. */
export async function backfillTable(
  call: (name: string, args: object) => Promise<unknown>,
  table: string,
  onProgress?: (progress: TableBackfill) => void,
): Promise<TableBackfill> {
  let progress: TableBackfill = { table, documents: 0, written: 0, unfit: 0 };
  let [after, limit, conflicts]: [string | null, number, number] = [null, BATCH_SIZE, 0];
  for (;;) {
    let batch: BatchResult;
    try {
      batch = (await call(BACKFILL_NAME, { table, after, limit })) as BatchResult;
    } catch (error) {
      if (!isConvoyError(error) || error.code !== 'CONFLICT' || ++conflicts > CONFLICT_RETRIES) throw error;
      limit = Math.max(1, limit >> 1);
      continue;
    }
    [after, limit, conflicts] = [batch.last, BATCH_SIZE, 0];
    const { documents, written, unfit } = progress;
    progress = {
      table,
      documents: documents + batch.documents,
      written: written + batch.written,
      unfit: unfit + batch.unfit,
    };
    onProgress?.(progress);
    if (after === null) return progress;
  }
}
