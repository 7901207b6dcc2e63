/**
 * Acceptance 20, in JavaScript: worker threads end at random moments, by functions that exit and by termination, and so
 * does the process, while calls and live queries are in flight. No process ends by a signal (SIGSEGV, SIGABRT). A
 * thread that ended is replaced, and live queries go on.
 */
import { createConvoyClient, makeQueryRef } from '@avvos/convoy/client';
import { afterEach, expect, test } from 'vitest';
import { freshDatabaseUrl } from './app.js';
import { LONG, Random } from './model/random.js';
import { controlSeed, withSeeds } from './model/seeds.js';
import { ServerProcess } from './server-process.js';

const TERMINATIONS = LONG ? 400 : 15;
const PROCESSES = LONG ? 60 : 3;
const CALLERS = 8;
const STREAMS = LONG ? 50 : 10;
const TIMEOUT = LONG ? 900_000 : 60_000;

const count = makeQueryRef<Record<never, never>, number>('count');
const closing: (() => unknown)[] = [];
afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close();
});

/** A server under load. */
class World {
  readonly server: ServerProcess;
  /** The codes of errors, with their numbers; `lost` for connections. */
  readonly codes: Record<string, number> = {};
  readonly #random: Random;
  readonly #shown: number[] = [];
  #onShown = () => {};
  #callers: Promise<void>[] = [];
  #added = 0;
  #isOver = false;

  private constructor(server: ServerProcess, random: Random) {
    this.server = server;
    this.#random = random;
  }

  static async open(random: Random, { workers }: { workers: number }): Promise<World> {
    const server = await ServerProcess.start({
      program: 'exiting.mjs',
      flags: ['--import', new URL('./programs/terminable.mjs', import.meta.url).href],
      options: { databaseUrl: freshDatabaseUrl(), port: 0, workers },
    });
    closing.push(() => server.end('SIGKILL'));
    const world = new World(server, random);
    for (let at = 0; at < STREAMS; at++) world.#watch(at);
    await world.until((shown) => shown.length === STREAMS);
    world.#callers = Array.from({ length: CALLERS }, () => world.#callOnAndOn());
    return world;
  }

  /** A process that ends closes its channel first; its exit is known later. */
  get isRunning(): boolean {
    const { connected, exitCode, signalCode } = this.server.process;
    return connected && exitCode === null && signalCode === null;
  }

  /** Asks the process to act; where it ends before it has read the message, nothing happens. */
  act(act: 'terminate' | 'exit' | 'abort'): void {
    this.server.process.send({ act, number: this.#random.below(1_000) }, () => {});
  }

  /** Calls a function that exits; resolves to its answer's code. */
  exitInFunction(): Promise<string> {
    const how = this.#random.pick(['at once', 'timer', 'reading', 'writing']);
    return this.call('exit', { how, ms: this.#random.below(20) });
  }

  pause(): Promise<void> {
    return new Promise((resolve) => setTimeout(resolve, this.#random.below(60)));
  }

  /** Waits until a thread runs functions. */
  async untilAnswered(): Promise<void> {
    while (this.isRunning && (await this.call('add', { n: -2, ms: 0 })) !== 'ok');
  }

  /** Calls a mutation without retries: `ok`, a code, or `lost`. */
  async call(name: string, args: object): Promise<string> {
    try {
      const path = `${this.server.baseUrl}/api/mutation/${name}`;
      const response = await fetch(path, { method: 'POST', body: JSON.stringify(args) });
      const { ok, error } = (await response.json()) as { ok: boolean; error?: { code: string } };
      return ok ? 'ok' : (error?.code ?? '');
    } catch {
      return 'lost';
    }
  }

  async until(condition: (shown: readonly number[]) => boolean): Promise<void> {
    while (!condition(Object.values(this.#shown))) {
      await new Promise<void>((resolve) => {
        this.#onShown = resolve;
      });
    }
  }

  /** Ends the load. */
  async rest(): Promise<void> {
    this.#isOver = true;
    await Promise.all(this.#callers);
  }

  #watch(at: number): void {
    const client = createConvoyClient({ baseUrl: this.server.baseUrl });
    closing.push(() => client.close());
    client.watch(count, {}, ({ data }) => {
      if (data !== null) this.#shown[at] = data;
      this.#onShown();
    });
  }

  async #callOnAndOn(): Promise<void> {
    while (!this.#isOver && this.isRunning) {
      const outcome = await this.call('add', { n: this.#added++, ms: this.#random.below(10) });
      this.codes[outcome] = (this.codes[outcome] ?? 0) + 1;
    }
  }
}

/** Ends threads while calls run; returns whether the server answers afterwards. */
async function endThreads(random: Random, { workers }: { workers: number }): Promise<boolean> {
  const world = await World.open(random, { workers });
  const exits: Promise<string>[] = [];
  for (let n = 0; n < TERMINATIONS && world.isRunning; n++) {
    await world.pause();
    if (random.chance(0.5)) exits.push(world.exitInFunction());
    else if (world.isRunning) world.act('terminate');
    // Otherwise threads may end faster than they start.
    if (random.chance(0.5)) await world.untilAnswered();
  }
  const ended = await Promise.all(exits);
  await world.rest();
  console.log(`${TERMINATIONS} threads ended: ${JSON.stringify(world.codes)}; exits: ${[...new Set(ended)].join()}`);
  if (!world.isRunning) return false;
  // Where no thread lives for long enough, a call runs out of time.
  const expected = ['ok', 'UNAVAILABLE', 'TIMEOUT'];
  expect(Object.keys(world.codes).filter((code) => !expected.includes(code))).toEqual([]);
  await world.untilAnswered();
  const client = createConvoyClient({ baseUrl: world.server.baseUrl });
  closing.push(() => client.close());
  const stored = await client.query(count, {});
  await world.until((shown) => shown.every((number) => number === stored));
  expect(await world.server.end()).toEqual([0, null]);
  return true;
}

test('threads that end at random moments are replaced', { timeout: TIMEOUT }, async () => {
  await withSeeds('exits-of-threads', async (seed) => {
    expect(await endThreads(new Random(seed), { workers: 3 })).toBe(true);
  });
});

test('control: functions that exit in the main thread are detected', { timeout: TIMEOUT }, async () => {
  expect(await endThreads(new Random(controlSeed()), { workers: 0 })).toBe(false);
});

test('a process that exits at a random moment ends by no signal', { timeout: TIMEOUT }, async () => {
  await withSeeds('exits-of-processes', async (seed) => {
    const random = new Random(seed);
    for (let n = 0; n < PROCESSES; n++) {
      const inFunction = n % 3 === 2;
      const world = await World.open(random, { workers: inFunction ? 0 : 2 });
      if (random.chance(0.5)) world.act('terminate');
      await world.pause();
      if (inFunction) await world.exitInFunction();
      else world.act('exit');
      expect(await world.server.ended, world.server.printed).toEqual([inFunction ? 3 : 7, null]);
      await world.rest();
    }
  });
});

test('control: a process that aborts is detected', async () => {
  const world = await World.open(new Random(controlSeed()), { workers: 2 });
  world.act('abort');
  expect(await world.server.ended).toEqual([null, 'SIGABRT']);
  await world.rest();
});
