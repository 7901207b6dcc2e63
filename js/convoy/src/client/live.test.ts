/** The connection that all queries share: the messages over it, and recovery from protocol errors. */
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { ScriptedServer } from '../../testing/scripted-server.js';
import { watching } from '../../testing/watching.js';
import { PROTOCOL } from '../protocol/frames.js';
import { makeQueryRef } from '../protocol/refs.js';
import { type ConvoyClient, createConvoyClient } from './client.js';
import { Endpoint } from './endpoint.js';
import { LiveTransport } from './live-transport.js';

interface Row {
  id: string;
  n: number;
}
const list = makeQueryRef<{ of: string }, Row[]>('rows.list');
const A = { of: 'a' };
const B = { of: 'b' };
const C = { of: 'c' };
const one = { id: '1', n: 1 };
const two = { id: '2', n: 2 };

let server: ScriptedServer;
let client: ConvoyClient;
beforeEach(async () => {
  server = await ScriptedServer.start();
  const endpoint = new Endpoint({ baseUrl: server.baseUrl });
  client = createConvoyClient({ transport: new LiveTransport({ endpoint, random: () => 0 }) });
  vi.spyOn(console, 'warn').mockImplementation(() => {});
});
afterEach(async () => {
  client.close();
  await server.stop();
  vi.restoreAllMocks();
});

const refuse = (code: string, status: number) => ({ status, body: { ok: false, error: { code, message: code } } });

describe('queries', () => {
  test('added in one tick are sent in one request, in their order', async () => {
    for (const args of [A, B, C]) watching(client, list, args);
    const session = await server.nextSession();
    expect(session.opening.queries.map(({ args }) => args)).toEqual([A, B, C]);
    expect(server.sessions).toHaveLength(1);
  });

  test('added and removed later are sent to the open session together', async () => {
    const first = watching(client, list, A);
    const session = await server.nextSession();
    session.result(A, [], 'h0');
    await first.until(({ status }) => status === 'success');
    const second = watching(client, list, B);
    watching(client, list, C);
    const change = await session.nextChange();
    expect(change.add.map(({ args }) => args)).toEqual([B, C]);
    expect(change.remove).toEqual([]);
    session.result(B, [one], 'h1');
    expect(await second.until(({ status }) => status === 'success')).toMatchObject({ connectionState: 'open' });
    const { id } = session.query(B);
    second.stop();
    expect(await session.nextChange()).toMatchObject({ add: [], remove: [id] });
    expect(server.sessions).toHaveLength(1);
  });

  test('added while connecting are sent when the session is open', async () => {
    let accept = () => {};
    const accepted = new Promise<void>((resolve) => {
      accept = resolve;
    });
    const endpoint = new Endpoint({ baseUrl: server.baseUrl, auth: () => accepted.then(() => null) });
    const slow = createConvoyClient({ transport: new LiveTransport({ endpoint }) });
    watching(slow, list, A);
    await Promise.resolve();
    watching(slow, list, B);
    accept();
    const session = await server.nextSession();
    expect(session.opening.queries.map(({ args }) => args)).toEqual([A]);
    expect((await session.nextChange()).add.map(({ args }) => args)).toEqual([B]);
    slow.close();
  });

  test('are sent in one change at a time, each with all that changed during the previous one', async () => {
    const first = watching(client, list, A);
    const session = await server.nextSession();
    session.result(A, [], 'h0');
    await first.until(({ status }) => status === 'success');
    let arrived = () => {};
    const inFlight = new Promise<void>((resolve) => {
      arrived = resolve;
    });
    let release = () => {};
    server.answerChange = () =>
      new Promise((resolve) => {
        arrived();
        release = () => resolve(null);
      });
    watching(client, list, B);
    await inFlight;
    watching(client, list, C);
    watching(client, list, { of: 'd' });
    await new Promise((resolve) => setImmediate(resolve));
    server.answerChange = () => null;
    release();
    expect((await session.nextChange()).add.map(({ args }) => args)).toEqual([B]);
    expect((await session.nextChange()).add.map(({ args }) => args)).toEqual([C, { of: 'd' }]);
  });

  test('in a change that the server does not acknowledge in time lead to a new connection', async () => {
    const endpoint = new Endpoint({ baseUrl: server.baseUrl });
    const transport = new LiveTransport({ endpoint, random: () => 0, timeouts: { silenceMs: 200 } });
    const impatient = createConvoyClient({ transport });
    const first = watching(impatient, list, A);
    const session = await server.nextSession();
    session.result(A, [], 'h0');
    await first.until(({ status }) => status === 'success');
    server.answerChange = () => new Promise(() => {});
    const heartbeat = setInterval(() => session.raw(':\n\n'), 50);
    watching(impatient, list, B);
    const next = await server.nextSession();
    clearInterval(heartbeat);
    expect(next.opening.queries).toMatchObject([{ args: A, hash: 'h0' }, { args: B }]);
    impatient.close();
  });

  test('refused in a change fail without affecting others', async () => {
    const first = watching(client, list, A);
    const session = await server.nextSession();
    session.result(A, [], 'h0');
    await first.until(({ status }) => status === 'success');
    server.answerChange = () => refuse('PAYLOAD_TOO_LARGE', 413);
    const second = watching(client, list, B);
    expect(await second.until(({ status }) => status === 'error')).toMatchObject({
      error: { code: 'PAYLOAD_TOO_LARGE' },
      connectionState: 'open',
    });
    expect(first.seen.some(({ status }) => status === 'error')).toBe(false);
  });
});

test('all of a frame is applied before any listener is notified', async () => {
  const seen: [number, number][] = [];
  const [a, b] = [client.liveQuery(list, A), client.liveQuery(list, B)];
  const onChange = () => {
    const [left, right] = [a.getSnapshot().data?.[0]?.n, b.getSnapshot().data?.[0]?.n];
    if (left !== undefined && right !== undefined) seen.push([left, right]);
  };
  a.subscribe(onChange);
  b.subscribe(onChange);
  const session = await server.nextSession();
  const [idA, idB] = [session.query(A).id, session.query(B).id];
  const both = (n: number) =>
    session.send(
      { type: 'result', id: idA, hash: `a${n}`, data: [{ id: '1', n }] },
      { type: 'result', id: idB, hash: `b${n}`, data: [{ id: '1', n }] },
    );
  const watch = watching(client, list, B);
  for (const n of [1, 2, 3]) {
    both(n);
    await watch.until(({ data }) => data?.[0]?.n === n);
  }
  expect(seen.length).toBeGreaterThanOrEqual(3);
  for (const [left, right] of seen) expect(left).toBe(right);
});

test('`rows` reuses the rows of the cached list, which keep their identity', async () => {
  const watch = watching(client, list, A);
  const session = await server.nextSession();
  session.result(A, [one, two], 'h1');
  const before = await watch.until(({ status }) => status === 'success');
  session.rows(A, 'h1', 'h2', [{ row: { id: '3', n: 3 } }, [1, 1], [0, 1]]);
  const after = await watch.until(({ data }) => data?.length === 3);
  expect(after.data).toEqual([{ id: '3', n: 3 }, two, one]);
  expect(after.data?.[1]).toBe(before.data?.[1]);
  expect(after.data?.[2]).toBe(before.data?.[0]);
});

test.each([
  ['a list', (rows: Row[]) => rows as unknown, (data: unknown) => data as Row[]],
  ['a page', (page: Row[]) => ({ page }) as unknown, (data: unknown) => (data as { page: Row[] }).page],
] as const)('%s that the application has sorted in place is still patched correctly', async (what, given, rowsOf) => {
  const watch = watching(client, list, A);
  const session = await server.nextSession();
  session.send({ type: 'result', id: session.query(A).id, hash: 'h1', data: given([one, two]) });
  rowsOf((await watch.until(({ status }) => status === 'success')).data).reverse();
  const three = { id: '3', n: 3 };
  const rest = what === 'a page' ? { rest: {} } : {};
  session.send({
    type: 'rows',
    id: session.query(A).id,
    from: 'h1',
    hash: 'h2',
    rows: [[0, 2], { row: three }],
    ...rest,
  });
  const after = await watch.until(({ data }) => rowsOf(data).length === 3);
  expect(rowsOf(after.data)).toEqual([one, two, three]);
});

describe('a protocol error', () => {
  async function subscribed() {
    const watch = watching(client, list, A);
    const other = watching(client, list, B);
    const session = await server.nextSession();
    session.result(A, [one], 'h1');
    session.result(B, [two], 'h2');
    await watch.until(({ status }) => status === 'success');
    await other.until(({ status }) => status === 'success');
    return { watch, session };
  }

  test('such as rows of another result leads to a new connection, which requests the whole result', async () => {
    const { watch, session } = await subscribed();
    session.rows(A, 'other', 'h3', [[0, 1]]);
    const next = await server.nextSession();
    expect(next.query(A)).not.toHaveProperty('hash');
    expect(next.query(B).hash).toBe('h2');
    next.result(A, [one, two], 'h3');
    expect(await watch.until(({ data }) => data?.length === 2)).toMatchObject({ isStale: false });
    expect(console.warn).toHaveBeenCalledWith(expect.stringContaining('rows.list'));
  });

  test.each([
    ['a gap in the sequence', { type: 'same', seq: 9, id: 1, hash: 'h1' }],
    ['a result without its hash', { type: 'result', seq: 3, id: 1, data: [] }],
    ['an invalid piece of a list', { type: 'rows', seq: 3, id: 1, from: 'h1', hash: 'h3', rows: [[-1, 2]] }],
    ['half a message', 'data: {"type":"result"\n\n'],
    ['a rejected message of the client', { type: 'error', seq: 3, error: { code: 'INVALID_ARGS', message: 'what?' } }],
  ])('such as %s leads to a new connection, with all hashes', async (_what, message) => {
    const { session } = await subscribed();
    session.raw(typeof message === 'string' ? message : `data: ${JSON.stringify(message)}\n\n`);
    const next = await server.nextSession();
    expect([next.query(A).hash, next.query(B).hash]).toEqual(['h1', 'h2']);
  });

  test('discards its whole frame, valid messages included', async () => {
    const { watch, session } = await subscribed();
    session.send(
      { type: 'result', id: session.query(A).id, hash: 'h9', data: [] },
      { type: 'rows', id: session.query(B).id, from: 'other', hash: 'h8', rows: [] },
    );
    const next = await server.nextSession();
    expect(next.query(A).hash).toBe('h1');
    next.same(A);
    await watch.until(({ isStale, connectionState }) => !isStale && connectionState === 'open');
    expect(watch.seen.some(({ data }) => data?.length === 0)).toBe(false);
  });
});

test('a query that a rate limit has refused is subscribed to again after that time, and the others stay', async () => {
  const [limited, other] = [watching(client, list, A), watching(client, list, B)];
  const session = await server.nextSession();
  const refusedAt = Date.now();
  const first = session.query(A).id;
  session.error(A, { code: 'RATE_LIMITED', message: 'later', details: { retryAfterMs: 120 } });
  session.result(B, [one], 'h1');
  expect(await limited.until(({ status }) => status === 'error')).toMatchObject({ error: { code: 'RATE_LIMITED' } });
  await other.until(({ status }) => status === 'success');
  const change = await session.nextChange();
  // Timers of Node may be a millisecond early.
  expect(Date.now() - refusedAt).toBeGreaterThanOrEqual(119);
  expect(change.add.map(({ args }) => args)).toEqual([A]);
  expect(change.remove).toEqual([first]);
  session.result(A, [two], 'h2');
  await limited.until(({ status }) => status === 'success');
  expect(server.sessions).toHaveLength(1);
  expect(other.seen.at(-1)).toMatchObject({ isStale: false });
});

test('a server with another protocol version is refused with an error', async () => {
  const answering: typeof fetch = async () => {
    const session = JSON.stringify({ type: 'session', seq: 0, session: 's', protocol: PROTOCOL + 1 });
    return new Response(`data: ${session}\n\n`, { headers: { 'content-type': 'text/event-stream' } });
  };
  const newer = createConvoyClient({ baseUrl: 'http://127.0.0.1:1', fetch: answering });
  const refused = await watching(newer, list, A).until(({ status }) => status === 'error');
  expect(refused).toMatchObject({ connectionState: 'closed', error: { message: expect.stringContaining('protocol') } });
  newer.close();
});

describe('a change that', () => {
  test.each([
    ['is for an unknown session', refuse('NOT_FOUND', 404)],
    ['belongs to another caller', refuse('FORBIDDEN', 403)],
    ['finds the server unavailable', refuse('UNAVAILABLE', 503)],
  ])('%s leads to one new connection, with the whole set and all hashes', async (_what, answer) => {
    const first = watching(client, list, A);
    const session = await server.nextSession();
    session.result(A, [one], 'h1');
    await first.until(({ status }) => status === 'success');
    const answers = [answer];
    server.answerChange = () => answers.shift() ?? null;
    watching(client, list, B);
    const next = await server.nextSession();
    expect(next.opening.queries).toMatchObject([{ args: A, hash: 'h1' }, { args: B }]);
    await session.closed;
    next.same(A);
    await first.until(({ isStale }) => isStale);
    await first.until(({ isStale }) => !isStale);
    expect(server.sessions).toHaveLength(2);
  });
});

test('a server that ends the session sets the reconnect delay', async () => {
  const watch = watching(client, list, A);
  const session = await server.nextSession();
  session.result(A, [one], 'h1');
  await watch.until(({ status }) => status === 'success');
  session.send({ type: 'end', reason: 'shutdown', retryMs: 1 });
  await watch.until(({ isReconnecting }) => isReconnecting);
  expect((await server.nextSession()).query(A).hash).toBe('h1');
});

test('every request carries the latest position seen, which never goes back', async () => {
  const watch = watching(client, list, A);
  const session = await server.nextSession();
  expect(session.headers).not.toHaveProperty('convoy-position');
  const { id } = session.query(A);
  session.send({ type: 'result', id, hash: 'h1', position: 'x.2', data: [one] });
  await watch.until(({ data }) => data?.length === 1);
  session.send({ type: 'result', id, hash: 'h2', position: 'x.1', data: [] });
  await watch.until(({ data }) => data?.length === 0);
  server.answer = () => ({ body: { ok: true, data: [] }, headers: { 'convoy-position': 'x.3' } });
  await client.query(list, A);
  expect(server.calls[0]?.headers['convoy-position']).toBe('x.2');
  session.cut();
  expect((await server.nextSession()).headers['convoy-position']).toBe('x.3');
});
