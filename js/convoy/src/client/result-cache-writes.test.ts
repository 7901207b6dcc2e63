/** Kept results and a store that responds late or never. */
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { HandTransport } from '../../testing/hand-transport.js';
import { until } from '../../testing/until.js';
import { makeQueryRef } from '../protocol/refs.js';
import { ConvoyError } from '../values/errors.js';
import type { AsyncStore } from './async-store.js';
import { type CacheOptions, MAX_WAIT_MS } from './cached-transport.js';
import { createConvoyClient } from './client.js';
import { ResultCache } from './result-cache.js';

/** A store whose operations wait until the test ends them. */
class HeldStore implements AsyncStore {
  readonly operations: string[] = [];
  readonly values = new Map<string, string>();
  /** The first part of the names of the operations that wait. */
  held = /^(set|delete)/;
  readonly #waiting: (() => void)[] = [];
  async #run<T>(name: string, operate: () => T): Promise<T> {
    this.operations.push(name);
    if (this.held.test(name)) await new Promise<void>((resolve) => this.#waiting.push(resolve));
    return operate();
  }
  keys = (prefix: string) => this.#run('keys', () => [...this.values.keys()].filter((key) => key.startsWith(prefix)));
  get = (key: string) => this.#run(`get ${argsIn(key)}`, () => this.values.get(key) ?? null);
  set = (key: string, value: string) =>
    this.#run(`set ${argsIn(key)} ${JSON.parse(value).hash}`, () => void this.values.set(key, value));
  delete = (key: string) => this.#run(`delete ${argsIn(key)}`, () => void this.values.delete(key));
  /** Ends the operations that wait, and holds no others. */
  release(): void {
    this.held = /^never/;
    for (const resolve of this.#waiting.splice(0)) resolve();
  }
}

const argsIn = (key: string) => key.split(' ').at(-1);

let store: HeldStore;
let user: string | null;
beforeEach(() => {
  vi.useFakeTimers();
  store = new HeldStore();
  user = 'ada';
});
afterEach(() => vi.useRealTimers());

const open = (options: Partial<CacheOptions> = {}) =>
  ResultCache.open({ store, scope: () => user, ...options }, 'http://test', 'ada');
const entry = (n: number) => ({ name: 'rows.list', args: `{"of":${n}}`, scope: 'ada' });
const answer = (n: number, hash: string) => ({ type: 'result', data: [n], version: { hash, position: '' } }) as const;
const receive = (cache: ResultCache, n: number, hash: string) =>
  cache.begin(entry(n), undefined, {}).onAnswer?.(answer(n, hash));
/** Lets the cache write, and the store do what it does at once. */
const write = () => vi.advanceTimersByTimeAsync(500);

test('deleting is tried again where the store fails, and nothing is stored before', async () => {
  store.held = /^never/;
  const cache = await open();
  for (const n of [1, 2, 3]) receive(cache, n, `h${n}`);
  await write();
  const { delete: remove } = store;
  const failing = vi.fn(async (key: string) =>
    argsIn(key) === '{"of":2}' ? Promise.reject(new Error('busy')) : remove(key),
  );
  store.delete = failing;
  const warned = vi.spyOn(console, 'warn').mockImplementation(() => {});
  cache.clear();
  await write();
  expect([...store.values.keys()].map(argsIn)).toEqual(['{"of":2}']);
  receive(cache, 4, 'h4');
  await write();
  expect([...store.values.keys()].map(argsIn)).toEqual(['{"of":2}']);
  expect(warned).toHaveBeenCalledOnce();
  warned.mockRestore();
  store.delete = remove;
  receive(cache, 5, 'h5');
  await write();
  expect([...store.values.keys()].map(argsIn)).toEqual(['{"of":4}', '{"of":5}']);
  cache.close();
});

test('what something else has written is not displayed', async () => {
  store.held = /^never/;
  const cache = await open();
  receive(cache, 1, 'h1');
  await write();
  cache.close();
  const [[key = '', text = ''] = []] = store.values;
  for (const data of [null, [1], 7, '{']) {
    store.values.set(key, JSON.stringify({ ...JSON.parse(text), data }));
    const again = await open();
    expect(again.begin(entry(1), undefined, {}).initial).toBeUndefined();
    again.close();
  }
});

test('a result without a hash is written when it differs', async () => {
  store.held = /^never/;
  const cache = await open();
  const { onAnswer } = cache.begin(entry(1), undefined, {});
  for (const n of [1, 1, 1, 2, 2, 1]) {
    onAnswer?.({ ...answer(1, ''), data: [n] });
    await write();
  }
  expect(store.operations.filter((operation) => operation.startsWith('set'))).toHaveLength(3);
  cache.close();
});

test('only the newest result of a query waits for a store that does not respond', async () => {
  const cache = await open();
  for (let n = 0; n < 100; n++) {
    receive(cache, n % 2, `h${n}`);
    await write();
  }
  expect(store.operations).toEqual(['keys', 'set {"of":0} h0']);
  store.release();
  await write();
  expect(store.operations.slice(2)).toEqual(['set {"of":1} h99', 'set {"of":0} h98']);
  cache.close();
});

test('a result that is displaced before it was stored is not deleted from the store', async () => {
  const cache = await open({ maxBytes: 200 });
  for (let n = 0; n < 100; n++) {
    receive(cache, n, `h${n}`);
    await write();
  }
  store.release();
  await write();
  expect(store.operations).toEqual(['keys', 'set {"of":0} h0', 'delete {"of":0}', 'set {"of":99} h99']);
  cache.close();
});

test('results are deleted once, however often that was asked for, and before later ones are stored', async () => {
  const cache = await open();
  receive(cache, 0, 'h0');
  await write();
  for (let n = 0; n < 100; n++) cache.clear();
  receive(cache, 1, 'h1');
  await write();
  store.release();
  await write();
  expect(store.operations.slice(1)).toEqual(['set {"of":0} h0', 'keys', 'delete {"of":0}', 'set {"of":1} h1']);
  cache.close();
});

const list = makeQueryRef<{ of: number }, number[]>('rows.list');

/** A client with the store, and the arguments of its subscriptions so far. */
function client() {
  const transport = new HandTransport();
  const client = createConvoyClient({ baseUrl: 'http://test', transport, cache: { store, scope: () => user } });
  return { client, transport, subscribed: () => transport.subscriptions.map(({ args }) => JSON.parse(args).of) };
}

test('a store that cannot be read delays the queries of a page once', async () => {
  store.held = /^keys/;
  const page = client();
  page.client.liveQuery(list, { of: 1 }).subscribe(() => {});
  // `waitFor` would advance the time.
  await vi.dynamicImportSettled();
  await vi.advanceTimersByTimeAsync(0);
  expect(store.operations).toEqual(['keys']);
  await vi.advanceTimersByTimeAsync(MAX_WAIT_MS - 1);
  expect(page.subscribed()).toEqual([]);
  await vi.advanceTimersByTimeAsync(1);
  expect(page.subscribed()).toEqual([1]);
  page.client.liveQuery(list, { of: 2 }).subscribe(() => {});
  await vi.advanceTimersByTimeAsync(0);
  expect(page.subscribed()).toEqual([1, 2]);
  // It may be only slow.
  store.release();
  await vi.advanceTimersByTimeAsync(0);
  page.client.liveQuery(list, { of: 3 }).subscribe(() => {});
  await vi.advanceTimersByTimeAsync(0);
  page.transport.open({ of: 3 }).onAnswer?.(answer(3, 'h3'));
  await write();
  expect(store.operations.at(-1)).toBe('set {"of":3} h3');
  page.client.close();
});

test.each(['a refused query', 'a sign-out'])('%s deletes results that are still being read', async (cause) => {
  vi.useRealTimers();
  const earlier = await open();
  receive(earlier, 1, 'h1');
  store.release();
  earlier.close();
  await until(() => expect(store.values.size).toBe(1));
  store.held = /^keys/;
  const page = client();
  page.client.liveQuery(list, { of: 1 }).subscribe(() => {});
  await until(() => expect(store.operations.at(-1)).toBe('keys'));
  if (cause === 'a sign-out') {
    user = null;
    page.client.refreshAuth();
  } else {
    page.transport.answer = () => Promise.reject(new ConvoyError('UNAUTHORIZED', 'no'));
    await expect(page.client.query(list, { of: 2 })).rejects.toMatchObject({ code: 'UNAUTHORIZED' });
  }
  store.release();
  await until(() => expect(store.values.size).toBe(0));
  await until(() => expect(page.subscribed()).toEqual([1]));
  expect(page.transport.open({ of: 1 }).initial).toBeUndefined();
  page.client.close();
});
