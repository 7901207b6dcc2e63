/**
 * What a client leaves behind when the last listener of a query unsubscribes, and when it is closed, at any moment: no
 * timers, no listeners on the page, no locks, no open requests.
 */
import { getEventListeners } from 'node:events';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { WebLocks } from '../../testing/web-locks.js';
import { makeMutationRef, makeQueryRef } from '../protocol/refs.js';
import { type ConvoyClient, createConvoyClient } from './client.js';

const list = makeQueryRef<Record<never, never>, number[]>('rows.list');
const add = makeMutationRef<{ n: number }, number>('rows.add');

/** How long a subscription outlives its last listener, with some grace. */
const RETENTION_MS = 1_100;

let client: ConvoyClient;
let page: { window: EventTarget; document: EventTarget & { visibilityState: string } };
let locks: WebLocks;
/** The requests that have neither ended nor been aborted. */
let requests: Set<Request>;
/** Handles a mutation; by default it gets no response. */
let onMutation: () => Promise<Response>;
/** Opens a stream; by default it sends one result and stays open. */
let onStream: (body: ReadableStreamDefaultController<Uint8Array>) => Promise<void>;

interface Request {
  readonly path: string;
}

const never = () => new Promise<never>(() => {});
const frame = (...messages: object[]) =>
  new TextEncoder().encode(`data: ${messages.map((message) => JSON.stringify(message)).join('\ndata: ')}\n\n`);
const opening = frame(
  { type: 'session', seq: 0, session: 's', protocol: 1 },
  { type: 'result', seq: 1, id: 1, hash: 'h', data: [1] },
);

const send: typeof fetch = async (url, init) => {
  init?.signal?.throwIfAborted();
  const request: Request = { path: new URL(String(url)).pathname };
  requests.add(request);
  const end = () => requests.delete(request);
  const aborted = new Promise<never>((_, reject) =>
    init?.signal?.addEventListener('abort', () => {
      end();
      reject(init.signal?.reason);
    }),
  );
  aborted.catch(() => {});
  if (request.path.startsWith('/api/mutation')) {
    return Promise.race([aborted, onMutation().finally(end)]);
  }
  if (request.path !== '/api/live') {
    end();
    return Response.json({ ok: true, data: null });
  }
  let body: ReadableStreamDefaultController<Uint8Array> | undefined;
  const stream = new ReadableStream<Uint8Array>({
    start: (controller) => {
      body = controller;
    },
  });
  aborted.catch((reason) => body?.error(reason));
  await Promise.race([aborted, body && onStream(body)]);
  return new Response(stream, { headers: { 'content-type': 'text/event-stream' } });
};

beforeEach(() => {
  vi.useFakeTimers();
  page = { window: new EventTarget(), document: Object.assign(new EventTarget(), { visibilityState: 'visible' }) };
  locks = new WebLocks();
  requests = new Set();
  onMutation = never;
  onStream = async (body) => body.enqueue(opening);
  vi.stubGlobal('window', page.window);
  vi.stubGlobal('document', page.document);
  vi.stubGlobal('location', new URL('http://convoy.test/'));
  vi.stubGlobal('navigator', { locks, onLine: true });
  client = createConvoyClient({ baseUrl: 'http://convoy.test', fetch: send });
});
afterEach(() => {
  client.close();
  vi.useRealTimers();
  vi.unstubAllGlobals();
});

const pageListeners = () =>
  ['online', 'offline', 'pageshow', 'pagehide'].flatMap((type) => getEventListeners(page.window, type)).length +
  getEventListeners(page.document, 'visibilitychange').length;

const left = () => ({
  timers: vi.getTimerCount(),
  pageListeners: pageListeners(),
  locks: [...locks.held],
  requests: [...requests],
});

const NOTHING = { timers: 0, pageListeners: 0, locks: [], requests: [] };

/** Lets promises and timers that are due now run. */
const tick = () => vi.advanceTimersByTimeAsync(0);

/** Brings a watched client into a state, and names the calls that end with it. */
const states: Readonly<Record<string, () => Promise<Promise<unknown>[]>>> = {
  'before it is connected': async () => {
    onStream = never;
    await tick();
    return [];
  },
  'before the request for its stream': async () => [],
  'with a result': async () => {
    await tick();
    expect(locks.held.size).toBe(1);
    return [];
  },
  'while a mutation has no response': async () => {
    await tick();
    return [client.mutation(add, { n: 2 }, { optimistic: (store) => store.set(list, {}, (rows) => [...rows, 2]) })];
  },
  'while mutations wait for others': async () => {
    await tick();
    return [1, 2, 3].map((n) => client.mutation(add, { n }));
  },
  'while mutations wait for another attempt': async () => {
    await tick();
    onMutation = () => Promise.reject(new TypeError('Failed to fetch'));
    const calls = [1, 2, 3].map((n) => client.mutation(add, { n }, { parallel: true }));
    for (const call of calls) call.catch(() => {});
    await tick();
    return calls;
  },
  'while its results are on their way after a mutation': async () => {
    await tick();
    onMutation = async () => Response.json({ ok: true, data: 2 }, { headers: { 'convoy-session': 's' } });
    const call = client.mutation(add, { n: 2 });
    await tick();
    return [call];
  },
  'while it waits to connect again': async () => {
    onStream = () => Promise.reject(new TypeError('Failed to fetch'));
    await tick();
    return [];
  },
  'after its stream broke off': async () => {
    onStream = async (body) => {
      body.enqueue(opening);
      queueMicrotask(() => body.error(new TypeError('network error')));
    };
    await tick();
    return [];
  },
  'while the page is offline': async () => {
    await tick();
    vi.stubGlobal('navigator', { locks, onLine: false });
    page.window.dispatchEvent(new Event('offline'));
    await tick();
    return [];
  },
  'while the page is hidden': async () => {
    await tick();
    page.document.visibilityState = 'hidden';
    page.document.dispatchEvent(new Event('visibilitychange'));
    await tick();
    return [];
  },
  'while a refetch is in flight': async () => {
    await tick();
    return [client.liveQuery(list, {}).refetch()];
  },
};

describe.each(Object.entries(states))('%s', (_name, reach) => {
  test('a closed client leaves nothing, and its calls end', async () => {
    client.watch(list, {}, () => {});
    const calls = await reach();
    const ended = Promise.allSettled(calls);
    client.close();
    await tick();
    await ended;
    // A mutation that is committed waits up to a second for its results.
    await vi.advanceTimersByTimeAsync(RETENTION_MS);
    expect(left()).toEqual(NOTHING);
  });

  test('a query without listeners leaves nothing, once the calls have ended', async () => {
    const stop = client.watch(list, {}, () => {});
    const calls = await reach();
    stop();
    onMutation = async () => Response.json({ ok: true, data: 2 });
    await vi.advanceTimersByTimeAsync(RETENTION_MS);
    if (calls.length === 0) expect(left()).toEqual(NOTHING);
    // The longest timeout of an attempt without a response, and some attempts.
    await vi.advanceTimersByTimeAsync(10 * 60_000);
    await Promise.allSettled(calls);
    expect(left()).toEqual(NOTHING);
  });
});
