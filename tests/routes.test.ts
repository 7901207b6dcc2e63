/** HTTP routes end to end: on workers and on the calling thread, over sockets and through other servers. */
import { createHash, createHmac } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import { type AddressInfo, connect, type Socket } from 'node:net';
import { defineSchema, route } from '@avvos/convoy';
import { makeQueryRef } from '@avvos/convoy/client';
import { type Convoy, createConvoy } from '@avvos/convoy/node';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { freshDatabaseUrl } from './app.js';

const program = new URL('./programs/routes.mjs', import.meta.url);
const kinds = makeQueryRef<Record<string, never>, string[]>('events.kinds');
const PARTNER = 'https://partner.example';

interface App {
  readonly convoy: Convoy;
  readonly baseUrl: string;
  readonly port: number;
}

async function open(onWorkers: boolean): Promise<App> {
  const options = { databaseUrl: freshDatabaseUrl(), createDatabase: true, cors: { origins: [PARTNER] }, dev: true };
  const convoy = onWorkers
    ? await createConvoy({ ...options, program, workers: 1 })
    : await createConvoy({ ...options, ...(await import(program.href)) });
  const { port } = await convoy.listen({ port: 0 });
  return { convoy, port, baseUrl: `http://127.0.0.1:${port}` };
}

/** Everything that a server sends on a connection for this text. */
async function raw(port: number, text: string | readonly (string | Buffer)[], closes = false): Promise<string> {
  const socket = connect({ port, host: '127.0.0.1', allowHalfOpen: true });
  for (const part of [text].flat()) socket.write(part);
  if (closes) socket.end();
  return received(socket);
}

async function received(socket: Socket): Promise<string> {
  let text = '';
  for await (const chunk of socket) text += String(chunk);
  socket.destroy();
  return text;
}

const head = (line: string, ...headers: string[]): string =>
  `${[line, 'host: localhost', ...headers].join('\r\n')}\r\n\r\n`;

async function answer(response: Response) {
  const { error } = (await response.json()) as { error?: { code: string; message: string; errorId?: string } };
  return { status: response.status, ...error };
}

describe.each([
  ['on workers', true],
  ['on the calling thread', false],
])('%s', (_where, onWorkers) => {
  let app: App;
  beforeAll(async () => {
    app = await open(onWorkers);
  });
  afterAll(() => app?.convoy.close());
  const get = (path: string, init?: RequestInit) => fetch(app.baseUrl + path, { redirect: 'manual', ...init });
  const seen = async (): Promise<string[]> => (await get('/seen')).json() as Promise<string[]>;

  test('a handler gets the context of an action, the request and the parameters', async () => {
    const headers = { 'x-user': 'ada', 'x-name': 'm\u00fcller', 'x-forwarded-for': '203.0.113.1' };
    const response = await get('/hello/J%C3%BCrgen?q=1', { headers });
    expect(response.headers.get('content-length')).not.toBeNull();
    expect(await response.json()).toEqual({
      params: { name: 'Jürgen' },
      url: `${app.baseUrl}/hello/J%C3%BCrgen?q=1`,
      method: 'GET',
      header: 'm\u00fcller',
      // The header is not the client's, which could choose it.
      address: '127.0.0.1',
      asked: ['GET', '/hello/J%C3%BCrgen?q=1', '127.0.0.1', '127.0.0.1'],
      user: 'ada',
      isRequest: true,
    });
    expect(await answer(await get('/hello/x', { headers: { 'x-user': 'banned' } }))).toMatchObject({
      status: 403,
      message: 'You are banned.',
    });
  });

  test('a webhook checks the signature of the bytes that were sent, and writes', async () => {
    const body = Buffer.from([0xff, 0xfe, 0, 1, 2, 0x7b]);
    const at = 1_790_000_000;
    const signature = createHmac('sha256', 'whsec_test').update(`${at}.`).update(body).digest('hex');
    const send = (given: string) =>
      get('/webhooks/stripe', { method: 'POST', body, headers: { 'x-signature': `t=${at},v1=${given}` } });
    const accepted = await send(signature);
    expect(await accepted.json()).toEqual(['stripe 6']);
    expect(await answer(await send(signature.replace(/^./, (digit) => (digit === '0' ? '1' : '0'))))).toMatchObject({
      status: 401,
      message: 'The signature does not fit.',
    });
  });

  test('an upload of 64 MB is never in memory as a whole', async () => {
    const chunk = Buffer.alloc(1 << 20, 'convoy');
    const hash = createHash('sha256');
    const socket = connect(app.port, '127.0.0.1');
    const response = received(socket);
    socket.write(head('POST /upload HTTP/1.1', `content-length: ${64 << 20}`, 'connection: close'));
    for (let count = 0; count < 64; count++) {
      hash.update(chunk);
      if (!socket.write(chunk)) await once(socket, 'drain');
    }
    const result = JSON.parse((await response).split('\r\n\r\n')[1] ?? '') as Record<string, number>;
    expect(result).toMatchObject({ bytes: 64 << 20, hash: hash.digest('hex') });
    expect(result.chunks).toBeGreaterThan(64);
    // On the calling thread, the buffers of this sender count as well.
    expect(result.most).toBeLessThan(48 << 20);
  });

  test('a stream of events arrives event by event, and its context lives as long', async () => {
    const response = await get('/events');
    expect(response.headers.get('content-type')).toBe('text/event-stream');
    const reader = (response.body as ReadableStream<Uint8Array>).getReader();
    for (const event of ['data: 1\n\n', 'data: 2\n\n', 'data: 3\n\n']) {
      const read = reader.read();
      await get('/events/next', { method: 'POST' });
      expect(new TextDecoder().decode((await read).value)).toBe(event);
    }
    await get('/events/next', { method: 'POST' });
    expect((await reader.read()).done).toBe(true);
    // The signal is for clients that leave.
    expect((await seen()).filter((what) => /^(events|cancelled):/.test(what))).toEqual([]);
    expect(await app.convoy.query(kinds, {})).toContain('streamed');
  });

  test('a client that leaves aborts the signal and cancels the stream', async () => {
    const aborter = new AbortController();
    const waiting = get('/wait', { signal: aborter.signal }).catch(() => 'left');
    await vi.waitFor(async () => expect(await seen()).toContain('wait: began'));
    await get('/events', { signal: aborter.signal });
    aborter.abort();
    expect(await waiting).toBe('left');
    await vi.waitFor(async () =>
      expect(await seen()).toEqual(expect.arrayContaining(['events: AbortError', 'cancelled: AbortError'])),
    );
    await vi.waitFor(() => expect(app.convoy.stats()).toMatchObject({ running: 0 }));
  });

  test('a client that reads nothing holds back the stream', async () => {
    const socket = connect(app.port, '127.0.0.1');
    socket.write(head('GET /large/4096 HTTP/1.1', 'connection: close'));
    await once(socket, 'readable');
    const produced = async (): Promise<number> => Number(await (await get('/produced')).text());
    // Until it stands still: the buffers of both sockets are full.
    let [before, same] = [-1, 0];
    while (same < 50) {
      const now = await produced();
      same = now === before ? same + 1 : 0;
      before = now;
    }
    expect(before).toBeLessThan(2_048);
    let bytes = 0;
    for await (const chunk of socket) bytes += (chunk as Buffer).length;
    expect(bytes).toBeGreaterThan(4_096 * 65_536);
    expect(await produced()).toBe(4_096);
  });

  test('bodies that are cut off or lie about their length reject their reader', async () => {
    const before = (await seen()).length;
    const short = await raw(app.port, [head('POST /text HTTP/1.1', 'content-length: 10'), '12345'], true);
    expect(short).toMatch(/^HTTP\/1\.1 400 .*INVALID_ARGS.*did not arrive whole/s);
    const cut = await raw(app.port, [head('POST /text HTTP/1.1', 'transfer-encoding: chunked'), '5\r\n12'], true);
    expect(cut).toMatch(/^HTTP\/1\.1 400 /);
    const odd = await raw(app.port, [head('POST /text HTTP/1.1', 'transfer-encoding: chunked'), 'x\r\n'], true);
    expect(odd).toMatch(/^HTTP\/1\.1 400 /);
    expect((await seen()).slice(before)).toEqual(Array(3).fill('text: INVALID_ARGS'));
    // More than was announced is the next request, which is none.
    const long = await raw(app.port, [head('POST /text HTTP/1.1', 'content-length: 3'), '123456\r\n\r\n']);
    expect(long).toMatch(/^HTTP\/1\.1 200 OK\r\n.*\r\n\r\n123HTTP\/1\.1 400 /s);
    const twice = head('POST /text HTTP/1.1', 'content-length: 3', 'content-length: 4');
    expect(await raw(app.port, [twice, '1234'])).toMatch(/^HTTP\/1\.1 400 /);
    const both = head('POST /text HTTP/1.1', 'content-length: 3', 'transfer-encoding: chunked', 'connection: close');
    expect(await raw(app.port, [both, '3\r\n123\r\n0\r\n\r\n'])).toMatch(/^HTTP\/1\.1 (200|400) /);
  });

  test('a body that is read after the time limit is not taken for a whole one', async () => {
    const socket = connect(app.port, '127.0.0.1');
    socket.write(`${head('POST /late HTTP/1.1', 'content-length: 10', 'connection: close')}12345`);
    expect(await received(socket)).toMatch(/^HTTP\/1\.1 504 .*did not answer within 200 ms/s);
    await vi.waitFor(async () => expect(await seen()).toContain('late: INTERNAL'));
  });

  test('bodies above the limit of the route are refused', async () => {
    const put = (body: BodyInit) => get('/small', { method: 'PUT', body, duplex: 'half' } as RequestInit);
    expect(await (await put('123')).text()).toBe('123');
    expect(await answer(await put('1234'))).toMatchObject({ status: 413, code: 'PAYLOAD_TOO_LARGE' });
    const stream = new Blob(['12', '34']).stream();
    expect(await answer(await put(stream))).toMatchObject({ status: 413, message: expect.stringContaining('3 bytes') });
  });

  test('paths and methods without a route have their status', async () => {
    expect(await answer(await get('/nowhere'))).toMatchObject({ status: 404, code: 'NOT_FOUND' });
    expect(await answer(await get('/hello/x/'))).toMatchObject({ status: 404 });
    const wrong = await get('/hello/x', { method: 'PATCH' });
    expect(wrong.headers.get('allow')).toBe('GET, HEAD, OPTIONS');
    expect(await answer(wrong)).toMatchObject({ status: 405, code: 'METHOD_NOT_ALLOWED' });
    const options = await get('/echo/a/b', { method: 'OPTIONS' });
    expect([options.status, options.headers.get('allow')]).toEqual([
      204,
      'GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS',
    ]);
    const preflight = await get('/echo/a', {
      method: 'OPTIONS',
      headers: { origin: PARTNER, 'access-control-request-method': 'PUT', 'access-control-request-headers': 'x-a' },
    });
    expect(Object.fromEntries(preflight.headers)).toMatchObject({
      'access-control-allow-origin': PARTNER,
      'access-control-allow-headers': 'x-a',
    });
    const sized = await get('/hello/x', { method: 'HEAD' });
    expect([await sized.text(), Number(sized.headers.get('content-length')) > 0]).toEqual(['', true]);
    const streamed = await get('/large/4096', { method: 'HEAD' });
    expect([streamed.status, await streamed.text()]).toEqual([200, '']);
    const echoed = await get('/echo/a%2Fb/c', { method: 'DELETE', body: 'gone' });
    expect([echoed.headers.get('rest'), await echoed.text()]).toEqual(['a/b/c', 'gone']);
  });

  test('redirects, cookies, null bodies and headers are sent as they are', async () => {
    const redirect = await get('/redirect');
    expect([redirect.status, redirect.headers.get('location')]).toEqual([303, 'https://example.com/there']);
    const cookies = await get('/cookies', { headers: { cookie: 'c=3; d=4' } });
    expect(cookies.headers.getSetCookie()).toEqual(['a=1; Expires=Wed, 21 Oct 2026 07:28:00 GMT', 'b=2']);
    expect(await cookies.text()).toBe('c=3; d=4');
    for (const status of [200, 204, 205, 304, 404]) {
      const response = await get(`/status/${status}`);
      expect([response.status, await response.text()]).toEqual([status, '']);
    }
    const headers = await get('/headers');
    expect([await headers.text(), headers.headers.get('x-name')]).toEqual(['four', 'm\u00fcller']);
    expect(headers.headers.get('content-length')).toBe('4');
    expect(headers.headers.get('connection')).not.toBe('upgrade');
  });

  test('a form of another site passes only where the route says so', async () => {
    const post = (path: string, headers: Record<string, string>) =>
      get(path, { method: 'POST', body: new URLSearchParams({ code: '1' }), headers });
    const foreign = { origin: 'https://idp.example', cookie: 'session=1', 'sec-fetch-site': 'cross-site' };
    expect((await post('/text', foreign)).status).toBe(403);
    expect(await (await post('/form', foreign)).json()).toEqual(['code']);
    expect((await post('/text', { cookie: 'session=1' })).status).toBe(403);
    expect((await post('/text', { cookie: 'session=1', origin: app.baseUrl })).status).toBe(200);
    expect((await post('/text', {})).status).toBe(200);
    expect((await post('/text', { origin: PARTNER })).status).toBe(200);
  });

  test('errors have their status and an envelope', async () => {
    expect(await answer(await get('/refused'))).toMatchObject({ status: 418, code: 'CONFLICT', message: 'Not now.' });
    const broken = await answer(await get('/broken'));
    expect(broken).toMatchObject({ status: 500, code: 'INTERNAL', errorId: expect.any(String) });
    expect(await answer(await get('/nothing'))).toMatchObject({
      status: 500,
      message: expect.stringContaining('GET /nothing returned undefined; a route returns a Response.'),
    });
    expect(await answer(await get('/used'))).toMatchObject({
      status: 500,
      message: expect.stringContaining('whose body has been read or is locked'),
    });
    expect(await answer(await get('/endless'))).toMatchObject({
      status: 504,
      message: '`GET /endless` did not answer within 200 ms; make it do less, or raise its timeoutMs.',
    });
    expect(await answer(await get('/unawaited'))).toMatchObject({ status: 400, code: 'INVALID_ARGS' });
  });

  test.each(['/failing', '/strings'])('a stream that fails half-way is broken off: %s', async (path) => {
    const text = await raw(app.port, head(`GET ${path} HTTP/1.1`, 'connection: close'));
    expect(text).toMatch(/^HTTP\/1\.1 200 OK/);
    expect(text.endsWith('0\r\n\r\n')).toBe(false);
    await expect(get(path).then((response) => response.text())).rejects.toThrow();
  });

  test.runIf(onWorkers)('a worker that ends is an error for its clients, and others go on', async () => {
    expect(await answer(await get('/exit'))).toMatchObject({ status: 503, code: 'UNAVAILABLE' });
    await expect(get('/exit-later').then((response) => response.text())).rejects.toThrow();
    expect((await get('/hello/x')).status).toBe(200);
  });

  describe('through another server', () => {
    let server: Server;
    let url: string;
    beforeAll(async () => {
      const handler = app.convoy.nodeHandler();
      server = createServer((req, res) => {
        handler(req, res, () => res.writeHead(404).end('next')).catch((error) => res.destroy(error));
      }).listen(0, '127.0.0.1');
      await once(server, 'listening');
      url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    });
    afterAll(() => {
      server?.closeAllConnections();
      server?.close();
    });

    test('Node requests reach routes, and other paths go on', async () => {
      expect(await (await fetch(`${url}/nowhere`)).text()).toBe('next');
      expect(await (await fetch(`${url}/hello/x`)).json()).toMatchObject({ url: `${url}/hello/x` });
      const cookies = await fetch(`${url}/cookies`);
      expect(cookies.headers.getSetCookie()).toHaveLength(2);
      const large = Buffer.alloc(300_000, 'x');
      const echoed = await fetch(`${url}/echo/a`, { method: 'PUT', body: large });
      expect(Buffer.from(await echoed.arrayBuffer()).equals(large)).toBe(true);
      expect((await fetch(`${url}/hello/x`, { method: 'PUT' })).status).toBe(405);
      await expect(fetch(`${url}/failing`).then((response) => response.text())).rejects.toThrow();
    });

    test('web requests reach routes, by every method', async () => {
      const { handlers } = app.convoy;
      expect(Object.keys(handlers).sort()).toEqual(['DELETE', 'GET', 'HEAD', 'OPTIONS', 'PATCH', 'POST', 'PUT']);
      const response = await handlers.PUT(new Request(`${url}/echo/a`, { method: 'PUT', body: 'put' }));
      expect(await response.text()).toBe('put');
      const head = await handlers.HEAD(new Request(`${url}/hello/x`, { method: 'HEAD' }));
      expect([head.status, await head.text()]).toEqual([200, '']);
      const cookies = await handlers.GET(new Request(`${url}/cookies`));
      expect(cookies.headers.getSetCookie()).toHaveLength(2);
      await expect((await handlers.GET(new Request(`${url}/failing`))).text()).rejects.toThrow();
    });
  });
});

describe('loading', () => {
  const schema = defineSchema({});
  const ok = () => new Response('ok');
  const load = (routes: Record<string, unknown>, options = {}) =>
    createConvoy({ schema, functions: {}, routes, databaseUrl: freshDatabaseUrl(), createDatabase: true, ...options });

  test('refuses paths of Convoy and routes that answer the same requests, with their names', async () => {
    await expect(load({ hook: route.post('/api/query/hook', ok) })).rejects.toThrow(
      'The route `hook` of convoy/http.ts (POST /api/query/hook) is at a path of Convoy itself (/api/query); choose another path.',
    );
    await expect(load({ page: route.get('/_convoy/x', ok) })).rejects.toThrow('(/_convoy)');
    await expect(load({ hook: route.post('/v1/live', ok) }, { basePath: '/v1' })).rejects.toThrow('(/v1/live)');
    await expect(load({ a: route.get('/x/:id', ok), b: route.get('/x/:name', ok) })).rejects.toThrow(
      'The route `a` of convoy/http.ts (GET /x/:id) and the route `b` of convoy/http.ts (GET /x/:name) answer the same ' +
        'requests; remove one, or change its method or path.',
    );
    await expect(load({ a: route.get('/', { cors: { origins: ['*'] } }, ok) })).rejects.toThrow('cors.origins has `*`');
  });

  test('a running route finishes with the code that it began with', async () => {
    let release = (): void => {};
    const slow = route.get('/slow', async () => {
      await new Promise<void>((resolve) => {
        release = resolve;
      });
      return new Response('old');
    });
    const convoy = await load({ slow });
    const { port } = await convoy.listen({ port: 0 });
    const before = fetch(`http://127.0.0.1:${port}/slow`);
    await vi.waitFor(() => expect(convoy.stats()).toMatchObject({ running: 1 }));
    await convoy.load({ schema, functions: {}, routes: { slow: route.get('/slow', () => new Response('new')) } });
    expect(await (await fetch(`http://127.0.0.1:${port}/slow`)).text()).toBe('new');
    const closing = convoy.close();
    release();
    expect(await (await before).text()).toBe('old');
    await closing;
  });
});
