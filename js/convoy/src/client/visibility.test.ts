import { afterEach, beforeAll, beforeEach, describe, expect, onTestFinished, test, vi } from 'vitest';
import { ScriptedServer } from '../../testing/scripted-server.js';
import { watching } from '../../testing/watching.js';
import { makeMutationRef, makeQueryRef } from '../protocol/refs.js';
import { type ConvoyClient, createConvoyClient } from './client.js';
import { Endpoint } from './endpoint.js';
import { loadMutations } from './lazy-mutations.js';
import { LiveTransport } from './live-transport.js';

beforeAll(loadMutations);

const list = makeQueryRef<{ channelId: string }, number[]>('messages.list');
const add = makeMutationRef<Record<never, never>, number>('rows.add');
const C = { channelId: 'c' };

let server: ScriptedServer;
let client: ConvoyClient;
let page: { readonly window: EventTarget; readonly document: EventTarget & { visibilityState: string } };
beforeEach(async () => {
  page = {
    window: new EventTarget(),
    document: Object.assign(new EventTarget(), { visibilityState: 'visible' }),
  };
  vi.stubGlobal('window', page.window);
  vi.stubGlobal('document', page.document);
  server = await ScriptedServer.start();
  const endpoint = new Endpoint({ baseUrl: server.baseUrl });
  client = createConvoyClient({
    transport: new LiveTransport({ endpoint, pauseAfterHiddenMs: 100, random: () => 0.999 }),
  });
});
afterEach(async () => {
  client.close();
  await server.stop();
  vi.unstubAllGlobals();
});

function setVisibility(state: 'visible' | 'hidden'): void {
  page.document.visibilityState = state;
  page.document.dispatchEvent(new Event('visibilitychange'));
}

test('a hidden page closes its connection, and reopens it with its hashes when it becomes visible', async () => {
  const watch = watching(client, list, C);
  const session = await server.nextSession();
  session.result(C, [1], 'h1');
  await watch.until(({ status }) => status === 'success');
  setVisibility('hidden');
  await session.closed;
  expect(await watch.until(({ connectionState }) => connectionState === 'closed')).toMatchObject({ data: [1] });
  setVisibility('visible');
  const next = await server.nextSession();
  expect(next.query(C).hash).toBe('h1');
  next.same(C);
  await watch.until(({ isStale }) => !isStale);
});

test('a page opened hidden pauses too', async () => {
  page.document.visibilityState = 'hidden';
  const watch = watching(client, list, C);
  await watch.until(({ connectionState }) => connectionState === 'closed');
  setVisibility('visible');
  await watch.until(({ connectionState }) => connectionState === 'open');
});

test('a page hidden briefly keeps its connection', async () => {
  const watch = watching(client, list, C);
  const session = await server.nextSession();
  setVisibility('hidden');
  setVisibility('visible');
  session.result(C, [1], 'h1');
  await watch.until(({ status }) => status === 'success');
  expect(server.sessions).toHaveLength(1);
});

test('a client reconnects at once when the network is back', async () => {
  const watch = watching(client, list, C);
  const session = await server.nextSession();
  session.result(C, [1], 'h1');
  await watch.until(({ status }) => status === 'success');
  session.send({ type: 'end', reason: 'shutdown', retryMs: 60_000 });
  await watch.until(({ isReconnecting }) => isReconnecting);
  page.window.dispatchEvent(new Event('online'));
  expect((await server.nextSession()).query(C).hash).toBe('h1');
});

test('a paused page stays paused when the network is back', async () => {
  const watch = watching(client, list, C);
  const session = await server.nextSession();
  setVisibility('hidden');
  await watch.until(({ connectionState }) => connectionState === 'closed');
  await session.closed;
  page.window.dispatchEvent(new Event('online'));
  await new Promise((resolve) => setImmediate(resolve));
  expect(client.connection.getSnapshot()).toBe('closed');
  setVisibility('visible');
  await watch.until(({ connectionState }) => connectionState === 'open');
});

test('a hidden page that refetches receives the result, and pauses again', async () => {
  const watch = watching(client, list, C);
  await server.nextSession();
  setVisibility('hidden');
  await watch.until(({ connectionState }) => connectionState === 'closed');
  const refetch = client.liveQuery(list, C).refetch();
  const session = await server.nextSession();
  session.result(C, [1], 'h1');
  await refetch;
  await session.closed;
  await watch.until(({ connectionState }) => connectionState === 'closed');
});

test('a lost network is shown at once and stops all requests until it is back', async () => {
  const watch = watching(client, list, C);
  const session = await server.nextSession();
  session.result(C, [1], 'h1');
  await watch.until(({ status }) => status === 'success');
  vi.stubGlobal('navigator', { onLine: false });
  page.window.dispatchEvent(new Event('offline'));
  const shown = { data: [1], isStale: true, connectionState: 'connecting', isReconnecting: true };
  expect(client.liveQuery(list, C).getSnapshot()).toMatchObject(shown);
  await watch.until(({ connectionState }) => connectionState === 'connecting');
  expect(client.connection.getSnapshot()).toBe('connecting');
  await session.closed;
  // Neither visibility nor another query cuts the delay short.
  setVisibility('hidden');
  setVisibility('visible');
  const other = watching(client, list, { channelId: 'd' });
  expect(server.sessions).toHaveLength(1);
  vi.stubGlobal('navigator', { onLine: true });
  page.window.dispatchEvent(new Event('online'));
  const next = await server.nextSession();
  expect(next.query(C).hash).toBe('h1');
  next.same(C);
  next.result({ channelId: 'd' }, [4], 'h4');
  await watch.until(({ isStale }) => !isStale);
  await other.until(({ data }) => data?.[0] === 4);
  expect(server.sessions).toHaveLength(2);
});

describe('after the machine has slept', () => {
  const ASLEEP_MS = 3_600_000;
  const STALE = { data: [1], isStale: true, isReconnecting: true, connectionState: 'connecting' };

  /** A page with a result; its clock and its timers are the test's. */
  async function open() {
    vi.useFakeTimers({ toFake: ['Date', 'setTimeout', 'clearTimeout'] });
    onTestFinished(() => void vi.useRealTimers());
    const watch = watching(client, list, C);
    (await server.nextSession()).result(C, [1], 'h1');
    await watch.until(({ status }) => status === 'success');
    return watch;
  }

  /** The result is stale until a new session has confirmed it. */
  async function isConfirmedAgain(watch: Awaited<ReturnType<typeof open>>) {
    expect(client.liveQuery(list, C).getSnapshot()).toMatchObject(STALE);
    const next = await server.nextSession();
    expect(next.query(C).hash).toBe('h1');
    next.same(C);
    await watch.until(({ isStale, isReconnecting }) => !isStale && !isReconnecting);
  }

  test('a page that becomes visible reconnects at once', async () => {
    const watch = await open();
    setVisibility('hidden');
    vi.setSystemTime(Date.now() + ASLEEP_MS);
    setVisibility('visible');
    await isConfirmedAgain(watch);
  });

  test('a page that was visible all the time reconnects within seconds', async () => {
    const watch = await open();
    vi.setSystemTime(Date.now() + ASLEEP_MS);
    await vi.advanceTimersByTimeAsync(5_000);
    await isConfirmedAgain(watch);
  });

  test('a page that was awake keeps its connection', async () => {
    await open();
    await vi.advanceTimersByTimeAsync(35_000);
    expect(client.liveQuery(list, C).getSnapshot()).toMatchObject({ isStale: false, connectionState: 'open' });
    await vi.advanceTimersByTimeAsync(5_000);
    expect(client.liveQuery(list, C).getSnapshot()).toMatchObject(STALE);
  });
});

test('a call without a response reconnects a connection that has been silent since', async () => {
  const watch = watching(client, list, C);
  const session = await server.nextSession();
  session.result(C, [1], 'h1');
  await watch.until(({ status }) => status === 'success');
  const failing = vi.spyOn(globalThis, 'fetch').mockRejectedValueOnce(new TypeError('Failed to fetch'));
  await expect(client.query(list, C)).rejects.toMatchObject({ code: 'UNAVAILABLE' });
  failing.mockRestore();
  await watch.until(({ connectionState }) => connectionState === 'connecting');
  const next = await server.nextSession();
  expect(next.query(C).hash).toBe('h1');
  next.same(C);
  await watch.until(({ isStale, connectionState }) => !isStale && connectionState === 'open');
});

test('a page that the user leaves closes its connection, and opens it again when the user comes back', async () => {
  const watch = watching(client, list, C);
  const session = await server.nextSession();
  session.result(C, [1], 'h1');
  await watch.until(({ status }) => status === 'success');
  page.window.dispatchEvent(new Event('pagehide'));
  await session.closed;
  page.window.dispatchEvent(Object.assign(new Event('pageshow'), { persisted: true }));
  const next = await server.nextSession();
  expect(next.query(C).hash).toBe('h1');
  next.same(C);
  await watch.until(({ isStale }) => !isStale);
});

test('a mutation that fails shortly before the page goes offline is not sent again until it is online', async () => {
  vi.useFakeTimers();
  onTestFinished(() => void vi.useRealTimers());
  const send = vi.fn<typeof fetch>().mockRejectedValueOnce(new TypeError('Failed to fetch'));
  const offlineSoon = createConvoyClient({ baseUrl: 'http://convoy.test', fetch: send });
  const result = offlineSoon.mutation(add, {}, { await: 'committed' });
  await vi.advanceTimersByTimeAsync(0);
  expect(send).toHaveBeenCalledTimes(1);
  vi.stubGlobal('navigator', { onLine: false });
  page.window.dispatchEvent(new Event('offline'));
  await vi.advanceTimersByTimeAsync(20_000);
  expect(send).toHaveBeenCalledTimes(1);
  send.mockImplementation(async () => Response.json({ ok: true, data: 1 }));
  page.window.dispatchEvent(new Event('online'));
  expect(await result).toBe(1);
  offlineSoon.close();
});
