/** Who shares a live query's result, with real contexts: callers alike in what a run has looked at, and nobody else. */
import { type BaseContext, createFunctionHelpers, type DataModelOf, defineSchema, defineTable } from '@avvos/convoy';
import { createConvoyClient, makeMutationRef, makeQueryRef } from '@avvos/convoy/client';
import { type Convoy, type ConvoyRequest, createConvoy } from '@avvos/convoy/node';
import { afterEach, expect, it } from 'vitest';
import { z } from 'zod';
import { freshDatabaseUrl } from './app.js';

type None = Record<string, never>;
const schema = defineSchema({ notes: defineTable({ text: z.string() }) });
type Base = BaseContext<DataModelOf<typeof schema>>;
const { query, mutation } = createFunctionHelpers<Base & { readonly user: string; readonly role: string }>();

const functions = {
  all: query({ handler: async (ctx) => (await ctx.db.query('notes').collect()).map(({ text }) => text) }),
  byRole: query({ handler: async (ctx) => [ctx.role, await ctx.db.query('notes').count()] }),
  mine: query({ handler: async (ctx) => [ctx.user, await ctx.db.query('notes').count()] }),
  add: mutation({ input: { text: z.string() }, handler: (ctx, note) => ctx.db.insert('notes', note) }),
};
const all = makeQueryRef<None, string[]>('all');
const byRole = makeQueryRef<None, [string, number]>('byRole');
const mine = makeQueryRef<None, [string, number]>('mine');
const add = makeMutationRef<{ text: string }, string>('add');

/** Users are called `<role>-<name>`. The blind are given another database, in which there is nothing. */
function createContext(req: ConvoyRequest, base: Base): object {
  const user = String(req.headers.authorization ?? 'nobody');
  const [role = ''] = user.split('-');
  const nothing = { collect: async () => [], count: async () => 0 };
  return role === 'blind' ? { ...base, user, role, db: { query: () => nothing } } : { ...base, user, role };
}

const ending: (() => unknown)[] = [];
afterEach(async () => {
  for (const end of ending.splice(0).reverse()) await end();
});

async function served() {
  const convoy: Convoy = await createConvoy({
    schema,
    functions,
    createContext,
    databaseUrl: freshDatabaseUrl(),
    createDatabase: true,
  });
  ending.push(() => convoy.close());
  const { port } = await convoy.listen({ port: 0 });
  const baseUrl = `http://127.0.0.1:${port}`;
  const watch = (user: string, ref: typeof all | typeof byRole | typeof mine) => {
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
