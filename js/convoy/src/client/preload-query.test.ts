/** Preloading by HTTP, and a client that goes on from the result. */
import { afterEach, beforeAll, beforeEach, expect, test } from 'vitest';
import { ScriptedServer } from '../../testing/scripted-server.js';
import { until } from '../../testing/until.js';
import { makeMutationRef, makeQueryRef } from '../protocol/refs.js';
import { type ConvoyClient, createConvoyClient } from './client.js';
import { loadMutations } from './lazy-mutations.js';
import { loadOptimistic } from './load-optimistic.js';
import type { OptimisticStore } from './optimistic-layers.js';
import { preloadQuery } from './preload-query.js';
import type { QuerySnapshot } from './snapshot.js';

beforeAll(loadMutations);

interface Row {
  id: string;
  n: number;
}
const list = makeQueryRef<{ of: string }, Row[]>('rows.list');
const A = { of: 'a' };
const one = { id: '1', n: 1 };
const two = { id: '2', n: 2 };

let server: ScriptedServer;
let client: ConvoyClient;
beforeEach(async () => {
  server = await ScriptedServer.start();
  client = createConvoyClient({ baseUrl: server.baseUrl });
});
afterEach(async () => {
  client.close();
  await server.stop();
});

/** Watches `list` from an initial result. */
function watching(initial: { data: Row[]; hash: string; position: string }) {
  const query = client.liveQuery(list, A, { initial });
  const seen: QuerySnapshot<Row[]>[] = [query.getSnapshot()];
  query.subscribe(() => seen.push(query.getSnapshot()));
  return seen;
}

test('the request names the caller, says that it preloads, and brings the hash and the position', async () => {
  const headers = { 'convoy-hash': 'h1', 'convoy-position': 's.5' };
  server.answer = () => ({ body: { ok: true, data: [one] }, headers });
  const preloaded = await preloadQuery(list, A, {
    baseUrl: `${server.baseUrl}/`,
    headers: { cookie: 'session=1' },
    auth: () => 'token',
  });
  expect(preloaded).toEqual({
    name: 'rows.list',
    args: '{"of":"a"}',
    data: '[{"id":"1","n":1}]',
    hash: 'h1',
    position: 's.5',
  });
  expect(server.calls).toMatchObject([
    { name: 'rows.list', headers: { 'convoy-preload': 'true', cookie: 'session=1', authorization: 'Bearer token' } },
  ]);
});

test('an error of the query rejects', async () => {
  server.answer = () => ({ status: 403, body: { ok: false, error: { code: 'FORBIDDEN', message: 'no' } } });
  await expect(preloadQuery(list, A, { baseUrl: server.baseUrl })).rejects.toMatchObject({ code: 'FORBIDDEN' });
});

test('an initial result is shown as outdated until the server confirms it by its hash', async () => {
  const seen = watching({ data: [one], hash: 'h1', position: 's.5' });
  const session = await server.nextSession();
  expect(session.opening.queries).toMatchObject([{ args: A, hash: 'h1' }]);
  expect(session.headers['convoy-position']).toBe('s.5');
  session.same(A);
  await until(() => expect(seen.at(-1)?.isStale).toBe(false));
  expect(seen.map(({ data }) => data)).toEqual(seen.map(() => [one]));
  expect(seen.at(0)).toMatchObject({ status: 'success', isStale: true, connectionState: 'connecting' });
  session.rows(A, 'h1', 'h2', [[0, 1], { row: two }]);
  await until(() => expect(seen.at(-1)?.data).toEqual([one, two]));
  expect(seen.at(-1)?.data?.[0]).toBe(seen.at(0)?.data?.[0]);
});

test('without a hash, the whole result is requested and equal parts keep their identity', async () => {
  const seen = watching({ data: [one, two], hash: '', position: '' });
  const session = await server.nextSession();
  expect(session.opening.queries[0]).not.toHaveProperty('hash');
  expect(session.headers).not.toHaveProperty('convoy-position');
  session.result(A, [one, { id: '2', n: 3 }], 'h1');
  await until(() => expect(seen.at(-1)?.data?.[1]?.n).toBe(3));
  expect(seen.at(-1)?.data?.[0]).toBe(seen.at(0)?.data?.[0]);
});

test('a caller who may not see the initial result loses it', async () => {
  const seen = watching({ data: [one], hash: 'h1', position: 's.5' });
  const session = await server.nextSession();
  session.error(A, { code: 'UNAUTHORIZED', message: 'signed out' });
  await until(() => expect(seen.at(-1)).toMatchObject({ status: 'error', data: null }));
});

test('an initial list that the application has sorted is still the one that the server changes', async () => {
  const query = client.liveQuery(list, A, { initial: { data: [two, one], hash: 'h1', position: 's.5' } });
  query.getSnapshot().data?.sort((a, b) => a.n - b.n);
  query.subscribe(() => {});
  const session = await server.nextSession();
  session.rows(A, 'h1', 'h2', [[0, 1]]);
  await until(() => expect(query.getSnapshot().data).toEqual([two]));
});

test('a query with a result ignores an initial one', async () => {
  const first = watching({ data: [one], hash: 'h1', position: 's.5' });
  const session = await server.nextSession();
  session.result(A, [two], 'h2');
  await until(() => expect(first.at(-1)?.data).toEqual([two]));
  expect(watching({ data: [one], hash: 'h1', position: 's.5' })[0]?.data).toEqual([two]);
});

test('an initial result is shown while another listener waits for the first one', () => {
  client.liveQuery(list, A).subscribe(() => {});
  expect(watching({ data: [one], hash: 'h1', position: 's.5' })[0]?.data).toEqual([one]);
});

test('an initial position does not replace that of another server process', async () => {
  const first = watching({ data: [one], hash: 'h1', position: 'new.7' });
  const session = await server.nextSession();
  session.same(A);
  await until(() => expect(first.at(-1)?.isStale).toBe(false));
  const initial = { data: [two], hash: 'h2', position: 'old.9' };
  client.liveQuery(list, { of: 'b' }, { initial }).subscribe(() => {});
  expect((await session.nextChange()).headers['convoy-position']).toBe('new.7');
});

test('an optimistic update over an initial result stays until the server has answered the query', async () => {
  await loadOptimistic();
  const first = client.liveQuery(list, { of: 'b' });
  first.subscribe(() => {});
  const session = await server.nextSession();
  session.result({ of: 'b' }, [], 'h0');
  await until(() => expect(first.getSnapshot().status).toBe('success'));
  const seen = watching({ data: [one], hash: 'h1', position: 's.5' });
  const add = makeMutationRef<Record<never, never>, null>('rows.add');
  const optimistic = (store: OptimisticStore) => store.set(list, A, (rows) => [...rows, two]);
  server.answer = ({ headers }) => {
    session.send({ type: 'settled', key: headers['idempotency-key'] });
    return { body: { ok: true, data: null } };
  };
  await client.mutation(add, {}, { optimistic });
  session.result(A, [one, two], 'h2');
  await until(() => expect(seen.at(-1)?.isStale).toBe(false));
  const lengths = seen.map(({ data }) => data?.length);
  expect(lengths.slice(lengths.indexOf(2))).not.toContain(1);
});
