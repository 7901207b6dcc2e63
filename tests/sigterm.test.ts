/**
 * Acceptance 19: SIGTERM ends a server process with open streams, with mutations in flight, of which one never settles,
 * and with clients that go on calling. It exits with code 0 in time. No acknowledged mutation is lost, each of the others
 * took effect as a whole or not at all, and the streams continue in the next process.
 */
import { createConvoyClient, makeQueryRef } from '@avvos/convoy/client';
import pg from 'pg';
import { afterEach, expect, test } from 'vitest';
import { freshDatabaseUrl } from './app.js';
import { Gate } from './gate.js';
import { LONG, Random } from './model/random.js';
import { controlSeed, withSeeds } from './model/seeds.js';
import { ServerProcess } from './server-process.js';

const STREAMS = LONG ? 1_000 : 100;
const IN_FLIGHT = 50;
/** Clients that go on calling while the server ends. */
const CALLERS = 8;
const GROUPS = 10;
/** The latest time after the signal at which a call in flight goes on, in milliseconds. */
const LATEST = LONG ? 5_000 : 500;
/** With the quick limit the mutation that never settles times out; otherwise the server gives it up. */
const LIMITS = LONG ? {} : { mutationMs: 7_000 };
const EXIT_LIMIT = 10_000;
const TIMEOUT = LONG ? 300_000 : 60_000;

const numbers = makeQueryRef<{ group: number }, number[]>('numbers');

const closing: (() => unknown)[] = [];
afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close();
});

/** A client with the numbers of one group. */
class Stream {
  readonly group: number;
  #shown: string | null = null;
  #onChange = () => {};

  constructor(baseUrl: string, group: number) {
    this.group = group;
    const client = createConvoyClient({ baseUrl });
    client.watch(numbers, { group }, ({ data }) => {
      if (data !== null) this.#shown = inOrder(data);
      this.#onChange();
    });
    closing.push(() => client.close());
  }

  async until(expected: readonly number[]): Promise<void> {
    while (this.#shown !== inOrder(expected)) {
      await new Promise<void>((resolve) => {
        this.#onChange = resolve;
      });
    }
  }
}

const inOrder = (list: readonly number[]) => [...list].sort((a, b) => a - b).join();

type Outcome = 'acknowledged' | 'refused' | 'lost';

/** One call without retries. */
async function call(baseUrl: string, path: string, args: object): Promise<Outcome> {
  try {
    const response = await fetch(`${baseUrl}/api/${path}`, { method: 'POST', body: JSON.stringify(args) });
    const { ok } = (await response.json()) as { ok: boolean };
    return ok ? 'acknowledged' : 'refused';
  } catch {
    return 'lost';
  }
}

interface Scenario {
  readonly random: Random;
  readonly streams: number;
  readonly failpoints?: readonly string[];
  /** The function that each call runs. */
  readonly path?: string;
}

interface Measured {
  readonly exit: readonly unknown[];
  readonly exitMs: number;
  /** Acknowledged calls without their effect. */
  readonly missing: number[];
  /** Calls with one of their two effects. */
  readonly halves: number[];
  /** Calls in flight that could have ended in time, and were not acknowledged. */
  readonly abandoned: number[];
}

async function terminate({ random, streams, failpoints = [], path = 'mutation/write' }: Scenario): Promise<Measured> {
  const databaseUrl = freshDatabaseUrl();
  // A call in a transaction keeps its connection while it waits.
  const options = { databaseUrl, port: 0, poolSize: IN_FLIGHT + 10, limits: LIMITS, failpoints };
  const server = await ServerProcess.start({ program: 'draining.mjs', options });
  closing.push(() => server.end('SIGKILL'));
  const { baseUrl, port } = server;
  const gate = await Gate.open();
  closing.push(() => gate.close());
  const watched = Array.from({ length: streams }, (_, at) => new Stream(baseUrl, at % GROUPS));
  await Promise.all(watched.map((stream) => stream.until([])));

  const outcomes = new Map<number, Outcome>();
  let last = -1;
  const send = async (args: object): Promise<void> => {
    const n = ++last;
    outcomes.set(n, await call(baseUrl, path, { n, group: n % GROUPS, ...args }));
  };
  const inFlight = Array.from({ length: IN_FLIGHT }, (_, n) => n);
  const hanging = random.below(IN_FLIGHT);
  const kinds = inFlight.map((n) => (n === hanging ? 'hangs' : random.pick(['plain', 'raw'])));
  const sent = kinds.map((kind) => send({ kind, gate: gate.url }));
  // An answer before the write waits at no gate.
  await (path === 'action/answerFirst' ? Promise.all(sent) : gate.untilAll(inFlight));

  await Promise.all(Array.from({ length: CALLERS }, () => send({})));
  const callers = Array.from({ length: CALLERS }, async () => {
    // Until the server is gone.
    while (server.process.exitCode === null && server.process.signalCode === null) await send({});
  });
  const began = performance.now();
  server.process.kill('SIGTERM');
  gate.release(hanging);
  for (const n of inFlight) {
    if (n !== hanging) setTimeout(() => gate.release(n), random.below(LATEST));
  }
  const exit = await server.ended;
  const exitMs = performance.now() - began;
  await Promise.all([...sent, ...callers]);

  const next = await ServerProcess.start({ program: 'draining.mjs', options: { ...options, port, failpoints: [] } });
  closing.push(() => next.end('SIGKILL'));
  const psql = new pg.Client({ connectionString: databaseUrl });
  await psql.connect();
  const stored = async (table: string): Promise<Set<number>> => {
    const { rows } = await psql.query(`select (data ->> 'n')::int as n from "${table}"`);
    return new Set(rows.map((row: { n: number }) => row.n));
  };
  const [left, right] = [await stored('left'), await stored('right')];
  const all = [...outcomes.keys()];
  const measured = {
    exit,
    exitMs,
    missing: all.filter((n) => outcomes.get(n) === 'acknowledged' && !right.has(n)),
    halves: all.filter((n) => left.has(n) !== right.has(n)),
    abandoned: inFlight.filter((n) => n !== hanging && outcomes.get(n) !== 'acknowledged'),
  };
  for (let group = 0; group < GROUPS; group++) {
    const n = ++last;
    expect(await call(next.baseUrl, 'mutation/write', { n, group: n % GROUPS })).toBe('acknowledged');
  }
  const current = [...(await stored('right'))];
  await Promise.all(watched.map((stream) => stream.until(current.filter((n) => n % GROUPS === stream.group))));
  await psql.end();
  const count = (outcome: Outcome) => all.filter((n) => outcomes.get(n) === outcome).length;
  console.log(
    `exit ${exit.join()} after ${Math.round(exitMs)} ms; ${count('acknowledged')} calls acknowledged, ` +
      `${count('refused')} refused, ${count('lost')} lost; ${measured.missing.length} missing, ` +
      `${measured.halves.length} halves, ${measured.abandoned.length} in flight abandoned; ${streams} streams`,
  );
  return measured;
}

test('SIGTERM ends a busy server in time, and nothing is lost or half done', { timeout: TIMEOUT }, async () => {
  await withSeeds('sigterm', async (seed) => {
    const measured = await terminate({ random: new Random(seed), streams: STREAMS });
    expect(measured).toMatchObject({ exit: [0, null], missing: [], halves: [], abandoned: [] });
    // With the quick limits it takes far less.
    expect(measured.exitMs).toBeLessThan(EXIT_LIMIT);
  });
});

const control = (mistake: Partial<Scenario>) =>
  terminate({ random: new Random(controlSeed()), streams: 10, ...mistake });

test('control: a server that does not wait for calls in flight is detected', { timeout: TIMEOUT }, async () => {
  const { abandoned } = await control({ failpoints: ['noDrain'] });
  expect(abandoned.length).toBeGreaterThan(0);
});

test('control: mutations without a transaction are detected', { timeout: TIMEOUT }, async () => {
  const { halves } = await control({ path: 'mutation/writeApart' });
  expect(halves.length).toBeGreaterThan(0);
});

test('control: an answer before the write is detected', { timeout: TIMEOUT }, async () => {
  const { missing } = await control({ path: 'action/answerFirst' });
  expect(missing.length).toBeGreaterThan(0);
});
