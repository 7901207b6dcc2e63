/**
 * Acceptance 21: functions that loop, a catastrophic regular expression, functions that never settle with and without a
 * connection to Postgres, and a document that all want, at once on one server. Other calls succeed meanwhile, or fail
 * with a code that says so, long before their own time limit; the log names the functions; and afterwards the server has
 * its threads and connections.
 */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, expect, test } from 'vitest';
import { freshDatabaseUrl } from './app.js';
import { Gate } from './gate.js';
import { LONG, Random } from './model/random.js';
import { withSeeds } from './model/seeds.js';
import { ServerProcess } from './server-process.js';

const POOL_SIZE = 6;
const ROUNDS = LONG ? 25 : 1;
/** Callers of each function that hogs. */
const HOGS = LONG ? 30 : 8;
/** How often each well-behaved function has to succeed while others loop. */
const SUCCESSES = LONG ? 20 : 3;
/** Functions that hog have limits of their own, in `hogging.mjs`: of 3 s, if they block their thread. */
const LIMITS = { queryMs: 25_000, mutationMs: 25_000, connectionMs: 1_000, workerUnresponsiveMs: 2_000 };
/**
 * How long another call may take: until a thread that it had begun on was replaced, when the call that blocks it has
 * passed its limit; until there is a spare thread, a second; and until there is a connection. A machine under load takes
 * as long again.
 */
const MAX_WAIT_MS = 2 * (3_000 + 1_000 + LIMITS.connectionMs);
/** The codes of a call that has failed because of others. */
const CODES = ['ok', 'TIMEOUT', 'UNAVAILABLE', 'CONFLICT'];
const TIMEOUT = LONG ? 1_200_000 : 90_000;

const closing: (() => unknown)[] = [];
afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close();
});

type Call = readonly [path: string, args?: object];
const OTHERS: readonly Call[] = [
  ['query/echo', { n: 1 }],
  ['query/count'],
  ['mutation/add', { text: 'a' }],
  ['query/value'],
  // Its document is wanted by all, but it ends.
  ['mutation/hot'],
];

class Server {
  readonly process: ServerProcess;
  /** How often calls have ended, by path and code. */
  readonly ends: Record<string, number> = {};
  /** The longest wait for an answer, by path. */
  readonly #longest: Record<string, number> = {};
  readonly #folder: string;
  #loops = 0;

  private constructor(process: ServerProcess, folder: string) {
    this.process = process;
    this.#folder = folder;
  }

  static async start({ workers = 2, limits = LIMITS as object } = {}): Promise<Server> {
    const options = { databaseUrl: freshDatabaseUrl(), port: 0, poolSize: POOL_SIZE, workers, limits };
    const process = await ServerProcess.start({ program: 'hogging.mjs', options });
    closing.push(() => process.end('SIGKILL'));
    const folder = await mkdtemp(join(tmpdir(), 'convoy-hogs-'));
    closing.push(() => rm(folder, { recursive: true }));
    return new Server(process, folder);
  }

  /** Resolves to `ok` or a code. */
  async call([path, args = {}]: Call): Promise<string> {
    const began = performance.now();
    const response = await fetch(`${this.process.baseUrl}/api/${path}`, { method: 'POST', body: JSON.stringify(args) });
    const { ok, error } = (await response.json()) as { ok: boolean; error?: { code: string } };
    const end = ok ? 'ok' : (error?.code ?? '');
    this.ends[`${path} ${end}`] = (this.ends[`${path} ${end}`] ?? 0) + 1;
    this.#longest[path] = Math.max(this.#longest[path] ?? 0, performance.now() - began);
    return end;
  }

  /** Calls functions that loop, again and again, until `end` is called. */
  loop(callers: number) {
    const until = join(this.#folder, `until-${this.#loops++}`);
    let isOver = false;
    const all = Array.from({ length: callers }, async () => {
      while (!isOver) await this.call(['query/loop', { until }]);
    });
    return {
      async end() {
        isOver = true;
        await writeFile(until, '');
        await Promise.all(all);
      },
    };
  }

  timesOf(path: string, code: string): number {
    return this.ends[`${path} ${code}`] ?? 0;
  }

  /** The longest wait for an answer of these. */
  longestMs(calls: readonly Call[]): number {
    return Math.round(Math.max(...calls.map(([path]) => this.#longest[path] ?? 0)));
  }

  async health(path: 'health' | 'ready'): Promise<number> {
    return (await fetch(`${this.process.baseUrl}/api/${path}`)).status;
  }
}

/** Begins all kinds of hogs, in a random order; resolves when they have ended. */
function hog(server: Server, random: Random): Promise<unknown> {
  const hogs = Array.from({ length: HOGS }, (): Call[] => [
    ['query/never'],
    ['mutation/neverWrite'],
    ['mutation/hot'],
    ['mutation/hot'],
  ]).flat();
  hogs.push(['query/regex'], ['query/regex']);
  const ordered = hogs.map((call) => ({ call, at: random.fraction() })).sort((a, b) => a.at - b.at);
  return Promise.all(ordered.map(({ call }) => server.call(call)));
}

/** Holds all connections at once; false if there are fewer. */
async function hasWholePool(server: Server): Promise<boolean> {
  const gate = await Gate.open();
  closing.push(() => gate.close());
  const calls = Array.from({ length: POOL_SIZE }, (_, n) => n);
  const held = calls.map((n) => server.call(['mutation/hold', { gate: `${gate.url}/${n}` }]));
  const isRefused = Promise.race(held.map(async (end) => void (await end)));
  const isWhole = await Promise.race([gate.untilAll(calls).then(() => true), isRefused.then(() => false)]);
  for (const n of calls) gate.release(n);
  await Promise.all(held);
  return isWhole;
}

test('hogs delay no other call for long, and leave nothing behind', { timeout: TIMEOUT }, async () => {
  await withSeeds('hogs', async (seed) => {
    const random = new Random(seed);
    const server = await Server.start();
    let loopsReturned = 0;
    for (let round = 0; round < ROUNDS; round++) {
      const loops = server.loop(1);
      const hogs = hog(server, random);
      // Each kind of call succeeds again and again, while more and more threads are blocked.
      const others = OTHERS.map(async (call) => {
        for (let successes = 0; successes < SUCCESSES; ) {
          if ((await server.call(call)) === 'ok') successes += 1;
          expect(server.longestMs([call]), call[0]).toBeLessThan(MAX_WAIT_MS);
        }
      });
      await Promise.all(others);
      // No loop has returned.
      expect(server.timesOf('query/loop', 'ok')).toBe(loopsReturned);
      await server.process.untilPrints(/loop has kept its thread busy since/);
      await server.process.untilPrints(/regex has kept its thread busy since/);
      await hogs;
      await loops.end();
      loopsReturned = server.timesOf('query/loop', 'ok');
      expect(await hasWholePool(server)).toBe(true);
    }
    console.log(`seed ${seed}: ${JSON.stringify(server.ends)}; longest ${server.longestMs(OTHERS)} ms`);
    const unexpected = Object.keys(server.ends).filter((end) => !CODES.includes(end.split(' ')[1] ?? ''));
    expect(unexpected).toEqual([]);
    for (const [path] of [['query/regex'], ['query/never'], ['mutation/neverWrite']] as const) {
      expect(server.timesOf(path, 'ok')).toBe(0);
    }
    // Each call of the hot document that succeeded counts once.
    const value = await fetch(`${server.process.baseUrl}/api/query/value`, { method: 'POST', body: '{}' });
    const { data } = (await value.json()) as { data: number };
    const failed = CODES.filter((code) => code !== 'ok').map((code) => server.timesOf('mutation/hot', code));
    const succeeded = server.timesOf('mutation/hot', 'ok');
    expect(data).toBeGreaterThanOrEqual(succeeded);
    expect(data).toBeLessThanOrEqual(succeeded + failed.reduce((sum, count) => sum + count));
    while ((await server.health('ready')) !== 200);
    expect(await server.health('health')).toBe(200);
    expect(await server.process.end()).toEqual([0, null]);
  });
});

test('control: without workers a loop delays all others, and health says so', { timeout: TIMEOUT }, async () => {
  const limits = { ...LIMITS, queryMs: MAX_WAIT_MS + 500, mutationMs: MAX_WAIT_MS + 500 };
  const server = await Server.start({ workers: 0, limits });
  const loops = server.loop(1);
  await server.process.untilPrints(/loop has kept its thread busy since/);
  expect(await Promise.all(OTHERS.map((call) => server.call(call)))).not.toContain('ok');
  expect(server.longestMs(OTHERS)).toBeGreaterThan(MAX_WAIT_MS);
  while ((await server.health('health')) !== 503);
  await loops.end();
});

test('control: connections that are kept are detected', { timeout: TIMEOUT }, async () => {
  const server = await Server.start({ limits: { ...LIMITS, mutationMs: 3_600_000 } });
  const gate = await Gate.open();
  closing.push(() => gate.close());
  const kept = server.call(['mutation/hold', { gate: `${gate.url}/0` }]);
  await gate.untilAll([0]);
  expect(await hasWholePool(server)).toBe(false);
  gate.release(0);
  expect(await kept).toBe('ok');
  expect(await hasWholePool(server)).toBe(true);
});
