/** Preloaded queries against the real engine: one run, one result, and the caller's own. */
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import {
  type BaseContext,
  ConvoyError,
  createFunctionHelpers,
  type DataModelOf,
  defineSchema,
  defineTable,
} from '@avvos/convoy';
import {
  createConvoyClient,
  makeMutationRef,
  makeQueryRef,
  type Preloaded,
  preloadedQueryResult,
  preloadQuery,
} from '@avvos/convoy/client';
import { type Convoy, type ConvoyLimits, createConvoy } from '@avvos/convoy/node';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { z } from 'zod';
import { freshDatabaseUrl } from './app.js';

const schema = defineSchema({
  notes: defineTable({ owner: z.string(), text: z.string() }).index('by_owner', ['owner']),
});
const { query, mutation, internalQuery } = createFunctionHelpers<
  BaseContext<DataModelOf<typeof schema>> & { owner: string }
>();

const functions = {
  notes: {
    mine: query({
      handler: (ctx) =>
        ctx.db
          .query('notes')
          .withIndex('by_owner', (q) => q.eq('owner', ctx.owner))
          .collect(),
    }),
    add: mutation({
      input: { text: z.string() },
      handler: (ctx, { text }) => ctx.db.insert('notes', { owner: ctx.owner, text }),
    }),
    hidden: internalQuery({ handler: () => 'hidden' }),
  },
};
interface Note {
  readonly id: string;
  readonly text: string;
}
const mine = makeQueryRef<Record<string, never>, Note[]>('notes.mine');
const add = makeMutationRef<{ text: string }, unknown>('notes.add');

let convoy: Convoy;
let baseUrl: string;
async function open(limits: ConvoyLimits = {}): Promise<void> {
  convoy = await createConvoy({
    schema,
    functions,
    databaseUrl: freshDatabaseUrl(),
    createDatabase: true,
    limits,
    createContext: (req, base) => {
      const owner = /user=(\w+)/.exec(String(req.headers.cookie))?.[1];
      if (owner === undefined) throw new ConvoyError('UNAUTHORIZED', 'Sign in.');
      return { ...base, owner };
    },
  });
  const { port } = await convoy.listen({ port: 0 });
  baseUrl = `http://127.0.0.1:${port}`;
}
beforeEach(() => open());
afterEach(() => convoy.close());

const runs = () => convoy.stats().handlerRuns ?? 0;
const ada = { cookie: 'user=ada' };
/** What a browser sends with the request of a page, besides the caller's cookie. */
const ofAPage = {
  ...ada,
  accept: 'text/html',
  'accept-encoding': 'gzip, br',
  host: 'shop.example',
  'if-none-match': '"1"',
  origin: 'https://shop.example',
  'sec-fetch-site': 'cross-site',
  'upgrade-insecure-requests': '1',
};

const ways: [name: string, preload: (headers: Record<string, string>) => Promise<Preloaded<typeof mine>>][] = [
  ['convoy.preload', (headers) => convoy.preload(mine, {}, { headers })],
  ['preloadQuery', ({ cookie = '' }) => preloadQuery(mine, {}, { baseUrl, headers: { cookie } })],
];

test.each(ways)('%s: a page goes on without a run and without the result, and stays current', async (_, preload) => {
  const server = createConvoyClient({ baseUrl, headers: ada });
  await server.mutation(add, { text: 'milk' });
  const before = runs();
  const preloaded = await preload(ofAPage);
  expect(preloadedQueryResult(preloaded)).toMatchObject([{ text: 'milk' }]);
  expect(preloaded.hash).toMatch(/^[0-9a-f]{32}$/);
  // The context and the query.
  expect(runs()).toBe(before + 2);
  // The change log has been read since: a call is answered from memory, with a run of the context.
  await vi.waitFor(async () => {
    const before = runs();
    await createConvoyClient({ baseUrl, headers: { ...ada, 'convoy-position': preloaded.position } }).query(mine, {});
    expect(runs()).toBe(before + 1);
  }, 30_000);

  const received: string[] = [];
  const page = createConvoyClient({ baseUrl, headers: ada, fetch: recording(received) });
  const beforePage = runs();
  const { data, hash, position } = { ...preloaded, data: preloadedQueryResult(preloaded) };
  const live = page.liveQuery(mine, {}, { initial: { data, hash, position } });
  const seen: unknown[] = [live.getSnapshot().data];
  const reached = (done: () => boolean) =>
    new Promise<void>((resolve) => {
      const check = () => {
        seen.push(live.getSnapshot().data);
        if (done()) resolve();
      };
      live.subscribe(check);
    });
  await reached(() => !live.getSnapshot().isStale);
  expect(new Set(seen)).toEqual(new Set([data]));
  expect(runs()).toBe(beforePage + 1);
  expect(received.join('')).toContain('"same"');
  expect(received.join('')).not.toContain('milk');

  const changed = reached(() => live.getSnapshot().data?.length === 2);
  await server.mutation(add, { text: 'bread' });
  await changed;
  page.close();
  server.close();
});

test('a page that goes on once its result is no longer kept costs a run, and still no transfer', async () => {
  await convoy.close();
  await open({ idleQueryMs: 1 });
  const server = createConvoyClient({ baseUrl, headers: ada });
  await server.mutation(add, { text: 'milk' });
  const preloaded = await convoy.preload(mine, {}, { headers: ada });
  await vi.waitFor(() => expect(convoy.stats().liveQueries).toBe(0), 30_000);

  const received: string[] = [];
  const page = createConvoyClient({ baseUrl, headers: ada, fetch: recording(received) });
  const before = runs();
  const { data, hash, position } = { ...preloaded, data: preloadedQueryResult(preloaded) };
  const live = page.liveQuery(mine, {}, { initial: { data, hash, position } });
  await new Promise<void>((resolve) => live.subscribe(() => !live.getSnapshot().isStale && resolve()));
  expect(live.getSnapshot().data).toEqual(data);
  expect(runs()).toBe(before + 2);
  expect(received.join('')).toContain('"same"');
  expect(received.join('')).not.toContain('milk');
  page.close();
  server.close();
});

test.each(ways)('%s: each caller gets its own result, and one without an identity the error', async (_, preload) => {
  const bob = createConvoyClient({ baseUrl, headers: { cookie: 'user=bob' } });
  await bob.mutation(add, { text: 'secret' });
  expect(preloadedQueryResult(await preload(ada))).toEqual([]);
  expect(preloadedQueryResult(await preload({ cookie: 'user=bob' }))).toMatchObject([{ text: 'secret' }]);
  expect(preloadedQueryResult(await preload(ada))).toEqual([]);
  await expect(preload({})).rejects.toMatchObject({ code: 'UNAUTHORIZED' });
  bob.close();
});

test('the caller is known from the headers of a request of node:http, and one without a cookie is not', async () => {
  const server = createServer((request, response) => {
    const { cookie, ...others } = request.headers;
    void Promise.allSettled([
      convoy.preload(mine, {}, { headers: request.headers }),
      convoy.preload(mine, {}, { headers: { ...others, cookie: undefined } }),
    ]).then((both) => response.end(JSON.stringify(both.map(({ status }) => status))));
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  const answer = await fetch(`http://127.0.0.1:${port}/`, { headers: { cookie: 'user=undefined' } });
  expect(await answer.json()).toEqual(['fulfilled', 'rejected']);
  server.close();
});

test('a page does not reach internal functions, and wrong arguments are named', async () => {
  const hidden = makeQueryRef<Record<string, never>, string>('notes.hidden');
  await expect(convoy.preload(hidden, {}, { headers: ada })).rejects.toMatchObject({ code: 'NOT_FOUND' });
  await expect(convoy.preload(mine, { at: Number.NaN } as never, { headers: ada })).rejects.toMatchObject({
    code: 'INVALID_ARGS',
    message: expect.stringContaining('at'),
  });
});

/** `fetch`, which appends the text of all responses to `received`. */
function recording(received: string[]): typeof fetch {
  return async (url, request) => {
    const response = await fetch(url, request);
    const decoder = new TextDecoder();
    const seen = new TransformStream<Uint8Array, Uint8Array>({
      transform: (chunk, controller) => {
        received.push(decoder.decode(chunk, { stream: true }));
        controller.enqueue(chunk);
      },
    });
    return new Response(response.body?.pipeThrough(seen) ?? null, response);
  };
}
