/** A mutation's promise resolves… */
import { afterEach, beforeAll, beforeEach, expect, test, vi } from 'vitest';
import { HandTransport } from '../../testing/hand-transport.js';
import { type ScriptedCall, ScriptedServer } from '../../testing/scripted-server.js';
import type { ScriptedSession } from '../../testing/scripted-session.js';
import { watching } from '../../testing/watching.js';
import { makeMutationRef, makeQueryRef } from '../protocol/refs.js';
import { type ConvoyClient, createConvoyClient } from './client.js';
import { Endpoint } from './endpoint.js';
import { loadMutations } from './lazy-mutations.js';
import { LiveTransport } from './live-transport.js';
import { SHOWN_TIMEOUT_MS } from './mutations.js';

beforeAll(loadMutations);

const list = makeQueryRef<{ of: string }, number[]>('rows.list');
const add = makeMutationRef<{ n: number }, string>('rows.add');
const A = { of: 'a' };

let server: ScriptedServer;
let client: ConvoyClient;
beforeEach(async () => {
  server = await ScriptedServer.start();
  client = newClient();
});
afterEach(async () => {
  client.close();
  await server.stop();
});

function newClient(): ConvoyClient {
  const endpoint = new Endpoint({ baseUrl: server.baseUrl });
  return createConvoyClient({ transport: new LiveTransport({ endpoint, random: () => 0 }) });
}

/** Subscribes `one` to a query; returns the results it has seen, and the session. */
async function subscribed(one = client): Promise<{ readonly seen: number[][]; readonly session: ScriptedSession }> {
  const watch = watching(one, list, A);
  const session = await server.nextSession();
  session.result(A, [1], 'h1');
  await watch.until(({ status }) => status === 'success');
  const seen: number[][] = [];
  one.watch(list, A, ({ data }) => data && seen.push(data));
  return { seen, session };
}

/** The next call, whose response the test sends with `answer`. */
function nextCall(): { readonly arrived: Promise<ScriptedCall>; answer(data: unknown): void } {
  let answer = (_data: unknown) => {};
  const arrived = new Promise<ScriptedCall>((resolve) => {
    server.answer = (call) =>
      new Promise((reply) => {
        answer = (data) => reply({ body: { ok: true, data } });
        resolve(call);
      });
  });
  return { arrived, answer: (data) => answer(data) };
}

const keyOf = ({ headers }: ScriptedCall) => headers['idempotency-key'];

test('when the session reports it as settled, after listeners have received its changes', async () => {
  const { seen, session } = await subscribed();
  const call = nextCall();
  const mutation = client.mutation(add, { n: 2 }).then((answer) => ({ answer, shown: seen.at(-1) }));
  const arrived = await call.arrived;
  expect(arrived.headers['convoy-session']).toBe(session.name);
  call.answer('id');
  session.send(
    { type: 'rows', id: session.query(A).id, from: 'h1', hash: 'h2', rows: [[0, 1], { row: 2 }] },
    { type: 'settled', key: keyOf(arrived) },
  );
  expect(await mutation).toEqual({ answer: 'id', shown: [1, 2] });
});

test('with its response, where that comes after the settled message', async () => {
  const { session } = await subscribed();
  const call = nextCall();
  const watch = watching(client, list, A);
  const mutation = client.mutation(add, { n: 2 });
  session.send({ type: 'settled', key: keyOf(await call.arrived) });
  session.result(A, [1, 2], 'h2');
  await watch.until(({ data }) => data?.length === 2);
  call.answer('id');
  expect(await mutation).toBe('id');
});

test('not when another mutation settles', async () => {
  const { session } = await subscribed();
  let settled = false;
  const call = nextCall();
  const watch = watching(client, list, A);
  const mutation = client.mutation(add, { n: 2 }).finally(() => {
    settled = true;
  });
  const arrived = await call.arrived;
  call.answer('id');
  session.send({ type: 'settled', key: 'another' });
  session.result(A, [1, 2], 'h2');
  await watch.until(({ data }) => data?.length === 2);
  expect(settled).toBe(false);
  session.send({ type: 'settled', key: keyOf(arrived) });
  await mutation;
});

test('when it is committed, where the session ends meanwhile', async () => {
  const { session } = await subscribed();
  const call = nextCall();
  const mutation = client.mutation(add, { n: 2 });
  await call.arrived;
  session.cut();
  await server.nextSession();
  call.answer('id');
  expect(await mutation).toBe('id');
});

test('when it is committed, where there are no subscriptions', async () => {
  server.answer = () => ({ body: { ok: true, data: 'id' } });
  expect(await client.mutation(add, { n: 2 })).toBe('id');
  expect(server.calls[0]?.headers).not.toHaveProperty('convoy-session');
});

test('after a timeout, where the session does not report it', async () => {
  await subscribed();
  server.answer = () => ({ body: { ok: true, data: 'id' } });
  expect(await client.mutation(add, { n: 2 })).toBe('id');
});

test('at that timeout, and not before', async () => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
  const transport = new HandTransport();
  transport.answer = ({ tracker }) => {
    tracker?.tracked();
    return 'id';
  };
  const own = createConvoyClient({ transport });
  const resolved = vi.fn();
  void own.mutation(add, { n: 2 }).then(resolved);
  await vi.advanceTimersByTimeAsync(SHOWN_TIMEOUT_MS - 1);
  expect([transport.calls.length, resolved.mock.calls]).toEqual([1, []]);
  await vi.advanceTimersByTimeAsync(1);
  expect(resolved.mock.calls).toEqual([['id']]);
  own.close();
  vi.useRealTimers();
});

test('with its response, where another server answers it, which does not have the session', async () => {
  const { session } = await subscribed();
  server.answer = () => ({ body: { ok: true, data: 'id' }, headers: { 'convoy-session': '' } });
  expect(await client.mutation(add, { n: 2 })).toBe('id');
  expect(await client.mutation(add, { n: 3 })).toBe('id');
  expect(server.calls.map(({ headers }) => headers['convoy-session'])).toEqual([session.name, undefined]);
});

test('with its response, where it need only be committed', async () => {
  await subscribed();
  server.answer = () => ({ body: { ok: true, data: 'id' } });
  let resolved = false;
  const shown = client.mutation(add, { n: 2 }).then(() => {
    resolved = true;
  });
  expect(await client.mutation(add, { n: 3 }, { await: 'committed' })).toBe('id');
  expect(resolved).toBe(false);
  await shown;
});

test('at once, where the mutation fails', async () => {
  await subscribed();
  server.answer = () => ({ status: 409, body: { ok: false, error: { code: 'CONFLICT', message: 'taken' } } });
  await expect(client.mutation(add, { n: 2 })).rejects.toMatchObject({ code: 'CONFLICT' });
});
