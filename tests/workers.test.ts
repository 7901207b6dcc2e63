/** Functions on worker threads: real threads, the real engine, and everything that can end or hold up a thread. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { threadId } from 'node:worker_threads';
import { createConvoyClient, makeActionRef, makeMutationRef, makeQueryRef } from '@avvos/convoy/client';
import { type Convoy, type ConvoyModuleOptions, createConvoy, type StartFile } from '@avvos/convoy/node';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { addon } from './addon.js';
import { freshDatabaseUrl } from './app.js';

type None = Record<string, never>;
const where = makeQueryRef<None, number>('where');
const whereSlowly = makeQueryRef<None, number>('whereSlowly');
const list = makeQueryRef<None, string[]>('list');
const add = makeMutationRef<{ text: string }, string>('add');
const addOnRetry = makeMutationRef<{ text: string; marker: string; reads: boolean }, string>('addOnRetry');
const exit = makeQueryRef<None, null>('exit');
const actAndExit = makeActionRef<{ log: string }, null>('actAndExit');
const throwLater = makeQueryRef<None, null>('throwLater');
const hoard = makeQueryRef<None, null>('hoard');
const loop = makeQueryRef<None, null>('loop');
const never = makeQueryRef<None, null>('never');
const me = makeQueryRef<None, [unknown, number]>('me');
const actFor = makeActionRef<None, [number, [unknown, number]]>('actFor');

const program = new URL('./programs/workers.mjs', import.meta.url);

let convoy: Convoy;
let folder: string;
/** What is written into the log. */
const said = vi.spyOn(addon, 'writeLog');

async function open(options: Partial<ConvoyModuleOptions> = {}): Promise<Convoy> {
  const databaseUrl = freshDatabaseUrl();
  convoy = await createConvoy({ program, workers: 2, databaseUrl, createDatabase: true, ...options });
  return convoy;
}

/** The threads that run functions now, as far as calls meet them. */
async function threads(): Promise<Set<number>> {
  return new Set(await Promise.all(Array.from({ length: 8 }, () => convoy.query(whereSlowly, {}))));
}

/** Calls until they are answered by two threads, not both of those before. */
async function untilReplaced(before: ReadonlySet<number>): Promise<void> {
  for (;;) {
    const now = await threads();
    if (now.size === 2 && ![...now].every((id) => before.has(id))) return;
  }
}

beforeEach(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'convoy-workers-'));
  said.mockImplementation(() => {});
});

afterEach(async () => {
  await convoy?.close();
  await rm(folder, { recursive: true });
  said.mockReset();
});

describe('workers', () => {
  it('share the calls, and leave this thread alone', async () => {
    await open({ workers: 3 });
    const ids = await threads();
    expect(ids.size).toBe(3);
    expect(ids.has(threadId)).toBe(false);
    await convoy.mutation(add, { text: 'a' });
    expect(await convoy.query(list, {})).toEqual(['a']);
  });

  it('are used as soon as a program is a module, and need one to be several', async () => {
    await open({ workers: 1 });
    expect(await convoy.query(where, {})).not.toBe(threadId);
    const parts = { schema: {} as never, functions: {}, databaseUrl: 'postgres://nowhere' };
    await expect(createConvoy({ ...parts, workers: 2 })).rejects.toThrow(/new URL\('\.\/program\.js'/);
    await expect(createConvoy({ ...parts, workers: -1 })).rejects.toThrow(/number of threads/);
  });

  it('import a start file, and start nothing by that', async () => {
    const { createConvoyServer } = (await import(new URL('./programs/start.mjs', import.meta.url).href)) as StartFile;
    convoy = await createConvoyServer({ workers: 2, databaseUrl: freshDatabaseUrl(), createDatabase: true });
    expect((await threads()).size).toBe(2);
  });

  it('say what is wrong with the module', async () => {
    for (const [name, message] of [
      ['none.mjs', /exports no program/],
      ['missing.mjs', /missing\.mjs/],
    ] as const) {
      await expect(open({ program: new URL(`./programs/${name}`, import.meta.url) })).rejects.toThrow(message);
    }
  });

  it('serve live queries', async () => {
    await open();
    const { port } = await convoy.listen({ port: 0 });
    const client = createConvoyClient({ baseUrl: `http://127.0.0.1:${port}` });
    const seen: unknown[] = [];
    const told = new Promise<void>((resolve) => {
      client.watch(list, {}, ({ data }) => {
        seen.push(data);
        if (data?.length === 1) resolve();
      });
    });
    await client.mutation(add, { text: 'a' });
    await told;
    expect(seen.at(-1)).toEqual(['a']);
    client.close();
  });

  it('run what a function calls where that function runs, with its context', async () => {
    await open();
    const { port } = await convoy.listen({ port: 0 });
    const client = createConvoyClient({ baseUrl: `http://127.0.0.1:${port}`, headers: { authorization: 'ada' } });
    const answers = await Promise.all(Array.from({ length: 8 }, () => client.action(actFor, {})));
    for (const [at, called] of answers) expect(called).toEqual(['ada', at]);
    expect(new Set(answers.map(([at]) => at)).size).toBe(2);
    client.close();
  });

  it('get a context as JSON, and nothing else', async () => {
    await open();
    const [who] = await convoy.query(me, {}, { context: { who: 'the program' } });
    expect(who).toBe('the program');
    await expect(convoy.query(me, {}, { context: { user: { name: () => 'x' } } })).rejects.toThrow(
      /context\.user\.name/,
    );
  });

  it('take new code all at once, and calls in flight end on the old', async () => {
    await open();
    const before = convoy.query(whereSlowly, {});
    await convoy.mutation(add, { text: 'a' });
    await convoy.load({ program: new URL('./programs/workers-next.mjs', import.meta.url) });
    const answers = await Promise.all(Array.from({ length: 20 }, () => convoy.query(list, {})));
    expect(answers.every(([first]) => first === 'of the next version')).toBe(true);
    expect(await before).toBeGreaterThan(0);
    await expect(convoy.load({ program: new URL('./programs/none.mjs', import.meta.url) })).rejects.toThrow();
    expect(await convoy.query(list, {})).toEqual(['of the next version']);
    await expect(convoy.load({ schema: {} as never, functions: {} })).rejects.toThrow(/program/);
  });
});

describe('a worker that ends', () => {
  it('by process.exit is replaced, and a query that always does it is UNAVAILABLE', async () => {
    await open();
    const before = await threads();
    await expect(convoy.query(exit, {})).rejects.toMatchObject({ code: 'UNAVAILABLE' });
    await untilReplaced(before);
    expect(said.mock.calls.flat().join('\n')).toMatch(/exit code is 3/);
  });

  it('by an error nobody caught is replaced', async () => {
    await open();
    const before = await threads();
    await expect(convoy.query(throwLater, {})).rejects.toMatchObject({ code: 'UNAVAILABLE' });
    await untilReplaced(before);
    expect(said.mock.calls.flat().join('\n')).toMatch(/an uncaught error/);
  });

  it('by taking more memory than it may have is replaced', async () => {
    await open({ resourceLimits: { maxOldGenerationSizeMb: 40 } });
    const before = await threads();
    await expect(convoy.query(hoard, {})).rejects.toMatchObject({ code: 'UNAVAILABLE' });
    await untilReplaced(before);
    expect(said.mock.calls.flat().join('\n')).toMatch(/memory/);
  });

  it.each([
    ['without a transaction', false],
    ['in a transaction', true],
  ])('in the middle of a mutation %s: that is run again, and has its effect once', async (_, reads) => {
    await open();
    const marker = path.join(folder, 'marker');
    const id = await convoy.mutation(addOnRetry, { text: 'once', marker, reads });
    expect(id).toMatch(/^notes:/);
    expect(await convoy.query(list, {})).toEqual(['once']);
  });

  it('in the middle of an action: that is UNAVAILABLE, and not run again', async () => {
    await open();
    const log = path.join(folder, 'log');
    await expect(convoy.action(actAndExit, { log })).rejects.toMatchObject({ code: 'UNAVAILABLE' });
    expect(await readFile(log, 'utf8')).toBe('ran\n');
  });

  it('with others beside it costs these nothing', async () => {
    await open();
    const calls = Array.from({ length: 40 }, (_, n) => convoy.query(n % 20 === 0 ? exit : whereSlowly, {}));
    const ended = await Promise.allSettled(calls);
    const failed = ended.flatMap((one, n) => (one.status === 'rejected' ? [n] : []));
    expect(failed).toEqual([0, 20]);
  });
});

describe('a worker that does not answer', () => {
  const limits = { queryMs: 1_000, workerUnresponsiveMs: 500 };

  it('holds nobody up, and is replaced', async () => {
    await open({ limits });
    const before = await threads();
    const stuck = convoy.query(loop, {}).catch((error: unknown) => error);
    const ended: string[] = [];
    void stuck.then(() => ended.push('the stuck one'));
    const others = Array.from({ length: 20 }, async () => {
      await convoy.query(where, {});
      ended.push('another');
    });
    // Some may have been given to it before anybody knew. These are as late as it is, and the rest is not.
    const answered = (await Promise.allSettled(others)).filter(({ status }) => status === 'fulfilled');
    expect(answered.length).toBeGreaterThan(5);
    expect(ended.indexOf('the stuck one')).not.toBe(0);
    expect(await stuck).toMatchObject({ code: 'TIMEOUT' });
    await untilReplaced(before);
    expect(said.mock.calls.flat().join('\n')).toMatch(/has not answered/);
  });

  it('is one thing, a function that never settles another', async () => {
    await open({ limits });
    const before = await threads();
    await expect(convoy.query(never, {})).rejects.toMatchObject({ code: 'TIMEOUT' });
    for (let n = 0; n < 100; n++) await convoy.query(whereSlowly, {});
    expect(await threads()).toEqual(before);
  });
});

describe('ends at random moments', () => {
  it('take down neither the process nor what is not theirs', async () => {
    await open();
    for (let round = 0; round < 8; round++) {
      const calls = [
        ...Array.from({ length: 10 }, () => convoy.query(whereSlowly, {})),
        ...Array.from({ length: 10 }, (_, n) => convoy.mutation(add, { text: `${round}.${n}` })),
        convoy.query(exit, {}).catch(() => 0),
      ];
      await Promise.all(calls);
    }
    expect(new Set(await convoy.query(list, {})).size).toBe(80);
  });

  it('end a process as it wanted to end', async () => {
    const script = fileURLToPath(new URL('./programs/ending.mjs', import.meta.url));
    const child = spawn(process.execPath, [script, freshDatabaseUrl()], { stdio: 'inherit' });
    expect(await once(child, 'exit')).toEqual([7, null]);
  });
});
