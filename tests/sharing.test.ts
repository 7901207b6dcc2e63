/** Who shares a live query's result, with real contexts: callers alike in what a run has looked at, and nobody else. */
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
  /** The same object each time the user comes, and like everyone else's. */
  readonly account: object;
}
const { query, mutation, internalQuery } = createFunctionHelpers<Base & Caller>();

/** What a module keeps of users, and of the call that came last. */
const accounts = new Map<string, object>();
const userOf = new WeakMap<object, string>();
let last = 'nobody';

/** Another answer for each who asks. */
let turns = 0;
const turn = internalQuery({ share: false, handler: () => ++turns });

const functions = {
  all: query({ handler: async (ctx) => (await ctx.db.query('notes').collect()).map(({ text }) => text) }),
  byRole: query({ handler: async (ctx) => [ctx.role, await ctx.db.query('notes').count()] }),
  mine: query({ handler: async (ctx) => [ctx.user, await ctx.db.query('notes').count()] }),
  /** Node reads what is behind a proxy without asking it. */
  printed: query({
    handler: async (ctx) => [/user: '([\w-]+)'/.exec(inspect(ctx))?.[1], await ctx.db.query('notes').count()],
  }),
  failed: query({
    handler: async (ctx) => {
      const failure = Object.assign(new Error('failed'), { ctx });
      return [/user: '([\w-]+)'/.exec(format('%o', failure))?.[1], await ctx.db.query('notes').count()];
    },
  }),
  /** Who an object is says who has it. */
  known: query({
    handler: async (ctx) => [
      userOf.get(ctx.account) ?? userOf.get(ctx.db) ?? null,
      await ctx.db.query('notes').count(),
    ],
  }),
  /** What the context's observer would not see if it held the context itself, and cannot see of a module. */
  unobserved: query({
    handler: async (ctx) => {
      const user = last;
      return [user, await ctx.db.query('notes').count()];
    },
  }),
  turn,
  asking: query({ handler: async (ctx) => [await ctx.runQuery(turn), await ctx.db.query('notes').count()] }),
  askingByName: query({
    handler: async (ctx) => [
      await ctx.runQuery(makeQueryRef<None, number>('turn')),
      await ctx.db.query('notes').count(),
    ],
  }),
  askingDeeper: query({ handler: (ctx) => ctx.runQuery(makeQueryRef<None, [number, number]>('askingByName')) }),
  add: mutation({ input: { text: z.string() }, handler: (ctx, note) => ctx.db.insert('notes', note) }),
};
const all = makeQueryRef<None, string[]>('all');
const byRole = makeQueryRef<None, [string, number]>('byRole');
const mine = makeQueryRef<None, [string, number]>('mine');
const counted = (name: Exclude<keyof typeof functions, 'all' | 'turn' | 'add'>) =>
  makeQueryRef<None, [string | number | null, number]>(name);
const add = makeMutationRef<{ text: string }, string>('add');

/** Users are called `<role>-<name>`. The blind are given another database, in which there is nothing. */
function createContext(req: ConvoyRequest, base: Base): object {
  const user = String(req.headers.authorization ?? 'nobody');
  const [role = ''] = user.split('-');
  const nothing = { collect: async () => [], count: async () => 0 };
  const account = accounts.get(user) ?? { plan: 'free' };
  accounts.set(user, account);
  for (const object of [account, base.db]) userOf.set(object, user);
  last = user;
  const made = { ...base, user, role, account };
  return role === 'blind' ? { ...made, db: { query: () => nothing } } : made;
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
    let wake = () => {};
    client.watch(ref as typeof all, {}, ({ data, status }) => {
      if (status === 'success' || data !== null) seen.push(data);
      wake();
    });
    return {
      seen,
      async until(wanted: (data: never) => boolean) {
        while (!seen.some((data) => wanted(data as never))) {
          await new Promise<void>((resolve) => {
            wake = resolve;
          });
        }
      },
    };
  };
  return { convoy, watch };
}

it('all of them where nothing of the caller was looked at, but for who has another base', async () => {
  const { convoy, watch } = await served();
  const many = ['admin-a', 'admin-b', 'guest-c', 'guest-d'].map((user) => watch(user, all));
  const blind = watch('blind-e', all);
  for (const one of [...many, blind]) await one.until((data: string[]) => data.length === 0);
  const before = convoy.stats().handlerRuns ?? 0;
  await convoy.mutation(add, { text: 'secret' });
  for (const one of many) await one.until((data: string[]) => data.length === 1);
  // The mutation, and one run for all of them.
  expect(convoy.stats().handlerRuns).toBe(before + 2);
  expect(blind.seen.every((data) => (data as string[]).length === 0)).toBe(true);
});

it('those of a role, or only oneself', async () => {
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
  // The mutation, one run for each role, and one for each of them.
  expect(convoy.stats().handlerRuns).toBe(before + 1 + 2 + 4);
  for (const [at, user] of users.entries()) {
    expect(roles[at]?.seen.every((data) => (data as [string])[0] === user.split('-')[0])).toBe(true);
    expect(own[at]?.seen.every((data) => (data as [string])[0] === user)).toBe(true);
  }
});

describe('three users of one live query', () => {
  const users = ['admin-a', 'admin-b', 'guest-c'];

  /** What they were shown that names another of them, and all that they were shown. */
  async function shown(name: Parameters<typeof counted>[0], settings: Settings = {}) {
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

  it.each(['printed', 'failed'] as const)('are each shown their own context, %s', async (name) => {
    const { foreign, named } = await shown(name);
    expect(foreign).toEqual([]);
    for (const [at, user] of users.entries()) expect(named[at]).toContain(user);
  });

  it('are not known by the objects of their contexts', async () => {
    const { named } = await shown('known');
    expect(new Set(named.flat())).toEqual(new Set([null]));
  });

  it.each(['printed', 'failed'] as const)('control: shared regardless, %s shows foreign rows', async (name) => {
    expect((await shown(name, { failpoints: ['shareRegardless'] })).foreign.length).toBeGreaterThan(0);
  });

  const asking = ['asking', 'askingByName', 'askingDeeper'] as const;
  it.each(
    asking.flatMap(
      (name) =>
        [
          [name, true],
          [name, false],
        ] as const,
    ),
  )('have runs of their own where a function called opts out of sharing: %s, contexts %s', async (name, contexts) => {
    const { named } = await shown(name, { contexts });
    const each = named.map((turns) => new Set(turns));
    expect(new Set(named.flat()).size).toBe(each.reduce((sum, { size }) => sum + size, 0));
  });

  it.each(asking)('control: shared regardless, %s shows one run to all', async (name) => {
    const { named } = await shown(name, { failpoints: ['shareRegardless'] });
    expect(new Set(named.flat()).size).toBeLessThan(named.flat().length);
  });

  it('control: what is read behind the observer shows foreign rows', async () => {
    expect((await shown('unobserved')).foreign.length).toBeGreaterThan(0);
  });
});
