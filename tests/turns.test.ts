/**
 * Calls of a serial queue whose first operations are answered together. Each must see exactly what the calls before it
 * have written, if its function returns, throws, changes the documents it received, or does more than read.
 */
import {
  type BaseContext,
  ConvoyError,
  createFunctionHelpers,
  type DataModelOf,
  defineSchema,
  defineTable,
} from '@avvos/convoy';
import { createConvoy } from '@avvos/convoy/node';
import { expect, test } from 'vitest';
import { z } from 'zod';
import { freshDatabaseUrl } from './app.js';
import { LONG, Random } from './model/random.js';
import { withSeeds } from './model/seeds.js';

const CALLERS = 24;
const CALLS = LONG ? 2_000 : 100;
const DOCUMENTS = 3;

const schema = defineSchema({
  cells: defineTable({
    /** Each write adds one, so a version has one writer. */
    version: z.number(),
    writer: z.string(),
    nested: z.object({ by: z.string() }).optional(),
    late: z.string().optional(),
  }),
  notes: defineTable({ writer: z.string() }),
});

type Context = BaseContext<DataModelOf<typeof schema>>;
const { query, mutation } = createFunctionHelpers<Context>();

/**
 * What the function does after it has read its documents. Too few calls do more than read, hold patches and end, for the
 * engine to stop answering the first operations of the function together.
 */
const KINDS = {
  patch: 60,
  read: 8,
  refuse: 4,
  throw: 3,
  change: 6,
  insert: 4,
  wait: 1,
  late: 1,
  nested: 1,
  scan: 1,
  inner: 1,
  tooLarge: 1,
} as const;
type Kind = keyof typeof KINDS;

const isKind = z.enum(Object.keys(KINDS) as [Kind, ...Kind[]]);

const functions = {
  add: mutation({ handler: (ctx) => ctx.db.insert('cells', { version: 0, writer: 'none' }) }),
  all: query({ cache: false, handler: (ctx) => ctx.db.query('cells').collect() }),
  step: mutation({
    input: { ids: z.array(z.string()), kind: isKind, writer: z.string() },
    resultBytes: 2_000,
    handler: async (ctx, { ids, kind, writer }) => {
      const cells = await Promise.all(ids.map((id) => ctx.db.get('cells', id as never)));
      const before = cells.map((cell) => ({ ...cell }));
      if (kind === 'read') return { before, after: [] };
      if (kind === 'scan') await ctx.db.query('notes').first();
      if (kind === 'wait') await new Promise((resolve) => setTimeout(resolve, 1));
      if (kind === 'insert') await ctx.db.insert('notes', { writer });
      const changes = (version: number) => ({
        version: version + 1,
        writer,
        ...(kind === 'nested' ? { nested: { by: writer } } : {}),
        ...(kind === 'late' ? { late: writer } : {}),
      });
      const patchAll = () =>
        Promise.all(cells.map((cell, at) => ctx.db.patch('cells', ids[at] as never, changes(cell?.version ?? NaN))));
      const patched = await (kind === 'inner' ? ctx.db.transaction(patchAll) : patchAll());
      const after = patched.map((cell) => ({ ...cell }));
      if (kind === 'change') {
        for (const cell of [...cells, ...patched]) Object.assign(cell as object, { version: -1, writer: 'changed' });
      }
      if (kind === 'refuse') throw new ConvoyError('FORBIDDEN', 'No.');
      if (kind === 'throw') throw new Error('no');
      return { before, after, ...(kind === 'tooLarge' ? { text: 'x'.repeat(2_000) } : {}) };
    },
  }),
};

interface Cell {
  readonly id: string;
  readonly version: number;
  readonly writer: string;
  readonly nested?: { readonly by: string };
  readonly late?: string;
}

/** Checks that the documents have gone from version to version, and what calls have seen of each. */
class History {
  readonly #seen = new Map<string, Cell>();
  readonly #writers = new Map<string, string>();

  saw(cell: Cell): void {
    const key = `${cell.id} ${cell.version}`;
    expect(cell).toEqual(this.#seen.get(key) ?? cell);
    this.#seen.set(key, cell);
  }

  wrote(before: Cell, after: Cell, writer: string): void {
    expect(after).toMatchObject({ id: before.id, version: before.version + 1, writer });
    const key = `${after.id} ${after.version}`;
    expect(this.#writers.get(key), `two calls have written ${key}`).toBeUndefined();
    this.#writers.set(key, writer);
  }

  /** All versions up to the last were written by calls that have succeeded. */
  end(cells: readonly Cell[]): void {
    for (const cell of cells) {
      this.saw(cell);
      for (let version = 1; version <= cell.version; version++) {
        expect(this.#writers.get(`${cell.id} ${version}`), `no call has written ${cell.id} ${version}`).toBeDefined();
      }
    }
    expect(this.#writers.size).toBe(cells.reduce((sum, { version }) => sum + version, 0));
  }
}

test('calls over hot documents run as if one after another', { timeout: LONG ? 600_000 : 60_000 }, async () => {
  await withSeeds('turns', async (seed) => {
    const convoy = await createConvoy({
      schema,
      functions,
      databaseUrl: freshDatabaseUrl(),
      createDatabase: true,
    });
    const { port } = await convoy.listen({ port: 0 });
    const call = async (path: string, args: object) => {
      const request = { method: 'POST', body: JSON.stringify(args) };
      const response = await fetch(`http://127.0.0.1:${port}/api/${path}`, request);
      return (await response.json()) as { data?: unknown; error?: { code: string } };
    };
    const ids: string[] = [];
    for (let n = 0; n < DOCUMENTS; n++) ids.push((await call('mutation/add', {})).data as string);

    const history = new History();
    const failures: Record<string, number> = {};
    await Promise.all(
      Array.from({ length: CALLERS }, async (_, caller) => {
        const random = new Random(seed + caller);
        for (let n = 0; n < CALLS; n++) {
          const [writer, kind] = [`${caller}/${n}`, random.weighted(KINDS) as Kind];
          const two = random.chance(0.3);
          const first = random.below(DOCUMENTS);
          const named = two ? [first, (first + 1) % DOCUMENTS].sort().map((at) => ids[at]) : [ids[first]];
          const { data, error } = await call('mutation/step', { ids: named, kind, writer });
          if (error !== undefined) {
            failures[`${kind} ${error.code}`] = (failures[`${kind} ${error.code}`] ?? 0) + 1;
            continue;
          }
          const { before, after } = data as { before: Cell[]; after: Cell[] };
          for (const cell of [...before, ...after]) history.saw(cell);
          after.forEach((cell, at) => {
            history.wrote(before[at] as Cell, cell, writer);
          });
        }
      }),
    );
    history.end((await call('query/all', {})).data as Cell[]);
    console.log(convoy.stats(), failures);
    expect(Object.keys(failures).filter((key) => !/^(refuse|throw|tooLarge) |CONFLICT$/.test(key))).toEqual([]);
    expect(convoy.stats().turnsTogether).toBeGreaterThan(CALLS);
    await convoy.close();
  });
});
