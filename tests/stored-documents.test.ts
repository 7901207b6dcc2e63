/** Loading a schema that stored documents do not match logs a warning. */
import { defineSchema, defineTable, mutation } from '@avvos/convoy';
import { type Convoy, createConvoy } from '@avvos/convoy/node';
import pg from 'pg';
import { afterEach, expect, test, vi } from 'vitest';
import { z } from 'zod';
import { addon } from './addon.js';
import { freshDatabaseUrl } from './app.js';

const functions = { notes: { touch: mutation({ handler: () => null }) } };
const open: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const close of open.splice(0)) await close();
  vi.restoreAllMocks();
});

type Shape = Parameters<typeof defineTable>[0];
const schemaOf = (note: Shape) => defineSchema({ notes: defineTable(note as never) }) as never;
const BEFORE = { text: z.string(), n: z.number() };

async function served(before: Shape = BEFORE, documents: readonly object[] = []) {
  const databaseUrl = freshDatabaseUrl();
  const convoy: Convoy = await createConvoy({ schema: schemaOf(before), functions, databaseUrl, createDatabase: true });
  const psql = new pg.Client({ connectionString: databaseUrl });
  await psql.connect();
  open.push(async () => {
    await psql.end();
    await convoy.close();
  });
  const log = vi.spyOn(addon, 'writeLog').mockImplementation(() => {});
  for (const document of documents)
    await psql.query('insert into notes (data) values ($1)', [JSON.stringify(document)]);
  return {
    convoy,
    databaseUrl,
    psql,
    warnings: () => log.mock.calls.map(([, text]) => text).filter((text) => text.includes('stored documents')),
    load: (after: Shape) => convoy.load({ schema: schemaOf(after), functions }),
    /** Loads a schema and returns what the check of stored documents finds. */
    async found(after: Shape) {
      await convoy.load({ schema: schemaOf(after), functions });
      return convoy.checkDocuments();
    },
  };
}

const TWO = [
  { text: 'a', n: 1 },
  { text: 'b', n: 2 },
];

test('a renamed field is reported with its old name', async () => {
  const app = await served(BEFORE, TWO);
  const [found, ...others] = await app.found({ body: z.string(), n: z.number() });
  expect(others).toEqual([]);
  expect(found).toMatchObject({ table: 'notes', documents: 2, unfit: 2, isWhole: true, unknown: ['text'] });
  expect(found?.misfits).toEqual([
    {
      path: 'body',
      message: expect.stringContaining('expected string'),
      count: 2,
      example: expect.stringMatching(/^notes:/),
    },
  ]);
  await vi.waitFor(() => expect(app.warnings()).toHaveLength(1), { timeout: 20_000 });
  expect(app.warnings()[0]).toContain('convoy: notes: 2 of 2 stored documents do not fit the schema:');
  expect(app.warnings()[0]).toMatch(/body: .*expected string.* \(2 of 2, such as notes:[0-9a-f-]{36}\)/);
  expect(app.warnings()[0]).toContain('They hold `text`, which the schema does not know.');
});

test.each<[string, Shape]>([
  ['with a default', { text: z.string(), hearts: z.number().default(0) }],
  ['that is optional', { text: z.string(), hearts: z.number().optional() }],
  ['of a strict schema', z.strictObject({ text: z.string(), hearts: z.number().optional() }) as never],
])('a renamed field %s is reported, although documents match the schema', async (_what, after) => {
  const app = await served(BEFORE, TWO);
  const [found] = await app.found(after);
  expect(found).toMatchObject({ documents: 2, unfit: 0, misfits: [], renamed: { to: ['hearts'] } });
  expect(found?.renamed.from).toMatchObject([{ path: 'n', count: 2, example: expect.stringMatching(/^notes:/) }]);
  await vi.waitFor(() => expect(app.warnings()).toHaveLength(1), { timeout: 20_000 });
  expect(app.warnings()[0]).toMatch(
    /n: in 2 of 2, such as notes:[0-9a-f-]{36}\n.*None of these documents has `hearts`/,
  );
});

test.each<[string, Shape, object]>([
  ['was removed', { text: z.string() }, { text: 'c' }],
  [
    'was added, and documents have it',
    { text: z.string(), hearts: z.number().default(0) },
    { text: 'c', n: 3, hearts: 1 },
  ],
])('no warning is logged where a field %s', async (_what, after, document) => {
  const app = await served(BEFORE, [...TWO, document]);
  expect(await app.found(after)).toEqual([]);
});

test.each<[string, Shape, string, number]>([
  ['a new required field', { ...BEFORE, more: z.boolean() }, 'more', 2],
  ['another type', { ...BEFORE, n: z.string() }, 'n', 2],
  ['a stricter check', { ...BEFORE, n: z.number().max(1) }, 'n', 1],
  ['a default that is another each time', { ...BEFORE, at: z.number().default(() => Date.now()) }, 'at', 2],
])('%s is reported with its path', async (_what, after, path, count) => {
  const app = await served(BEFORE, TWO);
  const [found] = await app.found(after);
  expect(found?.misfits).toMatchObject([{ path, count }]);
});

test('a nested field, and one in a list, are reported with their paths', async () => {
  const app = await served(z.looseObject({}) as never, [{ a: { b: { c: 1 } }, list: [{ x: 1 }, { x: 'y' }] }]);
  const a = z.object({ b: z.object({ c: z.string() }) });
  const [found] = await app.found({ a, list: z.array(z.object({ x: z.string() })) });
  expect(found?.misfits.map(({ path }) => path).sort()).toEqual(['a.b.c', 'list[].x']);
});

test('a check that throws for one document is reported, and the others are checked', async () => {
  const app = await served(BEFORE, [...TWO, { text: 'c', n: 'three' }]);
  const after = z.object({ text: z.string(), n: z.unknown() }).refine(({ n }) => (n as number).toFixed(0) === '1');
  const [found] = await app.found(after as never);
  expect(found).toMatchObject({ documents: 3, unfit: 2 });
  expect(found?.misfits).toMatchObject([
    { path: '', message: 'Invalid input', count: 1 },
    { path: '', message: 'a check of the schema threw: n.toFixed is not a function', count: 1 },
  ]);
});

test('for a union, the problem with the closest option is reported', async () => {
  const options = [{ kind: 'a', n: 1 }, { kind: 'b', s: 2 }, { kind: 'c' }];
  const app = await served(z.looseObject({}) as never, options);
  const a = z.object({ kind: z.literal('a'), n: z.number() });
  const b = z.object({ kind: z.literal('b'), s: z.string() });
  const [discriminated] = await app.found(z.discriminatedUnion('kind', [a, b]) as never);
  expect(discriminated).toMatchObject({ documents: 3, unfit: 2 });
  expect(discriminated?.misfits.map(({ path }) => path).sort()).toEqual(['kind', 's']);
  const [plain] = await app.found(z.union([a, b]) as never);
  expect(plain).toMatchObject({ documents: 3, unfit: 2 });
  expect(plain?.misfits.some(({ path }) => path === 's')).toBe(true);
});

test('no warning is logged where all documents match, also by constant defaults, or where there are none', async () => {
  const app = await served(BEFORE, []);
  await app.load({ ...BEFORE, more: z.boolean() });
  expect(await app.convoy.checkDocuments()).toEqual([]);
  await app.psql.query(`insert into notes (data) values ('{"text":"a","n":1}')`);
  const fits = { text: z.string(), n: z.number(), likes: z.number().default(0), tag: z.string().optional() };
  expect(await app.found(fits)).toEqual([]);
  // A warning for the loads above would have been logged before this one.
  await app.load({ ...fits, extra: z.string() });
  await vi.waitFor(() => expect(app.warnings()).toHaveLength(1), { timeout: 20_000 });
  expect(app.warnings()[0]).toContain('extra');
});

test('the warning is logged once for each schema of a table', async () => {
  const app = await served(BEFORE, TWO);
  const wrong = { ...BEFORE, more: z.boolean() };
  await app.load(wrong);
  await vi.waitFor(() => expect(app.warnings()).toHaveLength(1), { timeout: 20_000 });
  await app.load({ ...wrong });
  await app.load({ ...BEFORE, other: z.boolean() });
  await vi.waitFor(() => expect(app.warnings()).toHaveLength(2), { timeout: 20_000 });
  expect(app.warnings()[1]).toContain('other');
});

test('of more than 10,000 documents a sample from the whole table is checked', async () => {
  const app = await served(BEFORE, []);
  await app.psql.query(`
    insert into notes (data, created_at)
    select jsonb_build_object('text', 'a', 'n', case when n % 10 = 0 then to_jsonb('x'::text) else to_jsonb(n) end), now()
    from generate_series(1, 30000) as n`);
  const [found] = await app.found(BEFORE);
  expect(found).toMatchObject({ isWhole: false });
  expect(found?.documents).toBeGreaterThan(9_000);
  expect(found?.documents).toBeLessThanOrEqual(10_000);
  expect(found?.unfit).toBeGreaterThan(700);
  expect(found?.unfit).toBeLessThan(1_300);
  await app.psql.query('analyze notes');
  const [again] = await app.convoy.checkDocuments();
  expect(again?.documents).toBeGreaterThan(9_000);
  await vi.waitFor(() => expect(app.warnings()[0]).toContain('10,000 sampled stored documents'), { timeout: 20_000 });
});

test('user tables are checked too, and values that are not documents are reported', async () => {
  const app = await served(BEFORE, []);
  await app.psql.query('create table audit (id uuid primary key default gen_random_uuid(), data jsonb not null)');
  await app.psql.query(`insert into audit (data) values ('{"event":1}'), ('[1]'), ('{"event":"x"}')`);
  const audit = defineTable({ event: z.string() }).unmanaged();
  await app.convoy.load({ schema: defineSchema({ audit }) as never, functions });
  const [found] = await app.convoy.checkDocuments();
  expect(found).toMatchObject({ table: 'audit', documents: 3, unfit: 2 });
  expect(found?.misfits.map(({ path }) => path).sort()).toEqual(['', 'event']);
});

test('no warning is logged without schema sync, and no context is created', async () => {
  const app = await served(BEFORE, TWO);
  const createContext = vi.fn((_req: unknown, base: object) => base);
  const schema = schemaOf({ ...BEFORE, more: z.boolean() });
  const options = { schema, functions, databaseUrl: app.databaseUrl, createContext: createContext as never };
  const other = await createConvoy({ ...options, sync: false });
  open.push(() => other.close());
  expect(await other.checkDocuments()).toHaveLength(1);
  expect(app.warnings()).toEqual([]);
  expect(createContext).not.toHaveBeenCalled();
});

test('a value that JavaScript cannot represent is reported with its path and an example', async () => {
  const app = await served(z.looseObject({}) as never, [{ a: 1 }]);
  const nested = `${'['.repeat(300)}${']'.repeat(300)}`;
  await app.psql.query(`insert into notes (data) values ('{"a":{"n":[1,1e400]}}'), ('{"a":${nested}}')`);
  const [found] = await app.convoy.checkDocuments();
  expect(found).toMatchObject({ table: 'notes', documents: 3, unfit: 0, misfits: [] });
  const example = expect.stringMatching(/^notes:/);
  expect(found?.odd).toHaveLength(2);
  expect(found?.odd).toContainEqual({
    path: 'a.n[]',
    message: 'holds a number that JavaScript cannot represent',
    count: 1,
    example,
  });
  expect(found?.odd).toContainEqual({ path: '', message: 'is nested deeper than 64 levels', count: 1, example });
});

test('with workers, documents are checked on a worker', async () => {
  const program = new URL('./programs/workers.mjs', import.meta.url);
  const app = await served(BEFORE, []);
  const options = { program, workers: 2, databaseUrl: app.databaseUrl };
  const first = await createConvoy(options);
  await first.close();
  await app.psql.query(`insert into notes (data) values ('{"text":5}'), ('{"text":"a"}')`);
  const convoy = await createConvoy(options);
  open.push(() => convoy.close());
  expect(await convoy.checkDocuments()).toMatchObject([{ table: 'notes', documents: 2, unfit: 1 }]);
  await vi.waitFor(() => expect(app.warnings()).toHaveLength(1), { timeout: 20_000 });
});
