/** The package's client against the real engine: its connection, messages, fallbacks and authentication. */
import { createServer, request as httpRequest, type Server } from 'node:http';
import { type AddressInfo, connect, type Socket } from 'node:net';
import { type BaseContext, ConvoyError, createFunctionHelpers, type DataModelOf, type Id } from '@avvos/convoy';
import {
  type ArgsOfRef,
  type ConvoyClient,
  makeMutationRef,
  makeQueryRef,
  type QueryRef,
  type QuerySnapshot,
  type ResultOfRef,
} from '@avvos/convoy/client';
import { afterEach, expect, test, vi } from 'vitest';
import { WebSocket } from 'ws';
import { z } from 'zod';
import { api, type schema, serve } from './app.js';

const closing: (() => Promise<void> | void)[] = [];
afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close();
  vi.unstubAllGlobals();
});

async function served(...args: Parameters<typeof serve>) {
  const app = await serve(...args);
  closing.push(() => app.close());
  return app;
}

/** Watches a query; `until` waits for a matching snapshot, `seen` has all snapshots. */
function watching<Ref extends QueryRef>(client: ConvoyClient, ref: Ref, args: ArgsOfRef<Ref>) {
  type Snapshot = QuerySnapshot<ResultOfRef<Ref>>;
  const seen: Snapshot[] = [];
  let onChange = () => {};
  const stop = client.watch(ref, args, (snapshot) => {
    seen.push(snapshot);
    onChange();
  });
  return {
    seen,
    stop,
    async until(matches: (snapshot: Snapshot) => boolean): Promise<Snapshot> {
      for (;;) {
        const last = seen.at(-1);
        if (last && matches(last)) return last;
        await new Promise<void>((resolve) => {
          onChange = resolve;
        });
      }
    },
  };
}

const messagesOf = (client: ConvoyClient, channelId: Id<'channels'>) =>
  watching(client, api.messages.list, { channelId });

/** A `fetch` that records the requested paths and the text of streams. */
function recordingFetch() {
  const paths: string[] = [];
  let streamed = '';
  let onChange = () => {};
  const recording: typeof fetch = async (url, init) => {
    const { pathname } = new URL(String(url));
    paths.push(pathname);
    onChange();
    const response = await fetch(url, init);
    if (pathname !== '/api/live' || response.body === null) return response;
    const text = new TextDecoderStream();
    const [ours, theirs] = response.body.tee();
    const reading = ours.pipeThrough(text).getReader();
    const read = async () => {
      for (;;) {
        const { done, value } = await reading.read();
        if (done) return;
        streamed += value;
      }
    };
    read().catch(() => {});
    return new Response(theirs, response);
  };
  /** Waits for `count` requests. */
  const requests = async (count: number) => {
    while (paths.length < count) {
      await new Promise<void>((resolve) => {
        onChange = resolve;
      });
    }
  };
  return { fetch: recording, paths, requests, streamed: () => streamed };
}

test('a change of one row is sent as that row, and the other rows stay the same objects', async () => {
  const { convoy, another, psql } = await served();
  const { fetch, streamed } = recordingFetch();
  const client = another({ fetch });
  const channelId = await convoy.mutation(api.channels.create, { name: 'general' });
  const bodies = Array.from({ length: 50 }, (_, n) => `${n} ${'x'.repeat(200)}`);
  const ids = await convoy.mutation(api.messages.sendMany, { channelId, bodies });
  const watch = messagesOf(client, channelId);
  const before = await watch.until(({ data }) => data?.length === 50);
  const whole = streamed().length;
  await client.mutation(api.messages.like, { id: ids[7] as Id<'messages'> });
  const after = await watch.until(({ data }) => data?.some(({ likes }) => likes === 1) ?? false);
  const kept = after.data?.filter((message, at) => message === before.data?.[at]);
  expect(kept).toHaveLength(49);
  expect(streamed()).toContain('"type":"rows"');
  expect(streamed().length - whole).toBeLessThan(whole / 10);
  await psql.query(`delete from messages where id = $1`, [(ids[9] as string).split(':')[1]]);
  const gone = await watch.until(({ data }) => data?.length === 49);
  expect(gone.data?.filter((message) => after.data?.includes(message))).toHaveLength(49);
});

test('a mutation resolves when all watched queries reflect it, and all queries are one request', async () => {
  const { convoy, another } = await served();
  const { fetch, paths } = recordingFetch();
  const client = another({ fetch });
  const channels = await Promise.all(
    Array.from({ length: 20 }, (_, n) => convoy.mutation(api.channels.create, { name: `c${n}` })),
  );
  const watches = channels.map((channelId) => messagesOf(client, channelId));
  for (const watch of watches) await watch.until(({ status }) => status === 'success');
  expect(paths).toEqual(['/api/live']);
  for (let n = 0; n < 20; n += 1) {
    await client.mutation(api.messages.send, { channelId: channels[n] as Id<'channels'>, body: `hello ${n}` });
    expect(watches[n]?.seen.at(-1)?.data).toMatchObject([{ body: `hello ${n}` }]);
  }
  expect(paths.filter((path) => path.startsWith('/api/live'))).toHaveLength(1);
});

test('queries are added to and removed from the open connection', async () => {
  const { convoy, another } = await served();
  const { fetch, paths, requests } = recordingFetch();
  const client = another({ fetch });
  const [a, b] = await Promise.all(['a', 'b'].map((name) => convoy.mutation(api.channels.create, { name })));
  const first = messagesOf(client, a as Id<'channels'>);
  await first.until(({ status }) => status === 'success');
  const second = messagesOf(client, b as Id<'channels'>);
  await second.until(({ status }) => status === 'success');
  second.stop();
  await requests(3);
  await client.mutation(api.messages.send, { channelId: a as Id<'channels'>, body: 'still' });
  expect(first.seen.at(-1)?.data).toMatchObject([{ body: 'still' }]);
  expect(paths.filter((path) => path === '/api/live')).toHaveLength(1);
  const refetched = client.liveQuery(api.messages.list, { channelId: a as Id<'channels'> });
  closing.push(refetched.subscribe(() => {}));
  await refetched.refetch();
  expect(refetched.getSnapshot().data).toMatchObject([{ body: 'still' }]);
});

test('a server that shuts down ends the session, and results still current are not sent again by the next server', async () => {
  const first = await serve();
  const channelId = await first.convoy.mutation(api.channels.create, { name: 'general' });
  await first.convoy.mutation(api.messages.send, { channelId, body: 'before' });
  const proxy = await proxyTo(() => port);
  let port = portOf(first.baseUrl);
  const { fetch, streamed } = recordingFetch();
  const client = first.another({ baseUrl: proxy.baseUrl, fetch });
  const watch = messagesOf(client, channelId);
  const before = await watch.until(({ status }) => status === 'success');
  await first.convoy.close();
  await watch.until(({ isReconnecting }) => isReconnecting);
  const second = await served({ databaseUrl: first.databaseUrl });
  port = portOf(second.baseUrl);
  const back = await watch.until(({ isStale, connectionState }) => !isStale && connectionState === 'open');
  expect(streamed()).toContain('"type":"end"');
  expect(streamed()).toContain('"type":"same"');
  expect(back.data).toBe(before.data);
  await client.mutation(api.messages.send, { channelId, body: 'after' });
  expect(watch.seen.at(-1)?.data).toMatchObject([{ body: 'after' }, { body: 'before' }]);
  client.close();
  await first.psql.end();
});

test.each(['', 'secret'])(
  'behind a proxy that buffers streams the client uses a WebSocket (token: %j)',
  async (token) => {
    vi.stubGlobal('WebSocket', WebSocket);
    const app = await servedWithTokens();
    const proxy = await proxyTo(() => portOf(app.baseUrl), 'streams are buffered');
    const client = app.another({ baseUrl: proxy.baseUrl, auth: token });
    const mine = watching(client, who, { n: 1 });
    expect(await mine.until(({ status }) => status === 'success')).toMatchObject({ data: token || 'anonymous' });
    const other = watching(client, who, { n: 2 });
    expect(await other.until(({ status }) => status === 'success')).toMatchObject({ data: token || 'anonymous' });
    expect(await client.mutation(rename, { to: 'renamed' })).toBeNull();
    expect(mine.seen.some(({ connectionState }) => connectionState === 'closed')).toBe(false);
    expect(proxy.upgrades()).toBe(1);
  },
);

test('a new token keeps the connection, another caller opens a new one, and a rejected token removes the data', async () => {
  const app = await servedWithTokens();
  const { fetch, paths, requests } = recordingFetch();
  let token = 'ann';
  const client = app.another({ fetch, auth: () => token });
  const watch = watching(client, who, { n: 1 });
  await watch.until(({ data }) => data === 'ann');
  client.refreshAuth();
  await requests(2);
  token = 'bob';
  client.refreshAuth();
  await watch.until(({ data }) => data === 'bob');
  expect(paths.filter((path) => path === '/api/live')).toHaveLength(2);
  token = 'mallory';
  client.refreshAuth();
  const refused = await watch.until(({ status }) => status === 'error');
  expect(refused).toMatchObject({ data: null, error: { code: 'FORBIDDEN' }, connectionState: 'closed' });
  token = 'ann';
  client.refreshAuth();
  await watch.until(({ data }) => data === 'ann');
});

test('an expired token is renewed automatically', async () => {
  const app = await servedWithTokens();
  const tokens = ['ann for a moment'];
  let renewed = () => {};
  const again = new Promise<void>((resolve) => {
    renewed = resolve;
  });
  const auth = () => {
    if (tokens.length === 0) renewed();
    return tokens.shift() ?? 'ann';
  };
  const client = app.another({ auth });
  const watch = watching(client, who, { n: 1 });
  await watch.until(({ data }) => data === 'ann');
  await again;
  await client.mutation(rename, { to: 'renamed' });
  expect(watch.seen.some(({ status }) => status === 'error')).toBe(false);
  expect(client.connection.getSnapshot()).toBe('open');
});

const who = makeQueryRef<{ n: number }, string>('who');
const rename = makeMutationRef<{ to: string }, null>('rename');
const { query, mutation } = createFunctionHelpers<
  BaseContext<DataModelOf<typeof schema>> & { readonly user: string | null }
>();

/** The token is the caller's name: "mallory" is rejected, and "… for a moment" expires soon. */
function servedWithTokens() {
  return served({
    functions: {
      who: query({ input: { n: z.number() }, handler: (ctx) => ctx.user ?? 'anonymous' }),
      rename: mutation({
        input: { to: z.string() },
        handler: async (ctx, { to }) => {
          await ctx.db.insert('channels', { name: to });
        },
      }),
    },
    createContext: ({ headers }, base) => {
      const [, user = null, short] = /^Bearer (\w+)( for a moment)?$/.exec(String(headers.authorization)) ?? [];
      if (user === 'mallory') throw new ConvoyError('FORBIDDEN', 'not you');
      return { ...base, user, ...(short ? { expiresAt: Date.now() + 500 } : {}) };
    },
  });
}

const portOf = (baseUrl: string) => Number(new URL(baseUrl).port);

/** A proxy; with `streams are buffered` it does not pass on the bodies of streams. */
async function proxyTo(port: () => number, what: 'everything passes' | 'streams are buffered' = 'everything passes') {
  const sockets = new Set<Socket>();
  let upgrades = 0;
  const proxy: Server = createServer((request, response) => {
    const { method = 'GET', url: path = '/', headers } = request;
    const passed = httpRequest({ host: '127.0.0.1', port: port(), method, path, headers }, (answer) => {
      response.writeHead(answer.statusCode ?? 502, answer.headers);
      response.flushHeaders();
      if (what === 'everything passes' || answer.headers['content-type']?.startsWith('text/event-stream') !== true) {
        answer.pipe(response);
      }
      answer.once('error', () => response.destroy());
    });
    passed.once('error', () => response.destroy());
    response.once('close', () => passed.destroy());
    request.pipe(passed);
  });
  proxy.on('connection', (socket) => sockets.add(socket));
  proxy.on('upgrade', (request, socket, head) => {
    upgrades += 1;
    const passed = connect(port(), '127.0.0.1', () => {
      const lines = request.rawHeaders.flatMap((name, at, all) => (at % 2 === 0 ? [`${name}: ${all[at + 1]}`] : []));
      passed.write(`${request.method} ${request.url} HTTP/1.1\r\n${lines.join('\r\n')}\r\n\r\n`);
      passed.write(head);
      socket.pipe(passed).pipe(socket);
    });
    socket.on('error', () => passed.destroy());
    passed.on('error', () => socket.destroy());
  });
  await new Promise<void>((resolve) => proxy.listen(0, '127.0.0.1', resolve));
  closing.push(() => {
    for (const socket of sockets) socket.destroy();
    proxy.close();
  });
  return { baseUrl: `http://127.0.0.1:${(proxy.address() as AddressInfo).port}`, upgrades: () => upgrades };
}
