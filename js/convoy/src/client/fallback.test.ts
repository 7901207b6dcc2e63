/** Where streams do not get through: which kind of link replaces them, and when. */
import { afterEach, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest';
import { WebSocket as NodeWebSocket } from 'ws';
import { ScriptedServer } from '../../testing/scripted-server.js';
import { watching } from '../../testing/watching.js';
import { makeMutationRef, makeQueryRef } from '../protocol/refs.js';
import { type ConvoyClient, createConvoyClient } from './client.js';
import { Endpoint, type EndpointOptions } from './endpoint.js';
import { newIdempotencyKey } from './idempotency-key.js';
import { loadMutations } from './lazy-mutations.js';
import type { LiveTimeouts } from './live-timeouts.js';
import { LiveTransport } from './live-transport.js';

beforeAll(loadMutations);

const list = makeQueryRef<{ of: string }, number[]>('rows.list');
const add = makeMutationRef<{ n: number }, string>('rows.add');
const A = { of: 'a' };
const B = { of: 'b' };

let server: ScriptedServer;
const clients: ConvoyClient[] = [];
beforeEach(async () => {
  server = await ScriptedServer.start();
  vi.spyOn(console, 'warn').mockImplementation(() => {});
});
afterEach(async () => {
  for (const client of clients.splice(0)) client.close();
  await server.stop();
  vi.restoreAllMocks();
  vi.unstubAllGlobals();
});

/** A client with short timeouts. Node 20 has no WebSocket, so it uses the one of `ws`. */
function client(options: Partial<EndpointOptions> = {}, overrides: Partial<LiveTimeouts> = {}): ConvoyClient {
  // `ws` implements the parts of a browser's WebSocket that the client uses.
  const WebSocket = NodeWebSocket as unknown as typeof globalThis.WebSocket;
  const endpoint = new Endpoint({ baseUrl: server.baseUrl, WebSocket, ...options });
  const timeouts = { acceptMs: 200, sessionMs: 50, ...overrides };
  const created = createConvoyClient({
    transport: new LiveTransport({ endpoint, timeouts, pollIntervalMs: 5, random: () => 0 }),
  });
  clients.push(created);
  return created;
}

describe.each(['the body', 'the response'] as const)('where a proxy buffers %s', (what) => {
  test('a WebSocket carries the session, its token in the first message', async () => {
    server.buffered = what;
    const one = client({ auth: () => 'secret' });
    const watch = watching(one, list, A);
    const session = await server.nextSession();
    expect(session.kind).toBe('socket');
    expect(session.opening).toMatchObject({ protocol: 1, token: 'secret', queries: [{ id: 1, args: A }] });
    expect(session.headers).not.toHaveProperty('authorization');
    session.result(A, [1], 'h1');
    expect(await watch.until(({ status }) => status === 'success')).toMatchObject({ connectionState: 'open' });
    expect(console.warn).not.toHaveBeenCalled();
  });
});

test('where a proxy passes on only full buffers, a WebSocket replaces a stream that had opened', async () => {
  const one = client({}, { silenceMs: 300 });
  const watch = watching(one, list, A);
  const stream = await server.nextSession();
  stream.result(A, [1], 'h1');
  await watch.until(({ status }) => status === 'success');
  const socket = await server.nextSession();
  expect(socket.kind).toBe('socket');
  expect(socket.query(A).hash).toBe('h1');
});

describe('a session over a WebSocket', () => {
  async function open(options: Partial<EndpointOptions> = {}) {
    server.buffered = 'the body';
    const one = client(options);
    const watch = watching(one, list, A);
    const session = await server.nextSession();
    session.result(A, [1], 'h1');
    await watch.until(({ status }) => status === 'success');
    return { one, watch, session };
  }

  test('receives changes and a new token', async () => {
    const { one, session } = await open({ auth: () => 'two' });
    const second = watching(one, list, B);
    expect((await session.nextChange()).add).toMatchObject([{ args: B }]);
    session.raw('\n');
    session.result(B, [2], 'h2');
    await second.until(({ status }) => status === 'success');
    one.refreshAuth();
    expect(await session.nextChange()).toMatchObject({ add: [], remove: [], token: 'two' });
  });

  test('settles mutations', async () => {
    const { one, session } = await open();
    server.answer = ({ headers }) => {
      session.send({ type: 'settled', key: headers['idempotency-key'] });
      return { body: { ok: true, data: 'id' } };
    };
    expect(await one.mutation(add, { n: 1 })).toBe('id');
    expect(server.calls[0]?.headers['convoy-session']).toBe(session.name);
  });

  test('reconnects by WebSocket, with hashes and the position', async () => {
    const { watch, session } = await open();
    const { id } = session.query(A);
    session.send({ type: 'result', id, hash: 'h2', position: 'x.7', data: [2] });
    await watch.until(({ data }) => data?.[0] === 2);
    session.cut();
    const next = await server.nextSession();
    expect(next.kind).toBe('socket');
    expect(next.opening).toMatchObject({ position: 'x.7', queries: [{ args: A, hash: 'h2' }] });
    next.same(A);
    await watch.until(({ isStale }) => !isStale);
  });

  test('that carries a malformed message is replaced by another', async () => {
    const { session } = await open();
    session.raw('what');
    expect((await server.nextSession()).query(A).hash).toBe('h1');
  });
});

describe('where neither streams nor WebSockets get through', () => {
  test.each([
    ['WebSockets are cut', {}],
    ['there is no WebSocket', { WebSocket: undefined }],
    ['a WebSocket cannot carry the headers of this client', { headers: { 'x-tenant': 'acme' } }],
  ] as const)('because %s, queries are polled, and one warning is logged', async (what, options) => {
    server.buffered = 'the body';
    if (what === 'WebSockets are cut') server.sockets = 'blocked';
    // Node has one since version 22.
    if (what === 'there is no WebSocket') vi.stubGlobal('WebSocket', undefined);
    let n = 0;
    server.answer = ({ name }) => ({ body: { ok: true, data: name === 'rows.list' ? [Math.floor(n++ / 3)] : 'id' } });
    const one = client(options);
    const watch = watching(one, list, A);
    expect(await watch.until(({ data }) => data?.[0] === 0)).toMatchObject({ connectionState: 'open' });
    await watch.until(({ data }) => data?.[0] === 2);
    // An equal result notifies no listener.
    expect(watch.seen.filter(({ data }) => data?.[0] === 1)).toHaveLength(1);
    expect(console.warn).toHaveBeenCalledTimes(1);
    expect(console.warn).toHaveBeenCalledWith(expect.stringContaining('WebSocket'));
    expect(await one.mutation(add, { n: 1 })).toBe('id');
    expect(server.calls.find(({ kind }) => kind === 'mutation')?.headers).not.toHaveProperty('convoy-session');
  });

  test('an added query is called at once, and a failing one affects no other', async () => {
    server.buffered = 'the body';
    server.sockets = 'blocked';
    server.answer = ({ args }) =>
      (args as typeof A).of === 'a'
        ? { body: { ok: true, data: [1] } }
        : { status: 403, body: { ok: false, error: { code: 'FORBIDDEN', message: 'not yours' } } };
    const one = client();
    const watch = watching(one, list, A);
    await watch.until(({ status }) => status === 'success');
    const other = watching(one, list, B);
    expect(await other.until(({ status }) => status === 'error')).toMatchObject({ connectionState: 'open' });
    expect(watch.seen.some(({ status }) => status === 'error')).toBe(false);
  });

  test('a query that fails with UNAVAILABLE affects no other', async () => {
    server.buffered = 'the body';
    server.sockets = 'blocked';
    server.answer = ({ args }) =>
      (args as typeof A).of === 'a'
        ? { body: { ok: true, data: [1] } }
        : { status: 503, body: { ok: false, error: { code: 'UNAVAILABLE', message: 'the mail is down' } } };
    const one = client();
    const other = watching(one, list, B);
    const watch = watching(one, list, A);
    expect(await watch.until(({ status }) => status === 'success')).toMatchObject({ data: [1] });
    await other.until(({ isReconnecting }) => isReconnecting);
  });

  test('and the server is unavailable, the kinds of link are retried from the first', async () => {
    server.buffered = 'the body';
    server.sockets = 'blocked';
    let away = false;
    server.answer = () => (away ? { status: 502, type: 'text/html', body: '' } : { body: { ok: true, data: [1] } });
    away = true;
    const watch = watching(client(), list, A);
    await watch.until(({ isReconnecting }) => isReconnecting);
    server.buffered = 'nothing';
    const session = await server.nextSession();
    expect(session.kind).toBe('stream');
    expect(console.warn).not.toHaveBeenCalled();
  });
});

test.each([null, undefined])('a `fetch` whose responses have the body %s is replaced by a WebSocket', async (body) => {
  const withoutBody: typeof fetch = async (url, init) => {
    const response = await fetch(url, init);
    return Object.defineProperty(response, 'body', { value: body });
  };
  watching(client({ fetch: withoutBody }), list, A);
  expect((await server.nextSession()).kind).toBe('stream');
  expect((await server.nextSession()).kind).toBe('socket');
});

describe('in React Native', () => {
  afterEach(() => {
    vi.unstubAllGlobals();
  });

  test('a WebSocket is opened at once, because `fetch` would wait for the end of a stream', async () => {
    class ResponseWithoutBody {}
    vi.stubGlobal('Response', ResponseWithoutBody);
    const watch = watching(client(), list, A);
    const session = await server.nextSession();
    expect(session.kind).toBe('socket');
    session.result(A, [1], 'h1');
    await watch.until(({ status }) => status === 'success');
  });

  test('keys are unique without `crypto`', () => {
    vi.stubGlobal('crypto', undefined);
    const keys = Array.from({ length: 1_000 }, () => newIdempotencyKey());
    expect(new Set(keys).size).toBe(1_000);
    for (const key of keys) expect(key).toMatch(/^[0-9a-f]{32}$/);
  });

  test('an error of the `fetch` of Expo is a lost connection, and not a mock', async () => {
    server.answer = () => ({ body: { ok: true, data: 'id' } });
    let isDown = true;
    const expoFetch: typeof fetch = (url, init) =>
      isDown ? Promise.reject(new Error('fetch failed: The network connection was lost.')) : fetch(url, init);
    const one = client({ fetch: expoFetch });
    const watch = watching(one, list, A);
    const sent = one.mutation(add, { n: 1 });
    await watch.until(({ isReconnecting }) => isReconnecting);
    isDown = false;
    expect(await sent).toBe('id');
    expect((await server.nextSession()).kind).toBe('stream');
  });
});
