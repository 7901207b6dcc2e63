/** `convoy why` and `convoy check --live`: why live queries ran, and what a write would run again. */
import { type Convoy, createConvoy } from '@avvos/convoy/node';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { freshDatabaseUrl } from './app.js';
import { CommandLine, schema } from './command-line.js';
import { freePort } from './free-port.js';
import * as wide from './wasted-runs/wide-range.before.js';

const queries = `import { z } from 'zod';
import { query } from '../_generated/server';

export const of = query({
  input: { author: z.string() },
  handler: (ctx, { author }) => ctx.db.query('notes').filter((q) => q.eq(q.field('author'), author)).collect(),
});
export const named = query({
  input: { title: z.string() },
  handler: (ctx, { title }) => ctx.db.query('notes').withIndex('by_title', (q) => q.eq('title', title)).collect(),
});
export const count = query({ handler: (ctx) => ctx.db.query('notes').count() });
`;

let app: CommandLine;
beforeAll(async () => {
  app = await CommandLine.create({
    'convoy/schema.ts': schema(
      `  notes: defineTable({ author: z.string(), title: z.string() }).index('by_title', ['title']),`,
    ),
    'convoy/functions/notes.ts': queries,
    'inputs.json': '{ "notes.of": [{ "author": "ann" }, { "author": "bob" }] }',
    'all-inputs.json': '{ "notes.of": [{ "author": "ann" }, { "author": "bob" }], "notes.named": [{ "title": "x" }] }',
  });
  expect((await app.run(['migrate'])).code).toBe(0);
});
afterAll(() => app.remove());

describe('convoy why', () => {
  let convoy: Convoy;
  let url: string;
  beforeAll(async () => {
    convoy = await createConvoy({ ...wide, databaseUrl: freshDatabaseUrl(), createDatabase: true, dev: true });
    const { port } = await convoy.listen({ port: 0 });
    url = `http://127.0.0.1:${port}/api`;
    const results = convoy.watch(
      { kind: 'query', name: 'messages.pinned' } as never,
      { room: 'hall', pinned: true } as never,
    );
    await results.next();
    const runs = async () => (await fetch(`${url}/_live`).then((response) => response.json())).data.queries[0];
    await convoy.mutation(
      { kind: 'mutation', name: 'messages.send' } as never,
      {
        room: 'hall',
        pinned: false,
        body: 'x',
      } as never,
    );
    for (let query = await runs(); query.runs < 2 || query.state !== 'idle'; ) query = await runs();
  });
  afterAll(() => convoy.close());

  test('prints each run with its cause, and what would avoid wasted ones', async () => {
    const { code, stdout, stderr } = await app.run([
      'why',
      'messages.pinned',
      '{"room":"hall","pinned":true}',
      '--url',
      url,
    ]);
    expect(code, stderr).toBe(0);
    const shown = stdout + stderr;
    expect(shown).toMatch(/first .* subscribed: a client subscribed/);
    expect(shown).toMatch(
      /equal .* commit: messages:\S+ entered by_room where room = "hall".*, written by messages\.send/,
    );
    expect(shown).toContain('1 of 1 run was wasted (100 %)');
    expect(shown).toContain("schema, table messages: .index('by_room_and_pinned', ['room', 'pinned'])");
  });

  test('prints JSON, of all functions without a name', async () => {
    const { code, stdout } = await app.run(['why', '--json', '--url', url]);
    expect(code).toBe(0);
    const [runs] = JSON.parse(stdout).functions;
    expect(runs).toMatchObject({ function: 'messages.pinned', compared: 1, equal: 1 });
  });

  test('says what is wrong where there is nothing to show', async () => {
    const unknown = await app.run(['why', 'messages.gone', '--url', url]);
    expect(unknown.code).toBe(1);
    expect(unknown.stdout + unknown.stderr).toContain('those of messages.pinned have');
    const away = await app.run(['why', '--url', 'http://127.0.0.1:9/api']);
    expect(away.code).toBe(1);
    expect(away.stdout + away.stderr).toContain('No server answers at http://127.0.0.1:9/api');
  });
});

test('a server in production lists its live queries on the port of its metrics', async () => {
  const prometheus = await freePort();
  const options = { ...wide, databaseUrl: freshDatabaseUrl(), createDatabase: true, telemetry: { prometheus } };
  const convoy = await createConvoy(options);
  const { port } = await convoy.listen({ port: 0 });
  const results = convoy.watch(
    { kind: 'query', name: 'messages.pinned' } as never,
    { room: 'hall', pinned: true } as never,
  );
  await results.next();
  const listed = await app.run(['why', 'messages.pinned', '--url', `http://127.0.0.1:${prometheus}`]);
  expect(listed.code, listed.stderr).toBe(0);
  expect(listed.stdout + listed.stderr).toMatch(/subscribed: a client subscribed/);
  const refused = await app.run(['why', '--url', `http://127.0.0.1:${port}/api`]);
  expect(refused.code).toBe(1);
  expect(refused.stdout + refused.stderr).toContain('at /_live of the port of its metrics');
  await convoy.close();
});

describe('convoy check --live', () => {
  const check = (...flags: string[]) => app.run(['check', '--live', '--port', '9', '--json', ...flags]);

  test('reports whole tables, fan-out, missing indexes, and queries that could not be run', async () => {
    const { code, stdout, stderr } = await check('--inputs', `${app.root}/inputs.json`);
    expect(code, stderr).toBe(0);
    const report = JSON.parse(stdout);
    expect(report.wholeReads.map((read: { function: string }) => read.function).sort()).toEqual([
      'notes.count',
      'notes.of',
    ]);
    expect(report.fanOut).toEqual([{ table: 'notes', always: 3, sometimes: 0, growing: ['notes.of'] }]);
    expect(report.missingIndexes).toMatchObject([
      { function: 'notes.of', advice: { schema: ".index('by_author', ['author'])" } },
    ]);
    expect(report.notRun).toMatchObject([{ function: 'notes.named', input: {} }]);
    expect(stderr).toContain('notes.named {} could not be run');
  });

  test('exits with 1 above a threshold', async () => {
    const fanOut = await check('--inputs', `${app.root}/inputs.json`, '--max-fan-out', '2');
    expect(fanOut.code).toBe(1);
    expect(fanOut.stderr).toContain('a write runs 3 live queries again; --max-fan-out is 2');
    const wholeReads = await check('--inputs', `${app.root}/all-inputs.json`, '--max-whole-reads', '1');
    expect(wholeReads.code).toBe(1);
    expect(wholeReads.stderr).toContain('2 reads of whole tables; --max-whole-reads is 1');
    const indexes = await check('--inputs', `${app.root}/all-inputs.json`, '--max-missing-indexes', '0');
    expect(indexes.code).toBe(1);
    expect(indexes.stderr).toContain('1 missing index; --max-missing-indexes is 0');
  });

  test('exits with 0 at each threshold', async () => {
    const thresholds = [
      '--max-whole-reads',
      '2',
      '--max-fan-out',
      '3',
      '--max-missing-indexes',
      '1',
      '--max-not-run',
      '0',
    ];
    const { code, stderr } = await check('--inputs', `${app.root}/all-inputs.json`, ...thresholds);
    expect(code, stderr).toBe(0);
  });

  test('exits with 1 if queries could not be run, with any threshold', async () => {
    // Without a file of inputs, `notes.of` and `notes.named` have none.
    for (const threshold of ['--max-whole-reads', '--max-fan-out', '--max-missing-indexes']) {
      const { code, stderr } = await check(threshold, '9');
      expect(code, threshold).toBe(1);
      expect(stderr).toMatch(/2 queries could not be run, .*--max-not-run is 0/);
    }
    expect((await check('--max-whole-reads', '9', '--max-not-run', '1')).code).toBe(1);
    expect((await check('--max-whole-reads', '9', '--max-not-run', '2')).code).toBe(0);
    expect((await check('--max-not-run', '1')).code).toBe(1);
    const wrong = await check('--max-not-run', 'none');
    expect(wrong.code).toBe(1);
    expect(wrong.stdout).toMatch(/--max-not-run is .*none.*: give a number from 0/);
  });
});
