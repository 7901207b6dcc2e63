import { afterEach, beforeEach, expect, test } from 'vitest';
import { ScriptedServer } from '../../testing/scripted-server.js';
import { watching } from '../../testing/watching.js';
import { makeQueryRef } from '../protocol/refs.js';
import { type ConvoyClient, createConvoyClient } from './client.js';
import { Endpoint } from './endpoint.js';
import { SseTransport } from './sse-transport.js';

const list = makeQueryRef<{ channelId: string; after?: number }, { n: number }[]>('messages.list');

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

test('results arrive as they change, over a request that carries headers and token', async () => {
  const watch = watching(client, list, { channelId: 'c' });
  const stream = await server.nextStream();
  expect(stream).toMatchObject({ name: 'messages.list', args: { channelId: 'c' } });
  expect(stream.headers).toMatchObject({ 'x-tenant': 'acme', authorization: 'Bearer secret' });
  stream.result([], 'h0');
  expect(await watch.until(({ status }) => status === 'success')).toMatchObject({ data: [], connectionState: 'open' });
  stream.result([{ n: 1 }], 'h1');
  expect(await watch.until(({ data }) => data?.length === 1)).toMatchObject({ data: [{ n: 1 }], isStale: false });
});

test('everyone who watches the same arguments shares one stream and one object', async () => {
  const first = watching(client, list, { channelId: 'c', after: 1 });
  const stream = await server.nextStream();
  stream.result([{ n: 1 }], 'h1');
  const { data } = await first.until(({ status }) => status === 'success');
  const second = watching(client, list, { after: 1, channelId: 'c' });
  expect((await second.until(({ status }) => status === 'success')).data).toBe(data);
  watching(client, list, { channelId: 'other' });
  expect((await server.nextStream()).args).toEqual({ channelId: 'other' });
  expect(server.streams).toHaveLength(2);
});

test('the stream outlives the last listener for a moment, and then closes', async () => {
  const first = watching(client, list, { channelId: 'c' });
  const stream = await server.nextStream();
  stream.result([{ n: 1 }], 'h1');
  await first.until(({ status }) => status === 'success');
  first.stop();
  const again = watching(client, list, { channelId: 'c' });
  await again.until(({ status }) => status === 'success');
  expect(server.streams).toHaveLength(1);
  expect(client.connection.getSnapshot()).toBe('open');
  again.stop();
  await stream.closed;
  expect(client.connection.getSnapshot()).toBe('closed');
});

test('a stopped listener hears nothing more', async () => {
  const stopped = watching(client, list, { channelId: 'c' });
  const other = watching(client, list, { channelId: 'c' });
  const stream = await server.nextStream();
  stopped.stop();
  stream.result([], 'h0');
  await other.until(({ status }) => status === 'success');
  expect(stopped.seen.filter(({ status }) => status !== 'pending')).toEqual([]);
});

test('a cut stream comes back by itself, names what it holds, and keeps the object where nothing changed', async () => {
  const watch = watching(client, list, { channelId: 'c' });
  const stream = await server.nextStream();
  expect(stream.headers['last-event-id']).toBeUndefined();
  stream.result([{ n: 1 }], 'h1');
  const before = await watch.until(({ status }) => status === 'success');
  stream.cut();
  const away = await watch.until(({ isReconnecting }) => isReconnecting);
  expect(away).toMatchObject({ data: [{ n: 1 }], isStale: true, connectionState: 'connecting' });
  const next = await server.nextStream();
  expect(next.headers['last-event-id']).toBe('h1');
  next.raw(': current\n\n');
  const back = await watch.until(({ connectionState, isStale }) => connectionState === 'open' && !isStale);
  expect(back.data).toBe(before.data);
});

test('a server that is away at first is waited for', async () => {
  const answers = ['cut', { status: 502, type: 'text/html', body: '' }] as const;
  let refused = 0;
  server.refuse = () => answers[refused++] ?? null;
  const watch = watching(client, list, { channelId: 'c' });
  await watch.until(({ isReconnecting, status }) => isReconnecting && status === 'pending');
  (await server.nextStream()).result([], 'h0');
  await watch.until(({ status, connectionState }) => status === 'success' && connectionState === 'open');
  expect(refused).toBe(3);
});

test('UNAVAILABLE on an open stream keeps the data and shows as reconnecting until a result comes', async () => {
  const watch = watching(client, list, { channelId: 'c' });
  const stream = await server.nextStream();
  stream.result([{ n: 1 }], 'h1');
  const before = await watch.until(({ status }) => status === 'success');
  stream.error({ code: 'UNAVAILABLE', message: 'The database is away' });
  const away = await watch.until(({ isReconnecting }) => isReconnecting);
  expect(away).toMatchObject({ status: 'success', error: null, isStale: true });
  stream.raw(': heartbeat\n\n: heartbeat\n\n');
  stream.result([{ n: 1 }], 'h1');
  const back = await watch.until(({ isReconnecting }) => !isReconnecting);
  expect(back.data).toBe(before.data);
  expect(server.streams).toHaveLength(1);
});

test('a failing query keeps its stream, shows the error, and recovers', async () => {
  const watch = watching(client, list, { channelId: 'c' });
  const stream = await server.nextStream();
  stream.error({ code: 'INTERNAL', message: 'Something went wrong on the server.' });
  expect(await watch.until(({ status }) => status === 'error')).toMatchObject({
    data: null,
    error: { code: 'INTERNAL' },
    connectionState: 'open',
  });
  stream.result([], 'h0');
  await watch.until(({ status }) => status === 'success');
  expect(server.streams).toHaveLength(1);
});

test('a refusal is shown and not repeated until someone asks again', async () => {
  const watch = watching(client, list, { channelId: 'c' });
  server.refuse = () => ({ status: 404, body: { ok: false, error: { code: 'NOT_FOUND', message: 'no function' } } });
  const refused = await watch.until(({ status }) => status === 'error');
  expect(refused).toMatchObject({ error: { code: 'NOT_FOUND', message: 'no function' }, connectionState: 'closed' });
  server.refuse = () => null;
  const answered = client.liveQuery(list, { channelId: 'c' }).refetch();
  (await server.nextStream()).result([], 'h0');
  await answered;
  await watch.until(({ status }) => status === 'success');
  expect(server.streams).toHaveLength(1);
});

test('an error that passes is shown and tried again', async () => {
  const answers = [{ status: 500, body: { ok: false, error: { code: 'INTERNAL', message: 'no', errorId: 'e' } } }];
  server.refuse = () => answers.shift() ?? null;
  const watch = watching(client, list, { channelId: 'c' });
  await watch.until(({ status, isReconnecting }) => status === 'error' && isReconnecting);
  (await server.nextStream()).result([], 'h0');
  await watch.until(({ status }) => status === 'success');
});

test('a refetch asks for the whole result over a new stream, and shows the old one meanwhile', async () => {
  const watch = watching(client, list, { channelId: 'c' });
  const stream = await server.nextStream();
  stream.result([{ n: 1 }], 'h1');
  await watch.until(({ status }) => status === 'success');
  const refetched = client.liveQuery(list, { channelId: 'c' }).refetch();
  await stream.closed;
  const next = await server.nextStream();
  expect(next.headers['last-event-id']).toBeUndefined();
  expect(client.liveQuery(list, { channelId: 'c' }).getSnapshot()).toMatchObject({ data: [{ n: 1 }], isStale: true });
  next.result([{ n: 2 }], 'h2');
  await refetched;
  expect(watch.seen.at(-1)).toMatchObject({ data: [{ n: 2 }], isStale: false });
});

test('frames may come in any pieces, and unknown ones are passed over', async () => {
  const watch = watching(client, list, { channelId: 'c' });
  const stream = await server.nextStream();
  const text = 'id: h1\r\ndata: {"type":"result","name":"messages.list","ts":1,"data":[{"n":1,"s":"ä€😀"}]}\r\n\r\n';
  stream.raw('event: later\ndata: {"type":"rows"}\n\ndata: what\n\n');
  for (const byte of Buffer.from(text)) {
    stream.raw(Buffer.of(byte));
    await new Promise((resolve) => setImmediate(resolve));
  }
  const { data } = await watch.until(({ status }) => status === 'success');
  expect(data).toEqual([{ n: 1, s: 'ä€😀' }]);
});

test('a stream that falls silent is left, and another is opened', async () => {
  const endpoint = new Endpoint({ baseUrl: server.baseUrl });
  const transport = new SseTransport({ endpoint, silenceMs: 100, random: () => 0 });
  const impatient = createConvoyClient({ transport });
  const watch = watching(impatient, list, { channelId: 'c' });
  const silent = await server.nextStream();
  silent.result([{ n: 1 }], 'h1');
  await silent.closed;
  expect((await server.nextStream()).headers['last-event-id']).toBe('h1');
  expect(watch.seen.some(({ isReconnecting }) => isReconnecting)).toBe(true);
  impatient.close();
});

test('closing ends the streams, and what was known stays readable', async () => {
  const watch = watching(client, list, { channelId: 'c' });
  const stream = await server.nextStream();
  stream.result([{ n: 1 }], 'h1');
  await watch.until(({ status }) => status === 'success');
  client.close();
  await stream.closed;
  expect(watch.seen.at(-1)).toMatchObject({ data: [{ n: 1 }], isStale: true, connectionState: 'closed' });
  const late = watching(client, list, { channelId: 'late' });
  expect(await late.until(({ status }) => status === 'error')).toMatchObject({ error: { code: 'UNAVAILABLE' } });
});

test('a listener that throws keeps nobody else from hearing', async () => {
  const surfaced = new Promise((resolve) => process.once('uncaughtException', resolve));
  const mistake = new Error('in a listener');
  const stop = client.watch(list, { channelId: 'c' }, ({ status }) => {
    if (status === 'success') throw mistake;
  });
  const other = watching(client, list, { channelId: 'c' });
  const stream = await server.nextStream();
  stream.result([], 'h0');
  await other.until(({ status }) => status === 'success');
  expect(await surfaced).toBe(mistake);
  stop();
  stream.result([{ n: 1 }], 'h1');
  await other.until(({ data }) => data?.length === 1);
  expect(server.streams).toHaveLength(1);
});
