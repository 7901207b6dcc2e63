/** The protocol over Convoy's own listener and over each server that passes requests to it: one suite for all. */
import { once } from 'node:events';
import { connect } from 'node:net';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import WebSocket from 'ws';
import { type Application, api, BODY_BYTES, PARTNER, startApplication } from './servers/application.js';
import { HOST_ANSWER, SERVERS } from './servers/servers.js';

describe.each(SERVERS)('$name', (server) => {
  let app: Application;
  beforeAll(async () => {
    app = await startApplication(server);
  });
  afterAll(() => app?.close());

  const sessionsEnd = () => vi.waitFor(() => expect(app.convoy.stats().sessions).toBe(0), { timeout: 20_000 });

  describe('calls', () => {
    test('run functions, and pass values unchanged', async () => {
      const client = app.client();
      const room = app.room();
      const id = await client.mutation(api.add, { room, text: 'grüß dich 👋' });
      expect(await client.query(api.list, { room })).toMatchObject([{ id, text: 'grüß dich 👋' }]);
    });

    test('carry the headers of the protocol', async () => {
      const response = await app.fetch('/api/mutation/notes.add', {
        method: 'POST',
        headers: { 'content-type': 'application/json', 'idempotency-key': 'key 1' },
        body: JSON.stringify({ room: app.room(), text: 'once' }),
      });
      expect(response.status).toBe(200);
      expect(response.headers.get('content-type')).toMatch(/^application\/json; *charset=utf-8$/i);
      expect(response.headers.get('convoy-position')).toMatch(/\./);
      await response.arrayBuffer();
    });

    test('with the same idempotency key take effect once', async () => {
      const room = app.room();
      const send = () => app.post('mutation/notes.add', { room, text: 'once' }, { 'idempotency-key': 'key 2' });
      const [first, second] = [await send(), await send()];
      expect(second).toEqual(first);
      expect(await app.client().query(api.list, { room })).toHaveLength(1);
    });

    test('tell createContext method, URL, headers and, if it is known, the address', async () => {
      const { answer } = await app.post(
        'query/request?a=1',
        {},
        { authorization: 'Bearer t', 'x-name': 'm\u00fcller' },
      );
      expect(answer.data).toMatchObject({
        method: 'POST',
        url: '/api/query/request?a=1',
        headers: { authorization: 'Bearer t', 'x-name': 'm\u00fcller', host: app.baseUrl.slice('http://'.length) },
      });
      expect((answer.data as { ip?: string }).ip).toBe(server.tellsPeer ? '127.0.0.1' : undefined);
    });

    test('without a body have no arguments', async () => {
      const response = await app.fetch('/api/query/request', { method: 'POST' });
      expect(response.status).toBe(200);
      await response.arrayBuffer();
    });

    test('that fail are answered with code, status and details', async () => {
      expect(await app.post('query/notes.list', { room: 7 })).toMatchObject({
        status: 400,
        answer: { error: { code: 'INVALID_ARGS', details: { issues: [{ path: ['room'] }] } } },
      });
      expect(await app.post('query/notes.none', {})).toMatchObject({
        status: 404,
        answer: { error: { code: 'NOT_FOUND' } },
      });
      const broken = await app.post('query/broken', {});
      expect(broken).toMatchObject({ status: 500, answer: { error: { code: 'INTERNAL' } } });
      expect(JSON.stringify(broken)).not.toContain('hunter2');
    });

    test('with a body over the limit are refused, whether its length is declared or not', async () => {
      const body = JSON.stringify({ room: 'r', text: 'x'.repeat(BODY_BYTES) });
      const tooLarge = { status: 413, answer: { error: { code: 'PAYLOAD_TOO_LARGE' } } };
      expect(await app.post('mutation/notes.add', body)).toMatchObject(tooLarge);
      const pieces = [body.slice(0, 5_000), body.slice(5_000)].map((piece) => new TextEncoder().encode(piece));
      const response = await app.fetch('/api/mutation/notes.add', {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: streamOf(pieces),
        duplex: 'half',
      } as RequestInit);
      expect({ status: response.status, answer: await response.json() }).toMatchObject(tooLarge);
      expect(await app.post('mutation/notes.add', { room: app.room(), text: 'x' })).toMatchObject({ status: 200 });
    });

    test('with a body in pieces are read whole', async () => {
      const room = app.room();
      const body = JSON.stringify({ room, text: 'in pieces: ä' });
      const bytes = new TextEncoder().encode(body);
      const pieces = Array.from(bytes, (byte) => Uint8Array.of(byte));
      const response = await app.fetch('/api/mutation/notes.add', {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: streamOf(pieces),
        duplex: 'half',
      } as RequestInit);
      expect(response.status).toBe(200);
      await response.arrayBuffer();
      expect(await app.client().query(api.list, { room })).toMatchObject([{ text: 'in pieces: ä' }]);
    });
  });

  describe('paths and methods', () => {
    test('a slash at the end makes no difference', async () => {
      expect(await app.post('query/notes.list/', { room: app.room() })).toMatchObject({ status: 200 });
      expect((await app.fetch('/api/health/')).status).toBe(200);
    });

    test('paths that are not those of Convoy are the application’s', async () => {
      for (const path of ['/api/auth/login', '/other', '/apix/health']) {
        const response = await app.fetch(path);
        const text = await response.text();
        if (server.hasOtherRoutes) expect(text).toBe(HOST_ANSWER);
        else expect({ status: response.status, text }).toMatchObject({ status: 404, text: /NOT_FOUND/ });
      }
    });

    test('a wrong method is answered with the right one', async () => {
      const response = await app.fetch('/api/query/notes.list');
      expect(response.status).toBe(405);
      expect(response.headers.get('allow')).toBe('POST');
      expect(await response.json()).toMatchObject({ error: { code: 'METHOD_NOT_ALLOWED' } });
      const head = await app.fetch('/api/health', { method: 'HEAD' });
      expect(await head.text()).toBe('');
    });

    test('health and readiness are served', async () => {
      for (const [path, status] of [
        ['health', 'up'],
        ['ready', 'ready'],
      ]) {
        expect(await (await app.fetch(`/api/${path}`)).json()).toEqual({ ok: true, data: { status } });
      }
    });
  });

  describe('other origins', () => {
    test('that are listed get the headers of CORS, also in preflights', async () => {
      const preflight = await app.fetch('/api/query/notes.list', {
        method: 'OPTIONS',
        headers: { origin: PARTNER, 'access-control-request-method': 'POST', 'access-control-request-headers': 'x-a' },
      });
      expect(preflight.status).toBe(204);
      expect(Object.fromEntries(preflight.headers)).toMatchObject({
        'access-control-allow-origin': PARTNER,
        'access-control-allow-methods': 'POST',
        'access-control-allow-headers': 'x-a',
      });
      const response = await app.fetch('/api/query/notes.list', {
        method: 'POST',
        headers: { origin: PARTNER, 'content-type': 'application/json' },
        body: JSON.stringify({ room: app.room() }),
      });
      expect(response.headers.get('access-control-allow-origin')).toBe(PARTNER);
      expect(response.headers.get('vary')).toMatch(/Origin/);
      expect(response.status).toBe(200);
      await response.arrayBuffer();
    });

    test('that are not listed are refused', async () => {
      const evil = { origin: 'https://evil.test' };
      expect(await app.post('query/notes.list', { room: 'r' }, evil)).toMatchObject({ status: 403 });
    });
  });

  describe('streams', () => {
    test('of one query send each result at once, uncompressed, and end when the client leaves', async () => {
      const room = app.room();
      const left = new AbortController();
      const args = encodeURIComponent(JSON.stringify({ room }));
      const response = await app.fetch(`/api/subscribe?name=notes.list&args=${args}`, {
        headers: { accept: 'text/event-stream', 'accept-encoding': 'gzip, br' },
        signal: left.signal,
      });
      expect(response.headers.get('content-type')).toMatch(/^text\/event-stream/);
      expect(response.headers.get('cache-control')).toContain('no-transform');
      expect(response.headers.get('x-accel-buffering')).toBe('no');
      expect(response.headers.get('content-encoding')).toBeNull();
      const events = eventsOf(response);
      expect(await events.next()).toMatchObject({ type: 'result', data: [] });
      await app.client().mutation(api.add, { room, text: 'new' });
      expect(await events.next()).toMatchObject({ type: 'result', data: [{ text: 'new' }] });
      expect(app.convoy.stats().sessions).toBe(1);
      left.abort();
      await sessionsEnd();
    });

    test('that are refused before they begin are answered as JSON', async () => {
      const response = await app.fetch('/api/subscribe?name=notes.none');
      expect(response.status).toBe(404);
      expect(await response.json()).toMatchObject({ error: { code: 'NOT_FOUND' } });
    });

    test('of a session carry results, changes of its queries, and the acknowledgement of a mutation', async () => {
      const [one, two] = [app.room(), app.room()];
      const session = await app.session({ queries: [{ id: 1, name: 'notes.list', args: { room: one } }] });
      await session.until(() => session.results.has(1));
      const add = [{ id: 2, name: 'notes.list', args: { room: two } }];
      expect(await session.change({ add })).toBe(200);
      await session.until(() => session.results.has(2));
      const headers = { 'convoy-session': session.id, 'idempotency-key': `key of ${two}` };
      expect(await app.post('mutation/notes.add', { room: two, text: 'new' }, headers)).toMatchObject({ status: 200 });
      const settled = { type: 'settled', key: `key of ${two}` };
      await session.until(() => session.otherMessages.length > 0);
      expect(session.otherMessages).toMatchObject([settled]);
      expect(session.data(2)).toMatchObject([{ text: 'new' }]);
      await session.close();
      await sessionsEnd();
    });

    test('carry the client, whose mutations resolve when it has their effects', async () => {
      const client = app.client();
      const room = app.room();
      let latest: readonly { text: string }[] | null = null;
      let onChange = () => {};
      const stop = client.watch(api.list, { room }, ({ data }) => {
        latest = data;
        onChange();
      });
      while (latest === null) await new Promise<void>((resolve) => (onChange = resolve));
      await client.mutation(api.add, { room, text: 'seen' });
      expect(latest).toMatchObject([{ text: 'seen' }]);
      stop();
      await sessionsEnd();
    });

    test.skipIf(server.name.includes('without a server'))(
      'queue nothing for a reader that stops: it gets the newest result later',
      { timeout: 120_000 },
      async () => {
        const client = app.client();
        const room = app.room();
        await client.mutation(api.fill, { room, notes: 100, length: 5_000 });
        const { hostname, port } = new URL(app.baseUrl);
        const socket = connect({ host: hostname, port: Number(port) });
        const args = encodeURIComponent(JSON.stringify({ room }));
        socket.write(`GET /api/subscribe?name=notes.list&args=${args} HTTP/1.1\r\nHost: ${hostname}\r\n\r\n`);
        await once(socket, 'readable');
        const rounds = 50;
        for (let round = 0; round < rounds; round += 1)
          await client.mutation(api.add, { room, text: `round ${round}` });
        let text = '';
        let bytes = 0;
        for await (const chunk of socket.setEncoding('latin1')) {
          bytes += chunk.length;
          text = text.slice(-1_000) + chunk;
          if (text.includes(`"round ${rounds - 1}"`)) break;
        }
        // 500 kB for each of 50 results, of which only those that fit into the buffers of the sockets are sent.
        expect(bytes).toBeGreaterThan(500_000);
        expect(bytes).toBeLessThan((rounds * 500_000) / 2);
        await sessionsEnd();
      },
    );
  });

  describe.skipIf(!server.webSocket)('WebSockets', () => {
    const url = () => `${app.baseUrl.replace('http', 'ws')}/api/ws`;

    test('carry a session', async () => {
      const room = app.room();
      const socket = new WebSocket(url());
      const messages = messagesOf(socket);
      await once(socket, 'open');
      const queries = [{ id: 1, name: 'notes.list', args: { room } }];
      socket.send(JSON.stringify({ type: 'open', protocol: 1, queries }));
      expect(await messages.next()).toMatchObject({ type: 'session', protocol: 1 });
      expect(await messages.next()).toMatchObject({ type: 'result', id: 1, data: [] });
      await app.client().mutation(api.add, { room, text: 'new' });
      expect(await messages.next()).toMatchObject({ type: expect.stringMatching(/^(result|rows)$/), id: 1 });
      socket.send('\n');
      socket.send(JSON.stringify({ type: 'change', add: [{ id: 2, name: 'notes.list', args: { room } }] }));
      expect(await messages.next()).toMatchObject({ type: 'result', id: 2, data: [{ text: 'new' }] });
      socket.close();
      await once(socket, 'close');
      await sessionsEnd();
    });

    test('that the client drops end their session', async () => {
      const socket = new WebSocket(url());
      const messages = messagesOf(socket);
      await once(socket, 'open');
      socket.send(JSON.stringify({ type: 'open', protocol: 1, queries: [] }));
      expect(await messages.next()).toMatchObject({ type: 'session' });
      socket.terminate();
      await sessionsEnd();
    });

    test('of other origins are refused, and so are invalid messages', async () => {
      const foreign = new WebSocket(url(), { origin: 'https://evil.test' });
      const [, response] = await once(foreign, 'unexpected-response');
      expect(response.statusCode).toBe(403);
      response.resume();
      foreign.on('error', () => {});
      foreign.terminate();
      const socket = new WebSocket(url());
      const messages = messagesOf(socket);
      await once(socket, 'open');
      socket.send('{}');
      expect(await messages.next()).toMatchObject({ type: 'error' });
      await once(socket, 'close');
    });

    test('on other paths do not reach Convoy', async () => {
      const socket = new WebSocket(`${app.baseUrl.replace('http', 'ws')}/other`);
      const [, response] = await once(socket, 'unexpected-response');
      expect(response.statusCode).toBe(404);
      response.resume();
      socket.on('error', () => {});
      socket.terminate();
    });
  });

  test('without an upgrade, the path of WebSockets says what it needs', async () => {
    const response = await app.fetch('/api/ws');
    expect(response.status).toBe(426);
    expect(await response.json()).toMatchObject({ error: { message: expect.stringContaining('WebSocket upgrade') } });
  });

  // Last, because it closes Convoy.
  test('closing Convoy ends streams with the reason, and later calls are UNAVAILABLE', async () => {
    const session = await app.session({ queries: [{ id: 1, name: 'notes.list', args: { room: app.room() } }] });
    await session.until(() => session.results.has(1));
    const closed = app.convoy.close();
    await session.until(() => session.otherMessages.length > 0);
    expect(session.otherMessages).toMatchObject([{ type: 'end', reason: 'shutdown' }]);
    await closed;
    if (server.name === 'Convoy itself') return;
    expect(await app.post('query/request', {})).toMatchObject({
      status: 503,
      answer: { error: { code: 'UNAVAILABLE' } },
    });
  });
});

/** A body of unknown length. */
function streamOf(pieces: readonly Uint8Array[]): ReadableStream<Uint8Array> {
  const left = [...pieces];
  return new ReadableStream({
    pull(controller) {
      const piece = left.shift();
      if (piece === undefined) controller.close();
      else controller.enqueue(piece);
    },
  });
}

/** The events of a stream, each as its parsed data. */
function eventsOf(response: Response) {
  const reader = (response.body as ReadableStream<Uint8Array>)
    .pipeThrough(new TextDecoderStream() as ReadableWritablePair<string, Uint8Array>)
    .getReader();
  let text = '';
  return {
    async next(): Promise<unknown> {
      for (;;) {
        const line = /^data: (.*)\n\n/m.exec(text);
        if (line !== null) {
          text = text.slice(line.index + line[0].length);
          return JSON.parse(line[1] as string);
        }
        const { done, value } = await reader.read();
        if (done) throw new Error(`The stream has ended: ${text}`);
        text += value;
      }
    },
  };
}

/** The messages of a WebSocket, one by one. */
function messagesOf(socket: WebSocket) {
  const received: unknown[] = [];
  let wake = () => {};
  socket.on('message', (data) => {
    for (const line of String(data).split('\n')) if (line !== '') received.push(JSON.parse(line));
    wake();
  });
  return {
    async next(): Promise<unknown> {
      while (received.length === 0) await new Promise<void>((resolve) => (wake = resolve));
      return received.shift();
    },
  };
}
