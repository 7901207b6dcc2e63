/** A mock of `fetch` that implements calls only: watched queries are polled. */
import { afterEach, beforeAll, beforeEach, expect, test, vi } from 'vitest';
import { watching } from '../../testing/watching.js';
import { makeMutationRef, makeQueryRef } from '../protocol/refs.js';
import { type ConvoyClient, createConvoyClient } from './client.js';
import { loadMutations } from './lazy-mutations.js';

beforeAll(loadMutations);

const list = makeQueryRef<{ of: string }, number[]>('rows.list');
const add = makeMutationRef<{ n: number }, string>('rows.add');
const A = { of: 'a' };
const json = (body: unknown, status = 200) => new Response(JSON.stringify(body), { status });

let client: ConvoyClient | undefined;
let rows: number[];
beforeEach(() => {
  rows = [1];
  vi.spyOn(console, 'warn').mockImplementation(() => {});
  vi.stubGlobal(
    'WebSocket',
    class {
      constructor() {
        throw new Error('a mock has no server to connect to');
      }
    },
  );
});
afterEach(() => {
  client?.close();
  vi.unstubAllGlobals();
  vi.restoreAllMocks();
});

/** A `fetch` that answers calls, and every other request with `other`. */
const mockFetch = (other: () => unknown, respond: (body: unknown) => unknown = json) =>
  vi.fn(async (url: string, init: { body: string }) => {
    if (url.endsWith('/api/query/rows.list')) return respond({ ok: true, data: [...rows] });
    if (url.endsWith('/api/mutation/rows.add')) {
      rows.push(JSON.parse(init.body).n);
      return respond({ ok: true, data: 'added' });
    }
    return other();
  }) as unknown as typeof fetch;

test.each<[string, () => unknown]>([
  ['answers 404 as plain text', () => new Response('Not found', { status: 404 })],
  ['answers 404 as Convoy does', () => json({ ok: false, error: { code: 'NOT_FOUND', message: 'no' } }, 404)],
  ['answers everything with JSON', () => json({ ok: true, data: null })],
  ['resolves with undefined', () => undefined],
  [
    'throws',
    () => {
      throw new Error('an unexpected request');
    },
  ],
])('a watch works where it %s', async (_what, other) => {
  client = createConvoyClient({ baseUrl: 'http://convoy.test', fetch: mockFetch(other) });
  const watch = watching(client, list, A);
  expect(await watch.until(({ status }) => status !== 'pending')).toMatchObject({ status: 'success', data: [1] });
  expect(await client.mutation(add, { n: 2 })).toBe('added');
  expect(await client.query(list, A)).toEqual([1, 2]);
  await watch.until(({ data }) => data?.length === 2);
});

test('a mock need not return whole responses', async () => {
  const respond = (body: unknown) => ({ ok: true, status: 200, json: async () => body });
  const fetch = mockFetch(() => ({ ok: false, status: 404, json: async () => ({}) }), respond);
  client = createConvoyClient({ baseUrl: 'http://convoy.test', fetch });
  expect(await client.query(list, A)).toEqual([1]);
  const watch = watching(client, list, A);
  expect(await watch.until(({ status }) => status !== 'pending')).toMatchObject({ status: 'success', data: [1] });
});

test('a network failure is retried, also with a custom `fetch`', async () => {
  const failing = vi.fn(async () => {
    throw new TypeError('Failed to fetch');
  });
  client = createConvoyClient({ baseUrl: 'http://convoy.test', fetch: failing as unknown as typeof fetch });
  const watch = watching(client, list, A);
  await watch.until(({ isReconnecting }) => isReconnecting);
  expect(failing.mock.calls.every(([url]: unknown[]) => String(url).endsWith('/api/live'))).toBe(true);
});
