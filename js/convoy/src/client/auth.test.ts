/** The caller's token over the life of a session: renewed without a new connection, and what a refused one takes away. */
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { ScriptedServer } from '../../testing/scripted-server.js';
import type { ScriptedSession } from '../../testing/scripted-session.js';
import { type Watching, watching } from '../../testing/watching.js';
import { makeQueryRef } from '../protocol/refs.js';
import { type ConvoyClient, createConvoyClient } from './client.js';

const list = makeQueryRef<{ of: string }, number[]>('rows.list');
const A = { of: 'a' };
const EXPIRED = { code: 'UNAUTHORIZED', message: 'The token has expired' };

let server: ScriptedServer;
let client: ConvoyClient;
let token: string;
let watch: Watching<number[]>;
let session: ScriptedSession;
beforeEach(async () => {
  server = await ScriptedServer.start();
  token = 'one';
  client = createConvoyClient({ baseUrl: server.baseUrl, auth: async () => token });
  watch = watching(client, list, A);
  session = await server.nextSession();
  session.result(A, [1], 'h1');
  await watch.until(({ status }) => status === 'success');
});
afterEach(async () => {
  client.close();
  await server.stop();
});

const refusal = (code: string, status: number) => ({ status, body: { ok: false, error: { code, message: 'no' } } });

test('a changed token is brought to the open session', async () => {
  token = 'two';
  client.refreshAuth();
  const change = await session.nextChange();
  expect(change).toMatchObject({ add: [], remove: [], auth: true });
  expect(change.headers.authorization).toBe('Bearer two');
  session.result(A, [2], 'h2');
  await watch.until(({ data }) => data?.[0] === 2);
  expect(server.sessions).toHaveLength(1);
});

test('a server that asks for one gets that of the moment', async () => {
  token = 'two';
  session.say({ type: 'auth', error: EXPIRED });
  const change = await session.nextChange();
  expect(change).toMatchObject({ auth: true });
  expect(change.headers.authorization).toBe('Bearer two');
  session.result(A, [2], 'h2');
  await watch.until(({ data }) => data?.[0] === 2);
  expect(watch.seen.some(({ status }) => status === 'error')).toBe(false);
});

test.each([
  ['UNAUTHORIZED', 401],
  ['FORBIDDEN', 403],
])(
  'one that is refused with %s takes the data away and ends the connection, until there is another',
  async (...how) => {
    server.answerChange = () => refusal(...how);
    server.refuse = () => refusal(...how);
    session.say({ type: 'auth', error: EXPIRED });
    const refused = await watch.until(({ status }) => status === 'error');
    expect(refused).toMatchObject({ data: null, error: { code: how[0] }, connectionState: 'closed' });
    await session.closed;
    token = 'three';
    server.refuse = () => null;
    client.refreshAuth();
    const next = await server.nextSession();
    expect(next.headers.authorization).toBe('Bearer three');
    expect(next.query(A)).not.toHaveProperty('hash');
    next.result(A, [3], 'h3');
    await watch.until(({ data }) => data?.[0] === 3);
  },
);

test('one of another caller gets a session of its own', async () => {
  server.answerChange = () => refusal('FORBIDDEN', 403);
  token = 'of somebody else';
  client.refreshAuth();
  const next = await server.nextSession();
  expect(next.headers.authorization).toBe('Bearer of somebody else');
  await session.closed;
  next.result(A, [4], 'h4');
  await watch.until(({ data }) => data?.[0] === 4);
  expect(watch.seen.some(({ status }) => status === 'error')).toBe(false);
});

test('one that went with a change that was refused is brought again', async () => {
  server.answerChange = ({ body }) => (body.add.length > 0 ? refusal('INVALID_ARGS', 400) : null);
  const other = watching(client, list, { of: 'b' });
  token = 'two';
  client.refreshAuth();
  expect(await other.until(({ status }) => status === 'error')).toMatchObject({ error: { code: 'INVALID_ARGS' } });
  const change = await session.nextChange();
  expect(change).toMatchObject({ add: [], auth: true });
  expect(change.headers.authorization).toBe('Bearer two');
  expect(server.sessions).toHaveLength(1);
});

test('one that is accepted and refused again and again is given up', async () => {
  for (let demand = 0; demand < 4; demand += 1) {
    session.say({ type: 'auth', error: EXPIRED });
    if (demand < 3) await session.nextChange();
  }
  expect(await watch.until(({ status }) => status === 'error')).toMatchObject({ error: EXPIRED, data: null });
  expect(session.changes).toHaveLength(3);
});

test('one query’s refusal takes its data alone', async () => {
  const other = watching(client, list, { of: 'b' });
  await session.nextChange();
  session.result({ of: 'b' }, [9], 'h9');
  await other.until(({ status }) => status === 'success');
  session.error(A, { code: 'FORBIDDEN', message: 'not yours' });
  expect(await watch.until(({ status }) => status === 'error')).toMatchObject({ data: null, connectionState: 'open' });
  expect(client.liveQuery(list, { of: 'b' }).getSnapshot()).toMatchObject({ data: [9], isStale: false });
});

describe('who signs in or out', () => {
  const changes: unknown[] = [];
  beforeEach(() => {
    changes.length = 0;
    server.answerChange = (change) => {
      changes.push(change.body);
      return refusal('FORBIDDEN', 403);
    };
  });

  test.each([
    ['signing out', 'one', ''],
    ['signing in', '', 'one'],
  ])('%s opens a session at once, without a request that is bound to be refused', async (_what, before, after) => {
    token = before;
    const own = createConvoyClient({ baseUrl: server.baseUrl, auth: () => token });
    const mine = watching(own, list, { of: 'mine' });
    const first = await server.nextSession();
    first.result({ of: 'mine' }, [1], 'h1');
    await mine.until(({ status }) => status === 'success');
    token = after;
    own.refreshAuth();
    const next = await server.nextSession();
    expect(next.headers.authorization).toBe(after === '' ? undefined : `Bearer ${after}`);
    await first.closed;
    next.result({ of: 'mine' }, [2], 'h2');
    await mine.until(({ data }) => data?.[0] === 2);
    expect(changes).toEqual([]);
    own.close();
  });

  test('the same holds where nobody says so, and a query is added afterwards', async () => {
    token = '';
    const added = watching(client, list, { of: 'b' });
    const next = await server.nextSession();
    expect(next.headers.authorization).toBeUndefined();
    next.result({ of: 'b' }, [5], 'h5');
    await added.until(({ data }) => data?.[0] === 5);
    expect(changes).toEqual([]);
  });

  test('where cookies say who asks, `refreshAuth` opens a session at once', async () => {
    const own = createConvoyClient({ baseUrl: server.baseUrl });
    const mine = watching(own, list, { of: 'mine' });
    const first = await server.nextSession();
    first.result({ of: 'mine' }, [1], 'h1');
    await mine.until(({ status }) => status === 'success');
    own.refreshAuth();
    expect((await server.nextSession()).query({ of: 'mine' }).hash).toBe('h1');
    await first.closed;
    expect(changes).toEqual([]);
    own.close();
  });
});
