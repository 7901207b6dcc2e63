/** `cachedReads`: sessions that cost no statement, and end at once when they are revoked. */
import { createHash } from 'node:crypto';
import {
  type Auth,
  type BaseContext,
  cachedReads,
  createAuth,
  createFunctionHelpers,
  type DataModelOf,
  defineRef,
  defineSchema,
  defineTable,
} from '@avvos/convoy';
import { createConvoyClient, makeActionRef, makeMutationRef, makeQueryRef } from '@avvos/convoy/client';
import { type Convoy, type ConvoyRequest, createConvoy } from '@avvos/convoy/node';
import pg from 'pg';
import { afterEach, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { freshDatabaseUrl } from './app.js';
import { RecordingProxy } from './recording-proxy.js';

type None = Record<string, never>;
const schema = defineSchema({
  users: defineTable({ name: z.string(), roles: z.array(z.string()).default(() => []) }),
  sessions: defineTable({ tokenHash: z.string(), userId: defineRef('users') }).index('by_token', ['tokenHash'], {
    unique: true,
  }),
  notes: defineTable({ text: z.string() }),
});
type Base = BaseContext<DataModelOf<typeof schema>>;
type Context = Base & { readonly auth: Auth };
const { query, internalMutation, authed } = createFunctionHelpers<Context>();

/** Resolved by a test when `slow` may go on. */
let release = (): void => {};
let entered = (): void => {};
const gate = (): Promise<void> =>
  new Promise((resolve) => {
    release = resolve;
    entered();
  });

const functions = {
  me: query({ handler: (ctx) => ctx.auth.user?.id ?? null }),
  isAdmin: query({ handler: (ctx) => ctx.auth.can('admin') }),
  notes: authed.query({ handler: async (ctx) => (await ctx.db.query('notes').collect()).map(({ text }) => text) }),
  add: authed.mutation({ input: { text: z.string() }, handler: (ctx, note) => ctx.db.insert('notes', note) }),
  act: authed.action({ handler: (ctx) => ctx.auth.user.id }),
  /** Reads the session and ends later, so that calls overlap. */
  touch: authed.mutation({
    handler: async (ctx) => {
      await new Promise((resolve) => setTimeout(resolve, 20));
      return ctx.auth.user.id;
    },
  }),
  slow: authed.mutation({
    handler: async (ctx) => {
      await gate();
      await ctx.db.insert('notes', { text: `by ${ctx.auth.user.id}` });
    },
  }),
  inHandler: query({
    handler: (ctx) =>
      cachedReads(ctx as unknown as Base)
        .query('users')
        .first(),
  }),
  signIn: internalMutation({
    input: { name: z.string(), token: z.string() },
    handler: async (ctx, { name, token }) => {
      const userId = await ctx.db.insert('users', { name });
      await ctx.db.insert('sessions', { tokenHash: hashOf(token), userId });
      return userId;
    },
  }),
  signOut: internalMutation({
    input: { token: z.string() },
    handler: async (ctx, { token }) => {
      const session = await ctx.db
        .query('sessions')
        .withIndex('by_token', (q) => q.eq('tokenHash', hashOf(token)))
        .unique();
      if (session !== null) await ctx.db.delete(session.id);
    },
  }),
};
const me = makeQueryRef<None, string | null>('me');
const isAdmin = makeQueryRef<None, boolean>('isAdmin');
const notes = makeQueryRef<None, string[]>('notes');
const add = makeMutationRef<{ text: string }, string>('add');
const slow = makeMutationRef<None, null>('slow');
const touch = makeMutationRef<None, string>('touch');
const act = makeActionRef<None, string>('act');
const inHandler = makeQueryRef<None, unknown>('inHandler');
const signIn = makeMutationRef<{ name: string; token: string }, string>('signIn');
const signOut = makeMutationRef<{ token: string }, null>('signOut');
const TRUSTED = { context: { auth: createAuth(null) } };

function hashOf(token: string): string {
  return createHash('sha256').update(token).digest('base64url');
}

async function createContext({ headers }: ConvoyRequest, base: Base) {
  const token = headers.authorization;
  if (typeof token !== 'string') return { ...base, auth: createAuth(null) };
  const cached = cachedReads(base);
  const session = await cached
    .query('sessions')
    .withIndex('by_token', (q) => q.eq('tokenHash', hashOf(token)))
    .unique();
  const user = session && (await cached.get(session.userId));
  return { ...base, auth: createAuth(user && { id: user.id, roles: user.roles }) };
}

const ending: (() => unknown)[] = [];
afterEach(async () => {
  for (const end of ending.splice(0).reverse()) await end();
});

interface Served {
  readonly databaseUrl: string;
  readonly convoy: Convoy;
  readonly proxy: RecordingProxy;
  readonly sql: pg.Client;
  readonly clientOf: (token: string) => ReturnType<typeof createConvoyClient>;
  readonly close: () => Promise<void>;
}

async function served(databaseUrl = freshDatabaseUrl()): Promise<Served> {
  await (await createConvoy({ schema, functions, createContext, databaseUrl, createDatabase: true })).close();
  const proxy = await RecordingProxy.start(databaseUrl);
  ending.push(() => proxy.close());
  const convoy = await createConvoy({ schema, functions, createContext, databaseUrl: proxy.url });
  const { port } = await convoy.listen({ port: 0 });
  const sql = new pg.Client(databaseUrl);
  await sql.connect();
  const close = async () => {
    await sql.end();
    await convoy.close();
  };
  ending.push(close);
  const clientOf = (token: string) => {
    const client = createConvoyClient({ baseUrl: `http://127.0.0.1:${port}`, headers: { authorization: token } });
    ending.push(() => client.close());
    return client;
  };
  return { databaseUrl, convoy, proxy, sql, clientOf, close };
}

/** Calls `me` until it takes no statement: the session is then kept in memory. */
async function warmUp({ proxy }: Served, client: ReturnType<typeof createConvoyClient>): Promise<string | null> {
  for (;;) {
    const before = lookUps(proxy).length;
    const user = await client.query(me, {});
    if (lookUps(proxy).length === before) return user;
  }
}

/**
 * Runs `work` until it takes no look-up; it receives the number of statements so far, and may return statements that must
 * not occur either.
 */
async function untilWithoutLookUp({ proxy }: Served, work: (statements: number) => Promise<unknown>): Promise<void> {
  for (;;) {
    const before = lookUps(proxy).length;
    const others = await work(proxy.statements.length);
    if (lookUps(proxy).length === before && !(Array.isArray(others) && others.length > 0)) return;
  }
}

/** The executed statements that look up a session or a user. */
function lookUps({ statements }: RecordingProxy): string[] {
  return statements.filter((text) => /\b(sessions|users)\b/.test(text) && /^\s*select\b/i.test(text));
}

describe('a session kept in memory', () => {
  it('costs no statement in queries, mutations, actions and streams', async () => {
    const app = await served();
    const user = await app.convoy.mutation(signIn, { name: 'Ann', token: 'ann-1' }, TRUSTED);
    const client = app.clientOf('ann-1');
    // On a busy machine the change log may be read too late, and then sessions are looked up.
    await untilWithoutLookUp(app, async (all) => {
      for (let n = 0; n < 20; n++) expect(await client.query(me, {})).toBe(user);
      // `me` reads nothing else: the other statements are those of the change feed.
      return app.proxy.statements.slice(all).filter((text) => !text.includes('_convoy'));
    });
    await untilWithoutLookUp(app, async (all) => {
      await client.mutation(add, { text: 'one' });
      const [insert, ...more] = app.proxy.statements
        .slice(all)
        .filter((text) => /"notes"|^(begin|commit)\b/.test(text));
      expect(insert).toContain('insert into "notes"');
      return more;
    });
    await untilWithoutLookUp(app, () => client.action(act, {}));
    await untilWithoutLookUp(app, async () => {
      const stream = app.clientOf('ann-1');
      const seen = await new Promise<unknown>((resolve) => {
        stream.watch(notes, {}, ({ data }) => data && resolve(data));
      });
      expect(seen).toContain('one');
    });
    expect(app.convoy.stats().cachedReads).toBe(2);
  });

  it('is not kept while there is none, so that invalid tokens take no memory', async () => {
    const app = await served();
    const client = app.clientOf('unknown');
    for (let n = 0; n < 50; n++) expect(await client.query(me, {})).toBeNull();
    expect(app.convoy.stats().cachedReads).toBe(0);
    // The session is found as soon as it exists, also when another program has created it.
    const user = await app.convoy.mutation(signIn, { name: 'Ann', token: 'unknown' }, TRUSTED);
    expect(await client.query(me, {})).toBe(user);
  });

  it('ends with the commit of this process that deletes it', async () => {
    const app = await served();
    for (let n = 0; n < 30; n++) {
      const token = `ann-${n}`;
      await app.convoy.mutation(signIn, { name: 'Ann', token }, TRUSTED);
      const client = app.clientOf(token);
      await warmUp(app, client);
      await app.convoy.mutation(signOut, { token }, TRUSTED);
      expect(await client.query(me, {})).toBeNull();
      await expect(client.mutation(add, { text: 'late' })).rejects.toMatchObject({ code: 'UNAUTHORIZED' });
      client.close();
    }
    expect(await app.sql.query('select from notes')).toMatchObject({ rowCount: 0 });
  });

  it('ends for calls and streams when another program deletes it', async () => {
    const app = await served();
    await app.convoy.mutation(signIn, { name: 'Ann', token: 'ann-1' }, TRUSTED);
    const client = app.clientOf('ann-1');
    await warmUp(app, client);
    const refused = new Promise<unknown>((resolve) => {
      client.watch(notes, {}, ({ error }) => error && resolve(error));
    });
    await app.sql.query('delete from sessions');
    expect(await refused).toMatchObject({ code: 'UNAUTHORIZED' });
    while ((await client.query(me, {})) !== null);
    await expect(client.mutation(add, { text: 'late' })).rejects.toMatchObject({ code: 'UNAUTHORIZED' });
  });

  it('has the changes of its user, from any program', async () => {
    const app = await served();
    await app.convoy.mutation(signIn, { name: 'Ann', token: 'ann-1' }, TRUSTED);
    const client = app.clientOf('ann-1');
    await warmUp(app, client);
    expect(await client.query(isAdmin, {})).toBe(false);
    await app.sql.query(`update users set data = data || '{"roles": ["admin"]}'`);
    while (!(await client.query(isAdmin, {})));
    await app.sql.query('truncate users');
    while ((await client.query(me, {})) !== null);
  });

  it('that is deleted during a mutation stops it: nothing is written', async () => {
    const app = await served();
    await app.convoy.mutation(signIn, { name: 'Ann', token: 'ann-1' }, TRUSTED);
    const client = app.clientOf('ann-1');
    await warmUp(app, client);
    const inside = new Promise<void>((resolve) => {
      entered = resolve;
    });
    const call = client.mutation(slow, {});
    await inside;
    await app.convoy.mutation(signOut, { token: 'ann-1' }, TRUSTED);
    release();
    await expect(call).rejects.toMatchObject({ code: 'UNAUTHORIZED' });
    expect(await app.sql.query('select from notes')).toMatchObject({ rowCount: 0 });
  });

  it('that many mutations share does not stop any of them', async () => {
    const app = await served();
    await app.convoy.mutation(signIn, { name: 'Ann', token: 'ann-1' }, TRUSTED);
    // A log that is not read makes every call look the session up, in turn with the others.
    const blocker = new pg.Client(app.databaseUrl);
    await blocker.connect();
    await blocker.query('begin; lock table _convoy.changes in access exclusive mode');
    const before = app.convoy.stats().handlerRuns ?? 0;
    const blocked = Promise.all(Array.from({ length: 40 }, () => app.clientOf('ann-1').mutation(touch, {})));
    expect(await blocked).toHaveLength(40);
    await blocker.query('rollback');
    await blocker.end();
    expect((app.convoy.stats().handlerRuns ?? 0) - before).toBe(40);
  });

  it('is asked for again if another server has told the client of a later change', async () => {
    const databaseUrl = freshDatabaseUrl();
    const [one, other] = [await served(databaseUrl), await served(databaseUrl)];
    await one.convoy.mutation(signIn, { name: 'Ann', token: 'ann-1' }, TRUSTED);
    for (const app of [one, other]) await warmUp(app, app.clientOf('ann-1'));
    await one.convoy.mutation(signOut, { token: 'ann-1' }, TRUSTED);
    const { port } = (other.convoy as unknown as { address: { port: number } }).address;
    const response = await fetch(`http://127.0.0.1:${port}/api/query/me`, {
      method: 'POST',
      headers: { authorization: 'ann-1', 'convoy-position': 'a token of another server' },
      body: '{}',
    });
    expect(await response.json()).toEqual({ ok: true, data: null });
  });

  it('leaves no token in the change log or in memory that is listed', async () => {
    const app = await served();
    await app.convoy.mutation(signIn, { name: 'Ann', token: 'canary-token' }, TRUSTED);
    await warmUp(app, app.clientOf('canary-token'));
    await app.sql.query('update sessions set data = data');
    const { rows } = await app.sql.query(`select count(*)::int as rows,
      count(*) filter (where changes::text like '%canary%')::int as canaries from _convoy.changes as changes`);
    expect(rows[0]).toMatchObject({ canaries: 0 });
    expect(rows[0].rows).toBeGreaterThan(0);
    expect(app.proxy.statements.join().includes('canary')).toBe(false);
  });
});

describe('cachedReads', () => {
  it('reads like ctx.db in a handler', async () => {
    const app = await served();
    await app.convoy.mutation(signIn, { name: 'Ann', token: 'ann-1' }, TRUSTED);
    expect(await app.convoy.query(inHandler, {}, TRUSTED)).toMatchObject({ name: 'Ann' });
    expect(app.convoy.stats().cachedReads).toBe(0);
  });

  it('reads as usual where there is no engine', async () => {
    const db = { get: async () => ({ id: 'users:1' }) };
    expect(await (cachedReads({ db }) as unknown as typeof db).get()).toEqual({ id: 'users:1' });
  });
});
