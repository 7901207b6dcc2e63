/** `onEvent`: what it is called with, and that it is in the way of nothing. */
import { Worker } from 'node:worker_threads';
import { createConvoyClient, makeActionRef, makeMutationRef, makeQueryRef } from '@avvos/convoy/client';
import { type Convoy, type ConvoyEvent, createConvoy, type OnEvent } from '@avvos/convoy/node';
import { afterEach, expect, test, vi } from 'vitest';
import { addon } from './addon.js';
import { freshDatabaseUrl } from './app.js';

const program = new URL('./programs/events.mjs', import.meta.url);
const list = makeQueryRef<Record<string, never>, string[]>('list');
const add = makeMutationRef<{ text: string }, string>('add');
const increment = makeMutationRef<Record<string, never>, null>('increment');
const refuse = makeActionRef<{ secret: string }, null>('refuse');
const exit = makeQueryRef<Record<string, never>, null>('exit');

let convoy: Convoy | undefined;
afterEach(async () => {
  await convoy?.close();
  convoy = undefined;
});

/** The events so far, and a way to wait for one. */
class Seen {
  readonly events: ConvoyEvent[] = [];
  #wake = () => {};

  readonly add: OnEvent = (event) => {
    this.events.push(event);
    this.#wake();
  };

  async until(type: ConvoyEvent['type'], more: Partial<ConvoyEvent> = {}): Promise<ConvoyEvent> {
    const matches = (event: ConvoyEvent) =>
      event.type === type && Object.entries(more).every(([key, value]) => event[key as keyof ConvoyEvent] === value);
    for (;;) {
      const found = this.events.find(matches);
      if (found !== undefined) return found;
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }
}

async function open(onEvent: OnEvent, workers = 1) {
  convoy = await createConvoy({ program, workers, onEvent, databaseUrl: freshDatabaseUrl(), createDatabase: true });
  const { port } = await convoy.listen({ port: 0 });
  const baseUrl = `http://127.0.0.1:${port}`;
  return { convoy, baseUrl, client: createConvoyClient({ baseUrl }) };
}

test('events tell of calls, live queries, connections, workers and code, without arguments or results', async () => {
  const seen = new Seen();
  const { client, convoy } = await open(seen.add);
  await seen.until('reloaded');
  const stop = client.watch(list, {}, () => {});
  await seen.until('sessionOpened');
  const run = await seen.until('liveRun', { function: 'list' });
  expect(run).toEqual({
    type: 'liveRun',
    at: expect.closeTo(Date.now(), -6),
    function: 'list',
    callId: expect.any(Number),
    durationMs: expect.any(Number),
  });
  await client.mutation(add, { text: 'the argument' });
  const call = await seen.until('call', { function: 'add' });
  expect(call).not.toHaveProperty('code');
  expect([call.callId, call.durationMs]).toEqual([expect.any(Number), expect.any(Number)]);
  await expect(client.action(refuse, { secret: 'the argument' })).rejects.toThrow('the message');
  await seen.until('call', { function: 'refuse', code: 'FORBIDDEN' });
  await expect(client.query(makeQueryRef('no.such'), {} as never)).rejects.toThrow();
  expect(await seen.until('call', { code: 'NOT_FOUND' })).not.toHaveProperty('function');
  await expect(client.query(exit, {})).rejects.toThrow();
  await seen.until('workerRestarted');
  stop();
  client.close();
  expect((await seen.until('sessionClosed')).durationMs).toBeGreaterThan(0);
  const before = seen.events.splice(0);
  await convoy.load({ program });
  await seen.until('reloaded');
  expect(JSON.stringify([...before, ...seen.events])).not.toMatch(/the argument|the message/);
});

test('an event tells of each run of a mutation after a conflict', async () => {
  const seen = new Seen();
  const { convoy } = await open(seen.add);
  await convoy.mutation(increment, {});
  while (!seen.events.some(({ type }) => type === 'retry')) {
    await Promise.all(Array.from({ length: 8 }, () => convoy.mutation(increment, {}).catch(() => null)));
  }
  expect(await seen.until('retry')).toMatchObject({ function: 'increment', code: 'CONFLICT' });
});

test('a handler that never ends delays no call, and the server closes', async () => {
  let begun = () => {};
  const called = new Promise<void>((resolve) => (begun = resolve));
  const handler = vi.fn(() => {
    begun();
    return new Promise(() => {});
  });
  const { convoy } = await open(handler);
  await called;
  // More than are queued.
  for (let n = 0; n < 1_500; n++) await convoy.query(list, {});
  expect(handler).toHaveBeenCalledTimes(1);
});

/** Calls that were answered while a handler kept the main thread busy: 100, or fewer if `maxMs` have passed. */
async function answeredWhileBusy(options: { readonly workers: number; readonly maxMs: number }): Promise<number> {
  const answers = new Int32Array(new SharedArrayBuffer(4));
  const answered = () => Atomics.load(answers, 0);
  let onBusy: (answered: number) => void = () => {};
  const busy = new Promise<number>((resolve) => (onBusy = resolve));
  let isFirst = true;
  const handler: OnEvent = (event) => {
    if (event.function !== 'add' || !isFirst) return;
    isFirst = false;
    const [began, before] = [performance.now(), answered()];
    const isOver = (ms: number) => ms > options.maxMs || (ms > 2_000 && answered() >= before + 100);
    while (!isOver(performance.now() - began));
    onBusy(answered() - before);
  };
  const { baseUrl } = await open(handler, options.workers);
  const calling = new Worker(new URL('./programs/calling.mjs', import.meta.url), { workerData: { baseUrl, answers } });
  try {
    return await busy;
  } finally {
    await calling.terminate();
  }
}

test('a handler that keeps the main thread busy for two seconds delays no call of a worker', async () => {
  expect(await answeredWhileBusy({ workers: 2, maxMs: 60_000 })).toBeGreaterThanOrEqual(100);
});

test('control: calls of functions in the main thread are delayed by it', async () => {
  // An answer that was under way may arrive.
  expect(await answeredWhileBusy({ workers: 0, maxMs: 2_000 })).toBeLessThan(2);
});

test('a slow handler learns how many events it has missed', async () => {
  const seen = new Seen();
  let open_ = () => {};
  const opened = new Promise<void>((resolve) => (open_ = resolve));
  const { convoy } = await open(async (event) => {
    await opened;
    seen.add(event);
  });
  await Promise.all(
    Array.from({ length: 15 }, async () => {
      for (let n = 0; n < 100; n++) await convoy.query(list, {});
    }),
  );
  open_();
  const { count = 0 } = await seen.until('eventsDropped');
  expect(count).toBeGreaterThan(0);
  await convoy.mutation(add, { text: 'x' });
  await seen.until('call', { function: 'add' });
});

test('a handler that throws is logged once, and calls succeed', async () => {
  const writeLog = vi.spyOn(addon, 'writeLog').mockImplementation(() => {});
  try {
    let calls = 0;
    let enough = () => {};
    const called = new Promise<void>((resolve) => (enough = resolve));
    const { convoy } = await open(() => {
      calls += 1;
      if (calls === 20) enough();
      throw new Error('mine');
    });
    for (let n = 0; n < 20; n++) expect(await convoy.query(list, {})).toEqual([]);
    await called;
    const reports = writeLog.mock.calls.filter(([, text]) => text.includes('onEvent has failed'));
    expect(reports).toHaveLength(1);
  } finally {
    writeLog.mockRestore();
  }
});
