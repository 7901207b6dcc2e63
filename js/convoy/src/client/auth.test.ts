/** The caller's token during a session: renewal without a new connection, rejection, and a change of caller. */
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { ScriptedServer } from '../../testing/scripted-server.js';
import type { ScriptedSession } from '../../testing/scripted-session.js';
import { type Watching, watching } from '../../testing/watching.js';
import { makeQueryRef } from '../protocol/refs.js';
import { type ConvoyClient, createConvoyClient } from './client.js';
import type { Session } from './session.js';
import { MAX_TOKEN_REQUESTS, SubscriptionUpdates, TOKEN_REQUESTS_MS } from './subscription-updates.js';

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

test('a new token is sent to the open session', async () => {
  token = 'two';
  client.refreshAuth();
  const change = await session.nextChange();
  expect(change).toMatchObject({ add: [], remove: [], auth: true });
  expect(change.headers.authorization).toBe('Bearer two');
  session.result(A, [2], 'h2');
  await watch.until(({ data }) => data?.[0] === 2);
  expect(server.sessions).toHaveLength(1);
});

test('a server that requests a token receives the current one', async () => {
  token = 'two';
  session.send({ type: 'auth', error: EXPIRED });
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
  'a token rejected with %s removes the data and ends the connection until there is a new token',
  async (...rejection) => {
    server.answerChange = () => refusal(...rejection);
    server.refuse = () => refusal(...rejection);
    session.send({ type: 'auth', error: EXPIRED });
    const refused = await watch.until(({ status }) => status === 'error');
    expect(refused).toMatchObject({ data: null, error: { code: rejection[0] }, connectionState: 'closed' });
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

test('a token of another caller opens a new session', async () => {
  server.answerChange = () => refusal('FORBIDDEN', 403);
  token = 'of another caller';
  client.refreshAuth();
  const next = await server.nextSession();
  expect(next.headers.authorization).toBe('Bearer of another caller');
  await session.closed;
  next.result(A, [4], 'h4');
  await watch.until(({ data }) => data?.[0] === 4);
  expect(watch.seen.some(({ status }) => status === 'error')).toBe(false);
});

test('a token sent with a refused change is sent again', async () => {
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

test('a token that the server requests too often ends the connection', async () => {
  for (let request = 0; request <= MAX_TOKEN_REQUESTS; request += 1) {
    session.send({ type: 'auth', error: EXPIRED });
    if (request < MAX_TOKEN_REQUESTS) await session.nextChange();
  }
  expect(await watch.until(({ status }) => status === 'error')).toMatchObject({ error: EXPIRED, data: null });
  expect(session.changes).toHaveLength(MAX_TOKEN_REQUESTS);
});

test('requests of a token count for ten seconds', () => {
  const updates = new SubscriptionUpdates({} as Session, () => {}, 0);
  for (let request = 0; request < MAX_TOKEN_REQUESTS; request += 1) expect(updates.tokenRequested(0)).toBe(true);
  expect(updates.tokenRequested(TOKEN_REQUESTS_MS - 1)).toBe(false);
  expect(updates.tokenRequested(TOKEN_REQUESTS_MS)).toBe(true);
});

test('a query that is forbidden loses only its own data', async () => {
  const other = watching(client, list, { of: 'b' });
  await session.nextChange();
  session.result({ of: 'b' }, [9], 'h9');
  await other.until(({ status }) => status === 'success');
  session.error(A, { code: 'FORBIDDEN', message: 'not yours' });
  expect(await watch.until(({ status }) => status === 'error')).toMatchObject({ data: null, connectionState: 'open' });
  expect(client.liveQuery(list, { of: 'b' }).getSnapshot()).toMatchObject({ data: [9], isStale: false });
});

describe('a change of caller', () => {
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
  ])(
    'by %s opens a new session at once, without a change that the server would refuse',
    async (_what, before, after) => {
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
    },
  );

  test('without `refreshAuth` is detected when a query is added', async () => {
    token = '';
    const added = watching(client, list, { of: 'b' });
    const next = await server.nextSession();
    expect(next.headers.authorization).toBeUndefined();
    next.result({ of: 'b' }, [5], 'h5');
    await added.until(({ data }) => data?.[0] === 5);
    expect(changes).toEqual([]);
  });

  test('identified by cookies opens a new session at once on `refreshAuth`', async () => {
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
