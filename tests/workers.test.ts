/** Functions on worker threads, with the real engine, and with everything that can end or block a thread. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { threadId } from 'node:worker_threads';
import { createAuth } from '@avvos/convoy';
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
/** Records the engine's log. */
const writeLog = vi.spyOn(addon, 'writeLog');

async function open(options: Partial<ConvoyModuleOptions> = {}): Promise<Convoy> {
  const databaseUrl = freshDatabaseUrl();
  convoy = await createConvoy({ program, workers: 2, databaseUrl, createDatabase: true, ...options });
  return convoy;
}

/** The threads that eight concurrent calls run on. */
async function threads(): Promise<Set<number>> {
  return new Set(await Promise.all(Array.from({ length: 8 }, () => convoy.query(whereSlowly, {}))));
}

/** Calls until the results come from two threads, of which at least one is new. */
async function untilReplaced(before: ReadonlySet<number>): Promise<void> {
  for (;;) {
    const now = await threads();
    if (now.size === 2 && ![...now].every((id) => before.has(id))) return;
  }
}

beforeEach(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'convoy-workers-'));
  writeLog.mockImplementation(() => {});
});

afterEach(async () => {
  await convoy?.close();
  await rm(folder, { recursive: true });
  vi.unstubAllEnvs();
  writeLog.mockReset();
});

describe('workers', () => {
  it('share the calls, and run none on the main thread', async () => {
    await open({ workers: 3 });
    const ids = await threads();
    expect(ids.size).toBe(3);
    expect(ids.has(threadId)).toBe(false);
    await convoy.mutation(add, { text: 'a' });
    expect(await convoy.query(list, {})).toEqual(['a']);
  });

  it('are used when the program is a module, which is required for several', async () => {
    await open({ workers: 1 });
    expect(await convoy.query(where, {})).not.toBe(threadId);
    const parts = { schema: {} as never, functions: {}, databaseUrl: 'postgres://nowhere' };
    await expect(createConvoy({ ...parts, workers: 2 })).rejects.toThrow(/new URL\('\.\/program\.js'/);
    await expect(createConvoy({ ...parts, workers: -1 })).rejects.toThrow(/number of threads/);
  });

  it('import a start file without starting a server', async () => {
    const { createConvoyServer } = (await import(new URL('./programs/start.mjs', import.meta.url).href)) as StartFile;
    convoy = await createConvoyServer({ workers: 2, databaseUrl: freshDatabaseUrl(), createDatabase: true });
    expect((await threads()).size).toBe(2);
  });

  it('report what is wrong with the module', async () => {
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
    const updated = new Promise<void>((resolve) => {
      client.watch(list, {}, ({ data }) => {
        seen.push(data);
        if (data?.length === 1) resolve();
      });
    });
    await client.mutation(add, { text: 'a' });
    await updated;
    expect(seen.at(-1)).toEqual(['a']);
    client.close();
  });

  it('run a called function on the thread of its caller, with its context', async () => {
    await open();
    const { port } = await convoy.listen({ port: 0 });
    const client = createConvoyClient({ baseUrl: `http://127.0.0.1:${port}`, headers: { authorization: 'ada' } });
    const answers = await Promise.all(Array.from({ length: 8 }, () => client.action(actFor, {})));
    for (const [at, called] of answers) expect(called).toEqual(['ada', at]);
    expect(new Set(answers.map(([at]) => at)).size).toBe(2);
    client.close();
  });

  it('receive the auth of a context', async () => {
    await open();
    const context = { who: 'the program', auth: createAuth({ id: 'u1', roles: ['admin'] }) };
    const signedIn = makeQueryRef<None, [string, boolean, boolean]>('signedIn');
    expect(await convoy.query(signedIn, {}, { context })).toEqual(['u1', true, false]);
    const refused = convoy.query(signedIn, {}, { context: { auth: createAuth(null) } });
    await expect(refused).rejects.toMatchObject({ code: 'UNAUTHORIZED' });
  });

  it('receive a context only as JSON', async () => {
    await open();
    const [who] = await convoy.query(me, {}, { context: { who: 'the program' } });
    expect(who).toBe('the program');
    await expect(convoy.query(me, {}, { context: { user: { name: () => 'x' } } })).rejects.toThrow(
      /context\.user\.name/,
    );
  });

  it('switch to new code together, and calls in flight end on the old', async () => {
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
  it('by process.exit is replaced, and a query that always exits is UNAVAILABLE', async () => {
    await open();
    const before = await threads();
    await expect(convoy.query(exit, {})).rejects.toMatchObject({ code: 'UNAVAILABLE' });
    await untilReplaced(before);
    expect(writeLog.mock.calls.flat().join('\n')).toMatch(/exit code is 3/);
  });

  it('by an uncaught error is replaced', async () => {
    await open();
    const before = await threads();
    await expect(convoy.query(throwLater, {})).rejects.toMatchObject({ code: 'UNAVAILABLE' });
    await untilReplaced(before);
    expect(writeLog.mock.calls.flat().join('\n')).toMatch(/an uncaught error/);
  });

  it('by exceeding its memory limit is replaced', async () => {
    await open({ resourceLimits: { maxOldGenerationSizeMb: 40 } });
    const before = await threads();
    const others = Promise.all(Array.from({ length: 20 }, (_, n) => convoy.mutation(add, { text: `${n}` })));
    await expect(convoy.query(hoard, {})).rejects.toMatchObject({
      code: 'UNAVAILABLE',
      message: expect.stringMatching(/worker .* exited; try again/),
    });
    expect(new Set(await others).size).toBe(20);
    await untilReplaced(before);
    expect(writeLog.mock.calls.flat().join('\n')).toMatch(/memory/);
    expect(await convoy.query(list, {})).toHaveLength(20);
  });

  it('and cannot start again for lack of memory is restarted until it can', async () => {
    const marker = path.join(folder, 'marker');
    vi.stubEnv('UNSTARTABLE_WHILE', marker);
    await open({ workers: 1, resourceLimits: { maxOldGenerationSizeMb: 40 }, limits: { queryMs: 1_000 } });
    await writeFile(marker, '');
    await expect(convoy.query(exit, {})).rejects.toMatchObject({ code: expect.stringMatching(/UNAVAILABLE|TIMEOUT/) });
    // Calls wait for a worker within their time limit.
    await expect(convoy.query(where, {})).rejects.toMatchObject({ code: 'TIMEOUT' });
    const failures = () =>
      writeLog.mock.calls.flat().filter((line) => /while it was loading.* memory/.test(String(line)));
    await vi.waitUntil(() => failures().length >= 4, { timeout: 60_000 });
    await rm(marker);
    const started = async (): Promise<number> => convoy.query(where, {}).catch(() => started());
    expect(await started()).toBeGreaterThan(0);
  });

  it.each([
    ['without a transaction', false],
    ['in a transaction', true],
  ])('during a mutation %s has the mutation run again, with one effect', async (_, reads) => {
    await open();
    const marker = path.join(folder, 'marker');
    const id = await convoy.mutation(addOnRetry, { text: 'once', marker, reads });
    expect(id).toMatch(/^notes:/);
    expect(await convoy.query(list, {})).toEqual(['once']);
  });

  it('during an action fails it with UNAVAILABLE, and does not run it again', async () => {
    await open();
    const log = path.join(folder, 'log');
    await expect(convoy.action(actAndExit, { log })).rejects.toMatchObject({ code: 'UNAVAILABLE' });
    expect(await readFile(log, 'utf8')).toBe('ran\n');
  });

  it('does not affect calls on other workers', async () => {
    await open();
    const calls = Array.from({ length: 40 }, (_, n) => convoy.query(n % 20 === 0 ? exit : whereSlowly, {}));
    const ended = await Promise.allSettled(calls);
    const failed = ended.flatMap((one, n) => (one.status === 'rejected' ? [n] : []));
    expect(failed).toEqual([0, 20]);
  });
});

describe('an unresponsive worker', () => {
  const limits = { queryMs: 1_000, workerUnresponsiveMs: 500 };

  it('delays no other calls, and is replaced', async () => {
    await open({ limits });
    const before = await threads();
    const stuck = convoy.query(loop, {}).catch((error: unknown) => error);
    const ended: string[] = [];
    void stuck.then(() => ended.push('the stuck one'));
    const others = Array.from({ length: 20 }, async () => {
      await convoy.query(where, {});
      ended.push('another');
    });
    // Calls sent to it before it was detected are as late as it is; all others are not.
    const completed = (await Promise.allSettled(others)).filter(({ status }) => status === 'fulfilled');
    expect(completed.length).toBeGreaterThan(5);
    expect(ended.indexOf('the stuck one')).not.toBe(0);
    expect(await stuck).toMatchObject({ code: 'TIMEOUT' });
    await untilReplaced(before);
    expect(writeLog.mock.calls.flat().join('\n')).toMatch(/has not answered/);
  });

  it('is not the same as a function that never settles', async () => {
    await open({ limits });
    const before = await threads();
    await expect(convoy.query(never, {})).rejects.toMatchObject({ code: 'TIMEOUT' });
    for (let n = 0; n < 100; n++) await convoy.query(whereSlowly, {});
    expect(await threads()).toEqual(before);
  });
});

describe('worker exits at random moments', () => {
  it('end neither the process nor other calls', async () => {
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

  it('do not change the exit code of the process', async () => {
    const script = fileURLToPath(new URL('./programs/ending.mjs', import.meta.url));
    const child = spawn(process.execPath, [script, freshDatabaseUrl()], { stdio: 'inherit' });
    expect(await once(child, 'exit')).toEqual([7, null]);
  });
});
