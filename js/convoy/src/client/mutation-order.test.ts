/** Mutations of one client are sent… */
import { afterEach, beforeAll, beforeEach, expect, test, vi } from 'vitest';
import { HandTransport } from '../../testing/hand-transport.js';
import { type ScriptedAnswer, type ScriptedCall, ScriptedServer } from '../../testing/scripted-server.js';
import { until } from '../../testing/until.js';
import { watching } from '../../testing/watching.js';
import { makeMutationRef, makeQueryRef } from '../protocol/refs.js';
import { type ConvoyClient, createConvoyClient } from './client.js';
import { Endpoint } from './endpoint.js';
import { loadMutations } from './lazy-mutations.js';
import { LiveTransport } from './live-transport.js';
import { MAX_ATTEMPT_AFTER_LOSS_MS, MAX_ATTEMPT_MS, MAX_RETRY_MS } from './mutations.js';

beforeAll(loadMutations);

const list = makeQueryRef<Record<never, never>, number[]>('rows.list');
const add = makeMutationRef<{ n: number }, number>('rows.add');

let server: ScriptedServer;
let client: ConvoyClient;
beforeEach(async () => {
  server = await ScriptedServer.start();
  client = createConvoyClient({ baseUrl: server.baseUrl });
});
afterEach(async () => {
  client.close();
  await server.stop();
});

const ok = (data: unknown): ScriptedAnswer => ({ body: { ok: true, data } });
const numbers = () => server.calls.map(({ args }) => (args as { n: number }).n);
const keys = () => server.calls.map(({ headers }) => headers['idempotency-key']);

/** Makes the server hold its responses; each is sent by the returned function. */
function held(): ((answer: ScriptedAnswer | 'cut') => void)[] {
  const responses: ((answer: ScriptedAnswer | 'cut') => void)[] = [];
  server.answer = () => new Promise((respond) => responses.push(respond));
  return responses;
}

test('in the order of their calls, each when the one before is committed or has failed', async () => {
  const responses = held();
  const results = Promise.allSettled([1, 2, 3].map((n) => client.mutation(add, { n })));
  await until(() => expect(responses).toHaveLength(1));
  responses[0]?.({ status: 409, body: { ok: false, error: { code: 'CONFLICT', message: 'taken' } } });
  await until(() => expect(responses).toHaveLength(2));
  responses[1]?.(ok(2));
  await until(() => expect(responses).toHaveLength(3));
  responses[2]?.(ok(3));
  expect(numbers()).toEqual([1, 2, 3]);
  expect(await results).toMatchObject([{ reason: { code: 'CONFLICT' } }, { value: 2 }, { value: 3 }]);
});

test('at once, where they are parallel or outlive the page', async () => {
  const responses = held();
  const all = [
    client.mutation(add, { n: 1 }),
    client.mutation(add, { n: 2 }, { parallel: true }),
    client.mutation(add, { n: 3 }, { keepalive: true }),
  ];
  await until(() => expect(responses).toHaveLength(3));
  for (const respond of responses) respond(ok(0));
  expect(await Promise.all(all)).toEqual([0, 0, 0]);
});

test('again with the same key, where there is no response, before those called later', async () => {
  const shutdown = { code: 'UNAVAILABLE', message: 'shutting down', details: { repeatable: true } };
  const answers: (ScriptedAnswer | 'cut')[] = [
    { status: 503, body: { ok: false, error: shutdown } },
    'cut',
    { status: 502, body: 'Bad gateway', type: 'text/html' },
    ok(1),
    ok(2),
  ];
  server.answer = () => answers.shift() ?? ok(null);
  expect(await Promise.all([client.mutation(add, { n: 1 }), client.mutation(add, { n: 2 })])).toEqual([1, 2]);
  expect(numbers()).toEqual([1, 1, 1, 1, 2]);
  expect(new Set(keys().slice(0, 4)).size).toBe(1);
  expect(keys()[4]).not.toBe(keys()[0]);
});

test('again as soon as the client is connected again, and not given up before', async () => {
  // Only the new connection can end the delay before the next attempt.
  vi.spyOn(Math, 'random').mockReturnValue(10_000);
  const transport = new LiveTransport({ endpoint: new Endpoint({ baseUrl: server.baseUrl }), random: () => 0 });
  const own = createConvoyClient({ transport });
  const watch = watching(own, list, {});
  const session = await server.nextSession();
  session.result({}, [], 'h1');
  await watch.until(({ status }) => status === 'success');
  let down = true;
  server.refuse = () => (down ? 'cut' : null);
  server.answer = () => (down ? 'cut' : ok(1));
  session.cut();
  await watch.until(({ connectionState }) => connectionState === 'connecting');
  const result = own.mutation(add, { n: 1 }, { await: 'committed' });
  await until(() => expect(server.calls).toHaveLength(1));
  // Longer than a mutation is repeated without a connection to wait for.
  vi.useFakeTimers({ toFake: ['Date'] }).setSystemTime(Date.now() + 60_000);
  down = false;
  (await server.nextSession()).result({}, [], 'h1');
  expect(await result).toBe(1);
  expect(server.calls).toHaveLength(2);
  expect(new Set(keys()).size).toBe(1);
  own.close();
  vi.restoreAllMocks();
  vi.useRealTimers();
});

const limited = (retryAfterMs: number): ScriptedAnswer => ({
  status: 429,
  body: { ok: false, error: { code: 'RATE_LIMITED', message: 'later', details: { retryAfterMs } } },
});

test('not again, where a rate limit refuses the first attempt', async () => {
  server.answer = () => limited(1);
  await expect(client.mutation(add, { n: 1 })).rejects.toMatchObject({ code: 'RATE_LIMITED' });
  expect(server.calls).toHaveLength(1);
});

test('after the time that a rate limit names, where an attempt before may have taken effect', async () => {
  const answers = ['cut', limited(50), ok(1)] as const;
  let asked = 0;
  server.answer = () => answers[asked++] ?? ok(null);
  expect(await client.mutation(add, { n: 1 })).toBe(1);
  expect(numbers()).toEqual([1, 1, 1]);
  expect(new Set(keys()).size).toBe(1);
});

test('not again, where the server or the application refuses them, or the client is closed', async () => {
  server.answer = () => ({ status: 500, body: { ok: false, error: { code: 'INTERNAL', message: 'no' } } });
  await expect(client.mutation(add, { n: 1 })).rejects.toMatchObject({ code: 'INTERNAL' });
  const failing = createConvoyClient({ baseUrl: server.baseUrl, auth: () => Promise.reject(new Error('signed out')) });
  await expect(failing.mutation(add, { n: 2 })).rejects.toMatchObject({ code: 'UNAVAILABLE' });
  server.answer = () => 'cut';
  const pending = client.mutation(add, { n: 3 });
  const waiting = client.mutation(add, { n: 4 });
  await until(() => expect(numbers()).toContain(3));
  client.close();
  await expect(pending).rejects.toMatchObject({ code: 'UNAVAILABLE' });
  await expect(waiting).rejects.toMatchObject({ code: 'UNAVAILABLE' });
  expect(numbers()).not.toContain(4);
});

test('once, where a function or a replaced `fetch` throws `UNAVAILABLE`', async () => {
  const error = { code: 'UNAVAILABLE', message: 'the payment provider is away' };
  server.answer = () => ({ status: 503, body: { ok: false, error } });
  await expect(client.mutation(add, { n: 1 })).rejects.toMatchObject(error);
  expect(numbers()).toEqual([1]);
  const fetch = vi.fn(() => Promise.reject(new Error('not mocked')));
  const mocked = createConvoyClient({ baseUrl: server.baseUrl, fetch });
  await expect(mocked.mutation(add, { n: 1 })).rejects.toMatchObject({ code: 'UNAVAILABLE' });
  expect(fetch).toHaveBeenCalledOnce();
});

test('again, where a request hangs after the live connection was lost', async () => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
  const transport = new HandTransport();
  transport.answer = () => new Promise(() => {});
  const own = createConvoyClient({ transport });
  own.watch(list, {}, () => {});
  transport.open({}).sink.connection({ connectionState: 'open', isReconnecting: false });
  own.mutation(add, { n: 1 }).catch(() => {});
  // `until` would advance the time.
  await vi.advanceTimersByTimeAsync(0);
  const [call] = transport.calls;
  vi.advanceTimersByTime(MAX_ATTEMPT_MS - 1);
  expect(call?.signal?.aborted).toBe(false);
  transport.open({}).sink.connection({ connectionState: 'connecting', isReconnecting: true });
  await vi.advanceTimersByTimeAsync(0);
  vi.advanceTimersByTime(MAX_ATTEMPT_AFTER_LOSS_MS - 1);
  expect(call?.signal?.aborted).toBe(false);
  vi.advanceTimersByTime(1);
  expect(call?.signal?.aborted).toBe(true);
  own.close();
  vi.useRealTimers();
});

test('by a request that may take a minute', async () => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
  const transport = new HandTransport();
  transport.answer = () => new Promise(() => {});
  const own = createConvoyClient({ transport });
  own.mutation(add, { n: 1 }).catch(() => {});
  await vi.advanceTimersByTimeAsync(0);
  const [call] = transport.calls;
  vi.advanceTimersByTime(MAX_ATTEMPT_MS - 1);
  expect(call?.signal?.aborted).toBe(false);
  vi.advanceTimersByTime(1);
  expect(call?.signal?.aborted).toBe(true);
  own.close();
  vi.useRealTimers();
});

test('once, where the server does not recognize repetitions', async () => {
  const refusal = { code: 'CONFLICT', message: 'not run again', details: { repeatable: false } };
  server.answer = ({ headers }) =>
    headers['convoy-attempt'] === '2' ? { status: 409, body: { ok: false, error: refusal } } : 'cut';
  await expect(client.mutation(add, { n: 1 })).rejects.toMatchObject({ code: 'UNAVAILABLE' });
  expect(numbers()).toEqual([1, 1]);
});

test('up to a limit of those that wait', async () => {
  const responses = held();
  const all = Array.from({ length: 1_000 }, (_, n) => client.mutation(add, { n }));
  await until(() => expect(responses).toHaveLength(1));
  await expect(client.mutation(add, { n: 0 })).rejects.toMatchObject({ code: 'RATE_LIMITED' });
  client.close();
  expect((await Promise.allSettled(all)).every(({ status }) => status === 'rejected')).toBe(true);
});

test.each([
  ['again until 10 s have passed without a response', MAX_RETRY_MS, 3],
  ['not again after 10 s without a response, where the client cannot notice a new connection', MAX_RETRY_MS + 1, 2],
])('%s', async (_title, passed, attempts) => {
  vi.useFakeTimers({ toFake: ['Date'] });
  const calls: ScriptedCall[] = [];
  server.answer = (call) => {
    calls.push(call);
    if (calls.length === 2) vi.setSystemTime(Date.now() + passed);
    return calls.length === 3 ? ok(1) : 'cut';
  };
  const [outcome] = await Promise.allSettled([client.mutation(add, { n: 1 })]);
  expect(calls).toHaveLength(attempts);
  expect(outcome).toMatchObject(attempts === 3 ? { value: 1 } : { reason: { code: 'UNAVAILABLE' } });
  vi.useRealTimers();
});
