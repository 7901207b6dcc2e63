/**
 * `@avvos/convoy-auth` on a real server: tokens of an issuer on this machine, API keys, cookies and guests, in calls and in
 * live queries.
 */
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import {
  type BaseContext,
  type ConvoyRequest,
  createFunctionHelpers,
  type DataModelOf,
  defineSchema,
  defineTable,
  type Id,
} from '@avvos/convoy';
import { createConvoyClient, makeActionRef, makeMutationRef, makeQueryRef, type RefFor } from '@avvos/convoy/client';
import { createConvoy } from '@avvos/convoy/node';
import {
  type AuthContext,
  anonymous,
  apiKeys,
  betterAuth,
  compose,
  createApiKey,
  jwt,
  type UserOf,
} from '@avvos/convoy-auth';
import { betterAuth as createBetterAuth } from 'better-auth';
import { memoryAdapter } from 'better-auth/adapters/memory';
import { type CryptoKey, exportJWK, generateKeyPair, SignJWT } from 'jose';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { WebSocket } from 'ws';
import { z } from 'zod';
import { freshDatabaseUrl } from './app.js';
import { LiveSession } from './live-wire.js';

const schema = defineSchema({
  notes: defineTable({ owner: z.string(), text: z.string() }).index('by_owner', ['owner']),
  apiKeys: defineTable({ hash: z.string(), owner: z.string(), expiresAt: z.number().optional() }).index(
    'by_hash',
    ['hash'],
    {
      unique: true,
    },
  ),
});

type Base = BaseContext<DataModelOf<typeof schema>>;

/** An issuer that serves its discovery document and its keys. */
async function startIssuer() {
  const { privateKey, publicKey } = await generateKeyPair('ES256');
  const jwk = { ...(await exportJWK(publicKey)), kid: 'key', alg: 'ES256' };
  const server = createServer((request, response) => {
    const url = `http://${request.headers.host}`;
    const isDocument = request.url === '/.well-known/openid-configuration';
    response.end(JSON.stringify(isDocument ? { issuer: url, jwks_uri: `${url}/keys` } : { keys: [jwk] }));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return { server, privateKey, url: `http://127.0.0.1:${(server.address() as AddressInfo).port}` };
}

let issuer: { server: ReturnType<typeof createServer>; privateKey: CryptoKey; url: string };
beforeAll(async () => {
  issuer = await startIssuer();
});
afterAll(() => {
  issuer.server.closeAllConnections();
  issuer.server.close();
});

/** A token of the issuer that lasts `ms`, rounded up to a second. */
function token(sub: string, ms = 600_000, claims: object = {}): Promise<string> {
  return new SignJWT({ aud: 'api', roles: ['member'], ...claims })
    .setProtectedHeader({ alg: 'ES256', kid: 'key' })
    .setIssuer(issuer.url)
    .setSubject(sub)
    .setExpirationTime(Math.ceil((Date.now() + ms) / 1000))
    .sign(issuer.privateKey);
}

const sessions = createBetterAuth({
  secret: 'a secret of Better Auth for tests only',
  baseURL: 'http://127.0.0.1',
  database: memoryAdapter({ user: [], session: [], account: [], verification: [] }),
  emailAndPassword: { enabled: true },
});
const guests = anonymous({ secret: 'a secret of the guests, for tests only' });

function createAuthAdapter() {
  const keys = apiKeys({
    prefix: 'test',
    find: async (hash, base: Base) => {
      const key = await base.db
        .query('apiKeys')
        .withIndex('by_hash', (q) => q.eq('hash', hash))
        .unique();
      return key && { user: { id: key.owner }, expiresAt: key.expiresAt };
    },
  });
  return compose(jwt({ issuer: issuer.url, audience: 'api' }), keys, betterAuth(sessions), guests);
}

type User = UserOf<ReturnType<typeof createAuthAdapter>>;
type Context = Base & AuthContext<User>;
const { query, mutation, action, internalMutation } = createFunctionHelpers<Context>();

const storeKey = internalMutation({
  input: { hash: z.string(), expiresAt: z.number().optional() },
  handler: ({ db, auth }, key) => db.insert('apiKeys', { ...key, owner: auth.require().id }),
});

const functions = {
  me: query({ handler: ({ auth }) => auth.user && { id: auth.user.id, isMember: auth.can('member') } }),
  notes: {
    mine: query({
      handler: async ({ db, auth }) => {
        const { id } = auth.require();
        const notes = await db
          .query('notes')
          .withIndex('by_owner', (q) => q.eq('owner', id))
          .collect();
        return notes.map(({ text }) => text);
      },
    }),
    add: mutation({
      input: { text: z.string() },
      handler: ({ db, auth }, { text }) => db.insert('notes', { owner: auth.require().id, text }),
    }),
  },
  keys: {
    // Results of mutations are stored for a day, so a key is created in an action.
    create: action({
      input: { ms: z.number().optional() },
      handler: async (ctx, { ms }) => {
        const { key, hash } = createApiKey({ prefix: 'test' });
        const expires = ms === undefined ? {} : { expiresAt: Date.now() + ms };
        return { key, id: await ctx.runMutation(storeKey, { hash, ...expires }) };
      },
    }),
    store: storeKey,
    revoke: mutation({ input: { id: z.string() }, handler: ({ db }, { id }) => db.delete(id as Id<'apiKeys'>) }),
  },
  guests: { create: action({ handler: async () => (await guests.issue()).token }) },
};

const me = makeQueryRef('me') as RefFor<'me', typeof functions.me>;
const mine = makeQueryRef('notes.mine') as RefFor<'notes.mine', typeof functions.notes.mine>;
const add = makeMutationRef('notes.add') as RefFor<'notes.add', typeof functions.notes.add>;
const createKey = makeActionRef('keys.create') as RefFor<'keys.create', typeof functions.keys.create>;
const revokeKey = makeMutationRef('keys.revoke') as RefFor<'keys.revoke', typeof functions.keys.revoke>;
const createGuest = makeActionRef('guests.create') as RefFor<'guests.create', typeof functions.guests.create>;

const open: { close(): unknown }[] = [];
afterEach(async () => {
  for (const one of open.splice(0).reverse()) await one.close();
});

async function serve() {
  const adapter = createAuthAdapter();
  const createContext = async (req: ConvoyRequest, base: Base) => ({ ...base, ...(await adapter.context(req, base)) });
  const options = { databaseUrl: freshDatabaseUrl(), createDatabase: true };
  const convoy = await createConvoy({ schema, functions, createContext: createContext as never, ...options });
  open.push(convoy);
  const { port } = await convoy.listen({ port: 0 });
  const baseUrl = `http://127.0.0.1:${port}`;
  const as = (options: Omit<Parameters<typeof createConvoyClient>[0], 'baseUrl'>) => {
    const client = createConvoyClient({ baseUrl, ...options });
    open.push(client);
    return client;
  };
  return { baseUrl, as };
}

/** What a client sees of a live query, to be polled. */
function watch(client: ReturnType<typeof createConvoyClient>) {
  const seen: { last: unknown } = { last: undefined };
  client.watch(mine, {}, ({ status, data, error }) => {
    if (status === 'success') seen.last = data;
    if (status === 'error') seen.last = error.code;
  });
  return seen;
}

/** The results and errors that a WebSocket with this token has received once it has one of them. */
async function openSocket(baseUrl: string, token: string) {
  const socket = new WebSocket(`${baseUrl.replace('http', 'ws')}/api/ws`);
  open.push(socket);
  const received: { results: unknown[]; errors: unknown[] } = { results: [], errors: [] };
  const queries = [{ id: 0, name: 'notes.mine', args: {} }];
  socket.on('open', () => socket.send(`${JSON.stringify({ type: 'open', protocol: 1, queries, token })}\n`));
  await new Promise<void>((resolve, reject) => {
    socket.on('error', reject);
    socket.on('message', (data) => {
      for (const line of String(data)
        .split('\n')
        .filter((each) => each !== '')) {
        const message = JSON.parse(line) as { type: string; data?: unknown; error?: unknown };
        if (message.type === 'result') received.results.push(message.data);
        if (message.error !== undefined) received.errors.push(message.error);
      }
      if (received.results.length + received.errors.length > 0) resolve();
    });
    socket.on('close', (code, reason) => reject(new Error(`closed: ${code} ${reason}`)));
  });
  return received;
}

async function call(baseUrl: string, name: string, headers: Record<string, string>) {
  const response = await fetch(`${baseUrl}/api/query/${name}`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...headers },
    body: '{}',
  });
  return { status: response.status, ...((await response.json()) as { data?: unknown; error?: { message: string } }) };
}

describe('a token', () => {
  test('identifies the caller of queries, mutations and live queries', async () => {
    const { as } = await serve();
    const ada = as({ auth: () => token('ada') });
    const eve = as({ auth: () => token('eve', 600_000, { roles: [] }) });
    expect(await ada.query(me, {})).toEqual({ id: 'ada', isMember: true });
    expect(await eve.query(me, {})).toEqual({ id: 'eve', isMember: false });
    const [ofAda, ofEve] = [watch(ada), watch(eve)];
    await ada.mutation(add, { text: 'by Ada' });
    await expect.poll(() => [ofAda.last, ofEve.last]).toEqual([['by Ada'], []]);
  });

  test('that is missing makes a caller who is not signed in', async () => {
    const { as } = await serve();
    const client = as({});
    expect(await client.query(me, {})).toBe(null);
    await expect(client.query(mine, {})).rejects.toMatchObject({ code: 'UNAUTHORIZED' });
    await expect(client.mutation(add, { text: 'x' })).rejects.toMatchObject({ code: 'UNAUTHORIZED' });
  });

  test('that expires is replaced in a live query', async () => {
    const { as } = await serve();
    let asked = 0;
    const client = as({ auth: () => token('ada', asked++ === 0 ? 2_000 : 600_000) });
    const seen = watch(client);
    await expect.poll(() => seen.last).toEqual([]);
    await expect.poll(() => asked, { timeout: 20_000 }).toBeGreaterThan(1);
    await client.mutation(add, { text: 'after the first token' });
    await expect.poll(() => seen.last).toEqual(['after the first token']);
  });

  test('that expires without a successor ends the delivery', async () => {
    const { baseUrl, as } = await serve();
    const last = await token('ada', 2_000);
    const queries = [{ id: 0, name: 'notes.mine', args: {} }];
    const session = await LiveSession.open({ baseUrl, token: last, queries });
    open.push(session);
    await session.until(() => session.results.has(0));
    await session.until(() => session.otherMessages.some(({ type }) => type === 'auth'));
    await as({ auth: () => token('ada') }).mutation(add, { text: 'too late' });
    expect(session.data(0)).toEqual([]);
    expect(await call(baseUrl, 'me', { authorization: `Bearer ${last}` })).toMatchObject({ status: 401 });
  });

  test('that is bad is refused, with the check that failed and without the token', async () => {
    const { baseUrl } = await serve();
    const bad = { audience: await token('ada', 600_000, { aud: 'other' }), cut: (await token('ada')).slice(0, -4) };
    for (const [value, why] of [
      [bad.audience, 'another audience (`aud`)'],
      [bad.cut, 'The signature of the token is wrong.'],
      ['opaque', 'of no accepted kind'],
    ] as const) {
      const { status, error } = await call(baseUrl, 'me', { authorization: `Bearer ${value}` });
      expect([status, error?.message]).toEqual([401, expect.stringContaining(why)]);
      expect(error?.message).not.toContain(value);
    }
  });

  test('identifies the caller of a WebSocket, in its first message', async () => {
    const { baseUrl, as } = await serve();
    await as({ auth: () => token('ada') }).mutation(add, { text: 'by Ada' });
    const { results } = await openSocket(baseUrl, await token('ada'));
    expect(results).toEqual([['by Ada']]);
    const { errors } = await openSocket(baseUrl, `${await token('ada')}x`);
    expect(errors).toEqual([expect.objectContaining({ code: 'UNAUTHORIZED' })]);
  });

  test('beside another credential is refused', async () => {
    const { baseUrl } = await serve();
    const { key } = createApiKey({ prefix: 'test' });
    const headers = { authorization: `Bearer ${await token('ada')}`, 'x-api-key': key };
    const { status, error } = await call(baseUrl, 'me', headers);
    expect([status, error?.message]).toEqual([401, expect.stringContaining('two credentials')]);
  });
});

describe('an API key', () => {
  test('identifies its owner, in either header', async () => {
    const { baseUrl, as } = await serve();
    const ada = as({ auth: () => token('ada') });
    const { key } = await ada.action(createKey, {});
    for (const headers of [{ authorization: `Bearer ${key}` }, { 'x-api-key': key }]) {
      expect(await call(baseUrl, 'me', headers)).toMatchObject({ data: { id: 'ada', isMember: false } });
    }
  });

  test('that is deleted ends its live queries', async () => {
    const { baseUrl, as } = await serve();
    const ada = as({ auth: () => token('ada') });
    const { key, id } = await ada.action(createKey, {});
    const queries = [{ id: 0, name: 'notes.mine', args: {} }];
    const session = await LiveSession.open({ baseUrl, token: key, queries });
    open.push(session);
    await session.until(() => session.results.has(0));
    await ada.mutation(revokeKey, { id });
    await session.until(() => session.otherMessages.some(({ type }) => type === 'auth'));
    await ada.mutation(add, { text: 'too late' });
    expect(session.data(0)).toEqual([]);
    expect(await call(baseUrl, 'me', { 'x-api-key': key })).toMatchObject({ status: 401 });
  });

  test('that expires ends its live queries', async () => {
    const { baseUrl, as } = await serve();
    const { key } = await as({ auth: () => token('ada') }).action(createKey, { ms: 2_000 });
    const session = await LiveSession.open({ baseUrl, token: key, queries: [{ id: 0, name: 'notes.mine', args: {} }] });
    open.push(session);
    await session.until(() => session.results.has(0));
    await session.until(() => session.otherMessages.some(({ type }) => type === 'auth'));
  });
});

test('a session in a cookie identifies its user, and ends with the sign-out', async () => {
  const { baseUrl } = await serve();
  const body = { name: 'Ada', email: 'ada@example.com', password: 'correct horse battery' };
  const { headers } = await sessions.api.signUpEmail({ body, returnHeaders: true });
  const cookie = headers
    .getSetCookie()
    .map((each) => each.split(';', 1)[0])
    .join('; ');
  const { data } = await call(baseUrl, 'me', { cookie });
  expect(data).toMatchObject({ id: expect.any(String) });
  // The token is explicit; browsers add the cookie.
  const both = { cookie, authorization: `Bearer ${await token('eve')}` };
  expect(await call(baseUrl, 'me', both)).toMatchObject({ data: { id: 'eve' } });
  await sessions.api.signOut({ headers: new Headers({ cookie }) });
  expect(await call(baseUrl, 'me', { cookie })).toMatchObject({ status: 200, data: null });
});

test('a guest has notes of their own', async () => {
  const { as } = await serve();
  const tokens = await Promise.all([as({}).action(createGuest, {}), as({}).action(createGuest, {})]);
  const [first, second] = tokens.map((guest) => as({ auth: () => guest }));
  await first?.mutation(add, { text: 'of the first' });
  expect(await first?.query(mine, {})).toEqual(['of the first']);
  expect(await second?.query(mine, {})).toEqual([]);
});
