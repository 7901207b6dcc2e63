import { afterEach, beforeEach, expect, test } from 'vitest';
import { ScriptedServer } from '../../testing/scripted-server.js';
import { watching } from '../../testing/watching.js';
import { makeQueryRef } from '../protocol/refs.js';
import { type ConvoyClient, createConvoyClient } from './client.js';
import { Endpoint } from './endpoint.js';
import { LiveTransport } from './live-transport.js';

const list = makeQueryRef<{ channelId: string; after?: number }, { n: number }[]>('messages.list');
const C = { channelId: 'c' };

let server: ScriptedServer;
let client: ConvoyClient;
beforeEach(async () => {
  server = await ScriptedServer.start();
  client = createConvoyClient({ baseUrl: server.baseUrl, headers: { 'x-tenant': 'acme' }, auth: 'secret' });
});
afterEach(async () => {
  client.close();
  await server.stop();
});

test('results arrive as they change, over a request with headers and token', async () => {
  const watch = watching(client, list, C);
  const session = await server.nextSession();
  expect(session.opening).toMatchObject({ protocol: 1, queries: [{ id: 1, name: 'messages.list', args: C }] });
  expect(session.headers).toMatchObject({ 'x-tenant': 'acme', authorization: 'Bearer secret' });
  session.result(C, [], 'h0');
  expect(await watch.until(({ status }) => status === 'success')).toMatchObject({ data: [], connectionState: 'open' });
  session.result(C, [{ n: 1 }], 'h1');
  expect(await watch.until(({ data }) => data?.length === 1)).toMatchObject({ data: [{ n: 1 }], isStale: false });
});

test('watches with the same arguments share one query and one object', async () => {
  const first = watching(client, list, { channelId: 'c', after: 1 });
  const session = await server.nextSession();
  session.result({ channelId: 'c', after: 1 }, [{ n: 1 }], 'h1');
  const { data } = await first.until(({ status }) => status === 'success');
  const second = watching(client, list, { after: 1, channelId: 'c' });
  expect((await second.until(({ status }) => status === 'success')).data).toBe(data);
  expect(session.changes).toEqual([]);
});

test('the connection is retained briefly after the last listener, and then closes', async () => {
  const first = watching(client, list, C);
  const session = await server.nextSession();
  session.result(C, [{ n: 1 }], 'h1');
  await first.until(({ status }) => status === 'success');
  first.stop();
  const again = watching(client, list, C);
  await again.until(({ status }) => status === 'success');
  expect(server.sessions).toHaveLength(1);
  expect(client.connection.getSnapshot()).toBe('open');
  again.stop();
  await session.closed;
  expect(client.connection.getSnapshot()).toBe('closed');
});

test('a stopped listener is not called again', async () => {
  const stopped = watching(client, list, C);
  const other = watching(client, list, C);
  const session = await server.nextSession();
  stopped.stop();
  session.result(C, [], 'h0');
  await other.until(({ status }) => status === 'success');
  expect(stopped.seen.filter(({ status }) => status !== 'pending')).toEqual([]);
});

test('a cut connection reconnects with its hashes, and keeps the object where the result is unchanged', async () => {
  const watch = watching(client, list, C);
  const session = await server.nextSession();
  expect(session.query(C)).not.toHaveProperty('hash');
  session.result(C, [{ n: 1 }], 'h1');
  const before = await watch.until(({ status }) => status === 'success');
  session.cut();
  const away = await watch.until(({ isReconnecting }) => isReconnecting);
  expect(away).toMatchObject({ data: [{ n: 1 }], isStale: true, connectionState: 'connecting' });
  const next = await server.nextSession();
  expect(next.query(C).hash).toBe('h1');
  next.same(C);
  const back = await watch.until(({ connectionState, isStale }) => connectionState === 'open' && !isStale);
  expect(back.data).toBe(before.data);
});

test('a server that is unavailable at first is retried', async () => {
  const answers = ['cut', { status: 502, type: 'text/html', body: '' }] as const;
  let refused = 0;
  server.refuse = () => answers[refused++] ?? null;
  const watch = watching(client, list, C);
  await watch.until(({ isReconnecting, status }) => isReconnecting && status === 'pending');
  (await server.nextSession()).result(C, [], 'h0');
  await watch.until(({ status, connectionState }) => status === 'success' && connectionState === 'open');
  expect(refused).toBe(3);
});

test('UNAVAILABLE for a query keeps its data and shows as reconnecting until the next result', async () => {
  const watch = watching(client, list, C);
  const other = watching(client, list, { channelId: 'other' });
  const session = await server.nextSession();
  session.result(C, [{ n: 1 }], 'h1');
  session.result({ channelId: 'other' }, [], 'h0');
  const before = await watch.until(({ status }) => status === 'success');
  session.error(C, { code: 'UNAVAILABLE', message: 'The database is away' });
  const away = await watch.until(({ isReconnecting }) => isReconnecting);
  expect(away).toMatchObject({ status: 'success', error: null, isStale: true });
  session.raw(': heartbeat\n\n: heartbeat\n\n');
  session.result(C, [{ n: 1 }], 'h1');
  const back = await watch.until(({ isReconnecting }) => !isReconnecting);
  expect(back).toMatchObject({ isStale: false, connectionState: 'open' });
  expect(back.data).toBe(before.data);
  expect(other.seen.some(({ isReconnecting }) => isReconnecting)).toBe(false);
  expect(server.sessions).toHaveLength(1);
});

test('a failing query stays subscribed, shows the error beside its last result, and recovers', async () => {
  const watch = watching(client, list, C);
  const session = await server.nextSession();
  session.error(C, { code: 'INTERNAL', message: 'Something went wrong on the server.' });
  expect(await watch.until(({ status }) => status === 'error')).toMatchObject({
    data: null,
    error: { code: 'INTERNAL' },
    connectionState: 'open',
  });
  session.result(C, [{ n: 1 }], 'h1');
  await watch.until(({ status }) => status === 'success');
  session.error(C, { code: 'TIMEOUT', message: 'It took too long' });
  expect(await watch.until(({ status }) => status === 'error')).toMatchObject({ data: [{ n: 1 }], isStale: true });
  session.rows(C, 'h1', 'h2', [[0, 1], { row: { n: 2 } }]);
  expect(await watch.until(({ status }) => status === 'success')).toMatchObject({ data: [{ n: 1 }, { n: 2 }] });
  expect(server.sessions).toHaveLength(1);
});

test('a refused connection is shown and not retried until a refetch', async () => {
  const watch = watching(client, list, C);
  server.refuse = () => ({ status: 404, body: { ok: false, error: { code: 'NOT_FOUND', message: 'no path' } } });
  const refused = await watch.until(({ status }) => status === 'error');
  expect(refused).toMatchObject({ error: { code: 'NOT_FOUND', message: 'no path' }, connectionState: 'closed' });
  server.refuse = () => null;
  const answered = client.liveQuery(list, C).refetch();
  (await server.nextSession()).result(C, [], 'h0');
  await answered;
  await watch.until(({ status }) => status === 'success');
  expect(server.sessions).toHaveLength(1);
});

test('a transient error is shown and retried', async () => {
  const answers = [{ status: 500, body: { ok: false, error: { code: 'INTERNAL', message: 'no', errorId: 'e' } } }];
  server.refuse = () => answers.shift() ?? null;
  const watch = watching(client, list, C);
  await watch.until(({ status, isReconnecting }) => status === 'error' && isReconnecting);
  (await server.nextSession()).result(C, [], 'h0');
  await watch.until(({ status }) => status === 'success');
});

test('a refetch requests the whole result under a new id, and shows the old one meanwhile', async () => {
  const watch = watching(client, list, C);
  const session = await server.nextSession();
  const old = session.query(C).id;
  session.result(C, [{ n: 1 }], 'h1');
  const before = await watch.until(({ status }) => status === 'success');
  const refetched = client.liveQuery(list, C).refetch();
  const { add, remove } = await session.nextChange();
  expect(remove).toEqual([old]);
  expect(add).toEqual([{ id: old + 1, name: 'messages.list', args: C }]);
  expect(client.liveQuery(list, C).getSnapshot().data).toBe(before.data);
  session.send({ type: 'result', id: old, hash: 'late', data: [{ n: 0 }] });
  session.result(C, [{ n: 1 }, { n: 2 }], 'h2');
  await refetched;
  const after = client.liveQuery(list, C).getSnapshot();
  expect(after.data).toEqual([{ n: 1 }, { n: 2 }]);
  expect(after.data?.[0]).toBe(before.data?.[0]);
  expect(watch.seen.map(({ data }) => data)).not.toContainEqual([{ n: 0 }]);
});

test('frames may arrive in any chunks, and unknown messages are ignored', async () => {
  const watch = watching(client, list, C);
  const session = await server.nextSession();
  session.send({ type: 'weather', of: 'tomorrow' });
  const text = session.frameOf({ type: 'result', id: 1, hash: 'h1', ts: 1, data: [{ n: 1, s: 'ä€😀' }] });
  for (const byte of Buffer.from(`event: frame\r\ndata: ${text}\r\n\r\n`)) {
    session.raw(Buffer.of(byte));
    await new Promise((resolve) => setImmediate(resolve));
  }
  const { data } = await watch.until(({ status }) => status === 'success');
  expect(data).toEqual([{ n: 1, s: 'ä€😀' }]);
});

test('a silent connection is replaced by another', async () => {
  const endpoint = new Endpoint({ baseUrl: server.baseUrl });
  const transport = new LiveTransport({ endpoint, timeouts: { silenceMs: 100 }, random: () => 0 });
  const impatient = createConvoyClient({ transport });
  const watch = watching(impatient, list, C);
  const silent = await server.nextSession();
  silent.result(C, [{ n: 1 }], 'h1');
  setTimeout(() => silent.raw(':\n\n'), 60);
  await silent.closed;
  expect((await server.nextSession()).query(C).hash).toBe('h1');
  expect(watch.seen.some(({ isReconnecting }) => isReconnecting)).toBe(true);
  impatient.close();
});

test('closing ends the connection, and the last snapshots stay readable', async () => {
  const watch = watching(client, list, C);
  const session = await server.nextSession();
  session.result(C, [{ n: 1 }], 'h1');
  await watch.until(({ status }) => status === 'success');
  client.close();
  await session.closed;
  expect(watch.seen.at(-1)).toMatchObject({ data: [{ n: 1 }], isStale: true, connectionState: 'closed' });
  const late = watching(client, list, { channelId: 'late' });
  expect(await late.until(({ status }) => status === 'error')).toMatchObject({ error: { code: 'UNAVAILABLE' } });
});

test('a closed client sends no request: a refetch resolves at once, and a new watch fails', async () => {
  const query = client.liveQuery(list, C);
  query.subscribe(() => {});
  await server.nextSession();
  client.close();
  await query.refetch();
  const late = watching(client, list, { channelId: 'late' });
  const failed = await late.until(({ status }) => status === 'error');
  expect(failed).toMatchObject({ connectionState: 'closed', error: { code: 'UNAVAILABLE' } });
  expect(client.connection.getSnapshot()).toBe('closed');
});

test('a listener that throws does not affect other listeners', async () => {
  const surfaced = new Promise((resolve) => process.once('uncaughtException', resolve));
  const thrown = new Error('in a listener');
  const stop = client.watch(list, C, ({ status }) => {
    if (status === 'success') throw thrown;
  });
  const other = watching(client, list, C);
  const session = await server.nextSession();
  session.result(C, [], 'h0');
  await other.until(({ status }) => status === 'success');
  expect(await surfaced).toBe(thrown);
  stop();
  session.result(C, [{ n: 1 }], 'h1');
  await other.until(({ data }) => data?.length === 1);
  expect(server.sessions).toHaveLength(1);
});
