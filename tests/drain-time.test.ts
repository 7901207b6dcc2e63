/**
 * The time that SIGTERM leaves to running calls. Its edge is tested from both sides: a call that ends within it is
 * answered, and the process exits without one that does not, soon after and not before. The process itself says when.
 */
import { describe, expect, test } from 'vitest';
import { freshDatabaseUrl } from './app.js';
import { Gate } from './gate.js';
import { ServerProcess } from './server-process.js';

/** Nine seconds, less what a clock may be adjusted by. */
const DRAIN_MS = 8_900;
/** JavaScript has 0.7 seconds to end the process, and the last lines of the log 0.2. */
const EXIT_MS = 10_000;
/** A call that ends so long after the signal ends in time, also under load. */
const IN_TIME_MS = 7_500;
/** Longer than any test: the calls end by no limit of their own. */
const LIMITS = { queryMs: 300_000, mutationMs: 300_000 };

/** Runs `use` with a server. */
async function withServer(
  program: string,
  { workers = 1, failpoints = [] as readonly string[] },
  use: (server: ServerProcess) => Promise<void>,
): Promise<void> {
  const options = { databaseUrl: freshDatabaseUrl(), port: 0, workers, failpoints, limits: LIMITS };
  const flags = ['--import', new URL('./programs/exit-time.mjs', import.meta.url).href];
  const server = await ServerProcess.start({ program, options, flags });
  try {
    await use(server);
  } finally {
    await server.end('SIGKILL');
  }
}

type Outcome = 'acknowledged' | 'refused' | 'lost';

async function call(server: ServerProcess, path: string, args: object): Promise<Outcome> {
  try {
    const response = await fetch(`${server.baseUrl}/api/${path}`, { method: 'POST', body: JSON.stringify(args) });
    return ((await response.json()) as { ok: boolean }).ok ? 'acknowledged' : 'refused';
  } catch {
    return 'lost';
  }
}

/** Sends SIGTERM; resolves to the milliseconds until the process exits, and whether the engine had to end it. */
async function terminate(server: ServerProcess): Promise<{ readonly exitMs: number; readonly isForced: boolean }> {
  const began = Date.now();
  expect(await server.end('SIGTERM')).toEqual([0, null]);
  const own = /exits at (\d+)/.exec(server.printed)?.[1];
  const forced = /(\S+)\s+WARN SIGTERM: JavaScript has not ended the process in time/.exec(server.printed)?.[1];
  const exitMs = (own === undefined ? Date.parse(forced ?? '') : Number(own)) - began;
  console.log(`exit ${exitMs} ms after SIGTERM`);
  return { exitMs, isForced: own === undefined };
}

/** Of two calls, one ends in time and one never does. */
async function twoCalls(server: ServerProcess): Promise<{ readonly exitMs: number; readonly outcomes: Outcome[] }> {
  const gate = await Gate.open();
  const write = (n: number, kind: string) => call(server, 'mutation/write', { n, group: 0, kind, gate: gate.url });
  const outcomes = [write(0, 'plain'), write(1, 'hangs')];
  await gate.untilAll([0, 1]);
  const released = setTimeout(() => gate.release(0), IN_TIME_MS);
  const { exitMs } = await terminate(server);
  clearTimeout(released);
  gate.close();
  return { exitMs, outcomes: await Promise.all(outcomes) };
}

describe.concurrent('after SIGTERM', () => {
  test('a call that ends within nine seconds is answered, and the process exits without another', () =>
    withServer('draining.mjs', {}, async (server) => {
      const { exitMs, outcomes } = await twoCalls(server);
      expect(outcomes[0]).toBe('acknowledged');
      expect(outcomes[1]).not.toBe('acknowledged');
      expect(server.printed).toContain('closed while calls were still running');
      expect(exitMs).toBeGreaterThanOrEqual(DRAIN_MS);
      expect(exitMs).toBeLessThan(EXIT_MS);
    }));

  test('control: a server that does not wait is detected', () =>
    withServer('draining.mjs', { failpoints: ['noDrain'] }, async (server) => {
      const { exitMs, outcomes } = await twoCalls(server);
      expect(outcomes).not.toContain('acknowledged');
      expect(exitMs).toBeLessThan(DRAIN_MS);
    }));

  test.each([
    ['a worker', 1],
    ['the main thread', 0],
  ])('the process exits in time if a function loops in %s', (_, workers) =>
    withServer('blocking.mjs', { workers }, async (server) => {
      const looping = call(server, 'query/loop', {});
      await server.untilPrints(/loop has kept its thread busy since/);
      const { exitMs, isForced } = await terminate(server);
      expect(await looping).not.toBe('acknowledged');
      expect(isForced || workers === 1).toBe(true);
      expect(exitMs).toBeGreaterThanOrEqual(DRAIN_MS);
      expect(exitMs).toBeLessThan(EXIT_MS);
    }),
  );
});
