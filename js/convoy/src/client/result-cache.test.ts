/** Results that outlive the page, as a visitor and several users of one computer see them. */
import { afterEach, beforeAll, beforeEach, expect, test, vi } from 'vitest';
import { type ScriptedAnswer, ScriptedServer } from '../../testing/scripted-server.js';
import { until } from '../../testing/until.js';
import { makeMutationRef, makeQueryRef } from '../protocol/refs.js';
import type { AsyncStore } from './async-store.js';
import type { CacheOptions } from './cached-transport.js';
import { type ConvoyClient, createConvoyClient } from './client.js';
import { loadMutations } from './lazy-mutations.js';
import type { OptimisticStore } from './optimistic-layers.js';
import type { QuerySnapshot } from './snapshot.js';

beforeAll(loadMutations);

const list = makeQueryRef<{ of: string }, { id: string; n: number }[]>('rows.list');
const secret = makeQueryRef<{ of: string }, { id: string; n: number }[]>('rows.secret', { persist: false });
const [A, B] = [{ of: 'a' }, { of: 'b' }];
const one = { id: '1', n: 1 };
const two = { id: '2', n: 2 };

/** A store in memory, as slow as one on a disk. */
class MemoryStore implements AsyncStore {
  readonly values = new Map<string, string>();
  readonly #later = () => new Promise((resolve) => setTimeout(resolve, 1));
  failing = false;
  async keys(prefix: string) {
    await this.#later();
    if (this.failing) throw new Error('The disk is full.');
    return [...this.values.keys()].filter((key) => key.startsWith(prefix));
  }
  async get(key: string) {
    await this.#later();
    return this.values.get(key) ?? null;
  }
  async set(key: string, value: string) {
    await this.#later();
    if (this.failing) throw new Error('The disk is full.');
    this.values.set(key, value);
  }
  async delete(key: string) {
    await this.#later();
    this.values.delete(key);
  }
}

let server: ScriptedServer;
let store: MemoryStore;
let user: string | null;
const clients: ConvoyClient[] = [];
beforeEach(async () => {
  server = await ScriptedServer.start();
  store = new MemoryStore();
  user = 'ada';
});
afterEach(async () => {
  for (const client of clients.splice(0)) client.close();
  await server.stop();
  vi.restoreAllMocks();
});

type Rows = QuerySnapshot<{ id: string; n: number }[]>;

/** Opens a page and watches; `close` leaves it, once everything is stored. */
function page(options: Partial<CacheOptions> = {}, { ref = list, args = A } = {}) {
  const client = createConvoyClient({
    baseUrl: server.baseUrl,
    auth: () => user,
    cache: { store, scope: () => user, ...options },
  });
  clients.push(client);
  const query = client.liveQuery(ref, args);
  const seen: Rows[] = [];
  query.subscribe(() => seen.push(query.getSnapshot()));
  const last = () => seen.at(-1);
  return {
    client,
    seen,
    last,
    until: (matches: (snapshot: Rows) => void) => until(() => matches(last() as Rows)),
    close: () => client.close(),
  };
}

const stored = (text: string) => until(() => expect([...store.values.values()].join()).toContain(text));

/** A visit in which the server sends `rows`, which are stored. */
async function visit(rows = [one], options: Partial<CacheOptions> = {}) {
  const visited = page(options);
  const session = await server.nextSession();
  session.result(A, rows, 'h1');
  await visited.until(({ data }) => expect(data).toEqual(rows));
  visited.close();
  await stored(`"hash":"h1"`);
}

test('a returning visitor sees the last state at once, as outdated, and the server is sent its hash', async () => {
  await visit();
  const again = page();
  const session = await server.nextSession();
  expect(again.seen.find(({ status }) => status !== 'pending')).toMatchObject({ data: [one], isStale: true });
  expect(session.opening.queries).toMatchObject([{ args: A, hash: 'h1' }]);
  session.same(A);
  await again.until((snapshot) => expect(snapshot).toMatchObject({ data: [one], isStale: false }));
  session.rows(A, 'h1', 'h2', [[0, 1], { row: two }]);
  await again.until(({ data }) => expect(data).toEqual([one, two]));
  again.close();
  await stored('h2');
});

test('without a server, the last state stays on display', async () => {
  await visit();
  server.refuse = () => 'cut';
  const offline = page();
  await offline.until((snapshot) => expect(snapshot).toMatchObject({ status: 'success', data: [one], isStale: true }));
});

test('an optimistic update ends with the result that has its changes', async () => {
  const visited = page();
  const session = await server.nextSession();
  session.result(A, [one], 'h1');
  await visited.until(({ data }) => expect(data).toEqual([one]));
  const add = makeMutationRef<Record<never, never>, null>('rows.add');
  let answer = (_: ScriptedAnswer) => {};
  server.answer = () => new Promise((resolve) => (answer = resolve));
  const optimistic = (store: OptimisticStore) => store.set(list, A, (rows) => [...rows, two]);
  const added = visited.client.mutation(add, {}, { optimistic });
  await visited.until(({ data }) => expect(data).toEqual([one, two]));
  await until(() => expect(server.calls).toHaveLength(1));
  const { id } = session.query(A);
  session.send(
    { type: 'rows', id, ts: 1, from: 'h1', hash: 'h2', rows: [[0, 1], { row: two }] },
    { type: 'included', key: server.calls[0]?.headers['idempotency-key'], ids: [id] },
  );
  await stored('h2');
  expect(visited.seen.filter(({ data }) => (data?.length ?? 0) > 2)).toEqual([]);
  session.send({ type: 'settled', key: server.calls[0]?.headers['idempotency-key'] });
  answer({ body: { ok: true, data: null } });
  await added;
  expect(visited.last()?.data).toEqual([one, two]);
});

test('what the application does to a result is not stored', async () => {
  const visited = page();
  const session = await server.nextSession();
  session.result(A, [one, two], 'h1');
  await visited.until(({ data }) => expect(data).toHaveLength(2));
  visited.last()?.data?.reverse();
  visited.close();
  await stored('h1');
  const again = page();
  await again.until(({ data }) => expect(data).toEqual([one, two]));
});

test('another user of the computer sees nothing of it, and it is deleted', async () => {
  await visit();
  user = 'bob';
  const bob = page();
  const session = await server.nextSession();
  expect(session.opening.queries[0]).not.toHaveProperty('hash');
  expect(bob.seen.some(({ data }) => data !== null)).toBe(false);
  expect([...store.values.values()].join()).not.toContain('h1');
});

test('nothing is read or stored while no one is signed in', async () => {
  await visit();
  user = null;
  const before = new Map(store.values);
  const guest = page();
  const session = await server.nextSession();
  expect(session.opening.queries[0]).not.toHaveProperty('hash');
  session.result(A, [two], 'h2');
  await guest.until(({ data }) => expect(data).toEqual([two]));
  guest.close();
  await new Promise((resolve) => setTimeout(resolve, 20));
  expect(store.values).toEqual(before);
});

test('signing out deletes it, also on a page without queries; what arrives afterwards is not stored', async () => {
  await visit();
  const signedIn = page();
  const session = await server.nextSession();
  session.same(A);
  await signedIn.until(({ isStale }) => expect(isStale).toBe(false));
  user = 'bob';
  signedIn.client.refreshAuth();
  session.rows(A, 'h1', 'h2', [[0, 1], { row: two }]);
  await signedIn.until(({ data }) => expect(data).toHaveLength(2));
  signedIn.close();
  await until(() => expect(store.values.size).toBe(0));

  user = 'ada';
  await visit();
  const idle = createConvoyClient({ baseUrl: server.baseUrl, cache: { store, scope: () => user } });
  clients.push(idle);
  user = null;
  idle.refreshAuth();
  await until(() => expect(store.values.size).toBe(0));
});

test.each(['UNAUTHORIZED', 'FORBIDDEN'])('%s deletes it', async (code) => {
  await visit();
  const refused = page();
  const session = await server.nextSession();
  session.error(A, { code, message: 'no' });
  await refused.until((snapshot) => expect(snapshot).toMatchObject({ status: 'error', data: null }));
  await until(() => expect(store.values.size).toBe(0));
});

test('a query with `persist: false` is neither stored nor read', async () => {
  const visited = page({}, { ref: secret });
  const session = await server.nextSession();
  session.result(A, [one], 'h1');
  await visited.until(({ data }) => expect(data).toEqual([one]));
  visited.close();
  await new Promise((resolve) => setTimeout(resolve, 20));
  expect(store.values.size).toBe(0);
});

test('another build of the application deletes it', async () => {
  await visit([one], { build: '1' });
  page({ build: '2' });
  const session = await server.nextSession();
  expect(session.opening.queries[0]).not.toHaveProperty('hash');
  expect(store.values.size).toBe(0);
});

test('a result that is too old is deleted', async () => {
  await visit();
  page({ maxAgeMs: 0 });
  const session = await server.nextSession();
  expect(session.opening.queries[0]).not.toHaveProperty('hash');
  expect(store.values.size).toBe(0);
});

test('the oldest results are deleted where there are too many bytes', async () => {
  const both = page({ maxBytes: 300 });
  const more = both.client.liveQuery(list, B);
  more.subscribe(() => {});
  const session = await server.nextSession();
  session.result(A, [one], 'old');
  await both.until(({ data }) => expect(data).toEqual([one]));
  session.result(B, [two], 'newest');
  await until(() => expect(more.getSnapshot().data).toEqual([two]));
  both.close();
  await stored('newest');
  expect([...store.values.values()].join()).not.toContain('old');
});

test('a store that fails is reported once, and the page goes on without it', async () => {
  const warned = vi.spyOn(console, 'warn').mockImplementation(() => {});
  store.failing = true;
  const working = page();
  const session = await server.nextSession();
  session.result(A, [one], 'h1');
  await working.until(({ data }) => expect(data).toEqual([one]));
  working.close();
  expect(warned).toHaveBeenCalledOnce();
});

test('text that something else has written is deleted', async () => {
  await visit();
  for (const key of store.values.keys()) store.values.set(key, '{"at":1,"data":"{"}');
  page();
  const session = await server.nextSession();
  expect(session.opening.queries[0]).not.toHaveProperty('hash');
  expect(store.values.size).toBe(0);
});

test('a client created before it is known who is signed in shows the last state too', async () => {
  await visit();
  user = null;
  const client = createConvoyClient({ baseUrl: server.baseUrl, cache: { store, scope: () => user } });
  clients.push(client);
  user = 'ada';
  client.liveQuery(list, A).subscribe(() => {});
  const session = await server.nextSession();
  expect(session.opening.queries).toMatchObject([{ args: A, hash: 'h1' }]);
});

test('a result that is too large by itself does not displace the others', async () => {
  await visit();
  const large = page({ maxBytes: 1000 }, { args: B });
  const session = await server.nextSession();
  session.result(B, Array(500).fill(two), 'large');
  await large.until(({ data }) => expect(data).toHaveLength(500));
  large.close();
  await new Promise((resolve) => setTimeout(resolve, 20));
  expect([...store.values.values()].join()).toContain('h1');
});

test('signing out deletes what other tabs have stored, and what they were about to store', async () => {
  await visit();
  const other = page({}, { args: B });
  const session = await server.nextSession();
  session.result(B, [two], 'h9');
  await other.until(({ data }) => expect(data).toEqual([two]));
  const here = page();
  await here.until(({ data }) => expect(data).toEqual([one]));
  user = null;
  here.client.refreshAuth();
  await until(() => expect(store.values.size).toBe(0));
  // Writes what it has received before the sign-out.
  other.close();
  await new Promise((resolve) => setTimeout(resolve, 20));
  expect(store.values.size).toBe(0);
});

test('a result that arrives after two changes of the user is not stored under the first', async () => {
  const visited = page();
  const session = await server.nextSession();
  session.result(A, [one], 'h1');
  await visited.until(({ data }) => expect(data).toEqual([one]));
  for (user of ['bob', 'ada']) visited.client.refreshAuth();
  session.rows(A, 'h1', 'of bob', [{ row: two }]);
  await visited.until(({ data }) => expect(data).toEqual([two]));
  visited.close();
  await new Promise((resolve) => setTimeout(resolve, 20));
  expect([...store.values.values()].join()).not.toContain('of bob');
});

test('a user who has signed in is kept apart from the connection of the one before, until `refreshAuth`', async () => {
  const visited = page();
  const session = await server.nextSession();
  session.result(A, [one], 'h1');
  await visited.until(({ data }) => expect(data).toEqual([one]));
  user = 'bob';
  const more = visited.client.liveQuery(list, B);
  more.subscribe(() => {});
  await session.nextChange();
  session.result(B, [one], 'of ada');
  await until(() => expect(more.getSnapshot().data).toEqual([one]));
  visited.close();
  await new Promise((resolve) => setTimeout(resolve, 20));
  expect([...store.values.values()].join()).not.toContain('of ada');
});

test('a refused query that is never kept deletes it, too', async () => {
  await visit();
  const refused = page({}, { ref: secret });
  const session = await server.nextSession();
  session.error(A, { code: 'UNAUTHORIZED', message: 'no' });
  await refused.until((snapshot) => expect(snapshot).toMatchObject({ status: 'error', data: null }));
  await until(() => expect(store.values.size).toBe(0));
});

test('a result that is requested before the store is read comes from the server', async () => {
  await visit();
  const again = page();
  const refetched = again.client.liveQuery(list, A).refetch();
  const session = await server.nextSession();
  await until(() => expect([...session.queries.values()].every((query) => !('hash' in query))).toBe(true));
  session.result(A, [two], 'h2');
  expect(await refetched).toEqual([two]);
});

test('with a `scope` that returns undefined, nothing is read or kept, as with null', async () => {
  await visit();
  const anonymous = page({ scope: () => undefined });
  const session = await server.nextSession();
  expect(session.opening.queries).toMatchObject([{ args: A }]);
  expect(session.opening.queries[0]).not.toHaveProperty('hash');
  session.result(A, [two], 'of no one');
  await anonymous.until(({ data }) => expect(data).toEqual([two]));
  anonymous.close();
  await new Promise((resolve) => setTimeout(resolve, 20));
  expect([...store.values.values()].join()).not.toContain('of no one');
});

test('where `scope` returns a promise after a sign-in, the query goes on and nothing is kept', async () => {
  const logged = vi.spyOn(console, 'error').mockImplementation(() => {});
  let scope: unknown = null;
  const visited = page({ scope: () => scope as never });
  const session = await server.nextSession();
  session.result(A, [one], 'h1');
  await visited.until(({ data }) => expect(data).toEqual([one]));
  scope = Promise.resolve('ada');
  const more = visited.client.liveQuery(list, B);
  more.subscribe(() => {});
  await session.nextChange();
  session.result(B, [two], 'h2');
  await until(() => expect(more.getSnapshot().data).toEqual([two]));
  visited.client.refreshAuth();
  visited.close();
  expect(logged.mock.calls).toEqual([
    [
      'Convoy: results of live queries are not kept, because it is unknown who is signed in.',
      expect.objectContaining({ message: '`scope` must return a string or null, not `object`.' }),
    ],
  ]);
  expect(store.values.size).toBe(0);
});

test.each([
  [{ maxAgeMs: Number.NaN }, '`maxAgeMs` must be a number that is not negative, not NaN.'],
  [{ maxBytes: -1 }, '`maxBytes` must be a number that is not negative, not -1.'],
  [{ maxBytes: '5' as never }, '`maxBytes` must be a number that is not negative, not 5.'],
])('with %o nothing is kept, and the console has the reason', async (options, problem) => {
  const logged = vi.spyOn(console, 'error').mockImplementation(() => {});
  const visited = page(options);
  const session = await server.nextSession();
  session.result(A, [one], 'h1');
  await visited.until(({ data }) => expect(data).toEqual([one]));
  visited.close();
  expect(logged.mock.calls).toEqual([[`Convoy: results of live queries are not kept: ${problem}`]]);
  await new Promise((resolve) => setTimeout(resolve, 20));
  expect(store.values.size).toBe(0);
});

test('limits of zero and of infinity are accepted', async () => {
  const logged = vi.spyOn(console, 'error').mockImplementation(() => {});
  await visit([one], { maxAgeMs: Number.POSITIVE_INFINITY, maxBytes: Number.POSITIVE_INFINITY });
  const again = page({ maxAgeMs: 0 });
  await server.nextSession();
  again.close();
  expect(logged).not.toHaveBeenCalled();
});
