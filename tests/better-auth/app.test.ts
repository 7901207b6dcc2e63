/** Better Auth in an application: its routes run in an action, and createContext reads the session of each call. */

import { createConvoyClient, makeActionRef, makeMutationRef, makeQueryRef } from '@avvos/convoy/client';
import { type Convoy, createConvoy } from '@avvos/convoy/node';
import pg from 'pg';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { freshDatabaseUrl } from '../app.js';
import { RecordingProxy } from '../recording-proxy.js';

type None = Record<string, never>;
interface Answer {
  readonly status: number;
  readonly cookies: string[];
  // biome-ignore lint/suspicious/noExplicitAny: the bodies of many routes.
  readonly body: any;
}

const route = makeActionRef<{ method: string; path: string; headers: Record<string, string>; body: unknown }, Answer>(
  'route',
);
const me = makeQueryRef<None, string | null>('me');
const mine = makeQueryRef<None, { author: string; notes: string[] }>('mine');
const write = makeMutationRef<{ text: string }, string>('write');
const signUp = makeMutationRef<{ email: string; fails: boolean }, string>('signUp');
const signUpInQuery = makeQueryRef<{ email: string }, string>('signUpInQuery');
const consumeTwice = makeActionRef<None, number>('consumeTwice');

const reserveTwice = makeActionRef<None, unknown[]>('reserveTwice');
const sessions = makeQueryRef<None, number>('sessions');
const undefinedValues = makeActionRef<None, object>('undefinedValues');
const requestReset = makeActionRef<{ email: string }, string>('requestReset');
const incrementFiveTimes = makeActionRef<None, number>('incrementFiveTimes');
const outsideOfACall = makeActionRef<None, string>('outsideOfACall');
const changeMany = makeActionRef<{ count: number }, object>('changeMany');
const limited = makeActionRef<None, number>('limited');

const password = 'correct horse battery staple';

let convoy: Convoy;
let baseUrl: string;
let psql: pg.Client;
let proxy: RecordingProxy;
const closing: (() => void)[] = [];

beforeAll(async () => {
  const databaseUrl = freshDatabaseUrl();
  const program = new URL('./app-program.mjs', import.meta.url);
  await (await createConvoy({ program, workers: 1, databaseUrl, createDatabase: true })).close();
  proxy = await RecordingProxy.start(databaseUrl);
  convoy = await createConvoy({ program, workers: 2, databaseUrl: proxy.url });
  const { port } = await convoy.listen({ port: 0 });
  baseUrl = `http://127.0.0.1:${port}`;
  psql = new pg.Client({ connectionString: databaseUrl });
  await psql.connect();
});

beforeEach(async () => {
  for (const table of ['session', 'account', 'user', 'notes', 'verification'])
    await psql.query(`delete from "${table}"`);
});

afterAll(async () => {
  for (const close of closing) close();
  await psql.end();
  await convoy.close();
  await proxy.close();
});

/** A browser: it sends the cookies that it was given. */
function browser() {
  const cookies = new Map<string, string>();
  const header = () => [...cookies].map(([name, value]) => `${name}=${value}`).join('; ');
  const client = createConvoyClient({
    baseUrl,
    fetch: (input, init) => {
      const headers = new Headers(init?.headers as HeadersInit);
      headers.set('cookie', header());
      return fetch(input, { ...init, headers });
    },
  });
  closing.push(() => client.close());
  const ask = async (method: string, path: string, body: unknown = {}): Promise<Answer> => {
    const answer = await convoy.action(route, {
      method,
      path: `/api/auth${path}`,
      headers: { cookie: header() },
      body,
    });
    for (const cookie of answer.cookies) {
      const [, name = '', value = ''] = /^([^=]+)=([^;]*)/.exec(cookie) ?? [];
      if (value === '') cookies.delete(name);
      else cookies.set(name, value);
    }
    return answer;
  };
  return {
    client,
    cookies,
    get: (path: string) => ask('GET', path),
    post: (path: string, body?: unknown) => ask('POST', path, body),
    /** Resolves when the live query has this result. */
    sees: (name: string | null) =>
      new Promise<void>((resolve) => {
        const stop = client.watch(me, {}, ({ data, status }) => {
          if (status === 'success' && data === name) {
            resolve();
            queueMicrotask(() => stop());
          }
        });
      }),
  };
}

async function signedUp(email = 'ada@example.com') {
  const tab = browser();
  const { status, body } = await tab.post('/sign-up/email', { name: 'Ada', email, password });
  expect(status, JSON.stringify(body)).toBe(200);
  return tab;
}

/** The text of all documents and of the change log. */
async function everythingStored(): Promise<string> {
  const { rows } = await psql.query<{ name: string }>(
    `select format('%I.%I', schemaname, tablename) as name from pg_tables
     where schemaname not in ('pg_catalog', 'information_schema')`,
  );
  const texts: string[] = [];
  for (const { name } of rows) {
    const { rows: documents } = await psql.query<{ text: string }>(`select t::text as text from ${name} as t`);
    texts.push(...documents.map(({ text }) => text));
  }
  return texts.join('\n');
}

const tokenOf = (tab: ReturnType<typeof browser>): string => {
  const cookie = decodeURIComponent(tab.cookies.get('better-auth.session_token') ?? '');
  return cookie.slice(0, cookie.indexOf('.'));
};

test('sign-up, sign-out and sign-in; documents of the app refer to users', async () => {
  const tab = await signedUp();
  expect(await tab.client.query(me, {})).toBe('Ada');
  await tab.client.mutation(write, { text: 'first' });
  expect(await tab.client.query(mine, {})).toEqual({ author: 'ada@example.com', notes: ['first'] });

  expect((await tab.post('/sign-out')).status).toBe(200);
  expect(await tab.client.query(me, {})).toBeNull();
  await expect(tab.client.mutation(write, { text: 'second' })).rejects.toMatchObject({ code: 'UNAUTHORIZED' });

  expect((await tab.post('/sign-in/email', { email: 'ada@example.com', password: 'wrong password' })).status).toBe(401);
  expect((await tab.post('/sign-in/email', { email: 'ada@example.com', password })).status).toBe(200);
  expect(await tab.client.query(mine, {})).toEqual({ author: 'ada@example.com', notes: ['first'] });
});

test('a second account with the same email is refused', async () => {
  await signedUp();
  const { status } = await browser().post('/sign-up/email', { name: 'Eve', email: 'ada@example.com', password });
  expect(status).toBe(422);
  const { rows } = await psql.query('select 1 from "user"');
  expect(rows).toHaveLength(1);
});

test('signing out everywhere ends the live queries of all browsers', async () => {
  const first = await signedUp();
  const second = browser();
  await second.post('/sign-in/email', { email: 'ada@example.com', password });
  await Promise.all([first.sees('Ada'), second.sees('Ada')]);
  const ended = Promise.all([first.sees(null), second.sees(null)]);
  expect((await first.post('/revoke-sessions')).status).toBe(200);
  await ended;
});

test('one session can be found in the list and revoked', async () => {
  const first = await signedUp();
  const second = browser();
  await second.post('/sign-in/email', { email: 'ada@example.com', password });
  const { body: sessions } = await first.get('/list-sessions');
  const tokens = sessions.map(({ token }: { token: string }) => token);
  expect(tokens.sort()).toEqual([tokenOf(first), tokenOf(second)].sort());
  await first.post('/revoke-session', { token: tokenOf(second) });
  expect(await second.client.query(me, {})).toBeNull();
  expect(await first.client.query(me, {})).toBe('Ada');
});

test('tokens are stored neither in documents nor in the change log', async () => {
  const tab = await signedUp();
  const token = tokenOf(tab);
  expect(token).toHaveLength(32);
  const stored = await everythingStored();
  expect(stored).toContain('ada@example.com');
  expect(stored).not.toContain(token);
  const { rows } = await psql.query(`select data->>'token' as token from session`);
  expect(rows[0].token).toMatch(/^[0-9a-f]{64}$/);
  // A hash read from the database is no token.
  const forged = await tab.post('/revoke-session', { token: rows[0].token });
  expect(forged.status).toBe(200);
  expect(await tab.client.query(me, {})).toBe('Ada');
});

test('the token of a password reset is not stored either', async () => {
  await signedUp();
  const token = await convoy.action(requestReset, { email: 'ada@example.com' });
  expect(token).toMatch(/^\w{24}$/);
  const stored = await everythingStored();
  expect(stored).toContain('ada@example.com');
  expect(stored).not.toContain(token);
  const { rows } = await psql.query('select changes::text as text from _convoy.changes');
  expect(rows.length).toBeGreaterThan(0);
  const tab = browser();
  const newPassword = 'another horse battery staple';
  expect((await tab.post('/reset-password', { token, newPassword })).status).toBe(200);
  expect((await tab.post('/sign-in/email', { email: 'ada@example.com', password: newPassword })).status).toBe(200);
});

test('an expired session is no session, for calls and for live queries that start', async () => {
  const tab = await signedUp();
  await tab.sees('Ada');
  await psql.query(`update session set data = jsonb_set(data, '{expiresAt}', to_jsonb($1::bigint))`, [
    Date.now() - 1_000,
  ]);
  // The change of another program is known once the change log has been read.
  while ((await tab.client.query(me, {})) !== null);
  await expect(tab.client.mutation(write, { text: 'late' })).rejects.toMatchObject({ code: 'UNAUTHORIZED' });
  await tab.sees(null);
  const { body } = await tab.get('/get-session');
  expect(body).toBeNull();
});

test('a session deleted with SQL ends the live queries of its browser only', async () => {
  const first = await signedUp();
  const second = await signedUp('eve@example.com');
  await Promise.all([first.sees('Ada'), second.sees('Ada')]);
  const ended = first.sees(null);
  await psql.query(
    `delete from session where data->>'userId' in (select 'user:' || id from "user" where data->>'email' = $1)`,
    ['ada@example.com'],
  );
  await ended;
  expect(await first.client.query(me, {})).toBeNull();
  expect(await second.client.query(me, {})).toBe('Ada');
});

test('in a mutation, what Better Auth writes is part of the transaction', async () => {
  await expect(convoy.mutation(signUp, { email: 'ada@example.com', fails: true })).rejects.toThrow();
  expect((await psql.query('select 1 from "user"')).rows).toHaveLength(0);
  const id = await convoy.mutation(signUp, { email: 'ada@example.com', fails: false });
  const { rows } = await psql.query(`select 'user:' || id as id from "user"`);
  expect(rows).toEqual([{ id }]);
});

test('in a query, writes are refused', async () => {
  const refusal = await convoy.query(signUpInQuery, { email: 'ada@example.com' });
  expect(refusal).toBe('ctx.db.insert: a query only reads. Make this function a mutation.');
  expect((await psql.query('select 1 from "user"')).rows).toHaveLength(0);
});

test('a verification is used once, by one of several callers', async () => {
  expect(await convoy.action(consumeTwice, {})).toBe(1);
});

test('a counter with a limit is incremented by one caller at a time', async () => {
  expect(await convoy.action(incrementFiveTimes, {})).toBe(4);
});

test('of several people who sign up with one email at the same time, one gets the account', async () => {
  const person = { name: 'Ada', email: 'ada@example.com', password };
  const answers = await Promise.all(Array.from({ length: 4 }, () => browser().post('/sign-up/email', person)));
  expect(answers.map(({ status }) => status).sort()).toEqual([200, 422, 422, 422]);
  const { rows } = await psql.query(
    'select (select count(*) from "user") as users, (select count(*) from account) as accounts',
  );
  expect(rows).toEqual([{ users: '1', accounts: '1' }]);
});

test('all matching documents are changed or deleted, in batches', async () => {
  const count = 1_203;
  const result = await convoy.action(changeMany, { count });
  expect(result).toEqual({ changed: count, counted: count, deleted: count, left: ['new'] });
});

test('the shared instance has no database outside of a call', async () => {
  expect(await convoy.action(outsideOfACall, {})).toMatch(/^Better Auth uses its database outside of a call\./);
});

test('requests are counted in the database for a rate limit', async () => {
  const statuses: number[] = [];
  for (let n = 0; n < 8; n++) statuses.push(await convoy.action(limited, {}));
  expect(statuses).toEqual([200, 200, 200, 429, 429, 429, 429, 429]);
  const { rows } = await psql.query(`select data from "rateLimit"`);
  expect(rows).toHaveLength(1);
});

test('a client that sends other addresses with each request is counted as one', async () => {
  const statuses: number[] = [];
  for (let n = 0; n < 6; n++) {
    const headers = { 'x-forwarded-for': `203.0.113.${n}`, 'x-real-ip': `203.0.113.${n}` };
    statuses.push((await fetch(`${baseUrl}/limited/get-session`, { headers })).status);
  }
  expect(statuses).toEqual([200, 200, 200, 429, 429, 429]);
});

test('plugins have their tables', async () => {
  const tab = await signedUp();
  const { status, body } = await tab.post('/organization/create', { name: 'Acme', slug: 'acme' });
  expect(status, JSON.stringify(body)).toBe(200);
  const { body: members } = await tab.get(`/organization/get-full-organization?organizationId=${body.id}`);
  expect(members.members).toMatchObject([{ role: 'owner', user: { email: 'ada@example.com' } }]);
});

test('access rules of the app do not hold for Better Auth', async () => {
  const { client } = browser();
  expect(await client.action(changeMany, { count: 3 })).toEqual({ changed: 3, counted: 3, deleted: 3, left: ['new'] });
  expect(await client.action(reserveTwice, {})).toEqual([true, false]);
  expect(await client.action(consumeTwice, {})).toBe(1);
  expect(await client.mutation(signUp, { email: 'bob@example.com', fails: false })).toMatch(/^user:/);
  const tab = await signedUp();
  expect((await psql.query('select 1 from session')).rows).toHaveLength(2);
  expect(await tab.client.query(sessions, {})).toBe(0);
});

test('a comparison with undefined is refused, and matches no document without the field', async () => {
  await signedUp();
  const refused = expect.stringMatching(/^TypeError: Better Auth compares the field image of user with undefined\./);
  expect(await convoy.action(undefinedValues, {})).toEqual({
    findOne: refused,
    findMany: refused,
    update: refused,
    deleteMany: refused,
    ofNull: 1,
  });
});

test('its routes are HTTP routes beside the API, on one port', async () => {
  const post = (path: string, body: object, headers: Record<string, string> = {}) =>
    fetch(`${baseUrl}/api/auth${path}`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', origin: baseUrl, ...headers },
      body: JSON.stringify(body),
    });
  const signUp = await post('/sign-up/email', { name: 'Ada', email: 'routes@example.com', password });
  expect(signUp.status).toBe(200);
  const cookies = signUp.headers.getSetCookie();
  expect(cookies.join()).toMatch(/HttpOnly.*SameSite=Lax/i);
  const cookie = cookies.map((each) => each.split(';')[0]).join('; ');
  const asked = async () => {
    const headers = { 'content-type': 'application/json', cookie };
    const response = await fetch(`${baseUrl}/api/query/me`, { method: 'POST', headers, body: '{}' });
    return ((await response.json()) as { data: string | null }).data;
  };
  expect(await asked()).toBe('Ada');
  expect((await fetch(`${baseUrl}/api/auth/get-session`, { headers: { cookie } })).status).toBe(200);
  expect((await post('/sign-out', {}, { cookie, origin: 'https://evil.test' })).status).toBe(403);
  expect(await asked()).toBe('Ada');
  expect((await post('/sign-out', {}, { cookie })).status).toBe(200);
  expect(await asked()).toBeNull();
});

test('a session is kept in memory: calls do not look it up, until it is deleted', async () => {
  const { client } = await signedUp();
  const lookUps = () => proxy.statements.filter((text) => /from "(session|user)"/.test(text)).length;
  // On a busy machine the change log may be read too late, and then the session is looked up.
  for (let before = -1; before !== lookUps(); ) {
    before = lookUps();
    for (let n = 0; n < 10; n++) expect(await client.query(me, {})).toBe('Ada');
  }
  await psql.query('delete from session');
  while ((await client.query(me, {})) !== null);
});
