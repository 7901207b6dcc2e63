/**
 * Five apps whose live queries run in vain, each for another reason. The advice of the server, applied to the source of
 * the app, gives the source of its other variant, which runs the query again only where its answer changes.
 */
import { readFile } from 'node:fs/promises';
import { type Convoy, createConvoy } from '@avvos/convoy/node';
import { afterEach, expect, test } from 'vitest';
import { freshDatabaseUrl } from './app.js';
import * as sortedAfter from './wasted-runs/sorted-list.after.js';
import * as sortedBefore from './wasted-runs/sorted-list.before.js';
import * as unboundedAfter from './wasted-runs/unbounded-range.after.js';
import * as unboundedBefore from './wasted-runs/unbounded-range.before.js';
import * as unshownAfter from './wasted-runs/unshown-field.after.js';
import * as unshownBefore from './wasted-runs/unshown-field.before.js';
import * as wholeAfter from './wasted-runs/whole-table.after.js';
import * as wholeBefore from './wasted-runs/whole-table.before.js';
import * as wideAfter from './wasted-runs/wide-range.after.js';
import * as wideBefore from './wasted-runs/wide-range.before.js';

/** The writes of a measurement. One in `RELEVANT` changes the answer. */
const WRITES = 40;
const RELEVANT = 20;

interface Advice {
  readonly text: string;
  readonly table: string;
  readonly schema?: string;
  readonly query?: string;
  readonly fields?: readonly string[];
}

interface Overview {
  readonly functions: readonly {
    readonly function: string;
    readonly compared: number;
    readonly equal: number;
    readonly reads: readonly { readonly equal: number; readonly advice: Advice | null }[];
  }[];
  readonly queries: readonly { readonly state: string; readonly runs: number }[];
}

type App = { readonly schema: unknown; readonly functions: unknown };

interface Scenario {
  readonly query: string;
  readonly input: object;
  /** Before the query is live. */
  readonly first?: readonly [name: string, input: object];
  readonly write: (at: number) => readonly [name: string, input: object];
}

const open: Convoy[] = [];
afterEach(async () => {
  for (const convoy of open.splice(0)) await convoy.close();
});

/** Makes the writes one after the other, each after all runs of the one before. */
async function measure(app: App, { query, input, first, write }: Scenario) {
  const convoy = await createConvoy({
    ...(app as typeof wholeBefore),
    databaseUrl: freshDatabaseUrl(),
    createDatabase: true,
    dev: true,
  });
  open.push(convoy);
  const { port } = await convoy.listen({ port: 0 });
  const overview = async () => {
    const response = await fetch(`http://127.0.0.1:${port}/api/_live?name=${query}`);
    return ((await response.json()) as { data: Overview }).data;
  };
  const call = ([name, args]: readonly [string, object]) =>
    (convoy.mutation as (ref: unknown, args: unknown) => Promise<unknown>)({ kind: 'mutation', name }, args);
  if (first !== undefined) await call(first);
  const results = (convoy.watch as (ref: unknown, args: unknown) => AsyncIterableIterator<unknown>)(
    { kind: 'query', name: query },
    input,
  );
  await results.next();
  const idle = async (): Promise<Overview> => {
    for (;;) {
      const now = await overview();
      if (now.queries.every(({ state }) => state === 'idle')) return now;
    }
  };
  for (let at = 0; at < WRITES; at++) {
    await call(write(at));
    await idle();
  }
  const { functions } = await idle();
  const runs = functions.find((each) => each.function === query);
  const answer = await (convoy.query as (ref: unknown, args: unknown) => Promise<unknown>)(
    { kind: 'query', name: query },
    input,
  );
  if (runs === undefined) throw new Error(`${query} has not run`);
  return { runs, answer };
}

/** The documents of an answer without what differs between two databases. */
function comparable(answer: unknown): unknown {
  return JSON.parse(
    JSON.stringify(answer, (key, value) => (key === 'id' || key === '_creationTime' ? undefined : value)),
  );
}

async function source(file: string): Promise<string> {
  const text = await readFile(new URL(`./wasted-runs/${file}.ts`, import.meta.url), 'utf8');
  return text.replaceAll(/\s+/g, '');
}

/** The end of an expression: the first of these characters that is in no parentheses. */
function endOf(text: string, from: number, ends: string): number {
  let depth = 0;
  for (let at = from; at < text.length; at++) {
    const character = text[at] as string;
    if (depth === 0 && ends.includes(character)) return at;
    if ('([{'.includes(character)) depth += 1;
    if (')]}'.includes(character)) depth -= 1;
  }
  throw new Error('the expression has no end');
}

/** Adds the line to the table in the schema, and puts the steps in the place of those of the query. */
function apply({ table, schema = '', query = '' }: Advice, text: string): string {
  const from = text.indexOf(`${table}:defineTable(`);
  const end = endOf(text, from, ',');
  const withIndex = text.slice(0, end) + schema.replaceAll(/\s+/g, '') + text.slice(end);
  const start = withIndex.indexOf(`.query('${table}')`) + `.query('${table}')`.length;
  const runner = withIndex.slice(start).search(/\.(?:collect|take|first|unique|count)\(/);
  return withIndex.slice(0, start) + query.replaceAll(/\s+/g, '') + withIndex.slice(start + runner);
}

const scenarios: readonly (Scenario & { readonly name: string; readonly before: App; readonly after: App })[] = [
  {
    name: 'whole-table',
    before: wholeBefore,
    after: wholeAfter,
    query: 'tickets.assigned',
    input: { assignee: 'ann' },
    write: (at) => ['tickets.open', { assignee: at % RELEVANT === 0 ? 'ann' : `person ${at}`, title: `${at}` }],
  },
  {
    name: 'wide-range',
    before: wideBefore,
    after: wideAfter,
    query: 'messages.pinned',
    input: { room: 'hall', pinned: true },
    write: (at) => ['messages.send', { room: 'hall', pinned: at % RELEVANT === 0, body: `${at}` }],
  },
  {
    name: 'sorted-list',
    before: sortedBefore,
    after: sortedAfter,
    query: 'scores.best',
    input: { game: 'chess' },
    // The first three fill the list.
    write: (at) => ['scores.add', { game: 'chess', points: at < 3 ? 1_000 : at % RELEVANT === 0 ? 2_000 : at }],
  },
  {
    name: 'unbounded-range',
    before: unboundedBefore,
    after: unboundedAfter,
    query: 'readings.high',
    input: { sensor: 'door', value: 100 },
    write: (at) => ['readings.add', { sensor: 'door', value: at % RELEVANT === 0 ? 100 + at : at }],
  },
  {
    name: 'unshown-field',
    before: unshownBefore,
    after: unshownAfter,
    query: 'users.profile',
    input: { name: 'ann' },
    first: ['users.join', { name: 'ann' }],
    write: (at) => ['users.beat', { name: 'ann', lastSeen: at + 1 }],
  },
];

test.each(scenarios)('$name: the advice, followed, removes the wasted runs', async (scenario) => {
  const { name, before, after } = scenario;
  const bad = await measure(before, scenario);
  const good = await measure(after, scenario);
  expect(comparable(good.answer)).toEqual(comparable(bad.answer));
  process.stdout.write(
    `${name}: ${bad.runs.equal} of ${bad.runs.compared} runs wasted before, ${good.runs.equal} of ${good.runs.compared} after\n`,
  );
  expect(bad.runs.equal).toBeGreaterThanOrEqual(0.8 * WRITES);
  expect(good.runs.equal).toBeLessThanOrEqual(0.1 * bad.runs.equal);

  const advice = bad.runs.reads[0]?.advice;
  if (advice == null) throw new Error('there is no advice');
  const [given, advised] = await Promise.all([source(`${name}.before`), source(`${name}.after`)]);
  if (advice.fields === undefined) {
    expect(apply(advice, given)).toBe(advised);
    return;
  }
  // Where the field goes is left to the developer; the table that the query reads no longer has it.
  expect(advice.text).toMatch(/^`users.beat` writes the field `lastSeen` of documents of `users`/);
  const table = (text: string) => {
    const from = text.indexOf(`${advice.table}:defineTable(`);
    return text.slice(from, endOf(text, from, ','));
  };
  const moved = advice.fields.reduce((text, field) => text.replace(new RegExp(`${field}:[^,]*,`), ''), table(given));
  expect(moved.replaceAll(',}', '}')).toBe(table(advised).replaceAll(',}', '}'));
});
