/** A page that arrives with a result, while the store has one of an earlier page. */
import { afterEach, beforeEach, expect, test } from 'vitest';
import { ScriptedServer } from '../../testing/scripted-server.js';
import type { ScriptedSession } from '../../testing/scripted-session.js';
import { until } from '../../testing/until.js';
import { makeMutationRef, makeQueryRef } from '../protocol/refs.js';
import type { AsyncStore } from './async-store.js';
import { type ConvoyClient, createConvoyClient } from './client.js';
import { loadOptimistic } from './load-optimistic.js';
import type { OptimisticStore } from './optimistic-layers.js';
import type { QuerySnapshot } from './snapshot.js';

interface Row {
  id: string;
  n: number;
}
const list = makeQueryRef<{ of: string }, Row[]>('rows.list');
const add = makeMutationRef<Record<never, never>, null>('rows.add');
const A = { of: 'a' };
const one: Row = { id: '1', n: 1 };
const two: Row = { id: '2', n: 2 };
const three: Row = { id: '3', n: 3 };

let server: ScriptedServer;
let user: string | null;
let writes: string[];
/** The store is read when it resolves. */
let readable: Promise<void>;
const values = new Map<string, string>();
const store: AsyncStore = {
  keys: async (prefix) => {
    await readable;
    return [...values.keys()].filter((key) => key.startsWith(prefix));
  },
  get: async (key) => values.get(key) ?? null,
  set: async (key, value) => {
    writes.push(JSON.parse(value).hash);
    values.set(key, value);
  },
  delete: async (key) => void values.delete(key),
};
const clients: ConvoyClient[] = [];
beforeEach(async () => {
  server = await ScriptedServer.start();
  user = 'ada';
  writes = [];
  readable = Promise.resolve();
  values.clear();
});
afterEach(async () => {
  for (const client of clients.splice(0)) client.close();
  await server.stop();
});

function open() {
  const client = createConvoyClient({ baseUrl: server.baseUrl, auth: () => user, cache: { store, scope: () => user } });
  clients.push(client);
  return client;
}

const preloaded = (data: Row[], hash: string, position: string) => ({
  data: structuredClone(data),
  text: JSON.stringify(data),
  hash,
  position,
});

/** Watches from the preloaded result of a page. */
function watch(client: ConvoyClient, initial?: ReturnType<typeof preloaded>) {
  const query = client.liveQuery(list, A, { initial });
  const seen: QuerySnapshot<Row[]>[] = [query.getSnapshot()];
  query.subscribe(() => seen.push(query.getSnapshot()));
  const last = () => seen.at(-1) as QuerySnapshot<Row[]>;
  return { query, seen, last, until: (check: (snapshot: QuerySnapshot<Row[]>) => void) => until(() => check(last())) };
}

const send = (session: ScriptedSession, data: Row[], hash: string, position: string) =>
  session.send({ type: 'result', id: session.query(A).id, ts: 1, hash, data, position });

const stored = () => [...values.values()].map((text) => JSON.parse(text));

/** An earlier page has kept this result. */
async function kept(data: Row[], hash: string, position: string) {
  const client = open();
  const page = watch(client);
  send(await server.nextSession(), data, hash, position);
  await page.until((snapshot) => expect(snapshot.data).toEqual(data));
  client.close();
  await until(() => expect(stored()).toMatchObject([{ hash, position }]));
  writes = [];
}

/** Closes a page and waits for what it stores. */
async function close(client: ConvoyClient) {
  client.close();
  await new Promise((resolve) => setTimeout(resolve, 20));
}

test('the kept result is older: the preloaded one is displayed, and kept when the server confirms it', async () => {
  await kept([one], 'h1', 's.1');
  const client = open();
  const page = watch(client, preloaded([one, two], 'h2', 's.2'));
  const session = await server.nextSession();
  expect(session.opening.queries).toMatchObject([{ args: A, hash: 'h2' }]);
  expect(stored()).toMatchObject([{ hash: 'h1' }]);
  session.same(A);
  await page.until(({ isStale }) => expect(isStale).toBe(false));
  expect(page.seen.map(({ data }) => data)).toEqual(page.seen.map(() => [one, two]));
  await close(client);
  expect(stored()).toMatchObject([{ hash: 'h2', position: 's.2', data: JSON.stringify([one, two]) }]);
});

test('the kept result is equal: it is neither displayed nor stored again', async () => {
  await kept([one], 'h1', 's.1');
  const client = open();
  const initial = preloaded([one], 'h1', 's.1');
  const page = watch(client, initial);
  const session = await server.nextSession();
  expect(session.opening.queries).toMatchObject([{ args: A, hash: 'h1' }]);
  session.same(A);
  await page.until(({ isStale }) => expect(isStale).toBe(false));
  expect(new Set(page.seen.map(({ data }) => data))).toEqual(new Set([initial.data]));
  await close(client);
  expect(writes).toEqual([]);
  expect(stored()).toMatchObject([{ hash: 'h1' }]);
});

test('without a preloaded result, a confirmed one is not stored again', async () => {
  await kept([one], 'h1', 's.1');
  const client = open();
  const page = watch(client);
  (await server.nextSession()).same(A);
  await page.until(({ isStale, status }) => expect([isStale, status]).toEqual([false, 'success']));
  await close(client);
  expect(writes).toEqual([]);
});

test('the kept result is newer, as of a page from a cache of HTTP: it is displayed, and the server told its hash', async () => {
  await kept([one, two], 'h2', 's.2');
  const client = open();
  const initial = preloaded([one], 'h1', 's.1');
  const page = watch(client, initial);
  expect(page.last()).toMatchObject({ data: [one], isStale: true });
  const session = await server.nextSession();
  expect(session.opening.queries).toMatchObject([{ args: A, hash: 'h2' }]);
  expect(session.headers['convoy-position']).toBe('s.2');
  expect(page.last()).toMatchObject({ data: [one, two], isStale: true });
  expect(page.last().data?.[0]).toBe(initial.data[0]);
  session.same(A);
  await page.until((snapshot) => expect(snapshot).toMatchObject({ data: [one, two], isStale: false }));
  session.rows(A, 'h2', 'h3', [[0, 2], { row: three }]);
  await page.until(({ data }) => expect(data).toEqual([one, two, three]));
  await close(client);
  expect(stored()).toMatchObject([{ hash: 'h3', data: JSON.stringify([one, two, three]) }]);
});

test('the kept result is of another server process, with no order between the two: the preloaded one is displayed', async () => {
  await kept([one, two], 'h2', 'old.9');
  const page = watch(open(), preloaded([one], 'h1', 'new.1'));
  const session = await server.nextSession();
  expect(session.opening.queries).toMatchObject([{ args: A, hash: 'h1' }]);
  session.same(A);
  await page.until((snapshot) => expect(snapshot).toMatchObject({ data: [one], isStale: false }));
});

test('changed rows of a preloaded result are kept as sent, although the application has changed its documents', async () => {
  const client = open();
  const page = watch(client, preloaded([one, two], 'h1', 's.1'));
  const [first] = page.last().data ?? [];
  if (first) first.n = 99;
  const session = await server.nextSession();
  session.rows(A, 'h1', 'h2', [[0, 2], { row: three }]);
  await page.until(({ data }) => expect(data).toHaveLength(3));
  await close(client);
  expect(stored()).toMatchObject([{ hash: 'h2', data: JSON.stringify([one, two, three]) }]);
});

test('an optimistic update before the newer kept result is read stays until a result has its changes', async () => {
  await loadOptimistic();
  await kept([one, two], 'h2', 's.2');
  let read = () => {};
  readable = new Promise((resolve) => (read = resolve));
  const client = open();
  const page = watch(client, preloaded([one], 'h1', 's.1'));
  let answer = () => {};
  server.answer = () => new Promise((resolve) => (answer = () => resolve({ body: { ok: true, data: null } })));
  const optimistic = (store: OptimisticStore) => store.set(list, A, (rows) => [...rows, three]);
  const added = client.mutation(add, {}, { optimistic });
  // There is no session yet, so none reports the mutation.
  await until(() => expect(server.calls).toHaveLength(1));
  read();
  const session = await server.nextSession();
  session.same(A);
  answer();
  await session.nextChange();
  send(session, [one, two, three], 'h3', 's.3');
  await added;
  await page.until((snapshot) => expect(snapshot).toMatchObject({ data: [one, two, three], isStale: false }));
  const hasThree = page.seen.map(({ data }) => data?.some(({ id }) => id === '3'));
  expect(hasThree.slice(hasThree.indexOf(true))).not.toContain(false);
});

test('a sign-out before the page subscribes: the kept result is deleted, and the preloaded one not kept', async () => {
  await kept([one, two], 'h2', 's.2');
  const client = open();
  user = null;
  client.refreshAuth();
  const page = watch(client, preloaded([one], 'h1', 's.1'));
  const session = await server.nextSession();
  expect(session.opening.queries).toMatchObject([{ args: A, hash: 'h1' }]);
  session.same(A);
  await page.until(({ isStale }) => expect(isStale).toBe(false));
  await close(client);
  expect(stored()).toEqual([]);
});

test('someone else signs in before the page subscribes: only what the server sends or confirms to them is kept', async () => {
  await kept([one, two], 'h2', 's.2');
  const client = open();
  user = 'bob';
  client.refreshAuth();
  const page = watch(client, preloaded([one], 'h1', 's.1'));
  const session = await server.nextSession();
  expect(session.opening.queries).toMatchObject([{ args: A, hash: 'h1' }]);
  expect(page.seen.some(({ data }) => data?.length === 2)).toBe(false);
  expect(stored()).toEqual([]);
  send(session, [three], 'of bob', 's.3');
  await page.until(({ data }) => expect(data).toEqual([three]));
  await close(client);
  expect([...values]).toMatchObject([[expect.stringContaining('bob'), expect.stringContaining('of bob')]]);
});

test.each(['with', 'without'])('a sign-out %s `refreshAuth` while the store is read', async (refresh) => {
  await kept([one, two], 'h2', 's.2');
  const client = open();
  const page = watch(client, preloaded([one], 'h1', 's.1'));
  user = 'bob';
  if (refresh === 'with') client.refreshAuth();
  const session = await server.nextSession();
  expect(page.seen.some(({ data }) => data?.length === 2)).toBe(false);
  session.same(A);
  await page.until(({ isStale }) => expect(isStale).toBe(false));
  await close(client);
  expect(writes).toEqual([]);
  // Without it, a later page of the new user deletes them.
  if (refresh === 'with') expect(stored()).toEqual([]);
});

test.each(['bob', null])('the user becomes %s between the preloaded result and its confirmation', async (next) => {
  await kept([one], 'h1', 's.1');
  const client = open();
  const page = watch(client, preloaded([one, two], 'h2', 's.2'));
  const before = await server.nextSession();
  user = next;
  client.refreshAuth();
  // A client without a token connects again.
  const session = next === null ? await server.nextSession() : before;
  session.same(A);
  await page.until(({ isStale }) => expect(isStale).toBe(false));
  await close(client);
  expect(stored()).toEqual([]);
});
