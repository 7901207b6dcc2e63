/** What is kept of a result is what the server has sent, also when the application changes the objects that it got. */
import { afterEach, beforeEach, expect, test } from 'vitest';
import { ScriptedServer } from '../../testing/scripted-server.js';
import { until } from '../../testing/until.js';
import { makeQueryRef } from '../protocol/refs.js';
import type { AsyncStore } from './async-store.js';
import { type ConvoyClient, createConvoyClient } from './client.js';

interface Row {
  id: string;
  tags: string[];
}
interface Page {
  page: Row[];
  isDone: boolean;
  info: { tags: string[] };
}
const list = makeQueryRef<{ of: string }, Row[]>('rows.list');
const pages = makeQueryRef<{ of: string }, Page>('rows.page');
const A = { of: 'a' };
const one = (): Row => ({ id: '1', tags: ['b', 'a'] });
const two = (): Row => ({ id: '2', tags: ['d', 'c'] });
const three = (): Row => ({ id: '3', tags: ['f', 'e'] });

let server: ScriptedServer;
const values = new Map<string, string>();
const store: AsyncStore = {
  keys: async (prefix) => [...values.keys()].filter((key) => key.startsWith(prefix)),
  get: async (key) => values.get(key) ?? null,
  set: async (key, value) => void values.set(key, value),
  delete: async (key) => void values.delete(key),
};
const clients: ConvoyClient[] = [];
beforeEach(async () => {
  server = await ScriptedServer.start();
  values.clear();
});
afterEach(async () => {
  for (const client of clients.splice(0)) client.close();
  await server.stop();
});

function open() {
  const client = createConvoyClient({ baseUrl: server.baseUrl, cache: { store, scope: () => 'ada' } });
  clients.push(client);
  return client;
}

/** The stored result and its hash, once the hash is `hash`. */
async function stored(hash: string): Promise<unknown> {
  await until(() => expect([...values.values()].join()).toContain(`"hash":"${hash}"`));
  const [text = ''] = values.values();
  return JSON.parse(JSON.parse(text).data);
}

const change = (rows: Row[] | null) => {
  for (const row of rows ?? []) row.tags.sort();
  rows?.reverse();
};

test('documents that were changed in place, when the server sends changed rows of their list', async () => {
  const first = open();
  const query = first.liveQuery(list, A);
  query.subscribe(() => {});
  const session = await server.nextSession();
  session.result(A, [one(), two()], 'h1');
  await until(() => expect(query.getSnapshot().data).toHaveLength(2));
  change(query.getSnapshot().data);
  session.rows(A, 'h1', 'h2', [[0, 2], { row: three() }]);
  await until(() => expect(query.getSnapshot().data).toHaveLength(3));
  change(query.getSnapshot().data);
  expect(await stored('h2')).toEqual([one(), two(), three()]);
  session.rows(A, 'h2', 'h3', [[1, 2]]);
  await until(() => expect(query.getSnapshot().data).toHaveLength(2));
  first.close();
  expect(await stored('h3')).toEqual([two(), three()]);
});

test('documents of a page', async () => {
  const first = open();
  const query = first.liveQuery(pages, A);
  query.subscribe(() => {});
  const session = await server.nextSession();
  session.result(A, { page: [one()], isDone: false, info: { tags: ['z', 'y'] } }, 'h1');
  await until(() => expect(query.getSnapshot().data?.page).toHaveLength(1));
  change(query.getSnapshot().data?.page ?? null);
  const { id } = session.query(A);
  const rest = { isDone: true, info: { tags: ['x', 'w'] } };
  session.send({ type: 'rows', id, ts: 1, from: 'h1', hash: 'h2', rows: [[0, 1], { row: two() }], rest });
  await until(() => expect(query.getSnapshot().data?.page).toHaveLength(2));
  query.getSnapshot().data?.info.tags.sort();
  first.close();
  expect(await stored('h2')).toEqual({ page: [one(), two()], isDone: true, info: { tags: ['x', 'w'] } });
});

test('documents of a result that an earlier page has kept', async () => {
  const first = open();
  const before = first.liveQuery(list, A);
  before.subscribe(() => {});
  (await server.nextSession()).result(A, [one(), two()], 'h1');
  await until(() => expect(before.getSnapshot().data).toHaveLength(2));
  first.close();
  await stored('h1');
  const again = open();
  const query = again.liveQuery(list, A);
  query.subscribe(() => {});
  const session = await server.nextSession();
  change(query.getSnapshot().data);
  session.same(A);
  await until(() => expect(query.getSnapshot().isStale).toBe(false));
  session.rows(A, 'h1', 'h2', [[0, 2], { row: three() }]);
  await until(() => expect(query.getSnapshot().data).toHaveLength(3));
  again.close();
  expect(await stored('h2')).toEqual([one(), two(), three()]);
});

test('documents of a result that the server sends again', async () => {
  const first = open();
  const [query, after] = [first.liveQuery(list, A), first.liveQuery(list, { of: 'b' })];
  for (const each of [query, after]) each.subscribe(() => {});
  const session = await server.nextSession();
  session.result(A, [one(), two()], 'h1');
  await until(() => expect(query.getSnapshot().data).toHaveLength(2));
  change(query.getSnapshot().data);
  session.result(A, [one(), two()], 'h1');
  session.result({ of: 'b' }, [], 'h2');
  await until(() => expect(after.getSnapshot().data).toEqual([]));
  first.close();
  expect(await stored('h1')).toEqual([one(), two()]);
});
