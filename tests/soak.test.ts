/**
 * Acceptance 22: many mixed calls (queries, mutations, actions, live queries that are opened and closed, errors, clients
 * that hang up) on one server process. After a warm-up neither its resident memory nor its heaps grow.
 */
import { once } from 'node:events';
import { Agent, request } from 'node:http';
import { createConvoyClient, makeQueryRef } from '@avvos/convoy/client';
import { afterEach, describe, expect, test } from 'vitest';
import { freshDatabaseUrl } from './app.js';
import { LONG, Random } from './model/random.js';
import { controlSeed, withSeeds } from './model/seeds.js';
import { ServerProcess } from './server-process.js';
import { grows, megabytes, trendOf } from './trend.js';

const CALLS = LONG ? 2_000_000 : 10_000;
/** The calls of a control. */
const FEW = 4_000;
/** The samples of a run that makes all calls. */
const SAMPLES = LONG ? 500 : 100;
const CALLERS = 16;
const SLOTS = 200;
/** A long run ends after this time, if it has not made all calls. */
const MAX_MS = LONG ? 900_000 : 3_600_000;
/** Growth that counts, of all calls together: half of what the planted leaks add in few. */
const RESIDENT = 5 * 2 ** 20;
const HEAP = 1.5 * 2 ** 20;
const TIMEOUT = LONG ? 1_200_000 : 120_000;

const read = makeQueryRef<{ slot: number }, { value: number } | null>('read');
const closing: (() => unknown)[] = [];
afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close();
});

class Load {
  readonly #server: ServerProcess;
  readonly #random: Random;
  readonly #agent = new Agent({ keepAlive: true, maxSockets: CALLERS });
  /** How many calls were begun of each kind. */
  readonly made: Record<string, number> = {};

  constructor(server: ServerProcess, random: Random) {
    this.#server = server;
    this.#random = random;
  }

  /** Makes this many calls. */
  async run(calls: number): Promise<void> {
    let left = calls;
    const call = async (): Promise<void> => {
      while (left-- > 0) await this.#one();
    };
    await Promise.all(Array.from({ length: CALLERS }, call));
  }

  async #one(): Promise<void> {
    const kind = this.#random.weighted({
      read: 40,
      write: 20,
      comeAndGo: 8,
      act: 8,
      refuse: 5,
      unknown: 3,
      malformed: 3,
      hangUp: 5,
      leaveStream: 3,
      watch: 5,
    });
    this.made[kind] = (this.made[kind] ?? 0) + 1;
    const slot = this.#random.below(SLOTS);
    switch (kind) {
      case 'read':
        return this.#expect(200, await this.#post('query/read', { slot }));
      case 'write':
        return this.#expect(200, await this.#post('mutation/write', { slot, value: this.#random.below(1_000) }));
      case 'comeAndGo':
        return this.#expect(200, await this.#post('mutation/comeAndGo', {}));
      case 'act':
        return this.#expect(200, await this.#post('action/act', { slot }));
      case 'refuse':
        return this.#expect(403, await this.#post('mutation/refuse', {}));
      case 'unknown':
        return this.#expect(404, await this.#post(`query/none${this.#random.below(1e9)}`, {}));
      case 'malformed':
        return this.#expect(400, await this.#post('query/read', { slot: `s${this.#random.below(1e9)}` }));
      case 'hangUp':
        await this.#post('mutation/write', { slot, value: 0 }, this.#random.below(3));
        return;
      case 'leaveStream':
        return this.#leaveStream(slot);
      case 'watch':
        return this.#watch(slot);
    }
  }

  #expect(status: number, answered: number): void {
    // Writes to one slot may conflict too often.
    if (answered !== 409) expect(answered).toBe(status);
  }

  /** Resolves to the status; with `hangUpMs` the client leaves after that time, without a status. */
  #post(path: string, args: object, hangUpMs?: number): Promise<number> {
    return new Promise((resolve, reject) => {
      const options = { port: this.#server.port, host: '127.0.0.1', method: 'POST', path: `/api/${path}` };
      const sent = request({ ...options, agent: this.#agent }, (response) => {
        response.resume().on('end', () => resolve(response.statusCode ?? 0));
      });
      if (hangUpMs === undefined) sent.on('error', reject);
      else {
        sent.on('error', () => resolve(0));
        setTimeout(() => sent.destroy(), hangUpMs);
        sent.on('close', () => resolve(0));
      }
      sent.end(JSON.stringify(args));
    });
  }

  /** Opens a session, and closes its socket after the first bytes. */
  async #leaveStream(slot: number): Promise<void> {
    const sent = request({ port: this.#server.port, host: '127.0.0.1', method: 'POST', path: '/api/live' });
    sent.end(JSON.stringify({ protocol: 1, queries: [{ id: 0, name: 'read', args: { slot } }] }));
    const [response] = await once(sent, 'response');
    await once(response, 'data');
    response.on('error', () => {});
    sent.destroy();
  }

  async #watch(slot: number): Promise<void> {
    const client = createConvoyClient({ baseUrl: this.#server.baseUrl });
    await new Promise<void>((resolve) => {
      client.watch(read, { slot }, ({ status }) => {
        if (status === 'success') resolve();
      });
    });
    client.close();
  }

  close(): void {
    this.#agent.destroy();
  }
}

interface Soaked {
  readonly residentGrows: boolean;
  readonly heapGrows: boolean;
}

async function soak(calls: number, { leak = '', seed = controlSeed(), samples = SAMPLES } = {}): Promise<Soaked> {
  const server = await ServerProcess.start({
    program: 'soaking.mjs',
    flags: ['--expose-gc', '--import', new URL('./programs/measured.mjs', import.meta.url).href],
    env: { LEAK: leak },
    // What is kept for a time would grow in a short run.
    options: { databaseUrl: freshDatabaseUrl(), port: 0, workers: 1, limits: { idleQueryMs: 100 } },
  });
  closing.push(() => server.end('SIGKILL'));
  const load = new Load(server, new Random(seed));
  closing.push(() => load.close());
  const heaps = async (): Promise<number> => {
    server.process.send({});
    const [{ heap }] = (await once(server.process, 'message')) as [{ heap: number }];
    const response = await fetch(`${server.baseUrl}/api/query/heap`, { method: 'POST', body: '{}' });
    return heap + ((await response.json()) as { data: number }).data;
  };
  const step = Math.round(calls / samples);
  const began = performance.now();
  const [resident, heap]: [number[], number[]] = [[], []];
  for (let made = 0; made < calls && performance.now() - began < MAX_MS; made += step) {
    await load.run(step);
    // A quarter is the warm-up: code is compiled, caches fill, the allocator finds its size.
    if (made < calls / 4 && performance.now() - began < MAX_MS / 4) continue;
    heap.push(await heaps());
    resident.push(await server.resident());
  }
  const [residentTrend, heapTrend] = [trendOf(resident), trendOf(heap)];
  const describe = (name: string, all: readonly number[], { growth, noise }: typeof heapTrend) =>
    `${name} ${megabytes(all.at(-1) ?? 0)}, growth ${megabytes(growth)} with noise ${megabytes(noise)}`;
  const total = Object.values(load.made).reduce((sum, made) => sum + made);
  const perSecond = Math.round(total / ((performance.now() - began) / 1_000));
  console.log(
    `seed ${seed}: ${total} calls, ${perSecond}/s; ${describe('resident', resident, residentTrend)}; ${describe('heaps', heap, heapTrend)}`,
  );
  expect(await server.end()).toEqual([0, null]);
  return { residentGrows: grows(residentTrend, RESIDENT), heapGrows: grows(heapTrend, HEAP) };
}

test('memory does not grow with the number of calls', { timeout: TIMEOUT }, async () => {
  await withSeeds('soak', async (seed) => {
    expect(await soak(CALLS, { seed })).toEqual({ residentGrows: false, heapGrows: false });
  });
});

test('control: a leak of objects is detected', { timeout: TIMEOUT }, async () => {
  expect(await soak(FEW, { leak: 'heap', samples: 40 })).toEqual({ residentGrows: true, heapGrows: true });
});

test('control: a leak outside of the heap is detected', { timeout: TIMEOUT }, async () => {
  expect(await soak(FEW, { leak: 'outside', samples: 40 })).toMatchObject({ residentGrows: true });
});

describe('a trend', () => {
  const noisy = (slope: number) => Array.from({ length: 50 }, (_, n) => 1_000 + slope * n + 40 * Math.sin(n * n));

  test('is growth that exceeds its noise', () => {
    expect(grows(trendOf(noisy(0)), 10)).toBe(false);
    expect(grows(trendOf(noisy(20)), 10)).toBe(true);
  });

  test('is not a peak, nor what was before the last 80 %', () => {
    const warming = noisy(0).map((sample, n) => (n < 10 ? n * 10 : n % 7 === 0 ? sample + 5_000 : sample));
    expect(grows(trendOf(warming), 10)).toBe(false);
  });
});
