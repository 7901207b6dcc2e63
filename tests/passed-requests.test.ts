/** Requests that reach Convoy through another server after something has happened to them. */
import { once } from 'node:events';
import { createServer, type RequestListener, request, type Server } from 'node:http';
import { connect as connect2, createServer as createServer2 } from 'node:http2';
import { type AddressInfo, connect } from 'node:net';
import express, { type RequestHandler } from 'express';
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from 'vitest';
import { type Application, api, startApplication } from './servers/application.js';

let app: Application;
const servers: Server[] = [];
beforeAll(async () => {
  app = await startApplication({
    name: 'none',
    webSocket: false,
    tellsPeer: true,
    hasOtherRoutes: false,
    start: async () => ({ baseUrl: 'http://app.test', close: async () => {} }),
    limits: { slowReaderMs: 1_500 },
  });
});
afterEach(async () => {
  for (const server of servers.splice(0)) {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  }
});
afterAll(() => app?.close());

async function listening(listener: RequestListener): Promise<{ baseUrl: string; port: number; server: Server }> {
  const server = createServer(listener).listen(0, '127.0.0.1');
  servers.push(server);
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  return { baseUrl: `http://127.0.0.1:${port}`, port, server };
}

/** Resolves when the next connection has closed, with or without an error. */
function connectionEnd(server: Server): Promise<void> {
  return new Promise((resolve) => server.once('connection', (socket) => socket.once('close', () => resolve())));
}

async function add(baseUrl: string, room: string, type = 'application/json', body?: string) {
  const response = await fetch(`${baseUrl}/api/mutation/notes.add`, {
    method: 'POST',
    headers: { 'content-type': type },
    body: body ?? JSON.stringify({ room, text: 'passed' }),
  });
  return { status: response.status, answer: (await response.json()) as { error?: { code: string; message: string } } };
}

const notesIn = (room: string) => app.convoy.query(api.list, { room });

describe('a body that another middleware', () => {
  const after = async (middleware: RequestHandler) => {
    const server = express();
    server.use(middleware);
    server.use(app.convoy.nodeHandler());
    return (await listening(server)).baseUrl;
  };

  test.each([
    ['has parsed as JSON', express.json()],
    ['has read as text', express.text({ type: () => true })],
    ['has read as bytes', express.raw({ type: () => true })],
    ['has not touched, because of its type', express.urlencoded()],
  ])('%s is used', async (_how, middleware) => {
    const room = app.room();
    expect(await add(await after(middleware), room)).toMatchObject({ status: 200 });
    expect(await notesIn(room)).toMatchObject([{ text: 'passed' }]);
  });

  test('has parsed as a form is refused with the type to send', async () => {
    const baseUrl = await after(express.urlencoded());
    const { status, answer } = await add(baseUrl, '', 'application/x-www-form-urlencoded', 'room=a&text=b');
    expect(status).toBe(400);
    expect(answer.error?.message).toMatchInlineSnapshot(
      `"The body of this request did not reach Convoy: another middleware has parsed it as application/x-www-form-urlencoded; send Content-Type: application/json."`,
    );
  });

  test('has read and thrown away is refused with the remedy', async () => {
    const baseUrl = await after((req, _res, next) => void req.resume().on('end', next));
    const { status, answer } = await add(baseUrl, 'r');
    expect(status).toBe(400);
    expect(answer.error?.message).toMatchInlineSnapshot(
      `"The body of this request did not reach Convoy: another middleware has read it and left nothing in req.body; use convoy.nodeHandler() before that middleware."`,
    );
  });
});

describe('a web request', () => {
  const post = (init: RequestInit = {}) =>
    new Request('http://app.test/api/mutation/notes.add', {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: '{"room":"r","text":"t"}',
      ...init,
    });

  test('whose body was read before is refused with the remedy', async () => {
    const used = post();
    await used.text();
    const response = await app.convoy.handlers.POST(used);
    expect(response.status).toBe(400);
    expect(await response.json()).toMatchObject({ error: { message: expect.stringContaining('request.clone()') } });
  });

  test('that is aborted while its body is sent runs nothing', async () => {
    const room = app.room();
    const client = new AbortController();
    const body = new ReadableStream({
      start: (controller) => controller.enqueue(new TextEncoder().encode(`{"room":"${room}",`)),
    });
    const answered = app.convoy.handlers.POST(post({ body, signal: client.signal, duplex: 'half' } as RequestInit));
    client.abort();
    expect((await answered).status).toBe(499);
    expect(await notesIn(room)).toEqual([]);
  });

  test('whose streamed response is cancelled, aborted, forgotten or never read keeps no session', async () => {
    const url = `http://app.test/api/subscribe?name=notes.list&args=${encodeURIComponent('{"room":"r"}')}`;
    const client = new AbortController();
    const cancelled = await app.convoy.handlers.GET(new Request(url));
    const aborted = await app.convoy.handlers.GET(new Request(url, { signal: client.signal }));
    const forgotten = await app.convoy.handlers.GET(new Request(url));
    await app.convoy.handlers.GET(new Request(url));
    const reader = (forgotten.body as ReadableStream).getReader();
    await reader.read();
    expect(app.convoy.stats().sessions).toBe(4);
    await cancelled.body?.cancel();
    client.abort();
    await aborted.text();
    // The stream is not read any more, for longer than the limit for slow readers.
    await expect(reader.closed).rejects.toThrow('stopped reading');
    await vi.waitFor(() => expect(app.convoy.stats().sessions).toBe(0));
  });
});

test('HTTP/2 carries calls and streams', async () => {
  const handle = app.convoy.nodeHandler();
  const server = createServer2((req, res) => void handle(req as never, res as never)).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const session = connect2(origin);
  const send = async (head: object, body?: string) => {
    const stream = session.request({ ...head, 'content-type': 'application/json' });
    stream.setEncoding('utf8').end(body);
    const [headers] = (await once(stream, 'response')) as [Record<string, unknown>];
    return { stream, headers };
  };
  const room = app.room();
  const path = `/api/subscribe?name=notes.list&args=${encodeURIComponent(JSON.stringify({ room }))}`;
  const live = await send({ ':path': path });
  let text = '';
  live.stream.on('data', (chunk) => (text += chunk));
  // A page of this server: its origin is that of `:authority`.
  const call = { ':method': 'POST', ':path': '/api/mutation/notes.add', origin };
  const { headers } = await send(call, JSON.stringify({ room, text: 'over HTTP/2' }));
  expect(headers[':status']).toBe(200);
  while (!text.includes('over HTTP/2')) await once(live.stream, 'data');
  live.stream.close();
  await vi.waitFor(() => expect(app.convoy.stats().sessions).toBe(0));
  session.destroy();
  await new Promise((resolve) => server.close(resolve));
});

test('a request that another middleware answers meanwhile is left to it', async () => {
  const handle = app.convoy.nodeHandler();
  let handled: Promise<boolean> | undefined;
  const { baseUrl } = await listening((req, res) => {
    handled = handle(req, res);
    res.writeHead(504).end();
  });
  expect((await fetch(`${baseUrl}/api/health`)).status).toBe(504);
  expect(await handled).toBe(true);
});

test('a client that stops reading is disconnected after the limit', async () => {
  const { port, server } = await listening(app.convoy.nodeHandler());
  const room = app.room();
  await app.convoy.mutation(api.fill, { room, notes: 100, length: 5_000 });
  const closed = connectionEnd(server);
  const socket = connect({ host: '127.0.0.1', port }).pause();
  socket.write(`GET /api/subscribe?name=notes.list&args=${encodeURIComponent(JSON.stringify({ room }))} HTTP/1.1\r\n`);
  socket.write('Host: 127.0.0.1\r\n\r\n');
  await vi.waitFor(() => expect(app.convoy.stats().sessions).toBe(1));
  // Until the buffers of both sockets are full.
  let isOpen = true;
  void closed.then(() => (isOpen = false));
  for (let round = 0; isOpen; round += 1) await app.convoy.mutation(api.add, { room, text: `round ${round}` });
  await vi.waitFor(() => expect(app.convoy.stats().sessions).toBe(0));
  socket.destroy();
});

test('a header that is sent twice is refused where it may occur once', async () => {
  const { port } = await listening(app.convoy.nodeHandler());
  const call = request({ port, method: 'POST', path: '/api/query/notes.list' });
  call.setHeader('idempotency-key', ['one', 'two']);
  call.end('{}');
  const [response] = await once(call, 'response');
  response.resume();
  expect(response.statusCode).toBe(400);
});

test('a client that leaves during its upload runs nothing', async () => {
  const { port, server } = await listening(app.convoy.nodeHandler());
  const room = app.room();
  const closed = connectionEnd(server);
  const call = request({ port, method: 'POST', path: '/api/mutation/notes.add', headers: { 'content-length': 100 } });
  call.on('error', () => {});
  call.write(`{"room":"${room}",`);
  await once(server, 'request');
  call.destroy();
  await closed;
  expect(await notesIn(room)).toEqual([]);
});

test('a body that is refused does not keep its connection', async () => {
  const { port, server } = await listening(app.convoy.nodeHandler());
  const closed = connectionEnd(server);
  const call = request({ port, method: 'POST', path: '/api/mutation/notes.add' });
  call.on('error', () => {});
  call.write('x'.repeat(10_000));
  const [response] = await once(call, 'response');
  response.resume();
  expect(response.statusCode).toBe(413);
  // It never ends: the rest is discarded for a limited time.
  const more = setInterval(() => call.write('x'), 500);
  await closed;
  clearInterval(more);
});
