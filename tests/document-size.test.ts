/** `limits.documentBytes` at its edge, by each way in which functions write documents. */
import { type ConvoyContext, defineSchema, defineTable } from '@avvos/convoy';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { z } from 'zod';
import { failure, serveImprovised } from './improvised.js';

const LIMIT = 1_000;
const schema = defineSchema({ notes: defineTable({ text: z.string(), n: z.number().default(0) }) });

/** A document that has this size in Postgres, with its default. */
const note = (bytes: number) => ({ text: 'x'.repeat(bytes - '{"n": 0, "text": ""}'.length) });
type Db = ConvoyContext['db'];
const first = async (db: Db) => ((await db.query('notes').first()) as { id: never } | null)?.id as never;

/** Each writes a document of this size, or changes the stored one to it. */
const WRITES = {
  insert: (db: Db, bytes: number) => db.insert('notes', note(bytes) as never),
  insertMany: (db: Db, bytes: number) => db.insertMany('notes', [note(bytes), note(50)] as never),
  patch: async (db: Db, bytes: number) => db.patch(await first(db), note(bytes) as never),
  replace: async (db: Db, bytes: number) => db.replace(await first(db), note(bytes) as never),
  system: (db: Db, bytes: number) => db.system.insert('notes', note(bytes) as never),
};

const WAYS = ['mutation', 'nonTransactional', 'action', 'transaction', 'nested'] as const;

let app: Awaited<ReturnType<typeof serveImprovised>>;
beforeAll(async () => {
  app = await serveImprovised({ schema: schema as never, limits: { documentBytes: LIMIT } });
});
afterAll(() => app.close());

async function run(way: (typeof WAYS)[number], body: (db: Db) => unknown): Promise<void> {
  const within = ({ db }: ConvoyContext) => db.transaction((tx) => Promise.resolve(body(tx as never)));
  if (way === 'transaction') await app.action(within);
  else if (way === 'nested') await app.mutation(within);
  else await app[way](({ db }) => body(db));
}

async function sizes(): Promise<number[]> {
  const { rows } = await app.psql.query('select octet_length(data::text) as bytes from notes order by bytes');
  return rows.map(({ bytes }: { bytes: number }) => bytes);
}

const cases = WAYS.flatMap((way) => Object.keys(WRITES).map((write) => [way, write as keyof typeof WRITES] as const));

test.each(cases)('a %s that writes by %s may reach the limit, and not exceed it', async (way, write) => {
  await app.psql.query('truncate notes');
  await app.mutation((ctx) => ctx.db.insert('notes', note(100) as never));
  const error = await failure(run(way, (db) => WRITES[write](db, LIMIT + 1)));
  expect(error).toMatchObject({
    code: 'PAYLOAD_TOO_LARGE',
    message: expect.stringContaining(`\`notes\` has ${LIMIT + 1} bytes as JSON, and limits.documentBytes is ${LIMIT}.`),
  });
  const atomic = way !== 'action' && way !== 'nonTransactional';
  if (atomic || write !== 'insertMany') expect(await sizes()).toEqual([100]);
  await run(way, (db) => WRITES[write](db, LIMIT));
  expect((await sizes()).at(-1)).toBe(LIMIT);
});
