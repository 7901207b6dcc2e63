/** Sharing of live queries with real contexts: only callers with the same context fields that a run has read. */
import { format, inspect } from 'node:util';
import { type BaseContext, createFunctionHelpers, type DataModelOf, defineSchema, defineTable } from '@avvos/convoy';
import { createConvoyClient, makeMutationRef, makeQueryRef } from '@avvos/convoy/client';
import { type Convoy, type ConvoyRequest, createConvoy } from '@avvos/convoy/node';
import { afterEach, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { freshDatabaseUrl } from './app.js';

type None = Record<string, never>;
const schema = defineSchema({ notes: defineTable({ text: z.string() }) });
type Base = BaseContext<DataModelOf<typeof schema>>;
interface Caller {
  readonly user: string;
  readonly role: string;
  /** The same object for each call of a user, and equal to that of every other user. */
  readonly account: object;
}
const { query, mutation, internalQuery } = createFunctionHelpers<Base & Caller>();

/** Module state about users, and about the latest call. */
const accounts = new Map<string, object>();
const userOf = new WeakMap<object, string>();
let last = 'anonymous';

/** Returns another result on each call. */
let turns = 0;
const turn = internalQuery({ share: false, handler: () => ++turns });

const functions = {
  all: query({ handler: async (ctx) => (await ctx.db.query('notes').collect()).map(({ text }) => text) }),
  byRole: query({ handler: async (ctx) => [ctx.role, await ctx.db.query('notes').count()] }),
  mine: query({ handler: async (ctx) => [ctx.user, await ctx.db.query('notes').count()] }),
  /** Node inspects a proxy's target without calling its traps. */
  printed: query({
    handler: async (ctx) => [/user: '([\w-]+)'/.exec(inspect(ctx))?.[1], await ctx.db.query('notes').count()],
  }),
  failed: query({
    handler: async (ctx) => {
      const failure = Object.assign(new Error('failed'), { ctx });
      return [/user: '([\w-]+)'/.exec(format('%o', failure))?.[1], await ctx.db.query('notes').count()];
    },
  }),
  /** Identifies the user by the identity of objects in the context. */
  identified: query({
    handler: async (ctx) => [
      userOf.get(ctx.account) ?? userOf.get(ctx.db) ?? null,
      await ctx.db.query('notes').count(),
    ],
  }),
  /** Reads module state, which the context's observer cannot track. */
  unobserved: query({
    handler: async (ctx) => {
      const user = last;
      return [user, await ctx.db.query('notes').count()];
    },
  }),
  turn,
  calling: query({ handler: async (ctx) => [await ctx.runQuery(turn), await ctx.db.query('notes').count()] }),
  callingByName: query({
    handler: async (ctx) => [
      await ctx.runQuery(makeQueryRef<None, number>('turn')),
      await ctx.db.query('notes').count(),
    ],
  }),
  callingDeeper: query({ handler: (ctx) => ctx.runQuery(makeQueryRef<None, [number, number]>('callingByName')) }),
  add: mutation({ input: { text: z.string() }, handler: (ctx, note) => ctx.db.insert('notes', note) }),
};
const all = makeQueryRef<None, string[]>('all');
const byRole = makeQueryRef<None, [string, number]>('byRole');
const mine = makeQueryRef<None, [string, number]>('mine');
const counted = (name: Exclude<keyof typeof functions, 'all' | 'turn' | 'add'>) =>
  makeQueryRef<None, [string | number | null, number]>(name);
const add = makeMutationRef<{ text: string }, string>('add');

/** Users are named `<role>-<name>`. Those of the role `blind` get an empty database. */
function createContext(req: ConvoyRequest, base: Base): object {
  const user = String(req.headers.authorization ?? 'anonymous');
  const [role = ''] = user.split('-');
  const empty = { collect: async () => [], count: async () => 0 };
  const account = accounts.get(user) ?? { plan: 'free' };
  accounts.set(user, account);
  for (const object of [account, base.db]) userOf.set(object, user);
  last = user;
  const context = { ...base, user, role, account };
  return role === 'blind' ? { ...context, db: { query: () => empty } } : context;
}

interface Settings {
  readonly failpoints?: readonly string[];
  readonly contexts?: boolean;
}

const ending: (() => unknown)[] = [];
afterEach(async () => {
  for (const end of ending.splice(0).reverse()) await end();
});

async function served({ failpoints = [], contexts = true }: Settings = {}) {
  const options = { databaseUrl: freshDatabaseUrl(), createDatabase: true, failpoints };
  const convoy: Convoy = await createConvoy({
    schema,
    functions,
    ...(contexts ? { createContext } : {}),
    ...options,
  });
  ending.push(() => convoy.close());
  const { port } = await convoy.listen({ port: 0 });
  const baseUrl = `http://127.0.0.1:${port}`;
  const watch = (user: string, ref: typeof all | typeof byRole | typeof mine | ReturnType<typeof counted>) => {
    const client = createConvoyClient({ baseUrl, headers: { authorization: user } });
    ending.push(() => client.close());
    const seen: unknown[] = [];
    let onChange = () => {};
    client.watch(ref as typeof all, {}, ({ data, status }) => {
      if (status === 'success' || data !== null) seen.push(data);
      onChange();
    });
    return {
      seen,
      async until(matches: (data: never) => boolean) {
        while (!seen.some((data) => matches(data as never))) {
          await new Promise<void>((resolve) => {
            onChange = resolve;
          });
        }
      },
    };
  };
  return { convoy, watch };
}

it('all callers share a query that reads no context field, except those with another database', async () => {
  const { convoy, watch } = await served();
  const many = ['admin-a', 'admin-b', 'guest-c', 'guest-d'].map((user) => watch(user, all));
  const blind = watch('blind-e', all);
  for (const one of [...many, blind]) await one.until((data: string[]) => data.length === 0);
  const before = convoy.stats().handlerRuns ?? 0;
  await convoy.mutation(add, { text: 'secret' });
  for (const one of many) await one.until((data: string[]) => data.length === 1);
  // The mutation, and one run for all callers.
  expect(convoy.stats().handlerRuns).toBe(before + 2);
  expect(blind.seen.every((data) => (data as string[]).length === 0)).toBe(true);
});

it('callers share a query by role, or not at all, as it reads', async () => {
  const { convoy, watch } = await served();
  const users = ['admin-a', 'admin-b', 'guest-c', 'guest-d'];
  const roles = users.map((user) => watch(user, byRole));
  const own = users.map((user) => watch(user, mine));
  for (const one of [...roles, ...own]) await one.until(([, n]: [string, number]) => n === 0);
  const before = convoy.stats().handlerRuns ?? 0;
  await convoy.mutation(add, { text: 'x' });
  for (const [at, user] of users.entries()) {
    await roles[at]?.until(([role, n]: [string, number]) => n === 1 && role === user.split('-')[0]);
    await own[at]?.until(([name, n]: [string, number]) => n === 1 && name === user);
  }
  // The mutation, one run for each role, and one for each caller.
  expect(convoy.stats().handlerRuns).toBe(before + 1 + 2 + 4);
  for (const [at, user] of users.entries()) {
    expect(roles[at]?.seen.every((data) => (data as [string])[0] === user.split('-')[0])).toBe(true);
    expect(own[at]?.seen.every((data) => (data as [string])[0] === user)).toBe(true);
  }
});

describe('three users of one live query', () => {
  const users = ['admin-a', 'admin-b', 'guest-c'];

  /** The user names that each received, and those among them of other users. */
  async function receivedNames(name: Parameters<typeof counted>[0], settings: Settings = {}) {
    const { convoy, watch } = await served(settings);
    const watches = users.map((user) => watch(user, counted(name)));
    for (const one of watches) await one.until(([, n]: [string, number]) => n === 0);
    await convoy.mutation(add, { text: 'x' });
    for (const one of watches) await one.until(([, n]: [string, number]) => n === 1);
    const named = watches.map(({ seen }) => (seen as [string | number | null, number][]).map(([user]) => user));
    const foreign = named.flatMap((names, at) => names.filter((each) => each !== null && each !== users[at]));
    console.log(`${name}: ${foreign.length} foreign among ${named.flat().length} results`);
    return { foreign, named };
  }

  it.each(['printed', 'failed'] as const)('each receive their own context, %s', async (name) => {
    const { foreign, named } = await receivedNames(name);
    expect(foreign).toEqual([]);
    for (const [at, user] of users.entries()) expect(named[at]).toContain(user);
  });

  it('cannot be identified by the objects of their contexts', async () => {
    const { named } = await receivedNames('identified');
    expect(new Set(named.flat())).toEqual(new Set([null]));
  });

  it.each(['printed', 'failed'] as const)('control: shared regardless, %s sends rows of other users', async (name) => {
    expect((await receivedNames(name, { failpoints: ['shareRegardless'] })).foreign.length).toBeGreaterThan(0);
  });

  const calling = ['calling', 'callingByName', 'callingDeeper'] as const;
  it.each(
    calling.flatMap(
      (name) =>
        [
          [name, true],
          [name, false],
        ] as const,
    ),
  )('have their own runs where a called function opts out of sharing: %s, contexts %s', async (name, contexts) => {
    const { named } = await receivedNames(name, { contexts });
    const each = named.map((turns) => new Set(turns));
    expect(new Set(named.flat()).size).toBe(each.reduce((sum, { size }) => sum + size, 0));
  });

  it.each(calling)('control: shared regardless, %s sends one run to all', async (name) => {
    const { named } = await receivedNames(name, { failpoints: ['shareRegardless'] });
    expect(new Set(named.flat()).size).toBeLessThan(named.flat().length);
  });

  it('control: reads that the observer cannot track send rows of other users', async () => {
    expect((await receivedNames('unobserved')).foreign.length).toBeGreaterThan(0);
  });
});
